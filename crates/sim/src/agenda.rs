//! What will happen, in the order in which it does.

use std::{cmp::Reverse, collections::BinaryHeap};

use node::{Atom, Input};
use store::ask::Payload;

use crate::{
    fault::Fault,
    network::{Parcel, Socket},
};

impl Event {
    /// Something begins or ends that no node or operator does in order.
    pub fn is_trouble(&self) -> bool {
        match self {
            Self::Connect { .. }
            | Self::Arrive { .. }
            | Self::Give { .. }
            | Self::Flush { .. }
            | Self::Alarm { .. }
            | Self::Client(_)
            | Self::Strike(Fault::Leave | Fault::Join | Fault::Rolling)
            | Self::Start(_)
            | Self::Roll(_)
            | Self::End { .. }
            | Self::Written { .. }
            | Self::Supervise { .. }
            | Self::Look => false,
            Self::Strike(_)
            | Self::Block { .. }
            | Self::Unblock { .. }
            | Self::Resume { .. }
            | Self::AcceptLoss { .. }
            | Self::Calm
            | Self::Hasten(_)
            | Self::Late { .. }
            | Self::Brisk(_)
            | Self::StartTold { .. }
            | Self::Expel(_) => true,
        }
    }
}

/// Something that happens at a time.
#[derive(Debug)]
pub enum Event {
    /// A dial reaches its target, or does not.
    Connect { from: Socket, target: Atom },
    /// Something comes to an end of a connection.
    Arrive { wire: usize, end: usize, parcel: Parcel },
    /// A node is told something.
    Give {
        machine: usize,
        life: u64,
        input: Input<Payload>,
    },
    /// A node has no further input at hand.
    Flush { machine: usize, life: u64 },
    /// A node's deadline.
    Alarm { machine: usize, life: u64 },
    /// A client stops thinking.
    Client(usize),
    /// Something goes wrong.
    Strike(Fault),
    /// A direction is blocked, or no longer; connections may be cut then.
    Block { from: usize, to: usize },
    /// See [`Event::Block`].
    Unblock { from: usize, to: usize, cut: bool },
    /// A node goes on.
    Resume { machine: usize, life: u64 },
    /// A machine starts its node.
    Start(usize),
    /// The next node of a rolling restart.
    Roll(usize),
    /// A node that has left ends.
    End { machine: usize, life: u64 },
    /// An operator gives up the nodes for which a node waits.
    AcceptLoss { machine: usize, life: u64 },
    /// Sends are as TCP makes them again.
    Calm,
    /// A machine's lines are as fast as they were.
    Hasten(usize),
    /// A late node gets to what it was given.
    Late {
        machine: usize,
        life: u64,
        input: Input<Payload>,
    },
    /// A node is late no more.
    Brisk(usize),
    /// A machine starts its node, which is told of these nodes alone.
    StartTold { machine: usize, told: Vec<Atom> },
    /// A write of a state file is done.
    Written { machine: usize, life: u64 },
    /// A supervisor looks whether a node has ended by itself.
    Supervise { machine: usize, life: u64 },
    /// An outsider goes.
    Expel(usize),
    /// A look at the whole.
    Look,
}

/// What will happen.
#[derive(Debug, Default)]
pub struct Agenda {
    /// Time since the beginning.
    pub now_us: u64,
    sequence: u64,
    /// When, which of its time, and the place of the event.
    times: BinaryHeap<Reverse<(u64, u64, usize)>>,
    events: Vec<Option<Event>>,
    free: Vec<usize>,
}

impl Agenda {
    /// At a time.
    pub fn at(&mut self, at_us: u64, event: Event) {
        self.sequence += 1;
        let place = self.free.pop().unwrap_or_else(|| {
            self.events.push(None);
            self.events.len() - 1
        });
        self.events[place] = Some(event);
        self.times.push(Reverse((at_us.max(self.now_us), self.sequence, place)));
    }

    /// After a time.
    pub fn after(&mut self, delay_us: u64, event: Event) {
        self.at(self.now_us + delay_us, event);
    }

    /// Tells a node something after a time.
    pub fn give_after(&mut self, delay_us: u64, to: Socket, input: Input<Payload>) {
        self.after(
            delay_us,
            Event::Give {
                machine: to.machine,
                life: to.life,
                input,
            },
        );
    }

    /// The next event up to a time, which it then is.
    pub fn next(&mut self, until_us: u64) -> Option<Event> {
        let &Reverse((at_us, _, place)) = self.times.peek()?;
        if at_us > until_us {
            return None;
        }
        self.times.pop();
        self.free.push(place);
        self.now_us = at_us;
        self.events[place].take()
    }
}
