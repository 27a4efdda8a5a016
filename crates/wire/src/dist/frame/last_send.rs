//! The control term of the last message: a process that sends much to another repeats it, byte for byte.
//!
//! A term says where it ends. So bytes that begin with a whole control term begin with no other, and what was read
//! from it once need not be read again.

use crate::{
    dist::control::{Signal, Target},
    etf::{Pid, Term},
};
use alloc::vec::Vec;

/// Longer control terms are not kept. Those of two pids are shorter, whatever the names of their nodes.
const CONTROL_BYTES_MAX: usize = 2304;

/// What the last control term of a message said, if it is kept.
#[derive(Debug, Default)]
pub(super) struct LastSend {
    control: Vec<u8>,
    route: Option<Route>,
}

/// From whom to whom, and whether it goes before what waits.
#[derive(Debug)]
pub(super) struct Route {
    from: Option<Pid>,
    to: Target,
    priority: bool,
}

impl LastSend {
    /// Keeps what a control term said.
    pub(super) fn keep(&mut self, control: &[u8], signal: &Signal) {
        if let Signal::Send { from, to, priority, .. } = signal
            && control.len() <= CONTROL_BYTES_MAX
        {
            self.control.clear();
            self.control.extend_from_slice(control);
            self.route = Some(Route {
                from: from.clone(),
                to: to.clone(),
                priority: *priority,
            });
        }
    }

    /// What `terms` say if they begin with the control term that is kept, and how long that is. They do not if it is
    /// all there is: a message belongs to it.
    pub(super) fn find(&self, terms: &[u8]) -> Option<(&Route, usize)> {
        let route = self.route.as_ref()?;
        let len = self.control.len();
        (terms.len() > len && terms.starts_with(&self.control)).then_some((route, len))
    }
}

impl Route {
    /// A message that goes the same way.
    pub(super) fn send(&self, message: Term) -> Signal {
        Signal::Send {
            from: self.from.clone(),
            to: self.to.clone(),
            priority: self.priority,
            message,
        }
    }
}
