//! Parses the text of a setting. An error says what is wrong and how to fix it.

use std::{
    env,
    fmt::Display,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    ops::RangeInclusive,
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use axum::http::{Uri, uri::Authority};
use node::Atom;
use store::{
    config::{Keyspace, Password},
    keyspaces::{SEGMENTS_MAX, Slots},
};

use super::{Join, LogFormat};
use crate::duration;

/// A value; or what is wrong with its text, and how to fix it.
pub(super) type Parsed<T> = Result<T, (String, String)>;

fn wrong<T>(problem: impl Into<String>, mend: impl Into<String>) -> Parsed<T> {
    Err((problem.into(), mend.into()))
}

pub(super) fn name(text: &str) -> Parsed<Atom> {
    if let Some(name) = wire::dist::node_name(text.as_bytes()) {
        return Ok(name);
    }
    let mend = "write NAME@HOST with letters, digits and _.- such as salp@127.0.0.1";
    match text.matches('@').count() {
        0 => wrong(
            format!("{text:?} has no host"),
            format!("write {text}@127.0.0.1, or the name of this host"),
        ),
        1 => wrong(format!("{text:?} is not a node name"), mend),
        _ => wrong(format!("{text:?} has more than one @"), mend),
    }
}

/// A node to join, with or without a port.
pub(super) fn join(text: &str) -> Parsed<Join> {
    let Some((node, port)) = text.split_once(':') else {
        return Ok(Join {
            node: name(text)?,
            port: None,
        });
    };
    match port.parse() {
        Ok(port) if port > 0 => Ok(Join {
            node: name(node)?,
            port: Some(port),
        }),
        Ok(_) | Err(_) => wrong(
            format!("{port:?} is not a port"),
            "write NAME@HOST:PORT with a port from 1 to 65535",
        ),
    }
}

/// An address to listen on. `off`: none.
pub(super) fn listen(text: &str) -> Parsed<Option<SocketAddr>> {
    if text == "off" {
        return Ok(None);
    }
    if let Ok(address) = text.parse() {
        return Ok(Some(address));
    }
    let named = text
        .rsplit_once(':')
        .filter(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    match named.map(|_| text.to_socket_addrs()) {
        Some(Ok(addresses)) if addresses.len() > 0 => Ok(addresses.into_iter().next()),
        Some(_) => wrong(
            format!("the host of {text:?} cannot be resolved"),
            "give an address of this machine",
        ),
        None => wrong(
            format!("{text:?} is not an address"),
            "write IP:PORT, such as 127.0.0.1:6379, or off",
        ),
    }
}

pub(super) fn ip(text: &str) -> Parsed<IpAddr> {
    text.parse().or_else(|_| {
        wrong(
            format!("{text:?} is not an IP address"),
            "write one, such as 127.0.0.1 or 0.0.0.0",
        )
    })
}

pub(super) fn ports(text: &str) -> Parsed<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) if first <= last && (first > 0 || last == 0) => Ok(first..=last),
        _ => wrong(
            format!("{text:?} is neither a port nor a range"),
            "write a port, such as 9100, or a range, 9100-9199",
        ),
    }
}

/// A secret that is not empty.
pub(super) fn secret(text: &str) -> Parsed<Password> {
    if text.is_empty() {
        wrong("is empty", "give one, or leave it out")
    } else {
        Ok(Password::new(text.into()))
    }
}

/// The letters of a cookie, without the line break that an editor adds.
pub(super) fn cookie(bytes: &[u8]) -> Parsed<&[u8]> {
    match bytes.trim_ascii() {
        [] => wrong("is empty", "write a secret into it, such as 32 random letters"),
        secret if secret.len() > 255 => wrong("is longer than 255 bytes", "use a shorter secret"),
        secret if secret.iter().all(u8::is_ascii_graphic) => Ok(secret),
        _ => wrong("has spaces or unprintable bytes", "use one line of letters and digits"),
    }
}

/// A path. A leading `~` is the home directory.
pub(super) fn path(text: &str) -> Parsed<PathBuf> {
    let Some(rest) = text.strip_prefix("~/") else {
        return if text.is_empty() {
            wrong("is empty", "name a file")
        } else {
            Ok(text.into())
        };
    };
    match env::var_os("HOME") {
        Some(home) if !home.is_empty() => Ok(PathBuf::from(home).join(rest)),
        _ => wrong("HOME is not set", "name the file in full"),
    }
}

/// A whole number within bounds.
pub(super) fn number<T: FromStr + PartialOrd + Copy + Display>(text: &str, min: T, max: T) -> Parsed<T> {
    match text.parse() {
        Ok(number) if min <= number && number <= max => Ok(number),
        _ => wrong(
            format!("must be from {min} to {max}, not {text:?}"),
            "give a whole number in this range",
        ),
    }
}

pub(super) fn shards(text: &str) -> Parsed<u16> {
    match text.parse::<u16>() {
        Ok(shards) if shards.is_power_of_two() && shards <= 16_384 => Ok(shards),
        _ => wrong(
            format!("must be a power of two from 1 to 16384, not {text:?}"),
            "use the default 1024 if in doubt",
        ),
    }
}

/// A time of at least `min`.
pub(super) fn time(text: &str, min: Duration) -> Parsed<Duration> {
    const MILLIS_MAX: u64 = 1000 * 3_600_000;
    let mend = format!("write {}", duration::GRAMMAR);
    let Some(millis) = duration::parse_ms(text) else {
        return wrong(format!("{text:?} is not a time"), mend);
    };
    if millis > MILLIS_MAX {
        return wrong(format!("{text:?} is longer than 1000 hours"), mend);
    }
    let time = Duration::from_millis(millis);
    if time < min {
        return wrong(
            format!("{text} is too short"),
            format!("give at least {}ms", min.as_millis()),
        );
    }
    Ok(time)
}

/// A number of bytes.
pub(super) fn size(text: &str) -> Parsed<u64> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.len() - lower.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let shift = match lower[digits..].trim() {
        "" | "b" => Some(0),
        "kb" | "k" | "kib" => Some(10),
        "mb" | "m" | "mib" => Some(20),
        "gb" | "g" | "gib" => Some(30),
        "tb" | "t" | "tib" => Some(40),
        _ => None,
    };
    let bytes = shift.and_then(|shift| lower[..digits].parse::<u64>().ok()?.checked_mul(1 << shift));
    bytes.map_or_else(
        || {
            wrong(
                format!("{text:?} is not a size"),
                "write a number with kb, mb or gb, such as 2gb",
            )
        },
        Ok,
    )
}

/// The size of the buffers.
pub(super) fn buffer_size(text: &str) -> Parsed<usize> {
    const LEAST: u64 = 16 << 20;
    match usize::try_from(size(text)?) {
        Ok(bytes) if bytes as u64 >= LEAST => Ok(bytes),
        _ => wrong(format!("must be at least 16mb, not {text}"), "give a larger size"),
    }
}

/// The size of a value. A message between nodes must have room for it and its envelope.
pub(super) fn value_size(text: &str) -> Parsed<usize> {
    match size(text)? {
        bytes @ 1..=0x400_0000 => Ok(bytes as usize),
        _ => wrong(
            format!("must be from 1 byte to 64mb, not {text}"),
            "give a size in this range",
        ),
    }
}

pub(super) fn host_name(text: &str) -> Parsed<String> {
    if wire::dist::node_name(format!("x@{text}").as_bytes()).is_some() {
        return Ok(text.into());
    }
    wrong(format!("{text:?} is not a host"), "give a name or an IPv4 address")
}

/// A host name under which HTTP clients may address this node.
pub(super) fn http_host(text: &str) -> Parsed<String> {
    if text == "*" {
        return Ok(text.into());
    }
    host_name(text).or_else(|_| {
        let mend = "write a name without scheme and port, such as kv.example.com, or *";
        wrong(format!("{text:?} is not a host name"), mend)
    })
}

/// The origin of a web page: scheme, host and an optional port.
pub(super) fn origin(text: &str) -> Parsed<String> {
    let uri = || text.parse::<Uri>().ok();
    let is_plain = |uri: &Uri| {
        let (scheme, authority) = (uri.scheme_str(), uri.authority().map(Authority::as_str));
        let (Some(scheme @ ("http" | "https")), Some(authority)) = (scheme, authority) else {
            return false;
        };
        text == format!("{scheme}://{authority}") && !authority.contains('@')
    };
    if text == "*" || uri().is_some_and(|uri| is_plain(&uri)) {
        return Ok(text.into());
    }
    let mend = "write scheme and host without a path, such as https://app.example, or *";
    wrong(format!("{text:?} is not the origin of a web page"), mend)
}

/// The prefix of node names.
pub(super) fn name_prefix(text: &str) -> Parsed<String> {
    if wire::dist::node_name(format!("{text}x@h").as_bytes()).is_some() {
        return Ok(text.into());
    }
    wrong(
        format!("no node name begins with {text:?}"),
        "use letters, digits and _.-",
    )
}

pub(super) fn truth(text: &str) -> Parsed<bool> {
    match text {
        "true" | "1" | "yes" => Ok(true),
        "false" | "0" | "no" => Ok(false),
        _ => wrong(format!("{text:?} is neither true nor false"), "write true or false"),
    }
}

/// How much is logged.
pub(super) fn level(text: &str) -> Parsed<tracing::Level> {
    text.parse().or_else(|_| {
        wrong(
            format!("{text:?} is not a log level"),
            "use error, warn, info, debug or trace",
        )
    })
}

pub(super) fn log_format(text: &str) -> Parsed<LogFormat> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => wrong(format!("{text:?} is not a log format"), "use text or json"),
    }
}

/// One table `[[keyspace]]`.
pub(super) fn keyspace(table: &toml::Value) -> Parsed<Keyspace> {
    let Some(table) = table.as_table() else {
        return wrong("is not a table", "write [[keyspace]]");
    };
    let mut keyspace = Keyspace::named("");
    for (key, value) in table {
        match (key.as_str(), value) {
            ("name", toml::Value::String(name)) => keyspace.name.clone_from(name),
            ("level", toml::Value::String(text)) => match super::level(text) {
                Some(level) => keyspace.level = level,
                None => return wrong(format!("{text:?} is not a level"), "use one, quorum or all"),
            },
            ("min_acks", toml::Value::Integer(number @ 1..=15)) => keyspace.min_acks = *number as u32,
            ("slots", value) => keyspace.slots = slots(value)?,
            ("name" | "level", _) => return wrong(format!("{key} is not a string"), "put it in quotes"),
            ("min_acks", _) => return wrong("min_acks must be from 1 to 15", "give a whole number in this range"),
            _ => {
                return wrong(
                    format!("{key} is not a setting of a keyspace"),
                    "use name, level, min_acks and slots",
                );
            }
        }
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let starts_well = keyspace.name.starts_with(|c: char| c.is_ascii_alphabetic());
    if !starts_well || keyspace.name.len() > 64 || !keyspace.name.chars().all(is_plain) {
        let mend = "begin with a letter and use letters, digits, _ and -, at most 64";
        return wrong(format!("{:?} is not a name for a keyspace", keyspace.name), mend);
    }
    Ok(keyspace)
}

/// How the keys of a keyspace come to their slots: `"hash"`, `"one"`, or `{ prefix = 2 }`.
fn slots(value: &toml::Value) -> Parsed<Slots> {
    let prefix = |table: &toml::Table| match table.get("prefix") {
        Some(toml::Value::Integer(segments)) if table.len() == 1 => u8::try_from(*segments).ok(),
        _ => None,
    };
    let slots = match value {
        toml::Value::String(rule) if rule == "hash" => Some(Slots::Hash),
        toml::Value::String(rule) if rule == "one" => Some(Slots::One),
        toml::Value::Table(table) => prefix(table)
            .filter(|segments| (1..=SEGMENTS_MAX).contains(segments))
            .map(Slots::Prefix),
        _ => None,
    };
    match slots {
        Some(slots) => Ok(slots),
        None => wrong(
            format!("slots cannot be {value}"),
            format!(
                "write slots = \"hash\", slots = \"one\", or slots = {{ prefix = N }} with N segments, from 1 to \
                 {SEGMENTS_MAX}"
            ),
        ),
    }
}
