//! Control messages in and out.

use crate::{
    config::Limits,
    connection::Up,
    input::ConnectionId,
    message::{Address, Message, Payload},
    monitors::{Guest, Watch},
    scheduler::Core,
    table::Local,
    time::Time,
};
use bytes::Bytes;
use wire::{
    dist::Flags,
    etf::{Atom, Pid, Term},
};

/// A signal for a node that is being dialled.
#[derive(Debug)]
pub(crate) struct Waiting;

impl Up {
    pub(crate) fn new(
        node: Atom,
        creation: u32,
        flags: Flags,
        _limits: &Limits,
        now: Time,
    ) -> Self {
        Self {
            node,
            creation,
            flags,
            read_us: now.monotonic_us,
            headers: alloc::vec::Vec::new(),
        }
    }
}

impl<P: Payload> Core<P> {
    pub(crate) fn frames(&mut self, _id: ConnectionId, _bytes: Bytes) {}
    pub(crate) fn send_waiting(&mut self, _node: &Atom) {}
    pub(crate) fn exit_there(&mut self, _to: &Pid, _from: &Pid, _reason: &Term, _link: bool) {}
    pub(crate) fn link_there(&mut self, me: Local, other: &Pid) {
        self.post_exit(me, other.clone(), Term::atom("noconnection"), true);
    }
    pub(crate) fn unlink_there(&mut self, _me: Local, _other: &Pid, _id: u64) {}
    pub(crate) fn monitor_there(&mut self, _w: Local, _n: &Atom, _t: &Address, number: u64) {
        self.post_down(number, Term::atom("noconnection"));
    }
    pub(crate) fn demonitor_there(&mut self, _watch: &Watch, _node: &Atom, _number: u64) {}
    pub(crate) fn down_there(&mut self, _pid: &Pid, _guest: &Guest, _reason: &Term) {}
    pub(crate) fn send_there(&mut self, _f: Local, _n: &Atom, _to: &Address, _term: Term) {}
    pub(crate) fn queued(&self, _node: &Atom) -> usize {
        0
    }
    pub(crate) fn send_bytes(&mut self, me: Local, node: &Atom, name: &Atom, bytes: &[u8]) -> bool {
        if *node == self.config.name
            && let Some(to) = self.registry.find(name)
        {
            let from = Some(self.pid(me));
            self.post(
                to,
                Message::Term {
                    from,
                    term: Term::Binary(Bytes::copy_from_slice(bytes)),
                },
            );
            return true;
        }
        false
    }
}
