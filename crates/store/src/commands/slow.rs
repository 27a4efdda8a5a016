//! `SLOWLOG` and `LATENCY`: which requests took long, and how long requests take.
//!
//! All times are those of batches, as the shell measured them: see [`tally`](crate::tally).

use wire::reply::{ErrorKind, Replies};

use super::number::integer;
use crate::{
    command::{self, Row},
    ledger::{Calls, Histogram},
    slowlog::COMMAND,
    visit::Visit,
};

/// Entries that `SLOWLOG GET` gives if no number is asked for.
const ENTRIES: i64 = 10;

/// `SLOWLOG GET [count]`; -1 is all.
pub(super) fn slowlog_get(visit: &mut Visit<'_>) {
    let count = match visit.args.len() {
        2 => Some(ENTRIES),
        3 => integer(visit.arg(2)).filter(|count| *count >= -1),
        _ => {
            let text = "unknown subcommand or wrong number of arguments for 'GET'. Try SLOWLOG HELP.";
            return visit.replies.error(ErrorKind::Err, text);
        }
    };
    let Some(count) = count else {
        let text = "count should be greater than or equal to -1";
        return visit.replies.error(ErrorKind::Err, text);
    };
    let log = &visit.store.gauges.records.slowlog;
    let count = usize::try_from(count).unwrap_or(usize::MAX).min(log.len());
    visit.replies.array(count);
    for entry in log.entries().take(count) {
        visit.replies.array(6);
        for number in [entry.id, entry.at_s, entry.took_us] {
            visit.replies.int(number.cast_signed());
        }
        visit.replies.array(entry.slow.args.len());
        for arg in &entry.slow.args {
            visit.replies.bulk(arg);
        }
        visit.replies.bulk(entry.slow.address.as_bytes());
        visit.replies.bulk(entry.slow.name.as_bytes());
    }
}

/// `SLOWLOG LEN`
pub(super) fn slowlog_len(visit: &mut Visit<'_>) {
    visit.replies.int(visit.store.gauges.records.slowlog.len() as i64);
}

/// `SLOWLOG RESET`
pub(super) fn slowlog_reset(visit: &mut Visit<'_>) {
    visit.store.gauges.records.slowlog.clear();
    visit.replies.ok();
}

/// `LATENCY LATEST`: the youngest spike and the highest.
pub(super) fn latest(visit: &mut Visit<'_>) {
    let Some(((at_s, took_ms), longest_ms)) = visit.store.gauges.records.spikes.latest() else {
        return visit.replies.array(0);
    };
    visit.replies.array(1);
    visit.replies.array(4);
    visit.replies.bulk(COMMAND.as_bytes());
    for number in [at_s, took_ms, longest_ms] {
        visit.replies.int(number.cast_signed());
    }
}

/// `LATENCY HISTORY event`
pub(super) fn history(visit: &mut Visit<'_>) {
    if visit.arg(2) != COMMAND.as_bytes() {
        return visit.replies.array(0);
    }
    let samples = visit.store.gauges.records.spikes.samples();
    visit.replies.array(samples.len());
    for (at_s, took_ms) in samples {
        visit.replies.array(2);
        visit.replies.int(at_s.cast_signed());
        visit.replies.int(took_ms.cast_signed());
    }
}

/// `LATENCY RESET [event …]`: how many events had samples.
pub(super) fn reset(visit: &mut Visit<'_>) {
    let events = visit.args.skip(2);
    let is_meant = events.is_empty() || events.iter().any(|event| event == COMMAND.as_bytes());
    let had_samples = is_meant && visit.store.gauges.records.spikes.clear();
    visit.replies.int(i64::from(had_samples));
}

/// `LATENCY DOCTOR`
pub(super) fn doctor(visit: &mut Visit<'_>) {
    let report = visit.store.gauges.records.spikes.report();
    visit.replies.verbatim(b"txt", report.as_bytes());
}

/// `LATENCY HISTOGRAM [command …]`: a command stands for its subcommands, too. One that was not called is left out.
pub(super) fn histogram(visit: &mut Visit<'_>) {
    let names = visit.args.skip(2);
    let ledger = &visit.store.gauges.records.ledger;
    let start = visit.replies.mark();
    visit.replies.map(0);
    let mut count = 0;
    let mut show = |row: &'static Row, replies: &mut Replies| {
        if let calls @ Calls { times: Some(times), .. } = ledger.calls(row) {
            show_times(replies, row, calls, times);
            count += 1;
        }
    };
    if names.is_empty() {
        command::all().for_each(|row| show(row, visit.replies));
    }
    for row in names.iter().filter_map(command::find_full) {
        match row.run {
            command::Run::Family(members) => members.iter().for_each(|member| show(member, visit.replies)),
            _ => show(row, visit.replies),
        }
    }
    visit.replies.resize(start, count);
}

fn show_times(replies: &mut Replies, row: &Row, calls: &Calls, times: &Histogram) {
    replies.bulk(row.shown().as_bytes());
    replies.map(2);
    replies.bulk(b"calls");
    replies.int(calls.calls.cast_signed());
    replies.bulk(b"histogram_usec");
    let powers = times.by_powers();
    replies.map(powers.len());
    for (us, count) in powers {
        replies.int(us.cast_signed());
        replies.int(count.cast_signed());
    }
}
