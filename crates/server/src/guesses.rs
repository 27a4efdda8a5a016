//! [`Guesses`]: limits how often a machine may send a wrong secret.
//!
//! A password of eight letters withstands ten guesses a second for centuries, and 180,000 a second for days. So wrong
//! secrets are counted by the address that they come from. After a number of them within [`WINDOW`] no secret from
//! there is checked until the window is over, not even a right one. Connections that sent the right secret earlier go
//! on.
//!
//! All addresses of an IPv6 network of 64 bits count as one, since one machine has them all.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Most wrong passwords, or tokens, from one address within [`WINDOW`]. A program that tries an old password every
/// second stays below it, so other programs at its address are served.
const WRONG_MAX: u32 = 100;
/// Most failed handshakes: a machine may have many nodes.
const FAILED_MAX: u32 = 50;
/// How long wrong secrets count.
pub(crate) const WINDOW: Duration = Duration::from_secs(10);
/// Most addresses that are counted. Past it, those whose window is over are dropped; if that is not enough, all are.
const ADDRESSES_MAX: usize = 4096;

/// Wrong passwords of Redis clients.
pub(crate) static PASSWORDS: Guesses = Guesses::new(WRONG_MAX);
/// Wrong tokens of HTTP clients.
pub(crate) static TOKENS: Guesses = Guesses::new(WRONG_MAX);
/// Failed handshakes of nodes, because of a wrong cookie or another reason.
pub(crate) static HANDSHAKES: Guesses = Guesses::new(FAILED_MAX);

/// Counts wrong secrets by address.
pub(crate) struct Guesses {
    max: u32,
    by_address: Mutex<Option<HashMap<IpAddr, Wrong>>>,
}

#[derive(Clone, Copy)]
struct Wrong {
    since: Instant,
    count: u32,
}

impl Wrong {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= WINDOW
    }
}

impl Guesses {
    const fn new(max: u32) -> Self {
        Self {
            max,
            by_address: Mutex::new(None),
        }
    }

    /// How many secrets from `address` may be checked now.
    pub(crate) fn room(&self, address: IpAddr) -> u32 {
        self.room_at(address, Instant::now())
    }

    fn room_at(&self, address: IpAddr, now: Instant) -> u32 {
        let counted = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let wrong = counted.as_ref().and_then(|counted| counted.get(&machine(address)));
        match wrong.filter(|wrong| !wrong.is_over(now)) {
            Some(wrong) => self.max.saturating_sub(wrong.count),
            None => self.max,
        }
    }

    /// Counts `count` wrong secrets from `address`.
    pub(crate) fn add(&self, address: IpAddr, count: u32) {
        self.add_at(address, count, Instant::now());
    }

    fn add_at(&self, address: IpAddr, count: u32, now: Instant) {
        let mut counted = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = counted.get_or_insert_default();
        if counted.len() >= ADDRESSES_MAX {
            counted.retain(|_, wrong| !wrong.is_over(now));
            if counted.len() >= ADDRESSES_MAX {
                counted.clear();
            }
        }
        let fresh = Wrong { since: now, count: 0 };
        let wrong = counted.entry(machine(address)).or_insert(fresh);
        if wrong.is_over(now) {
            *wrong = fresh;
        }
        wrong.count = wrong.count.saturating_add(count);
    }
}

/// The address under which the machine at `address` is counted.
fn machine(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_secrets_are_counted_for_a_while() {
        let guesses = Guesses::new(WRONG_MAX);
        let (near, far) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([10, 0, 0, 1]));
        let start = Instant::now();
        assert_eq!(guesses.room_at(near, start), WRONG_MAX);
        guesses.add_at(near, 3, start);
        assert_eq!(
            (guesses.room_at(near, start), guesses.room_at(far, start)),
            (WRONG_MAX - 3, WRONG_MAX)
        );
        guesses.add_at(near, 1000, start + WINDOW / 2);
        assert_eq!(guesses.room_at(near, start + WINDOW - Duration::from_millis(1)), 0);
        assert_eq!(guesses.room_at(near, start + WINDOW), WRONG_MAX);
        guesses.add_at(near, 1, start + WINDOW);
        assert_eq!(guesses.room_at(near, start + WINDOW), WRONG_MAX - 1, "a new window");
    }

    #[test]
    fn one_machine_is_one_address() {
        let guesses = Guesses::new(WRONG_MAX);
        let now = Instant::now();
        let address = |text: &str| text.parse().unwrap();
        guesses.add_at(address("2001:db8::1"), WRONG_MAX, now);
        guesses.add_at(address("::ffff:10.0.0.1"), WRONG_MAX, now);
        for (text, room) in [
            ("2001:db8::2", 0),
            ("2001:db8:0:0:ffff::", 0),
            ("2001:db8:0:1::1", WRONG_MAX),
            ("10.0.0.1", 0),
            ("10.0.0.2", WRONG_MAX),
        ] {
            assert_eq!(guesses.room_at(address(text), now), room, "{text}");
        }
    }

    #[test]
    fn many_addresses_take_little_room() {
        let guesses = Guesses::new(WRONG_MAX);
        let now = Instant::now();
        for number in 0..3 * ADDRESSES_MAX as u32 {
            guesses.add_at(IpAddr::from(number.to_be_bytes()), 1, now);
        }
        let counted = guesses.by_address.lock().unwrap();
        assert!(counted.as_ref().unwrap().len() <= ADDRESSES_MAX);
    }
}
