//! Parts of a request's address: keyspace, key and query, as bytes.
//!
//! A key is everything after `/kv/`, percent-decoded once. It may contain slashes and bytes that are not UTF-8. The
//! router matches the address as it was sent, so an encoded slash and a plain one name the same key.

use std::borrow::Cow;

use axum::http::Uri;

use super::problem::Problem;
use crate::duration;

/// A path below the keyspace, and the keyspace's name if the path begins with one.
pub(crate) fn split_keyspace(path: &str) -> (Option<&str>, &str) {
    match path
        .strip_prefix("/ks/")
        .and_then(|rest| rest.find('/').map(|end| rest.split_at(end)))
    {
        Some((keyspace, rest)) => (Some(keyspace), rest),
        None => (None, path),
    }
}

/// Percent-decodes a text.
pub(crate) fn decode(text: &str) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        match (digit(rest.next()), digit(rest.next())) {
            (Some(high), Some(low)) => bytes.push((high << 4 | low) as u8),
            _ => {
                return Err(Problem::bad(
                    "'%' in an address must be followed by two hexadecimal digits",
                ));
            }
        }
    }
    Ok(bytes)
}

/// Percent-encodes `bytes` for a path, except unreserved characters.
pub(crate) fn encode(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push('%');
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
    text
}

/// The parameters after the question mark.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(String, Vec<u8>)>);

impl Query {
    /// Parses the query of `uri`. A name that is not in `known`, or occurs twice, is refused: a misspelt `ttl` must not
    /// keep a key for ever.
    pub(crate) fn of(uri: &Uri, known: &[&str]) -> Result<Self, Problem> {
        let mut found: Vec<(String, Vec<u8>)> = Vec::new();
        for pair in uri
            .query()
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty())
        {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if !known.contains(&name) {
                let name: String = name.chars().take(32).collect();
                return Err(Problem::bad(format!(
                    "unknown parameter '{name}'; known here: [{}]",
                    known.join(", ")
                )));
            }
            if found.iter().any(|(other, _)| other == name) {
                return Err(Problem::bad(format!("parameter '{name}' is given twice")));
            }
            // A plus sign is a blank in queries, as browsers and form encoders write it.
            let value = if value.contains('+') {
                Cow::from(value.replace('+', " "))
            } else {
                Cow::from(value)
            };
            found.push((name.into(), decode(&value)?));
        }
        Ok(Self(found))
    }

    /// The value of parameter `name`.
    pub(crate) fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.0
            .iter()
            .find(|(other, _)| other == name)
            .map(|(_, value)| value.as_slice())
    }

    /// The value of parameter `name`, parsed as a `T`.
    pub(crate) fn parse<T: std::str::FromStr>(&self, name: &str, wanted: &str) -> Result<Option<T>, Problem> {
        let Some(bytes) = self.bytes(name) else { return Ok(None) };
        let value = str::from_utf8(bytes).ok().and_then(|text| text.parse().ok());
        value
            .map(Some)
            .ok_or_else(|| Problem::bad(format!("'{name}' must be {wanted}")))
    }
}

/// The `ttl` in milliseconds.
pub(crate) fn ttl_ms(text: &str) -> Result<u64, Problem> {
    // Past this many milliseconds a deadline would not fit a signed number.
    const TTL_MS_MAX: u64 = i64::MAX as u64 / 2;
    duration::parse_ms(text)
        .filter(|ms| (1..=TTL_MS_MAX).contains(ms))
        .ok_or_else(|| Problem::bad("'ttl' must be a time above zero, such as 60s, 1500ms, 5m, 12h or 7d"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_split_at_their_keyspace() {
        for (path, keyspace, rest) in [
            ("/kv/a", None, "/kv/a"),
            ("/ks/users/kv/a", Some("users"), "/kv/a"),
            ("/ks/users/kv/ks/x/kv/y", Some("users"), "/kv/ks/x/kv/y"),
            ("/kv/ks/users/kv/a", None, "/kv/ks/users/kv/a"),
            ("/ks/users", None, "/ks/users"),
        ] {
            assert_eq!(split_keyspace(path), (keyspace, rest), "{path}");
        }
    }

    #[test]
    fn keys_are_any_bytes() {
        for (text, bytes) in [
            ("a/b%2Fc", &b"a/b/c"[..]),
            ("%FF%00%c3%a4", b"\xff\x00\xc3\xa4"),
            ("a+b%20c", b"a+b c"),
            ("%2525", b"%25"),
        ] {
            assert_eq!(decode(text).unwrap(), bytes, "{text}");
        }
        for text in ["%", "a%2", "%zz", "%+1", "100%"] {
            assert_eq!(decode(text).unwrap_err().status, 400, "{text}");
        }
    }

    #[test]
    fn queries_are_read_strictly() {
        let of = |text: &str| Query::of(&text.parse().unwrap(), &["ttl", "prefix"]);
        assert_eq!(
            of("/kv?prefix=%ff+b&ttl=1s").unwrap().bytes("prefix"),
            Some(&b"\xff b"[..])
        );
        assert_eq!(of("/kv?prefix").unwrap().bytes("prefix"), Some(&b""[..]));
        assert_eq!(of("/kv").unwrap().bytes("prefix"), None);
        assert!(of("/kv?tll=1s").unwrap_err().detail.contains("'tll'"));
        assert!(of("/kv?ttl=1s&ttl=2s").unwrap_err().detail.contains("twice"));
    }

    #[test]
    fn times_have_units() {
        for (text, ms) in [
            ("60s", 60_000),
            ("60", 60_000),
            ("1500ms", 1500),
            ("5m", 300_000),
            ("12h", 43_200_000),
            ("7d", 604_800_000),
        ] {
            assert_eq!(ttl_ms(text).ok(), Some(ms), "{text}");
        }
        for text in [
            "",
            "s",
            "0",
            "0ms",
            "-1s",
            "1.5s",
            "1 s",
            "1w",
            "99999999999999999999s",
            "9999999999999999d",
            "é",
        ] {
            assert_eq!(ttl_ms(text).unwrap_err().status, 400, "{text}");
        }
    }

    proptest! {
        #[test]
        fn encoding_is_undone_by_decoding(bytes: Vec<u8>) {
            let text = encode(&bytes);
            let address: Result<Uri, _> = ["/kv/", &text].concat().parse();
            prop_assert!(address.is_ok());
            prop_assert_eq!(decode(&text).unwrap(), bytes);
        }

        #[test]
        fn junk_is_decoded_or_refused(text: String) {
            let _ = decode(&text);
        }
    }
}
