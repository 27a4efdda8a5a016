//! How much memory a term holds. Queues of terms bound the sum of it.

use super::Term;
use core::mem::size_of;

impl Term {
    /// Bytes this term holds, itself included. A binary counts its own length, even if it is a slice of a longer
    /// buffer. An atom counts nothing beside its slot.
    pub fn held_bytes(&self) -> usize {
        let below = match self {
            Self::Int(_)
            | Self::Float(_)
            | Self::Atom(_)
            | Self::Pid(_)
            | Self::Ref(_)
            | Self::Port(_)
            | Self::Export { .. } => 0,
            Self::Big { magnitude: bytes, .. } | Self::Binary(bytes) | Self::Bits { bytes, .. } | Self::Fun(bytes) => {
                bytes.len()
            }
            Self::Tuple(items) | Self::List(items) => items.iter().map(Self::held_bytes).sum(),
            Self::Improper(items, tail) => items.iter().map(Self::held_bytes).sum::<usize>() + tail.held_bytes(),
            Self::Map(pairs) => pairs
                .iter()
                .map(|(key, value)| key.held_bytes() + value.held_bytes())
                .sum(),
        };
        size_of::<Self>() + below
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_inside_a_term_counts() {
        const SLOT: usize = size_of::<Term>();
        let binary = || Term::binary([0; 100]);
        for (term, bytes) in [
            (Term::Int(1), SLOT),
            (binary(), SLOT + 100),
            (Term::list([1_u8, 2, 3]), 4 * SLOT),
            (Term::tuple([binary(), Term::NIL]), 3 * SLOT + 100),
            (Term::map([(Term::Int(1), binary())]), 3 * SLOT + 100),
            (Term::improper([binary()].into(), binary()), 3 * SLOT + 200),
        ] {
            assert_eq!(term.held_bytes(), bytes, "{term}");
        }
    }
}
