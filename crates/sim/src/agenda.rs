//! The events of a run, in order of their time.

use std::{cmp::Reverse, collections::BinaryHeap};

use node::{Atom, Input};
use store::ask::Payload;

use crate::{
    fault::Fault,
    network::{Parcel, Socket},
};

impl Event {
    /// Whether this event begins or ends a fault; orderly stops, starts and an operator's commands are not faults.
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

/// Something that happens at a certain time.
#[derive(Debug)]
pub enum Event {
    /// A dial reaches its target, or fails.
    Connect { from: Socket, target: Atom },
    /// A parcel reaches one end of a connection.
    Arrive { wire: usize, end: usize, parcel: Parcel },
    /// A node gets an input.
    Give {
        machine: usize,
        life: u64,
        input: Input<Payload>,
    },
    /// A node has no further input at hand.
    Flush { machine: usize, life: u64 },
    /// A node's deadline has come.
    Alarm { machine: usize, life: u64 },
    /// A client has waited long enough and sends its next batch.
    Client(usize),
    /// A fault strikes.
    Strike(Fault),
    /// One direction between two machines is blocked.
    Block { from: usize, to: usize },
    /// A block ends. With `cut`, connections between the two machines are cut then.
    Unblock { from: usize, to: usize, cut: bool },
    /// A paused node goes on.
    Resume { machine: usize, life: u64 },
    /// A machine starts its node.
    Start(usize),
    /// The next node of a rolling restart is restarted.
    Roll(usize),
    /// The process of a node that has left ends.
    End { machine: usize, life: u64 },
    /// An operator gives up the nodes that this node waits for.
    AcceptLoss { machine: usize, life: u64 },
    /// Sends are as reliable as TCP again.
    Calm,
    /// The links of a machine get their normal speed back.
    Hasten(usize),
    /// A slow node handles an input that it got earlier.
    Late {
        machine: usize,
        life: u64,
        input: Input<Payload>,
    },
    /// A slow node handles inputs at once again.
    Brisk(usize),
    /// A machine starts its node with these names as the nodes to join.
    StartTold { machine: usize, told: Vec<Atom> },
    /// A write of a state file is complete.
    Written { machine: usize, life: u64 },
    /// A supervisor checks whether a node has ended by itself.
    Supervise { machine: usize, life: u64 },
    /// An outsider is removed.
    Expel(usize),
    /// The checker looks at all nodes.
    Look,
}

/// The events to come.
#[derive(Debug, Default)]
pub struct Agenda {
    /// Simulated time since the beginning.
    pub now_us: u64,
    sequence: u64,
    /// Time, sequence number (for events at the same time), and the event's place in `events`.
    times: BinaryHeap<Reverse<(u64, u64, usize)>>,
    events: Vec<Option<Event>>,
    free: Vec<usize>,
}

impl Agenda {
    /// Adds an event at a time.
    pub fn at(&mut self, at_us: u64, event: Event) {
        self.sequence += 1;
        let place = self.free.pop().unwrap_or_else(|| {
            self.events.push(None);
            self.events.len() - 1
        });
        self.events[place] = Some(event);
        self.times.push(Reverse((at_us.max(self.now_us), self.sequence, place)));
    }

    /// Adds an event after a delay.
    pub fn after(&mut self, delay_us: u64, event: Event) {
        self.at(self.now_us + delay_us, event);
    }

    /// Gives a node an input after a delay.
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

    /// The next event at or before `until_us`, if there is one. Moves the time to that event.
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
