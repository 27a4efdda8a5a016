//! The control term of the last message. A process that sends many messages to another one repeats it, byte for byte.
//!
//! The bytes of a term determine its end. So if a frame begins with the bytes of a control term that was decoded
//! before, that term is the control term of the frame, and need not be decoded again.

use crate::{
    dist::control::{Signal, Target},
    etf::{Pid, Term},
};
use alloc::vec::Vec;

/// Longer control terms are not kept. A control term with two pids is shorter, whatever the names of their nodes.
const CONTROL_BYTES_MAX: usize = 2304;

/// The meaning of the last control term of a message, if it was kept.
#[derive(Debug, Default)]
pub(super) struct LastSend {
    control: Vec<u8>,
    route: Option<Route>,
}

/// Sender, receiver, and whether the message overtakes those that wait.
#[derive(Debug)]
pub(super) struct Route {
    from: Option<Pid>,
    to: Target,
    priority: bool,
}

impl LastSend {
    /// Keeps a control term and its meaning.
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

    /// The route of `terms` and the length of its control term, if `terms` begin with the kept one. `None` if nothing
    /// follows the control term, since a message must.
    pub(super) fn find(&self, terms: &[u8]) -> Option<(&Route, usize)> {
        let route = self.route.as_ref()?;
        let len = self.control.len();
        (terms.len() > len && terms.starts_with(&self.control)).then_some((route, len))
    }
}

impl Route {
    /// The signal that sends `message` on this route.
    pub(super) fn send(&self, message: Term) -> Signal {
        Signal::Send {
            from: self.from.clone(),
            to: self.to.clone(),
            priority: self.priority,
            message,
        }
    }
}
