//! `CONFIG`: the settings of this node under Redis's names, as far as they have one. What they are is decided in
//! `salp.toml` and on the command line; only the memory limit changes while the node runs. The password is not shown.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use wire::reply::ErrorKind;

use super::{glob, number::integer};
use crate::{
    config::{Config, share_max},
    visit::Visit,
};

/// The one setting that can be changed.
const MEMORY_MAX: &str = "maxmemory";

fn settings(config: &Config) -> [(&'static str, String); 17] {
    let port = config.resp.as_ref().map_or(0, |(_, port)| *port);
    [
        // Nothing is written to disk, and a client that never speaks is not let go.
        ("appendonly", "no".into()),
        ("save", String::new()),
        ("timeout", "0".into()),
        ("client-output-buffer-limit", output_limit(config)),
        (
            "client-query-buffer-limit",
            share_max(config.buffer_bytes_max).to_string(),
        ),
        ("cluster-enabled", "yes".into()),
        ("cluster-require-full-coverage", "no".into()),
        ("databases", config.keyspaces.len().to_string()),
        (MEMORY_MAX, config.memory_bytes_max.to_string()),
        ("maxmemory-clients", config.buffer_bytes_max.to_string()),
        ("maxmemory-policy", "noeviction".into()),
        (
            "min-replicas-to-write",
            (config.keyspaces[0].min_acks.saturating_sub(1)).to_string(),
        ),
        ("notify-keyspace-events", String::new()),
        ("port", port.to_string()),
        ("proto-max-bulk-len", config.value_bytes_max.to_string()),
        ("slowlog-log-slower-than", "-1".into()),
        ("slowlog-max-len", "0".into()),
    ]
}

/// A client has one share of the buffers, for replies as for requests. There is no lower limit for some seconds, and
/// none for replicas, which are no clients here.
fn output_limit(config: &Config) -> String {
    let share = share_max(config.buffer_bytes_max);
    format!("normal {share} 0 0 slave 0 0 0 pubsub 0 0 0")
}

/// `CONFIG GET pattern …`
pub(super) fn get(visit: &mut Visit<'_>) {
    let patterns = visit.args.skip(2);
    let wanted = |name: &str| {
        patterns
            .iter()
            .any(|it| glob::matches(&it.to_ascii_lowercase(), name.as_bytes()))
    };
    let mut found: Vec<_> = settings(&visit.store.config).into_iter().collect();
    found.retain(|(name, _)| wanted(name));
    visit.replies.map(found.len());
    for (name, value) in found {
        visit.replies.bulk(name.as_bytes());
        visit.replies.bulk(value.as_bytes());
    }
}

/// `CONFIG SET name value …`: all or nothing. What a setting is already it may be set to.
pub(super) fn set(visit: &mut Visit<'_>) {
    match memory_max_of(visit) {
        Ok(memory_bytes_max) => {
            visit.store.config.memory_bytes_max = memory_bytes_max;
            visit.replies.ok();
        }
        Err(text) => visit.replies.error(ErrorKind::Err, text),
    }
}

/// The memory limit after a `CONFIG SET`, or why it is refused.
fn memory_max_of(visit: &Visit<'_>) -> Result<u64, String> {
    let pairs = visit.args.skip(2);
    if !pairs.len().is_multiple_of(2) {
        return Err("syntax error".into());
    }
    let settings = settings(&visit.store.config);
    let mut memory_max = visit.store.config.memory_bytes_max;
    let mut named: Vec<&str> = Vec::new();
    for at in (0..pairs.len()).step_by(2) {
        let (given, value) = (&pairs[at], &pairs[at + 1]);
        let Some((name, current)) = settings
            .iter()
            .find(|(name, _)| given.eq_ignore_ascii_case(name.as_bytes()))
        else {
            let given = String::from_utf8_lossy(given);
            return Err(format!(
                "Unknown option or number of arguments for CONFIG SET - '{given}'"
            ));
        };
        let refused = |why| format!("CONFIG SET failed (possibly related to argument '{name}') - {why}");
        if named.contains(name) {
            return Err(refused("duplicate parameter"));
        }
        named.push(name);
        if *name == MEMORY_MAX {
            memory_max = memory(value).ok_or_else(|| refused("argument must be a memory value"))?;
        } else if current.as_bytes() != value {
            return Err(refused("can't set immutable config"));
        }
    }
    Ok(memory_max)
}

/// Bytes as Redis reads them: a number and a unit, in thousands (`k`, `m`, `g`) or in powers of two (`kb`, `mb`, `gb`).
fn memory(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, unit) = text.split_at(digits);
    let unit = match unit.to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1000,
        b"kb" => 1 << 10,
        b"m" => 1000 * 1000,
        b"mb" => 1 << 20,
        b"g" => 1000 * 1000 * 1000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    u64::try_from(integer(number)?).ok()?.checked_mul(unit)
}

/// `CONFIG RESETSTAT`
pub(super) fn resetstat(visit: &mut Visit<'_>) {
    visit.store.reset_counters();
    visit.replies.ok();
}

/// `CONFIG REWRITE`
pub(super) fn rewrite(visit: &mut Visit<'_>) {
    visit
        .replies
        .error(ErrorKind::Err, "The server is running without a config file");
}
