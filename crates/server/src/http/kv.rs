//! Keys over HTTP: read, write, delete, count, list.

use std::collections::BTreeMap;

use axum::{
    body::Bytes,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::IntoResponse,
};
use serde::Serialize;
use wire::{
    etf::{self, Term},
    reply::{Replies, Reply},
};

use super::{
    Answer, Door, Place, Shared,
    address::{self, Query},
    found::{Found, TERM_TYPE, takes_terms},
    gzip, header_value, json,
    problem::Problem,
    range::{self, Wanted},
};

/// Default number of keys in a page, and the most that may be asked for.
const PAGE_KEYS: usize = 100;
const PAGE_KEYS_MAX: usize = 10_000;

/// What stands behind the version in the tag of a term in external format.
const EXTERNAL: &str = "-external";

/// Steps of a scan for one page. So a rare prefix gives short or empty pages rather than slow ones.
const PAGE_STEPS_MAX: usize = 32;

/// Reads the tokens of a `SALP.PUT`: whether the key is new, and its version.
pub(super) fn stored<'a>(tokens: &mut impl Iterator<Item = Reply<'a>>) -> Result<(bool, &'a str), Problem> {
    match tokens.next() {
        Some(Reply::Array(2)) => {}
        Some(Reply::Error(kind, text)) => return Err(Problem::of(kind, text)),
        _ => return Err(Problem::unexpected()),
    }
    match [tokens.next(), tokens.next()] {
        [Some(Reply::Int(new)), Some(Reply::Bulk(version))] => {
            Ok((new != 0, str::from_utf8(version).map_err(|_| Problem::unexpected())?))
        }
        _ => Err(Problem::unexpected()),
    }
}

/// Reads a reply that is one integer.
pub(super) fn integer<'a>(tokens: &mut impl Iterator<Item = Reply<'a>>) -> Result<i64, Problem> {
    match tokens.next() {
        Some(Reply::Int(number)) => Ok(number),
        Some(Reply::Error(kind, text)) => Err(Problem::of(kind, text)),
        _ => Err(Problem::unexpected()),
    }
}

/// Value and content type as the store accepts them. A term must be valid, since a BEAM client will get it as a term. A
/// binary term is the same value as its bytes.
pub(super) fn checked_value(content_type: &[u8], value: Bytes) -> Result<(Vec<u8>, Bytes), Problem> {
    if !content_type.is_empty() && !is_media_type(content_type) {
        return Err(Problem::bad(
            "a content type is written type/subtype, such as text/plain",
        ));
    }
    if content_type != TERM_TYPE.as_bytes() {
        return Ok((content_type.to_vec(), value));
    }
    match etf::decode(&value) {
        Ok(Term::Binary(bytes)) => Ok((Vec::new(), bytes)),
        Ok(_) => Ok((content_type.to_vec(), value)),
        Err(error) => Err(Problem::bad(format!("the body is not an Erlang term: {error}"))),
    }
}

/// Whether `kind` is `type/subtype` with optional parameters (RFC 9110, 8.3.1). It will be sent unchanged.
fn is_media_type(kind: &[u8]) -> bool {
    let is_token = |part: &&[u8]| {
        let is_of_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        !part.is_empty() && part.iter().all(is_of_token)
    };
    let essence = kind.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
    let parts: Vec<&[u8]> = essence.split(|&byte| byte == b'/').collect();
    parts.len() == 2 && parts.iter().all(is_token) && kind.iter().all(|&byte| matches!(byte, b' '..=b'~'))
}

/// The arguments of `SALP.PUT` after the value: when it expires.
pub(super) fn expiry(ttl: Option<&str>) -> Result<Vec<Vec<u8>>, Problem> {
    Ok(match ttl {
        None => Vec::new(),
        Some(text) => vec![b"PX".to_vec(), address::ttl_ms(text)?.to_string().into_bytes()],
    })
}

/// The condition of a write (RFC 9110, 13.1), which the primary of the key checks.
enum Condition {
    None,
    /// `If-None-Match: *`: the key is new.
    New,
    /// `If-Match: *`: the key exists.
    Exists,
    /// `If-Match: "VERSION"`.
    Version(String),
}

impl Condition {
    /// The condition of a `PUT` or `DELETE`.
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let (matches, others) = (
            only(headers, &header::IF_MATCH)?,
            only(headers, &header::IF_NONE_MATCH)?,
        );
        match (matches, others) {
            (None, None) => Ok(Self::None),
            (None, Some(b"*")) => Ok(Self::New),
            (Some(b"*"), None) => Ok(Self::Exists),
            (Some(tag), None) => Ok(Self::Version(version_of(tag)?)),
            // A key that has a version is not new.
            (Some(_), Some(b"*")) => Ok(Self::Version(NO_VERSION.to_owned())),
            (_, Some(_)) => Err(Problem::bad("If-None-Match is *, for a key that must not exist")),
        }
    }

    /// The arguments that say so to the store.
    fn args(&self) -> Vec<&[u8]> {
        match self {
            Self::None => Vec::new(),
            Self::New => vec![b"NX"],
            Self::Exists => vec![b"XX"],
            Self::Version(version) => vec![b"IFEQ", version.as_bytes()],
        }
    }

    /// Why a write is refused whose condition does not hold.
    fn failed(&self) -> Problem {
        let (kind, title, detail) = match self {
            Self::New => (
                "key_exists",
                "The key exists",
                "If-None-Match: * writes new keys only, and the keyspace holds this one",
            ),
            Self::None | Self::Exists | Self::Version(_) => (
                "other_version",
                "The key has another version",
                "If-Match names a version that the key does not have: read it again",
            ),
        };
        Problem::refused(StatusCode::PRECONDITION_FAILED, kind, title, detail)
    }
}

/// The only value of a header; an error if it comes twice.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a [u8]>, Problem> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(_), Some(_)) => Err(Problem::bad(format!("{name} comes more than once"))),
        (value, _) => Ok(value.map(|value| value.as_bytes().trim_ascii())),
    }
}

/// A version that no key has.
const NO_VERSION: &str = "0";

/// The version in an entity tag, whichever representation of the value it is the tag of. A weak tag names no version,
/// since `If-Match` compares strongly; nor does a tag that salp has not made.
fn version_of(tag: &[u8]) -> Result<String, Problem> {
    let is_one = |named: &&[u8]| !named.contains(&b'"');
    let weak = tag.strip_prefix(b"W/");
    let named = weak.unwrap_or(tag).strip_prefix(b"\"");
    let named = named.and_then(|named| named.strip_suffix(b"\"")).filter(is_one);
    let named = named.ok_or_else(|| Problem::bad("If-Match has one entity tag in quotes, or *"))?;
    let named = named.strip_suffix(gzip::SUFFIX.as_bytes()).unwrap_or(named);
    let named = named.strip_suffix(EXTERNAL.as_bytes()).unwrap_or(named);
    let is_ours = weak.is_none() && named.len() == 16 && named.iter().all(u8::is_ascii_hexdigit);
    let version = is_ours.then(|| String::from_utf8_lossy(named).into_owned());
    Ok(version.unwrap_or_else(|| NO_VERSION.to_owned()))
}

/// Refuses conditions on a request that has none.
fn unconditional(headers: &HeaderMap) -> Result<(), Problem> {
    match Condition::of(headers)? {
        Condition::None => Ok(()),
        _ => Err(Problem::bad("this request takes neither If-Match nor If-None-Match")),
    }
}

/// Refuses to count on a value that is not a number, or whose sum would overflow.
pub(super) fn uncountable(problem: Problem) -> Problem {
    if problem.status != StatusCode::BAD_REQUEST {
        return problem;
    }
    let (kind, title) = match problem.detail.contains("overflow") {
        true => ("overflow", "The sum is too large"),
        false => ("not_a_number", "The value is not a number"),
    };
    Problem::refused(StatusCode::CONFLICT, kind, title, problem.detail)
}

/// Whether an `If-None-Match` of `given` names the version (RFC 9110, 13.1.2; weak comparison).
fn names_version(given: &HeaderValue, version: &str) -> bool {
    given
        .as_bytes()
        .split(|&byte| byte == b',')
        .map(<[u8]>::trim_ascii)
        .any(|tag| {
            let tag = tag.strip_prefix(b"W/").unwrap_or(tag);
            let named = tag.strip_prefix(b"\"").and_then(|tag| tag.strip_suffix(b"\""));
            // The value is the same, compressed or not.
            let named = named.map(|named| named.strip_suffix(gzip::SUFFIX.as_bytes()).unwrap_or(named));
            tag == b"*" || named == Some(version.as_bytes())
        })
}

fn etag(version: &str) -> HeaderValue {
    header_value(&format!("\"{version}\""))
}

/// Place and key of a request whose path is `/kv/{key}` and `suffix`.
fn place_and_key(door: &Door, request: &Request, suffix: &str) -> Result<(Place, Vec<u8>), Problem> {
    let (place, path) = door.place(request)?;
    let key = path.strip_prefix("/kv/").and_then(|rest| rest.strip_suffix(suffix));
    let key = door.checked_key(address::decode(key.ok_or_else(Problem::unexpected)?)?)?;
    Ok((place, key))
}

/// `GET /kv/{key}`, and `HEAD`, whose body is removed later.
pub(super) async fn get(State(door): State<Shared>, request: Request) -> Answer {
    let (place, key) = place_and_key(&door, &request, "")?;
    Query::of(request.uri(), &[])?;
    let replies = door.ask_one(place, &[b"SALP.GET", &key]).await?;
    let found = Found::of(&mut replies.tokens())?.ok_or_else(Problem::no_key)?;
    let external = found.held.is_term() && takes_terms(request.headers());
    // Two representations of one version have different tags (RFC 9110, 8.8.3).
    let version = format!("{}{}", found.version, if external { EXTERNAL } else { "" });
    if let Some(given) = request.headers().get(header::IF_MATCH)
        && !names_version(given, &version)
    {
        let detail = format!("the version is \"{version}\"");
        return Err(Problem::refused(
            StatusCode::PRECONDITION_FAILED,
            "other_version",
            "The key has another version",
            detail,
        ));
    }
    let unchanged = request
        .headers()
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .any(|given| names_version(given, &version));
    let mut response = if unchanged {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let (kind, bytes) = found.held.representation(external);
        let tag = format!("\"{version}\"");
        let mut response = match range::wanted(request.method(), request.headers(), bytes.len(), &tag) {
            Wanted::Whole => Bytes::copy_from_slice(&bytes).into_response(),
            Wanted::Part(part) => {
                let (first, last, all) = (part.start, part.end - 1, bytes.len());
                let place = header_value(&format!("bytes {first}-{last}/{all}"));
                let part = Bytes::copy_from_slice(&bytes[part]);
                (StatusCode::PARTIAL_CONTENT, [(header::CONTENT_RANGE, place)], part).into_response()
            }
            Wanted::Nothing => return Err(no_such_range(bytes.len())),
        };
        response
            .headers_mut()
            .insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        if let Ok(kind) = HeaderValue::from_bytes(kind) {
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
        }
        response
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, etag(&version));
    if found.held.is_term() {
        headers.append(header::VARY, HeaderValue::from_static("accept"));
    }
    // A cache must ask again each time, since the next write may come at any moment.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Some(deadline_ms) = found.deadline_ms {
        headers.insert("salp-expires-ms", deadline_ms.into());
    }
    Ok(response)
}

fn no_such_range(length: usize) -> Problem {
    let detail = format!("the value has {length} bytes, and the range begins after them");
    let status = StatusCode::RANGE_NOT_SATISFIABLE;
    let problem = Problem::refused(status, "no_range", "No such range", detail);
    problem.with_header(header::CONTENT_RANGE, header_value(&format!("bytes */{length}")))
}

/// `PUT /kv/{key}?ttl=60s`
pub(super) async fn put(State(door): State<Shared>, request: Request) -> Answer {
    let (place, key) = place_and_key(&door, &request, "")?;
    let condition = Condition::of(request.headers())?;
    let query = Query::of(request.uri(), &["ttl"])?;
    let ttl: Option<String> = query.parse("ttl", "a time such as 60s")?;
    let expiry = expiry(ttl.as_deref())?;
    let (parts, body) = request.into_parts();
    let content_type = parts
        .headers
        .get(header::CONTENT_TYPE)
        .map_or(&b""[..], |kind| kind.as_bytes());
    let (body, _held) = door.body(&parts.headers, body).await?;
    let (content_type, value) = checked_value(content_type, body)?;
    let mut args: Vec<&[u8]> = vec![b"SALP.PUT", &key, &content_type, &value];
    args.extend(expiry.iter().map(Vec::as_slice));
    args.extend(condition.args());
    let replies = door.ask_one(place, &args).await?;
    if matches!(replies.tokens().next(), Some(Reply::Null)) {
        return Err(condition.failed());
    }
    let (new, version) = stored(&mut replies.tokens())?;
    let status = if new {
        StatusCode::CREATED
    } else {
        StatusCode::NO_CONTENT
    };
    Ok((status, [(header::ETAG, etag(version))]).into_response())
}

/// `DELETE /kv/{key}`
pub(super) async fn delete(State(door): State<Shared>, request: Request) -> Answer {
    let (place, key) = place_and_key(&door, &request, "")?;
    let condition = Condition::of(request.headers())?;
    if matches!(condition, Condition::New) {
        return Err(Problem::bad("DELETE takes If-Match, not If-None-Match"));
    }
    Query::of(request.uri(), &[])?;
    let mut args: Vec<&[u8]> = vec![b"SALP.DEL", &key];
    args.extend(condition.args());
    let replies = door.ask_one(place, &args).await?;
    if matches!(replies.tokens().next(), Some(Reply::Null)) {
        return Err(condition.failed());
    }
    match integer(&mut replies.tokens())? {
        0 => Err(Problem::no_key()),
        _ => Ok(StatusCode::NO_CONTENT.into_response()),
    }
}

/// `POST /kv/{key}/incr?by=1`
pub(super) async fn incr(State(door): State<Shared>, request: Request) -> Answer {
    let (place, key) = place_and_key(&door, &request, "/incr")?;
    unconditional(request.headers())?;
    let by: i64 = Query::of(request.uri(), &["by"])?
        .parse("by", "an integer of 64 bits")?
        .unwrap_or(1);
    let replies = door
        .ask_one(place, &[b"INCRBY", &key, by.to_string().as_bytes()])
        .await
        .map_err(uncountable)?;
    let number = integer(&mut replies.tokens())?;
    Ok((
        [(header::CONTENT_TYPE, "text/plain; charset=utf-8")],
        number.to_string(),
    )
        .into_response())
}

/// A page of keys.
#[derive(Debug, Default, Serialize)]
struct Page {
    /// Keys that are text.
    keys: Vec<String>,
    /// The other keys, percent-encoded.
    keys_encoded: Vec<String>,
    /// Keys among them that are Erlang terms, in Erlang syntax.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    terms: BTreeMap<String, String>,
    /// The cursor of the next page. `None` on the last page.
    cursor: Option<String>,
}

impl Page {
    fn len(&self) -> usize {
        self.keys.len() + self.keys_encoded.len()
    }

    /// Adds the keys of one `SCAN`. Returns its cursor.
    fn add(&mut self, replies: &Replies) -> Result<String, Problem> {
        let mut tokens = replies.tokens();
        let (Some(Reply::Array(2)), Some(cursor), Some(Reply::Array(count))) =
            (tokens.next(), tokens.next(), tokens.next())
        else {
            return Err(Problem::unexpected());
        };
        for token in tokens.by_ref().take(count) {
            let Reply::Bulk(key) = token else {
                return Err(Problem::unexpected());
            };
            match str::from_utf8(key) {
                Ok(key) => self.keys.push(key.to_owned()),
                Err(_) => {
                    let encoded = address::encode(key);
                    if let Some(term) = store::term::of_key(key) {
                        self.terms.insert(encoded.clone(), term.to_string());
                    }
                    self.keys_encoded.push(encoded);
                }
            }
        }
        match cursor {
            Reply::Bulk(cursor) => str::from_utf8(cursor)
                .map(str::to_owned)
                .map_err(|_| Problem::unexpected()),
            Reply::Int(cursor) => Ok(cursor.to_string()),
            _ => Err(Problem::unexpected()),
        }
    }
}

/// A pattern for keys that begin with `prefix`.
fn begins_with(prefix: &[u8]) -> Vec<u8> {
    let mut pattern = Vec::with_capacity(prefix.len() + 1);
    for &byte in prefix {
        if b"*?[]\\^-".contains(&byte) {
            pattern.push(b'\\');
        }
        pattern.push(byte);
    }
    pattern.push(b'*');
    pattern
}

/// `GET /kv?prefix=&cursor=&limit=`
pub(super) async fn list(State(door): State<Shared>, request: Request) -> Answer {
    let (place, _) = door.place(&request)?;
    let query = Query::of(request.uri(), &["prefix", "cursor", "limit"])?;
    let limit = query.parse("limit", "a number of keys")?.unwrap_or(PAGE_KEYS);
    if !(1..=PAGE_KEYS_MAX).contains(&limit) {
        return Err(Problem::bad(format!("'limit' must be from 1 to {PAGE_KEYS_MAX}")));
    }
    let is_cursor = |text: &&[u8]| (1..=19).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    let mut cursor = match query.bytes("cursor") {
        None => "0".to_owned(),
        Some(text) if is_cursor(&text) => String::from_utf8_lossy(text).into_owned(),
        Some(_) => return Err(Problem::bad("'cursor' must be the cursor of the last page")),
    };
    let pattern = begins_with(query.bytes("prefix").unwrap_or_default());
    let mut page = Page::default();
    for _ in 0..PAGE_STEPS_MAX {
        let count = (limit - page.len()).to_string();
        let args: [&[u8]; 6] = [
            b"SCAN",
            cursor.as_bytes(),
            b"MATCH",
            &pattern,
            b"COUNT",
            count.as_bytes(),
        ];
        cursor = page.add(&door.ask_one(place, &args).await?)?;
        if cursor == "0" || page.len() >= limit {
            break;
        }
    }
    page.cursor = (cursor != "0").then_some(cursor);
    Ok(json(StatusCode::OK, &page))
}

/// `GET /watch?prefix=`
pub(super) async fn watch(State(door): State<Shared>, request: Request) -> Answer {
    door.place(&request)?;
    let detail = "changes of keys cannot be watched yet";
    Err(Problem::refused(
        StatusCode::NOT_IMPLEMENTED,
        "not_yet",
        "Not yet",
        detail,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_match_as_the_rfc_says() {
        for (given, same) in [
            ("\"ab\"", true),
            ("W/\"ab\"", true),
            ("\"x\", \"ab\" ,\"y\"", true),
            ("*", true),
            ("ab", false),
            ("\"abc\"", false),
            ("", false),
        ] {
            assert_eq!(names_version(&HeaderValue::from_static(given), "ab"), same, "{given}");
        }
    }

    #[test]
    fn a_content_type_is_a_media_type() {
        for (kind, is_one) in [
            ("text/plain", true),
            ("Text/HTML; charset=utf-8", true),
            ("application/vnd.api+json", true),
            ("multipart/form-data; boundary=\"a/b\"", true),
            ("R", false),
            ("text", false),
            ("text/", false),
            ("/plain", false),
            ("text/plain/x", false),
            ("te xt/plain", false),
            ("text/plain; \u{e9}", false),
            ("text/plain\r\nx: y", false),
            (";", false),
        ] {
            assert_eq!(is_media_type(kind.as_bytes()), is_one, "{kind}");
            let kept = checked_value(kind.as_bytes(), Bytes::new());
            assert_eq!(
                kept.map_err(|problem| problem.status.as_u16()).err(),
                (!is_one).then_some(400),
                "{kind}"
            );
        }
        assert!(checked_value(b"", Bytes::new()).is_ok(), "none at all");
    }

    #[test]
    fn a_prefix_is_no_pattern() {
        assert_eq!(begins_with(b"a*[b]\\?\xff"), b"a\\*\\[b\\]\\\\\\?\xff*");
    }

    #[test]
    fn terms_are_checked_and_binaries_are_bytes() {
        let put = |body: &'static [u8]| checked_value(TERM_TYPE.as_bytes(), Bytes::from_static(body));
        assert_eq!(
            put(b"\x83a\x05").unwrap(),
            (TERM_TYPE.into(), Bytes::from_static(b"\x83a\x05"))
        );
        assert_eq!(
            put(b"\x83m\0\0\0\x02hi").unwrap(),
            (Vec::new(), Bytes::from_static(b"hi"))
        );
        assert_eq!(put(b"\x83m\0\0\0\xffhi").unwrap_err().status, 400);
        assert_eq!(
            checked_value(b"text/plain", Bytes::from_static(b"\x83")).unwrap().1,
            &b"\x83"[..]
        );
    }
}
