//! `POST /batch`: a list of operations in one request, a list of results in the same order.
//!
//! The operations are executed in order. A failed operation does not undo or stop the others. A malformed batch is
//! refused as a whole, before any operation is executed. JSON cannot contain bytes that are not UTF-8: such a key or
//! value is percent-encoded in `key_encoded` or `value_encoded`.

use std::{borrow::Cow, fmt};

use axum::{
    extract::{Request, State},
    http::{StatusCode, header},
};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error as _, SeqAccess, Visitor},
};
use wire::{
    reply::{Reply, Tokens},
    request::Batch,
};

use super::{
    Answer, Door, Shared,
    address::{self, Query},
    found::{Found, Held, TERM_TYPE},
    json, kv,
    problem::Problem,
};

/// Most operations in one batch.
const OPERATIONS_MAX: usize = 1_000;

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Verb {
    Get,
    Put,
    Delete,
    Incr,
}

/// A batch of at least so many operations takes turns with others: its results may be large.
const OPERATIONS_MANY: usize = 64;

/// Text that is copied only if it has escapes in JSON.
#[derive(Debug)]
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        input.deserialize_str(Either)
    }
}

/// One operation of a request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Operation<'a> {
    op: Verb,
    #[serde(borrow)]
    key: Option<Text<'a>>,
    #[serde(borrow)]
    key_encoded: Option<Text<'a>>,
    #[serde(borrow)]
    value: Option<Text<'a>>,
    #[serde(borrow)]
    value_encoded: Option<Text<'a>>,
    #[serde(borrow)]
    content_type: Option<Text<'a>>,
    #[serde(borrow)]
    ttl: Option<Text<'a>>,
    #[serde(default, deserialize_with = "whole")]
    by: Option<i64>,
}

/// The operations of a batch. Past [`OPERATIONS_MAX`] parsing stops.
#[derive(Debug)]
struct Operations<'a>(Vec<Operation<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Operations<'a> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Operations<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of operations")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Operations<'de>, A::Error> {
                let mut operations = Vec::new();
                while let Some(operation) = list.next_element()? {
                    if operations.len() == OPERATIONS_MAX {
                        let text = format_args!("a batch has at most {OPERATIONS_MAX} operations");
                        return Err(A::Error::custom(text));
                    }
                    operations.push(operation);
                }
                Ok(Operations(operations))
            }
        }
        input.deserialize_seq(List)
    }
}

/// A whole number. To JSON Schema `5.0` is a whole number too, and some programs write it so.
fn whole<'de, D: Deserializer<'de>>(input: D) -> Result<Option<i64>, D::Error> {
    /// Below this, a float can still represent a fraction.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    let number = serde_json::Number::deserialize(input)?;
    let from_float = || {
        let float = number
            .as_f64()
            .filter(|float| float.fract() == 0.0 && float.abs() <= EXACT_MAX);
        float.map(|float| float as i64)
    };
    match number.as_i64().or_else(from_float) {
        Some(whole) => Ok(Some(whole)),
        None => Err(D::Error::custom(format!(
            "by must be a whole number of 64 bits, not {number}"
        ))),
    }
}

/// One result.
#[derive(Debug, Default, Serialize)]
struct Outcome {
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_encoded: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Problem>,
}

impl Outcome {
    fn of(status: StatusCode) -> Self {
        Self {
            status: status.as_u16(),
            ..Self::default()
        }
    }
}

/// `POST /batch`
pub(super) async fn execute(State(door): State<Shared>, request: Request) -> Answer {
    let (place, _) = door.place(&request)?;
    Query::of(request.uri(), &[])?;
    let (parts, body) = request.into_parts();
    // A form on another site can send only types that a browser sends without a preflight. They are refused.
    let kind = parts
        .headers
        .get(header::CONTENT_TYPE)
        .map(|kind| kind.to_str().unwrap_or("?"));
    if !kind.is_none_or(|kind| kind.trim().to_ascii_lowercase().starts_with("application/json")) {
        let detail = "a batch must have the content type application/json: add -H 'content-type: application/json'";
        let title = "Unsupported content type";
        return Err(Problem::refused(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "content_type",
            title,
            detail,
        ));
    }
    let (body, mut held) = door.body(&parts.headers, body).await?;
    let Operations(operations) =
        serde_json::from_slice(&body).map_err(|error| Problem::bad(format!("not a list of operations: {error}")))?;
    if operations.len() >= OPERATIONS_MANY {
        held.take_turn(usize::MAX).await?;
    }
    let mut batch = Batch::new();
    for (index, operation) in operations.iter().enumerate() {
        operation.push(&door, &mut batch).map_err(|mut problem| {
            problem.detail = format!("operation {index}: {}", problem.detail);
            problem
        })?;
    }
    if batch.is_empty() {
        return Ok(json(StatusCode::OK, &[(); 0]));
    }
    let replies = door.ask(place, batch).await?;
    let mut tokens = replies.tokens();
    let outcomes: Vec<Outcome> = operations
        .iter()
        .map(|operation| outcome(operation.op, &mut tokens))
        .collect();
    Ok(json(StatusCode::OK, &outcomes))
}

/// Reads a body as far as it needs no node.
#[cfg(feature = "fuzzing")]
pub(crate) fn check(body: &[u8]) {
    let Ok(Operations(operations)) = serde_json::from_slice(body) else {
        return;
    };
    assert!(operations.len() <= OPERATIONS_MAX);
    for operation in operations {
        if operation.check_members().is_ok() {
            let _ = bytes("key", operation.key.as_ref(), operation.key_encoded.as_ref());
            let _ = bytes("value", operation.value.as_ref(), operation.value_encoded.as_ref());
            let _ = kv::expiry(operation.ttl.as_ref().map(|ttl| &*ttl.0));
        }
    }
}

impl Operation<'_> {
    /// Appends the request for this operation.
    fn push(&self, door: &Door, batch: &mut Batch) -> Result<(), Problem> {
        self.check_members()?;
        let key = bytes("key", self.key.as_ref(), self.key_encoded.as_ref())?;
        let key = door.checked_key(key)?;
        match self.op {
            Verb::Get => batch.push(&[b"SALP.GET", &key]),
            Verb::Delete => batch.push(&[b"DEL", &key]),
            Verb::Incr => batch.push(&[b"INCRBY", &key, self.by.unwrap_or(1).to_string().as_bytes()]),
            Verb::Put => {
                let value = bytes("value", self.value.as_ref(), self.value_encoded.as_ref())?;
                let kind = self.content_type.as_ref().map_or("", |kind| &kind.0);
                let (kind, value) = kv::checked_value(kind.as_bytes(), value.into())?;
                let expiry = kv::expiry(self.ttl.as_ref().map(|ttl| &*ttl.0))?;
                let mut args: Vec<&[u8]> = vec![b"SALP.PUT", &key, &kind, &value];
                args.extend(expiry.iter().map(Vec::as_slice));
                batch.push(&args);
            }
        }
        Ok(())
    }

    /// Refuses members that the operation does not use: they were meant for another operation.
    fn check_members(&self) -> Result<(), Problem> {
        let for_put =
            self.value.is_some() || self.value_encoded.is_some() || self.content_type.is_some() || self.ttl.is_some();
        if for_put && self.op != Verb::Put {
            return Err(Problem::bad("only put takes value, content_type and ttl"));
        }
        if self.by.is_some() && self.op != Verb::Incr {
            return Err(Problem::bad("only incr takes by"));
        }
        Ok(())
    }
}

/// The value of one of two members, of which one is encoded.
fn bytes(name: &str, text: Option<&Text<'_>>, encoded: Option<&Text<'_>>) -> Result<Vec<u8>, Problem> {
    match (text, encoded) {
        (Some(text), None) => Ok(text.0.as_bytes().to_vec()),
        (None, Some(encoded)) => address::decode(&encoded.0),
        _ => Err(Problem::bad(format!("it takes either {name} or {name}_encoded"))),
    }
}

/// The result of an operation, from the next reply.
fn outcome(op: Verb, tokens: &mut Tokens<'_>) -> Outcome {
    let mut reply = tokens.clone();
    // The whole reply is skipped even if it has an unexpected form, so the next reply is read from its start.
    tokens.skip_value();
    read(op, &mut reply).unwrap_or_else(|problem| Outcome {
        problem: Some(problem.clone()),
        ..Outcome::of(problem.status)
    })
}

fn read<'a>(op: Verb, reply: &mut impl Iterator<Item = Reply<'a>>) -> Result<Outcome, Problem> {
    Ok(match op {
        Verb::Get => {
            let found = Found::of(reply)?.ok_or_else(Problem::no_key)?;
            let mut outcome = Outcome::of(StatusCode::OK);
            match String::from_utf8(found.held.shown().into_owned()) {
                Ok(value) => outcome.value = Some(value),
                Err(bytes) => outcome.value_encoded = Some(address::encode(bytes.as_bytes())),
            }
            outcome.content_type = match found.held {
                Held::Bytes(_, b"") | Held::Integer(_) => None,
                Held::Bytes(_, kind) => Some(String::from_utf8_lossy(kind).into_owned()),
                Held::Term(_) => Some(TERM_TYPE.into()),
            };
            if let Held::Term(external) = found.held {
                outcome.value_encoded = Some(address::encode(external));
            }
            outcome.version = Some(found.version.into());
            outcome
        }
        Verb::Put => {
            let (new, version) = kv::stored(reply)?;
            let status = if new {
                StatusCode::CREATED
            } else {
                StatusCode::NO_CONTENT
            };
            Outcome {
                version: Some(version.into()),
                ..Outcome::of(status)
            }
        }
        Verb::Delete => match kv::integer(reply)? {
            0 => return Err(Problem::no_key()),
            _ => Outcome::of(StatusCode::NO_CONTENT),
        },
        Verb::Incr => Outcome {
            value: Some(kv::integer(reply).map_err(kv::uncountable)?.to_string()),
            ..Outcome::of(StatusCode::OK)
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::reply::{ErrorKind, Replies};

    #[test]
    fn each_reply_is_read_from_its_start() {
        let mut replies = Replies::new();
        replies.array(2); // not the reply to a get
        replies.int(1);
        replies.int(2);
        replies.error(ErrorKind::NoNodes, "shard 3");
        replies.int(5);
        let mut tokens = replies.tokens();
        assert_eq!(outcome(Verb::Get, &mut tokens).status, 500);
        let lost = outcome(Verb::Delete, &mut tokens);
        assert_eq!(
            (lost.status, lost.problem.map(|problem| problem.kind)),
            (503, Some("no_nodes"))
        );
        assert_eq!(outcome(Verb::Incr, &mut tokens).value.as_deref(), Some("5"));
        assert_eq!(outcome(Verb::Incr, &mut tokens).status, 500);
    }

    #[test]
    fn members_have_to_fit_the_operation() {
        for (text, good) in [
            (r#"{"op":"get","key":"a"}"#, true),
            (r#"{"op":"get","key":"a","value":"v"}"#, false),
            (
                r#"{"op":"put","key":"a","value":"v","ttl":"1s","content_type":"text/plain"}"#,
                true,
            ),
            (r#"{"op":"put","key":"a","by":1}"#, false),
            (r#"{"op":"incr","key":"a","by":-1}"#, true),
            (r#"{"op":"delete","key":"a","ttl":"1s"}"#, false),
        ] {
            let operation: Operation<'_> = serde_json::from_str(text).unwrap();
            assert_eq!(operation.check_members().is_ok(), good, "{text}");
        }
        for text in [
            r#"{"key":"a"}"#,
            r#"{"op":"put","key":"a","vaule":""}"#,
            r#"{"op":"incr","key":"a","by":1.5}"#,
        ] {
            assert!(serde_json::from_str::<Operation<'_>>(text).is_err(), "{text}");
        }
        for (by, read) in [
            ("5", Some(5)),
            ("-5.0", Some(-5)),
            ("1e3", Some(1000)),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
            ("1e300", None),
            ("0.5", None),
            ("\"5\"", None),
        ] {
            let text = format!(r#"{{"op":"incr","key":"a","by":{by}}}"#);
            assert_eq!(
                serde_json::from_str::<Operation<'_>>(&text).ok().and_then(|op| op.by),
                read,
                "{by}"
            );
        }
        let (plain, encoded) = (Text(Cow::Borrowed("a")), Text(Cow::Borrowed("%ff")));
        assert!(bytes("key", Some(&plain), Some(&plain)).is_err());
        assert!(bytes("key", None, None).is_err());
        assert_eq!(bytes("key", None, Some(&encoded)).unwrap(), b"\xff");
    }

    #[test]
    fn text_without_escapes_is_not_copied() {
        let text = r#"[{"op":"put","key":"plain","value":"a\nb"}]"#;
        let Operations(operations) = serde_json::from_str(text).unwrap();
        let of = |text: &Option<Text<'_>>| matches!(text, Some(Text(Cow::Borrowed(_))));
        assert_eq!((of(&operations[0].key), of(&operations[0].value)), (true, false));
        assert_eq!(operations[0].value.as_ref().unwrap().0, "a\nb");
    }

    #[test]
    fn too_many_operations_are_refused_where_they_begin() {
        let list = |count| format!("[{}", vec![r#"{"op":"get","key":"a"}"#; count].join(","));
        let all = list(OPERATIONS_MAX) + "]";
        assert_eq!(
            serde_json::from_str::<Operations<'_>>(&all).unwrap().0.len(),
            OPERATIONS_MAX
        );
        // Parsing stops before the rest.
        let error = serde_json::from_str::<Operations<'_>>(&(list(OPERATIONS_MAX + 1) + ", no JSON")).unwrap_err();
        assert!(
            error.to_string().starts_with("a batch has at most 1000 operations"),
            "{error}"
        );
    }
}
