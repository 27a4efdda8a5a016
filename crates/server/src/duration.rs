//! The syntax of a time, in flags, the environment, the settings file and HTTP.

/// The syntax of a time, for help and errors.
pub(crate) const GRAMMAR: &str = "a number with ms, s, m, h or d, such as 5s";

/// Milliseconds of a time such as `60s`, `1500ms`, `5m` (or `5min`), `12h`, `7d`. A number alone counts seconds.
pub(crate) fn parse_ms(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_time_is_a_number_and_a_unit() {
        for (text, ms) in [
            ("1500ms", 1_500),
            ("60s", 60_000),
            ("60", 60_000),
            ("0", 0),
            ("5m", 300_000),
            ("5min", 300_000),
            ("12h", 43_200_000),
            ("7d", 604_800_000),
        ] {
            assert_eq!(parse_ms(text), Some(ms), "{text}");
        }
        for text in [
            "",
            "s",
            "-1s",
            "+1s",
            "1.5s",
            "1 s",
            "1w",
            "1S",
            "1m30s",
            "9999999999999999d",
            "é",
        ] {
            assert_eq!(parse_ms(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn junk_is_read_or_refused(text: String) {
            let _ = parse_ms(&text);
        }
    }
}
