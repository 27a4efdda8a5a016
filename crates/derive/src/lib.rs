//! `#[derive(ToTerm, FromTerm)]`: Rust types as the terms that Elixir would write for them.
//!
//! | Rust | term |
//! |---|---|
//! | `struct User { name: String }` | `%{name: "…"}`; with `#[term(module = "Elixir.User")]` a `%User{name: "…"}` |
//! | `struct Point(i64, i64)`, `struct Id(u64)`, `struct Nothing` | `{1, 2}`, `7`, `:nothing` |
//! | `enum Shape { Empty, Circle(f64), Line(f64, f64), Square { side: f64 } }` | `:empty`, `{:circle, 1.0}`, `{:line, 1.0, 2.0}`, `{:square, %{side: 1.0}}` |
//!
//! - Names are written in snake case; `#[term(rename = "…")]` on a field, a variant or a unit struct gives another.
//! - All atoms are constants of the program, of at most 255 characters: a longer one does not compile.
//! - When a map is read, keys that the type does not have are passed over, and a missing `Option` is `None`: either
//!   side may gain fields first. A module must be the right one.
//! - An error names the field.
//!
//! `#[term(crate = "path")]` says where the traits are, if not in `::salp::etf`.

use proc_macro::TokenStream;
use proc_macro2::{Span, TokenStream as Tokens};
use quote::{format_ident, quote};
use syn::{
    Attribute, Data, DeriveInput, Error, Fields, FieldsNamed, Generics, Ident, LitStr, Path, Result, Variant,
    parse_macro_input, parse_quote, spanned::Spanned,
};

/// Characters of an atom.
const CHARS_MAX: usize = 255;

/// Writes `etf::ToTerm`; see the [crate](self).
#[proc_macro_derive(ToTerm, attributes(term))]
pub fn to_term(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    Type::read(&input)
        .map_or_else(Error::into_compile_error, |shape| shape.write_to_term())
        .into()
}

/// Writes `etf::FromTerm`; see the [crate](self).
#[proc_macro_derive(FromTerm, attributes(term))]
pub fn from_term(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    Type::read(&input)
        .map_or_else(Error::into_compile_error, |shape| shape.write_from_term())
        .into()
}

/// What `#[term(…)]` says.
#[derive(Default)]
struct Options {
    rename: Option<LitStr>,
    module: Option<LitStr>,
    path: Option<Path>,
}

impl Options {
    fn read(attributes: &[Attribute]) -> Result<Self> {
        let mut options = Self::default();
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("term")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("rename") {
                    options.rename = Some(meta.value()?.parse()?);
                } else if meta.path.is_ident("module") {
                    options.module = Some(meta.value()?.parse()?);
                } else if meta.path.is_ident("crate") {
                    options.path = Some(meta.value()?.parse::<LitStr>()?.parse()?);
                } else {
                    return Err(meta.error("expected `rename`, `module` or `crate`"));
                }
                Ok(())
            })?;
        }
        Ok(options)
    }

    /// The atom of something with this name.
    fn atom(&self, name: &Ident) -> Result<String> {
        match &self.rename {
            Some(rename) => checked(rename.value(), rename.span()),
            None => checked(snake(&name.to_string()), name.span()),
        }
    }
}

fn checked(text: String, span: Span) -> Result<String> {
    if text.chars().count() > CHARS_MAX {
        return Err(Error::new(span, "an atom has at most 255 characters"));
    }
    Ok(text)
}

/// `HttpError` as `http_error`; what is snake case stays as it is.
fn snake(name: &str) -> String {
    let mut text = String::new();
    for (at, char) in name.trim_start_matches("r#").chars().enumerate() {
        if char.is_uppercase() && at > 0 {
            text.push('_');
        }
        text.extend(char.to_lowercase());
    }
    text
}

/// The type that is derived for.
struct Type {
    name: Ident,
    generics: Generics,
    /// Where the traits are.
    path: Path,
    shape: Shape,
}

enum Shape {
    Struct(Body),
    /// The atom of each variant and what it holds.
    Enum(Vec<(Ident, String, Body)>),
}

/// What a struct or a variant holds.
enum Body {
    /// Named fields: each with its key; and the module of an Elixir struct.
    Named(Vec<(Ident, String)>, Option<String>),
    /// So many unnamed fields.
    Unnamed(usize),
    /// Nothing; a struct of this kind is its atom.
    Unit(String),
}

impl Type {
    fn read(input: &DeriveInput) -> Result<Self> {
        let options = Options::read(&input.attrs)?;
        let module = match &options.module {
            Some(module) => Some(checked(module.value(), module.span())?),
            None => None,
        };
        let atom = options.atom(&input.ident)?;
        let shape = match &input.data {
            Data::Struct(data) => Shape::Struct(Body::read(&data.fields, atom, module)?),
            Data::Enum(data) => {
                let variants = data.variants.iter().map(read_variant);
                Shape::Enum(variants.collect::<Result<_>>()?)
            }
            Data::Union(_) => return Err(Error::new(input.span(), "a union has no term")),
        };
        Ok(Self {
            name: input.ident.clone(),
            generics: input.generics.clone(),
            path: options.path.unwrap_or_else(|| parse_quote!(::salp::etf)),
            shape,
        })
    }

    fn write_to_term(&self) -> Tokens {
        let (name, path) = (&self.name, &self.path);
        let body = match &self.shape {
            Shape::Struct(body) => {
                let (pattern, term) = (body.pattern(), body.term(path, None));
                quote! { let Self #pattern = self; #term }
            }
            Shape::Enum(variants) => {
                let arms = variants.iter().map(|(variant, atom, body)| {
                    let (pattern, term) = (body.pattern(), body.term(path, Some(atom)));
                    quote! { Self::#variant #pattern => { #term } }
                });
                quote! { match self { #(#arms)* } }
            }
        };
        let generics = self.bounded(&parse_quote!(#path::ToTerm));
        let (implemented, given, conditions) = generics.split_for_impl();
        quote! {
            #[automatically_derived]
            impl #implemented #path::ToTerm for #name #given #conditions {
                fn to_term(&self) -> #path::Term { #body }
            }
        }
    }

    fn write_from_term(&self) -> Tokens {
        let (name, path) = (&self.name, &self.path);
        let body = match &self.shape {
            Shape::Struct(body) => body.reading(path, &quote!(Self)),
            Shape::Enum(variants) => {
                let arms = variants
                    .iter()
                    .map(|(variant, atom, body)| body.arm(path, variant, atom));
                let names: Vec<&str> = variants.iter().map(|(_, atom, _)| atom.as_str()).collect();
                let expected = format!("one of: {}", names.join(", "));
                quote! {
                    let (tag, items) = match term.as_tuple() {
                        ::core::option::Option::Some([tag, items @ ..]) => (tag, items),
                        _ => (term, &[][..]),
                    };
                    #(#arms)*
                    ::core::result::Result::Err(#path::Mismatch::new(#expected, term))
                }
            }
        };
        let generics = self.bounded(&parse_quote!(#path::FromTerm));
        let (implemented, given, conditions) = generics.split_for_impl();
        quote! {
            #[automatically_derived]
            impl #implemented #path::FromTerm for #name #given #conditions {
                fn from_term(term: &#path::Term) -> ::core::result::Result<Self, #path::Mismatch> { #body }
            }
        }
    }

    /// The generics of the type, each parameter with the trait as a bound.
    fn bounded(&self, bound: &syn::TypeParamBound) -> Generics {
        let mut generics = self.generics.clone();
        for parameter in generics.type_params_mut() {
            parameter.bounds.push(bound.clone());
        }
        generics
    }
}

fn read_variant(variant: &Variant) -> Result<(Ident, String, Body)> {
    let atom = Options::read(&variant.attrs)?.atom(&variant.ident)?;
    let body = Body::read(&variant.fields, atom.clone(), None)?;
    Ok((variant.ident.clone(), atom, body))
}

impl Body {
    fn read(fields: &Fields, atom: String, module: Option<String>) -> Result<Self> {
        match fields {
            Fields::Named(FieldsNamed { named, .. }) => {
                let named = named.iter().filter_map(|field| {
                    let name = field.ident.as_ref()?;
                    let key = Options::read(&field.attrs).and_then(|options| options.atom(name));
                    Some(key.map(|key| (name.clone(), key)))
                });
                Ok(Self::Named(named.collect::<Result<_>>()?, module))
            }
            Fields::Unnamed(fields) => Ok(Self::Unnamed(fields.unnamed.len())),
            Fields::Unit => Ok(Self::Unit(atom)),
        }
    }

    /// Binds all fields: by name, or as `field0`, `field1`, ….
    fn pattern(&self) -> Tokens {
        match self {
            Self::Named(named, _) => {
                let bound = named.iter().enumerate().map(|(at, (name, _))| {
                    let local = local(at);
                    quote!(#name: #local)
                });
                quote!({ #(#bound),* })
            }
            Self::Unnamed(count) => {
                let bound = (0..*count).map(local);
                quote!((#(#bound),*))
            }
            Self::Unit(_) => quote!(),
        }
    }

    /// The term of what `pattern` has bound; in a variant, behind its tag.
    fn term(&self, path: &Path, tag: Option<&str>) -> Tokens {
        let tag = tag.map(|tag| quote!(#path::Term::atom(#tag)));
        match (self, tag) {
            (Self::Named(..), None) => self.map(path),
            (Self::Named(..), Some(tag)) => {
                let map = self.map(path);
                quote!(#path::Term::tuple([#tag, #map]))
            }
            (Self::Unnamed(1), None) => quote!(#path::ToTerm::to_term(field0)),
            (Self::Unnamed(count), tag) => {
                let tag = tag.into_iter();
                let items = (0..*count).map(local);
                quote!(#path::Term::tuple([#(#tag,)* #(#path::ToTerm::to_term(#items)),*]))
            }
            (Self::Unit(atom), _) => quote!(#path::Term::atom(#atom)),
        }
    }

    fn map(&self, path: &Path) -> Tokens {
        let Self::Named(named, module) = self else {
            return quote!();
        };
        let module = module.iter();
        let pairs = named.iter().enumerate().map(|(at, (_, key))| {
            let local = local(at);
            quote!((#path::Term::atom(#key), #path::ToTerm::to_term(#local)))
        });
        quote! {
            #path::Term::map([
                #((#path::Term::atom("__struct__"), #path::Term::atom(#module)),)*
                #(#pairs),*
            ])
        }
    }

    /// Reads `term` as this, made by `constructor`.
    fn reading(&self, path: &Path, constructor: &Tokens) -> Tokens {
        match self {
            Self::Named(named, module) => {
                let checks = module.iter().map(|module| {
                    let expected = format!("a struct of {module}");
                    quote! {
                        match term.get(&#path::Term::atom("__struct__")) {
                            ::core::option::Option::Some(found) if found.is_atom(#module) => {}
                            _ => return ::core::result::Result::Err(#path::Mismatch::new(#expected, term)),
                        }
                    }
                });
                let fields = named
                    .iter()
                    .map(|(name, key)| quote!(#name: #path::typed::field(term, #key)?));
                quote! {
                    if term.as_map().is_none() {
                        return ::core::result::Result::Err(#path::Mismatch::new("a map", term));
                    }
                    #(#checks)*
                    ::core::result::Result::Ok(#constructor { #(#fields),* })
                }
            }
            Self::Unnamed(1) => quote!(#path::FromTerm::from_term(term).map(#constructor)),
            Self::Unnamed(count) => {
                let expected = format!("a tuple of {count}");
                let elements = (0..*count).map(|at| quote!(#path::typed::element(items, #at)?));
                quote! {
                    match term.as_tuple() {
                        ::core::option::Option::Some(items) if items.len() == #count => {
                            ::core::result::Result::Ok(#constructor(#(#elements),*))
                        }
                        _ => ::core::result::Result::Err(#path::Mismatch::new(#expected, term)),
                    }
                }
            }
            Self::Unit(atom) => quote! {
                if term.is_atom(#atom) {
                    return ::core::result::Result::Ok(#constructor);
                }
                ::core::result::Result::Err(#path::Mismatch::new(concat!("the atom ", #atom), term))
            },
        }
    }

    /// Returns the variant if `tag` and `items`, which `term` was taken apart into, are it.
    fn arm(&self, path: &Path, variant: &Ident, atom: &str) -> Tokens {
        match self {
            Self::Named(..) => {
                let reading = self.reading(path, &quote!(Self::#variant));
                quote! {
                    if let ([term], true) = (items, tag.is_atom(#atom)) {
                        let read = || { #reading };
                        return read().map_err(|mismatch: #path::Mismatch| mismatch.within(#atom));
                    }
                }
            }
            Self::Unnamed(count) => {
                let elements = (0..*count).map(|at| quote!(#path::typed::element(items, #at)?));
                quote! {
                    if items.len() == #count && term.as_tuple().is_some() && tag.is_atom(#atom) {
                        let read = || ::core::result::Result::Ok(Self::#variant(#(#elements),*));
                        return read().map_err(|mismatch: #path::Mismatch| mismatch.within(#atom));
                    }
                }
            }
            Self::Unit(_) => quote! {
                if term.is_atom(#atom) {
                    return ::core::result::Result::Ok(Self::#variant);
                }
            },
        }
    }
}

fn local(at: usize) -> Ident {
    format_ident!("field{at}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_snake_case() {
        for (name, expected) in [
            ("HttpError", "http_error"),
            ("user_id", "user_id"),
            ("r#type", "type"),
            ("X", "x"),
        ] {
            assert_eq!(snake(name), expected);
        }
    }

    #[test]
    fn an_atom_that_is_too_long_does_not_compile() {
        let long = "x".repeat(256);
        let input: DeriveInput = parse_quote! { struct T { #[term(rename = #long)] field: u8 } };
        let error = Type::read(&input).err().expect("refused");
        assert_eq!(error.to_string(), "an atom has at most 255 characters");
        let input: DeriveInput = parse_quote! { struct T { #[term(renamed = "x")] field: u8 } };
        assert!(Type::read(&input).is_err(), "an option that nobody knows");
    }
}
