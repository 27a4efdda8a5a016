//! The total order of terms, as Erlang orders the keys of a map.
//!
//! ```text
//! integer < float < atom < reference < fun < port < pid < tuple < map < nil < list < bitstring
//! ```
//!
//! Numbers of one kind compare by value; tuples and maps compare first by size. The order differs from Erlang's `<` in
//! one point: `<` compares integers with floats by value, and has `1 == 1.0`. The order relies on the one shape of each
//! value (see [`super`]). So it is linear: maps need not be sorted to be compared.

use super::{Pid, Port, Ref, Term};
use core::cmp::Ordering;

impl Ord for Term {
    fn cmp(&self, other: &Self) -> Ordering {
        use Term::{Atom, Big, Binary, Bits, Export, Float, Fun, Improper, Int, List, Map, Tuple};
        match (self, other) {
            (Int(a), Int(b)) => a.cmp(b),
            (Int(_), Big { negative, .. }) => below(!negative),
            (Big { negative, .. }, Int(_)) => below(*negative),
            (
                Big {
                    negative: a,
                    magnitude: x,
                },
                Big {
                    negative: b,
                    magnitude: y,
                },
            ) => {
                let size = magnitude(x, y);
                b.cmp(a).then(if *a { size.reverse() } else { size })
            }
            (Float(a), Float(b)) => a.total_cmp(b),
            (Atom(a), Atom(b)) => a.cmp(b),
            (Term::Ref(a), Term::Ref(b)) => a.cmp(b),
            (
                Export {
                    module: m,
                    function: f,
                    arity: a,
                },
                Export {
                    module,
                    function,
                    arity,
                },
            ) => (m, f, a).cmp(&(module, function, arity)),
            (Fun(a), Fun(b)) => a.cmp(b),
            (Term::Port(a), Term::Port(b)) => a.cmp(b),
            (Term::Pid(a), Term::Pid(b)) => a.cmp(b),
            (Tuple(a), Tuple(b)) => a.len().cmp(&b.len()).then_with(|| a.cmp(b)),
            (Map(a), Map(b)) => a
                .len()
                .cmp(&b.len())
                .then_with(|| a.iter().map(|(key, _)| key).cmp(b.iter().map(|(key, _)| key)))
                .then_with(|| a.iter().map(|(_, value)| value).cmp(b.iter().map(|(_, value)| value))),
            (List(a), List(b)) => a.cmp(b),
            (List(a), Improper(b, tail)) => list(a, None, b, Some(tail)),
            (Improper(a, tail), List(b)) => list(a, Some(tail), b, None),
            (Improper(a, t), Improper(b, tail)) => list(a, Some(t), b, Some(tail)),
            (Binary(a), Binary(b)) => a.cmp(b),
            (Binary(a), Bits { bytes, bits }) => (a, 8).cmp(&(bytes, *bits)),
            (Bits { bytes, bits }, Binary(b)) => (bytes, *bits).cmp(&(b, 8)),
            (Bits { bytes: a, bits: n }, Bits { bytes, bits }) => (a, n).cmp(&(bytes, bits)),
            _ => rank(self).cmp(&rank(other)),
        }
    }
}

/// The place of this kind of term in the order of kinds.
fn rank(term: &Term) -> u8 {
    match term {
        Term::Int(_) | Term::Big { .. } => 0,
        Term::Float(_) => 1,
        Term::Atom(_) => 2,
        Term::Ref(_) => 3,
        Term::Fun(_) => 4,
        Term::Export { .. } => 5,
        Term::Port(_) => 6,
        Term::Pid(_) => 7,
        Term::Tuple(_) => 8,
        Term::Map(_) => 9,
        Term::List(items) if items.is_empty() => 10,
        Term::List(_) | Term::Improper(..) => 11,
        Term::Binary(_) | Term::Bits { .. } => 12,
    }
}

fn below(is_below: bool) -> Ordering {
    if is_below { Ordering::Less } else { Ordering::Greater }
}

/// The order of two magnitudes, little-endian and without trailing zeros.
fn magnitude(a: &[u8], b: &[u8]) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.iter().rev().cmp(b.iter().rev()))
}

/// The order of two non-empty lists, cell by cell; a missing tail is nil. Past the end of the shorter list, its tail is
/// compared with the next cell of the other.
fn list(a: &[Term], a_tail: Option<&Term>, b: &[Term], b_tail: Option<&Term>) -> Ordering {
    let common = a.len().min(b.len());
    let nil = Term::NIL;
    let (a_tail, b_tail) = (a_tail.unwrap_or(&nil), b_tail.unwrap_or(&nil));
    a[..common]
        .cmp(&b[..common])
        .then_with(|| match (a.len() > common, b.len() > common) {
            (false, false) => a_tail.cmp(b_tail),
            (false, true) => below(rank(a_tail) < CELL),
            (true, _) => below(rank(b_tail) > CELL),
        })
}

/// Rank of a cell, which is a non-empty list.
const CELL: u8 = 11;

impl PartialOrd for Term {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Term {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Term {}

/// The order of a BEAM. The lockers of `global` sort each other by it.
impl Ord for Pid {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |pid: &Self| (pid.serial, pid.id);
        key(self)
            .cmp(&key(other))
            .then_with(|| self.node.cmp(&other.node))
            .then(self.creation.cmp(&other.creation))
    }
}

impl PartialOrd for Pid {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Port {
    fn cmp(&self, other: &Self) -> Ordering {
        self.node
            .cmp(&other.node)
            .then(self.creation.cmp(&other.creation))
            .then(self.id.cmp(&other.id))
    }
}

impl PartialOrd for Port {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The last word weighs most. Words past `len` are 0. `len` is compared last, for references that differ in it alone.
impl Ord for Ref {
    fn cmp(&self, other: &Self) -> Ordering {
        self.node
            .cmp(&other.node)
            .then(self.creation.cmp(&other.creation))
            .then_with(|| self.words.iter().rev().cmp(other.words.iter().rev()))
            .then(self.len.cmp(&other.len))
    }
}

impl PartialOrd for Ref {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
