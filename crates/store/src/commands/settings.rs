//! `CONFIG`: the settings of this node under Redis's names, as far as they have one. What they are is decided in
//! `salp.toml` and on the command line. While the node runs, the memory limit, the bounds of the slow log and the
//! threshold of `LATENCY` can be changed. The password is not shown.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use wire::reply::ErrorKind;

use super::{glob, number::integer};
use crate::{
    config::{Config, share_max},
    store::Store,
    visit::Visit,
};

/// The settings that can be changed.
const MEMORY_MAX: &str = "maxmemory";
const SLOWER_THAN: &str = "slowlog-log-slower-than";
const SLOWLOG_MAX: &str = "slowlog-max-len";
const SPIKES_FROM: &str = "latency-monitor-threshold";

/// Their values.
#[derive(Clone, Copy)]
struct Changeable {
    memory_bytes_max: u64,
    slower_than_us: i64,
    slowlog_max: u64,
    spikes_from_ms: u64,
}

impl Changeable {
    fn of(store: &Store) -> Self {
        Self {
            memory_bytes_max: store.config.memory_bytes_max,
            slower_than_us: store.gauges.records.slowlog.slower_than_us,
            slowlog_max: store.gauges.records.slowlog.entries_max,
            spikes_from_ms: store.gauges.records.spikes.from_ms,
        }
    }

    /// Changes the one with this name; false if it cannot be changed.
    fn set(&mut self, name: &str, value: &[u8]) -> Result<bool, String> {
        match name {
            MEMORY_MAX => self.memory_bytes_max = memory(value).ok_or("argument must be a memory value")?,
            SLOWER_THAN => self.slower_than_us = at_least(-1, value)?,
            SLOWLOG_MAX => self.slowlog_max = at_least(0, value)?.cast_unsigned(),
            SPIKES_FROM => self.spikes_from_ms = at_least(0, value)?.cast_unsigned(),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn apply(self, store: &mut Store) {
        store.config.memory_bytes_max = self.memory_bytes_max;
        store.gauges.records.slowlog.slower_than_us = self.slower_than_us;
        store.gauges.records.slowlog.entries_max = self.slowlog_max;
        store.gauges.records.slowlog.trim();
        store.gauges.records.spikes.from_ms = self.spikes_from_ms;
    }
}

/// An integer that is no smaller than `min`.
fn at_least(min: i64, value: &[u8]) -> Result<i64, String> {
    match integer(value) {
        None => Err("argument couldn't be parsed into an integer".into()),
        Some(number) if number < min => Err(format!("argument must be between {min} and {} inclusive", i64::MAX)),
        Some(number) => Ok(number),
    }
}

fn settings(store: &Store) -> [(&'static str, String); 21] {
    let (config, changeable) = (&store.config, Changeable::of(store));
    let port = config.resp.as_ref().map_or(0, |(_, port)| *port);
    [
        // Nothing is written to disk, and a silent client is not disconnected.
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
        (SPIKES_FROM, changeable.spikes_from_ms.to_string()),
        ("latency-tracking", "yes".into()),
        ("latency-tracking-info-percentiles", "50 99 99.9".into()),
        ("maxclients", config.host.clients_max.to_string()),
        (MEMORY_MAX, changeable.memory_bytes_max.to_string()),
        ("maxmemory-clients", config.buffer_bytes_max.to_string()),
        ("maxmemory-policy", "noeviction".into()),
        (
            "min-replicas-to-write",
            (config.keyspaces[0].min_acks.saturating_sub(1)).to_string(),
        ),
        ("notify-keyspace-events", String::new()),
        ("port", port.to_string()),
        ("proto-max-bulk-len", config.value_bytes_max.to_string()),
        (SLOWER_THAN, changeable.slower_than_us.to_string()),
        (SLOWLOG_MAX, changeable.slowlog_max.to_string()),
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
    let mut found: Vec<_> = settings(visit.store).into_iter().collect();
    found.retain(|(name, _)| wanted(name));
    visit.replies.map(found.len());
    for (name, value) in found {
        visit.replies.bulk(name.as_bytes());
        visit.replies.bulk(value.as_bytes());
    }
}

/// `CONFIG SET name value …`: all or nothing. Setting a value that a setting already has is allowed.
pub(super) fn set(visit: &mut Visit<'_>) {
    match changed(visit) {
        Ok(changeable) => {
            changeable.apply(visit.store);
            visit.replies.ok();
        }
        Err(text) => visit.replies.error(ErrorKind::Err, text),
    }
}

/// The settings after a `CONFIG SET`, or why it is refused.
fn changed(visit: &Visit<'_>) -> Result<Changeable, String> {
    let pairs = visit.args.skip(2);
    if !pairs.len().is_multiple_of(2) {
        return Err("syntax error".into());
    }
    let settings = settings(visit.store);
    let mut changeable = Changeable::of(visit.store);
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
        let refused = |why: &str| format!("CONFIG SET failed (possibly related to argument '{name}') - {why}");
        if named.contains(name) {
            return Err(refused("duplicate parameter"));
        }
        named.push(name);
        let is_set = changeable.set(name, value).map_err(|why| refused(&why))?;
        if !is_set && current.as_bytes() != value {
            return Err(refused("can't set immutable config"));
        }
    }
    Ok(changeable)
}

/// Reads bytes as Redis does: a number and a unit, in thousands (`k`, `m`, `g`) or in powers of two (`kb`, `mb`, `gb`).
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
    visit.store.gauges.reset();
    visit.replies.ok();
}

/// `CONFIG REWRITE`
pub(super) fn rewrite(visit: &mut Visit<'_>) {
    visit
        .replies
        .error(ErrorKind::Err, "The server is running without a config file");
}
