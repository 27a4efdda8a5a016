//! Time to live. Deadlines are in cluster time and part of the value. The primary computes them, so a replica never
//! sees "in five seconds". Absolute times of clients are on the wall clock of the node that they ask.

use wire::reply::ErrorKind;

use super::number::integer;
use crate::call::Call;

/// The unit of a time argument, and whether it is absolute.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Base {
    unit_ms: i64,
    absolute: bool,
}

impl Base {
    pub(super) const SECONDS: Self = Self {
        unit_ms: 1000,
        absolute: false,
    };
    pub(super) const MILLISECONDS: Self = Self {
        unit_ms: 1,
        absolute: false,
    };
    const AT_SECONDS: Self = Self {
        unit_ms: 1000,
        absolute: true,
    };
    const AT_MILLISECONDS: Self = Self {
        unit_ms: 1,
        absolute: true,
    };

    /// The base for an option such as `ex`. The word is in lower case.
    pub(super) fn of(word: &[u8]) -> Option<Self> {
        Some(match word {
            b"ex" => Self::SECONDS,
            b"px" => Self::MILLISECONDS,
            b"exat" => Self::AT_SECONDS,
            b"pxat" => Self::AT_MILLISECONDS,
            _ => return None,
        })
    }

    /// The deadline in cluster time, which may lie in the past; `None` if it does not fit 64 bits.
    fn deadline(self, time: i64, call: &Call<'_>) -> Option<i64> {
        let time_ms = time.checked_mul(self.unit_ms)?;
        if self.absolute {
            Some(call.cluster_ms(time_ms))
        } else {
            time_ms.checked_add(i64::try_from(call.now_ms).ok()?)
        }
    }
}

/// The deadline for a positive time argument of command `name`. If it is invalid, writes the error.
pub(super) fn deadline(call: &mut Call<'_>, base: Base, time: &[u8], name: &str) -> Option<u64> {
    let Some(time) = integer(time) else {
        call.replies.not_an_integer();
        return None;
    };
    let deadline = (time > 0).then(|| base.deadline(time, call)).flatten();
    if deadline.is_none() {
        call.replies.invalid_expire(name);
    }
    deadline.map(|deadline| deadline.max(0) as u64)
}

/// `EXPIRE key time [NX|XX|GT|LT]`, and its variants for other units and absolute times.
fn expire_by(call: &mut Call<'_>, base: Base, name: &str) {
    let (mut nx, mut xx, mut gt, mut lt) = (false, false, false, false);
    for word in call.args.skip(3).iter() {
        match word.to_ascii_lowercase().as_slice() {
            b"nx" => nx = true,
            b"xx" => xx = true,
            b"gt" => gt = true,
            b"lt" => lt = true,
            _ => {
                let word = alloc::string::String::from_utf8_lossy(word);
                return call
                    .replies
                    .error(ErrorKind::Err, format_args!("Unsupported option {word}"));
            }
        }
    }
    if nx && (xx || gt || lt) {
        return call.replies.error(
            ErrorKind::Err,
            "NX and XX, GT or LT options at the same time are not compatible",
        );
    }
    if gt && lt {
        return call
            .replies
            .error(ErrorKind::Err, "GT and LT options at the same time are not compatible");
    }
    let Some(time) = integer(call.arg(2)) else {
        return call.replies.not_an_integer();
    };
    let Some(deadline) = base.deadline(time, call) else {
        return call.replies.invalid_expire(name);
    };
    let key = call.arg(1);
    let Some(view) = call.shard.view(key, call.now_ms) else {
        return call.replies.int(0);
    };
    let current = view.expiry_ms.map(|at| at as i64);
    // A key without a deadline counts as later than any deadline.
    let later = current.is_some_and(|current| deadline > current);
    let sooner = current.is_none_or(|current| deadline < current);
    if nx && current.is_some() || xx && current.is_none() || gt && !later || lt && !sooner {
        return call.replies.int(0);
    }
    if deadline <= call.now_ms as i64 {
        call.delete(key);
    } else {
        call.touch(key, Some(deadline as u64));
    }
    call.replies.int(1);
}

/// `EXPIRE key seconds`
pub(super) fn expire(call: &mut Call<'_>) {
    expire_by(call, Base::SECONDS, "expire");
}

/// `PEXPIRE key milliseconds`
pub(super) fn pexpire(call: &mut Call<'_>) {
    expire_by(call, Base::MILLISECONDS, "pexpire");
}

/// `EXPIREAT key unix-seconds`
pub(super) fn expireat(call: &mut Call<'_>) {
    expire_by(call, Base::AT_SECONDS, "expireat");
}

/// `PEXPIREAT key unix-milliseconds`
pub(super) fn pexpireat(call: &mut Call<'_>) {
    expire_by(call, Base::AT_MILLISECONDS, "pexpireat");
}

/// `PERSIST key`
pub(super) fn persist(call: &mut Call<'_>) {
    let key = call.arg(1);
    let expires = call
        .shard
        .view(key, call.now_ms)
        .is_some_and(|view| view.expiry_ms.is_some());
    if expires {
        call.touch(key, None);
    }
    call.replies.int(i64::from(expires));
}

/// Replies -2 if there is no key, -1 if it has no deadline, else the number that `show` makes of the deadline.
fn tell(call: &mut Call<'_>, show: impl Fn(&Call<'_>, u64) -> u64) {
    let view = call.shard.view(call.arg(1), call.now_ms);
    call.counters.looked(view.is_some());
    let answer = match view {
        None => -2,
        Some(view) => view.expiry_ms.map_or(-1, |at| show(call, at).cast_signed()),
    };
    call.replies.int(answer);
}

/// Milliseconds as seconds, rounded half up like Redis.
fn seconds(ms: u64) -> u64 {
    ms.saturating_add(500) / 1000
}

/// `TTL key`
pub(super) fn ttl(call: &mut Call<'_>) {
    tell(call, |call, at| seconds(at.saturating_sub(call.now_ms)));
}

/// `PTTL key`
pub(super) fn pttl(call: &mut Call<'_>) {
    tell(call, |call, at| at.saturating_sub(call.now_ms));
}

/// `EXPIRETIME key`
pub(super) fn expiretime(call: &mut Call<'_>) {
    tell(call, |call, at| seconds(call.wall_ms(at).cast_unsigned()));
}

/// `PEXPIRETIME key`
pub(super) fn pexpiretime(call: &mut Call<'_>) {
    tell(call, |call, at| call.wall_ms(at).cast_unsigned());
}
