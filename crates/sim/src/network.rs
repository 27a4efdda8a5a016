//! The network between the machines: connections as pairs of ordered byte lanes, and all network faults.
//!
//! - A lane keeps its order whatever the latency, as TCP does. Bytes on their way are lost when a connection is cut.
//! - A direction between two machines can be *blocked*. Bytes sent meanwhile wait, as TCP retransmits until it gets
//!   through. They arrive when the block ends, unless the connection is cut first.
//! - When a connection is cut, both ends, one end or neither is notified. An end that was not notified may find out
//!   when it next sends (a reset), or only when no ticks arrive.
//! - *Hostile* faults are those that TCP rules out: a whole `Send` is dropped, doubled or swapped with the next one.
//!   The store numbers its frames to notice this. Only sends that carry nothing but store frames are touched, since the
//!   handshake, the ticks and the membership rely on TCP.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use node::{ConnectionId, Input};
use store::ask::Payload;

use crate::{
    agenda::{Agenda, Event},
    random::Random,
};

/// One end of a connection: one life of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Socket {
    /// Index of the machine.
    pub machine: usize,
    /// Number of its life.
    pub life: u64,
    /// The node's number for the connection.
    pub connection: ConnectionId,
}

/// What a lane carries.
#[derive(Clone, Debug)]
pub enum Parcel {
    /// The dial is accepted.
    Opened,
    /// Bytes of one `Send`.
    Bytes(Bytes),
    /// The sender has closed the connection.
    Fin,
}

#[derive(Debug, Default)]
struct Lane {
    /// When the last parcel of this lane arrives.
    last_us: u64,
    held: Vec<Parcel>,
    /// A send that is delivered after the next one.
    overtaken: Option<Bytes>,
}

#[derive(Debug)]
struct Wire {
    sockets: [Socket; 2],
    closed: [bool; 2],
    /// Whether bytes get through.
    up: bool,
    /// Whether an end that sends on a dead wire gets a reset.
    resets: bool,
    /// Lane 0 leads from socket 0 to socket 1.
    lanes: [Lane; 2],
}

/// How often a send suffers a fault that TCP rules out, per mille.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hostile {
    /// The send is dropped.
    pub lose: u64,
    /// The send arrives twice.
    pub double: u64,
    /// The next send arrives first.
    pub swap: u64,
}

/// All connections of the world.
#[derive(Debug)]
pub struct Network {
    machines: usize,
    wires: Vec<Wire>,
    by_socket: BTreeMap<Socket, (usize, usize)>,
    /// Wires that are up.
    up: BTreeSet<usize>,
    /// Wires that are down although an end still believes they are up, and both machines live.
    torn: BTreeSet<usize>,
    blocks: Vec<u32>,
    /// Added latency of each direction.
    slow_us: Vec<u64>,
    latency_us: u64,
    jitter_us: u64,
    /// The hostile faults active now.
    pub hostile: Hostile,
    /// Sends that were lost, doubled, swapped.
    pub hostile_sends: [u64; 3],
    random: Random,
}

impl Network {
    /// A network of this many machines, without connections.
    pub fn new(machines: usize, latency_us: u64, jitter_us: u64, random: Random) -> Self {
        Self {
            machines,
            wires: Vec::new(),
            by_socket: BTreeMap::new(),
            up: BTreeSet::new(),
            torn: BTreeSet::new(),
            blocks: vec![0; machines * machines],
            slow_us: vec![0; machines * machines],
            latency_us,
            jitter_us,
            hostile: Hostile::default(),
            hostile_sends: [0; 3],
            random,
        }
    }

    // Connections

    /// Draws the latency of one parcel from one machine to another.
    pub fn latency(&mut self, from: usize, to: usize) -> u64 {
        let slow_us = self.slow_us[from * self.machines + to];
        self.latency_us + self.random.below(self.jitter_us + 1) + self.random.below(slow_us + 1)
    }

    /// A dial got through: `server` has accepted, and `client` is notified after the latency.
    pub fn connect(&mut self, agenda: &mut Agenda, client: Socket, server: Socket) {
        let wire = self.wires.len();
        self.wires.push(Wire {
            sockets: [client, server],
            closed: [false; 2],
            up: true,
            resets: false,
            lanes: [Lane::default(), Lane::default()],
        });
        self.up.insert(wire);
        self.by_socket.insert(client, (wire, 0));
        self.by_socket.insert(server, (wire, 1));
        self.post(agenda, wire, 1, Parcel::Opened);
    }

    /// Carries out `Effect::Send`.
    pub fn send(&mut self, agenda: &mut Agenda, from: Socket, bytes: &Bytes) {
        let Some(&(wire, end)) = self.by_socket.get(&from) else {
            return;
        };
        let state = &mut self.wires[wire];
        if state.closed[end] {
            return;
        }
        if !state.up {
            if state.resets {
                self.close_end(wire, end);
                agenda.give_after(
                    2 * self.latency_us,
                    from,
                    Input::Closed {
                        connection: from.connection,
                    },
                );
            }
            return;
        }
        let (mut times, mut waits) = (1, false);
        if !self.is_honest() && carries_store_frames(bytes) {
            if self.random.chance(self.hostile.lose) {
                times = 0;
                self.hostile_sends[0] += 1;
            } else if self.random.chance(self.hostile.double) {
                times = 2;
                self.hostile_sends[1] += 1;
            } else if self.random.chance(self.hostile.swap) {
                waits = true;
                self.hostile_sends[2] += 1;
            }
        }
        if times == 0 {
            let written = Input::Written {
                connection: from.connection,
                bytes: bytes.len(),
            };
            return agenda.give_after(self.latency_us, from, written);
        }
        let overtaken = if waits {
            self.wires[wire].lanes[end].overtaken.replace(bytes.clone())
        } else {
            for _ in 0..times {
                self.post(agenda, wire, end, Parcel::Bytes(bytes.clone()));
            }
            self.wires[wire].lanes[end].overtaken.take()
        };
        if let Some(late) = overtaken {
            self.post(agenda, wire, end, Parcel::Bytes(late));
        }
    }

    /// Carries out `Effect::Close`.
    pub fn close(&mut self, agenda: &mut Agenda, socket: Socket) {
        let Some(&(wire, end)) = self.by_socket.get(&socket) else {
            return;
        };
        if !self.close_end(wire, end) && self.wires[wire].up {
            self.post(agenda, wire, end, Parcel::Fin);
        }
    }

    /// Marks an end as closed. Returns whether it was closed before.
    fn close_end(&mut self, wire: usize, end: usize) -> bool {
        let state = &mut self.wires[wire];
        let was = std::mem::replace(&mut state.closed[end], true);
        if state.closed == [true, true] {
            self.torn.remove(&wire);
        }
        was
    }

    fn post(&mut self, agenda: &mut Agenda, wire: usize, end: usize, parcel: Parcel) {
        let [from, to] = [end, 1 - end].map(|end| self.wires[wire].sockets[end].machine);
        if self.is_blocked(from, to) {
            return self.wires[wire].lanes[end].held.push(parcel);
        }
        let at_us = agenda.now_us + self.latency(from, to);
        let lane = &mut self.wires[wire].lanes[end];
        lane.last_us = lane.last_us.max(at_us);
        agenda.at(
            lane.last_us,
            Event::Arrive {
                wire,
                end: 1 - end,
                parcel,
            },
        );
    }

    /// A parcel arrives at `end` of a wire. Returns the inputs for the two machines of the wire.
    pub fn arrive(&mut self, wire: usize, end: usize, parcel: Parcel) -> Vec<(Socket, Input<Payload>)> {
        let state = &mut self.wires[wire];
        let [socket, sender] = [state.sockets[end], state.sockets[1 - end]];
        let connection = socket.connection;
        if !state.up {
            return Vec::new();
        }
        match parcel {
            Parcel::Opened if !state.closed[end] => vec![(
                socket,
                Input::Opened {
                    connection,
                    certificate: None,
                },
            )],
            Parcel::Bytes(bytes) => {
                let written = Input::Written {
                    connection: sender.connection,
                    bytes: bytes.len(),
                };
                let mut inputs = vec![(sender, written)];
                if state.closed[end] {
                    return inputs;
                }
                // A read from a socket may end anywhere.
                let mut rest = bytes;
                if self.random.chance(100) {
                    let bytes = rest.split_to(self.random.index(rest.len()));
                    inputs.push((socket, Input::Received { connection, bytes }));
                }
                inputs.push((
                    socket,
                    Input::Received {
                        connection,
                        bytes: rest,
                    },
                ));
                inputs
            }
            Parcel::Fin => {
                let told = std::mem::replace(&mut state.closed[end], true);
                self.down(wire);
                if told {
                    Vec::new()
                } else {
                    vec![(socket, Input::Closed { connection })]
                }
            }
            Parcel::Opened => Vec::new(),
        }
    }

    fn down(&mut self, wire: usize) {
        let state = &mut self.wires[wire];
        state.up = false;
        self.up.remove(&wire);
        if state.closed == [true, true] {
            for socket in state.sockets {
                self.by_socket.remove(&socket);
            }
        } else {
            self.torn.insert(wire);
        }
        for lane in &mut state.lanes {
            *lane = Lane::default();
        }
    }

    // Faults

    /// Cuts a wire. Bytes on their way are lost. `told` says which ends are notified.
    pub fn cut(&mut self, agenda: &mut Agenda, wire: usize, told: [bool; 2], resets: bool) {
        let latency_us = self.latency_us;
        let state = &mut self.wires[wire];
        state.resets = resets;
        for (end, told) in told.into_iter().enumerate() {
            if told && !std::mem::replace(&mut state.closed[end], true) {
                let socket = state.sockets[end];
                agenda.give_after(
                    latency_us,
                    socket,
                    Input::Closed {
                        connection: socket.connection,
                    },
                );
            }
        }
        self.down(wire);
    }

    /// The wires of a machine that work.
    pub fn wires_of(&self, machine: usize) -> Vec<usize> {
        let touches = |wire: &&usize| {
            self.wires[**wire]
                .sockets
                .iter()
                .any(|socket| socket.machine == machine)
        };
        self.up.iter().filter(touches).copied().collect()
    }

    /// The working wires between two machines.
    pub fn wires_between(&self, a: usize, b: usize) -> Vec<usize> {
        let joins = |wire: &usize| {
            let [x, y] = self.wires[*wire].sockets.map(|socket| socket.machine);
            (x, y) == (a, b) || (x, y) == (b, a)
        };
        self.up.iter().copied().filter(joins).collect()
    }

    /// A half-open connection to a dead machine no longer counts as torn.
    fn bury(&mut self, machine: usize) {
        let wires = &self.wires;
        self.torn
            .retain(|&wire| wires[wire].sockets.iter().all(|socket| socket.machine != machine));
    }

    /// A process was killed, but its machine lives. The kernel closes the connections at once, or after the bytes
    /// already sent.
    pub fn killed(&mut self, agenda: &mut Agenda, machine: usize, at_once: bool) {
        for wire in self.wires_of(machine) {
            let dead = self.wires[wire].sockets.map(|socket| socket.machine == machine);
            if at_once {
                self.cut(agenda, wire, dead.map(|dead| !dead), true);
            } else {
                let end = usize::from(dead[1]);
                self.wires[wire].closed[end] = true;
                self.post(agenda, wire, end, Parcel::Fin);
            }
        }
        self.bury(machine);
    }

    /// A machine lost its power: its peers are not notified.
    pub fn unplugged(&mut self, agenda: &mut Agenda, machine: usize) {
        for wire in self.wires_of(machine) {
            self.cut(agenda, wire, [false; 2], false);
        }
        self.bury(machine);
    }

    /// Whether one direction between two machines is blocked.
    pub fn is_blocked(&self, from: usize, to: usize) -> bool {
        self.blocks[from * self.machines + to] > 0
    }

    /// Blocks one direction. Several blocks of one direction add up.
    pub fn block(&mut self, from: usize, to: usize) {
        self.blocks[from * self.machines + to] += 1;
    }

    /// Ends one block. When the last block ends, the bytes held are delivered, or the connections are cut if `cut`.
    pub fn unblock(&mut self, agenda: &mut Agenda, from: usize, to: usize, cut: bool) {
        let count = &mut self.blocks[from * self.machines + to];
        *count = count.saturating_sub(1);
        if *count > 0 {
            return;
        }
        for wire in self.wires_between(from, to) {
            if cut {
                self.cut(agenda, wire, [true; 2], true);
                continue;
            }
            let end = usize::from(self.wires[wire].sockets[1].machine == from);
            for parcel in std::mem::take(&mut self.wires[wire].lanes[end].held) {
                self.post(agenda, wire, end, parcel);
            }
        }
    }

    /// Adds up to `extra_us` to the latency of one direction.
    pub fn slow(&mut self, from: usize, to: usize, extra_us: u64) {
        self.slow_us[from * self.machines + to] = extra_us;
    }

    /// Whether any link is slow.
    pub fn is_slow(&self) -> bool {
        self.slow_us.iter().any(|&slow_us| slow_us > 0)
    }

    /// Whether no direction is blocked and no connection is half open.
    pub fn is_open(&self) -> bool {
        self.torn.is_empty() && self.blocks.iter().all(|&blocks| blocks == 0)
    }

    /// Whether sends arrive as TCP would deliver them.
    pub fn is_honest(&self) -> bool {
        let Hostile { lose, double, swap } = self.hostile;
        lose + double + swap == 0
    }

    /// Ends all network faults.
    pub fn mend(&mut self, agenda: &mut Agenda) {
        self.hostile = Hostile::default();
        self.slow_us.fill(0);
        for from in 0..self.machines {
            for to in 0..self.machines {
                if self.is_blocked(from, to) {
                    self.blocks[from * self.machines + to] = 1;
                    self.unblock(agenda, from, to, false);
                }
            }
        }
    }
}

/// Whether these bytes go to the process `salp` of the peer and to no other process: its name stands as an atom in the
/// control message.
fn carries_store_frames(bytes: &[u8]) -> bool {
    let has = |name: &[u8]| bytes.windows(name.len()).any(|window| window == name);
    has(b"w\x04salp") && !has(b"salp_members")
}
