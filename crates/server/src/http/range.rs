//! Parts of a value (RFC 9110, 14): one range of bytes. A request for several ranges gets the whole value, as the RFC
//! allows.

use std::ops::Range;

use axum::http::{HeaderMap, Method, header};

/// The part of a value that a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Whole,
    Part(Range<usize>),
    /// A range that begins after the end of the value.
    Nothing,
}

/// The part that a request with `headers` asks for, of a value of `length` bytes with the version `etag`.
pub(crate) fn wanted(method: &Method, headers: &HeaderMap, length: usize, etag: &str) -> Wanted {
    if method != Method::GET {
        return Wanted::Whole;
    }
    if let Some(condition) = headers.get(header::IF_RANGE)
        && condition.as_bytes() != etag.as_bytes()
    {
        return Wanted::Whole;
    }
    let text = headers.get(header::RANGE).and_then(|range| range.to_str().ok());
    text.map_or(Wanted::Whole, |text| parse(text, length))
}

fn parse(text: &str, length: usize) -> Wanted {
    let Some((unit, range)) = text.split_once('=') else {
        return Wanted::Whole;
    };
    let Some((first, last)) = range.trim().split_once('-') else {
        return Wanted::Whole;
    };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !unit.trim().eq_ignore_ascii_case("bytes") || ![first, last].iter().all(|end| end.is_empty() || is_number(end)) {
        return Wanted::Whole;
    }
    // A number that does not fit is after the end of every value.
    let number = |text: &str| text.parse().unwrap_or(usize::MAX);
    match (first.is_empty(), last.is_empty()) {
        (true, true) => Wanted::Whole,
        (true, false) => match number(last).min(length) {
            0 => Wanted::Nothing,
            count => Wanted::Part(length - count..length),
        },
        (false, _) => {
            let first = number(first);
            let end = if last.is_empty() {
                length
            } else {
                number(last).saturating_add(1).min(length)
            };
            if !last.is_empty() && number(last) < first {
                Wanted::Whole
            } else if first >= length {
                Wanted::Nothing
            } else {
                Wanted::Part(first..end)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn one_range_of_bytes_is_understood() {
        for (text, wanted) in [
            ("bytes=0-4", Wanted::Part(0..5)),
            ("bytes=5-", Wanted::Part(5..10)),
            ("bytes=-3", Wanted::Part(7..10)),
            ("bytes=-99", Wanted::Part(0..10)),
            ("Bytes=9-99999999999999999999999", Wanted::Part(9..10)),
            ("bytes=10-", Wanted::Nothing),
            ("bytes=99999999999999999999999-", Wanted::Nothing),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=4-2", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("bytes=0-1,4-5", Wanted::Whole),
            ("bytes=a-b", Wanted::Whole),
            ("bytes=+1-2", Wanted::Whole),
            ("items=0-1", Wanted::Whole),
            ("0-1", Wanted::Whole),
        ] {
            assert_eq!(parse(text, 10), wanted, "{text}");
            if let Wanted::Part(part) = parse(text, 10) {
                assert!(part.start < part.end && part.end <= 10);
            }
        }
        assert_eq!(parse("bytes=0-", 0), Wanted::Nothing);
        assert_eq!(parse("bytes=-1", 0), Wanted::Nothing);
    }

    #[test]
    fn a_part_of_another_version_is_not_asked_for() {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, HeaderValue::from_static("bytes=0-0"));
        for (condition, part) in [
            ("\"1\"", true),
            ("\"2\"", false),
            ("W/\"1\"", false),
            ("Mon, 01 Jan", false),
        ] {
            headers.insert(header::IF_RANGE, HeaderValue::from_static(condition));
            let wanted = wanted(&Method::GET, &headers, 10, "\"1\"");
            assert_eq!(wanted == Wanted::Part(0..1), part, "{condition}");
        }
        assert_eq!(wanted(&Method::HEAD, &headers, 10, "\"1\""), Wanted::Whole);
    }
}
