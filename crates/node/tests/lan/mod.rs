//! Nodes in one thread. A network passes their effects to the inputs of other nodes after a fixed delay. The order
//! depends only on the seeds. Effects that do not concern the network are kept, so that tests can read them.
//!
//! It does not depend on what the nodes run: the tests of `store` use it too.

use node::{Atom, ConnectionId, Context, Effect, Event, Input, Memory, Message, Node, Payload, Pid, Time};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    mem,
};

const LATENCY_US: u64 = 500;
const WALL_MS: u64 = 1_700_000_000_000;

struct Machine<P: Payload> {
    node: Node<P>,
    /// The other end of each connection.
    far: BTreeMap<ConnectionId, (Atom, ConnectionId)>,
    accepts: u64,
    /// Whether it is stopped by a signal: its inputs wait.
    is_stopped: bool,
    events: Vec<Event>,
    memory: Option<Memory>,
    delivered: Vec<(Pid, Message<P>)>,
}

/// The network and the nodes on it.
pub struct Lan<P: Payload> {
    machines: BTreeMap<Atom, Machine<P>>,
    now_us: u64,
    /// Inputs on their way, by time and order.
    travelling: BTreeMap<(u64, u64), (Atom, Input<P>)>,
    sequence: u64,
    /// Pairs (from, to) between which nothing is delivered. Neither of the two can dial the other.
    deaf: BTreeSet<(Atom, Atom)>,
    /// Inputs that were not delivered because of that.
    held_back: Vec<(Atom, Input<P>)>,
    /// All dials: time, dialling node, dialled node.
    pub dials: Vec<(u64, Atom, Atom)>,
    /// How many milliseconds a machine's wall clock is ahead of the others.
    pub walls_ahead_ms: BTreeMap<Atom, i64>,
    /// Every effect of every node, for comparison, if a test wants it.
    pub trace: Option<String>,
}

impl<P: Payload> Lan<P> {
    pub fn new() -> Self {
        Self {
            machines: BTreeMap::new(),
            now_us: 1_000_000,
            travelling: BTreeMap::new(),
            sequence: 0,
            deaf: BTreeSet::new(),
            held_back: Vec::new(),
            dials: Vec::new(),
            walls_ahead_ms: BTreeMap::new(),
            trace: None,
        }
    }

    pub fn now(&self) -> Time {
        Time {
            monotonic_us: self.now_us,
            wall_ms: WALL_MS + self.now_us / 1000,
        }
    }

    /// The clocks of a machine.
    pub fn now_at(&self, name: &Atom) -> Time {
        let mut now = self.now();
        let ahead_ms = self.walls_ahead_ms.get(name).copied().unwrap_or(0);
        now.wall_ms = now.wall_ms.saturating_add_signed(ahead_ms);
        now
    }

    fn machine(&mut self, name: &Atom) -> &mut Machine<P> {
        self.machines.get_mut(name).unwrap()
    }

    // Faults

    /// Starts a node.
    pub fn start(&mut self, name: &Atom, node: Node<P>) {
        let machine = Machine {
            node,
            far: BTreeMap::new(),
            accepts: 0,
            is_stopped: false,
            events: Vec::new(),
            memory: None,
            delivered: Vec::new(),
        };
        assert!(
            self.machines.insert(name.clone(), machine).is_none(),
            "the node runs already"
        );
        self.input(name, Input::Start);
    }

    /// The node dies. With `quietly`, its peers notice nothing, as if its cable was cut; otherwise its sockets are
    /// closed.
    pub fn kill(&mut self, name: &Atom, quietly: bool) {
        let machine = self.machines.remove(name).unwrap();
        for (far, connection) in machine.far.into_values() {
            if !quietly {
                self.travel(far, Input::Closed { connection });
            }
        }
    }

    /// SIGSTOP.
    pub fn stop(&mut self, name: &Atom) {
        self.machine(name).is_stopped = true;
    }

    /// SIGCONT: the waiting inputs are handled now.
    pub fn resume(&mut self, name: &Atom) {
        self.machine(name).is_stopped = false;
    }

    /// From now on, nothing from `from` is delivered to `to`.
    pub fn deafen(&mut self, from: &Atom, to: &Atom) {
        self.deaf.insert((from.clone(), to.clone()));
    }

    /// All nodes reach each other again. Inputs held back are lost.
    pub fn heal(&mut self) {
        self.deaf.clear();
        self.held_back.clear();
    }

    /// All nodes reach each other again. Inputs held back are delivered now.
    pub fn hear(&mut self) {
        self.deaf.clear();
        for (to, input) in mem::take(&mut self.held_back) {
            self.travel(to, input);
        }
    }

    /// Closes the connections between two nodes.
    pub fn cut(&mut self, a: &Atom, b: &Atom) {
        self.cut_end(a, b);
        self.cut_end(b, a);
    }

    /// `near` sees its connections to `other` closed. `other` does not notice.
    pub fn cut_end(&mut self, near: &Atom, other: &Atom) {
        let far = &mut self.machine(near).far;
        let cut: Vec<_> = far.extract_if(.., |_, far| far.0 == *other).collect();
        for (connection, _) in cut {
            self.travel(near.clone(), Input::Closed { connection });
        }
    }

    /// Closes their connections, and keeps them from making new ones until [`Lan::heal`] or [`Lan::hear`].
    pub fn part(&mut self, a: &Atom, b: &Atom) {
        self.cut(a, b);
        self.deafen(a, b);
        self.deafen(b, a);
    }

    // Inputs and effects

    /// Gives an input now, and a flush.
    pub fn input(&mut self, name: &Atom, input: Input<P>) {
        self.handle(name, input);
        self.handle(name, Input::Flush);
    }

    fn handle(&mut self, name: &Atom, input: Input<P>) {
        let now = self.now_at(name);
        let Some(machine) = self.machines.get_mut(name) else {
            return;
        };
        let mut effects = Vec::new();
        machine.node.handle(now, input, &mut effects);
        self.carry_out(name, effects);
    }

    /// Acts as an adopted process.
    pub fn act<R>(&mut self, name: &Atom, pid: &Pid, action: impl FnOnce(&mut Context<'_, P>) -> R) -> R {
        let now = self.now_at(name);
        let mut effects = Vec::new();
        let result = self.machine(name).node.act(now, pid, &mut effects, action).unwrap();
        self.carry_out(name, effects);
        self.handle(name, Input::Flush);
        result
    }

    pub fn adopt(&mut self, name: &Atom) -> Pid {
        self.machine(name).node.adopt()
    }

    fn travel(&mut self, to: Atom, input: Input<P>) {
        self.sequence += 1;
        let key = (self.now_us + LATENCY_US, self.sequence);
        self.travelling.insert(key, (to, input));
    }

    fn carry_out(&mut self, from: &Atom, effects: Vec<Effect<P>>) {
        for effect in effects {
            if let Some(trace) = &mut self.trace {
                writeln!(trace, "{} {} {effect:?}", self.now_us, from.as_str()).unwrap();
            }
            match effect {
                Effect::Dial { connection, node, .. } => self.dial(from, connection, &node),
                Effect::Send { connection, bytes } => {
                    let count = bytes.len();
                    if let Some((to, far)) = self.far(from, connection) {
                        let input = Input::Received { connection: far, bytes };
                        if self.deaf.contains(&(from.clone(), to.clone())) {
                            self.held_back.push((to, input));
                        } else {
                            self.travel(to, input);
                        }
                        let bytes = count;
                        self.travel(from.clone(), Input::Written { connection, bytes });
                    }
                }
                Effect::Close { connection } => {
                    if let Some((to, far)) = self.far(from, connection) {
                        self.machine(from).far.remove(&connection);
                        self.travel(to, Input::Closed { connection: far });
                    }
                }
                Effect::Deliver { to, message } => self.machine(from).delivered.push((to, message)),
                Effect::Event(event) => self.machine(from).events.push(event),
                Effect::Remember(memory) => self.machine(from).memory = Some(memory),
            }
        }
    }

    fn far(&self, name: &Atom, connection: ConnectionId) -> Option<(Atom, ConnectionId)> {
        let far = self.machines.get(name)?.far.get(&connection)?;
        // None if the other side has closed the connection, or is an earlier life of its name.
        let back = self.machines.get(&far.0)?.far.get(&far.1)?;
        (*back == (name.clone(), connection)).then(|| far.clone())
    }

    fn dial(&mut self, from: &Atom, connection: ConnectionId, to: &Atom) {
        self.dials.push((self.now_us, from.clone(), to.clone()));
        let is_deaf = |from: &Atom, to: &Atom| self.deaf.contains(&(from.clone(), to.clone()));
        let is_parted = is_deaf(from, to) || is_deaf(to, from);
        let Some(target) = self.machines.get_mut(to).filter(|_| !is_parted) else {
            return self.travel(from.clone(), Input::Closed { connection });
        };
        target.accepts += 1;
        let far = ConnectionId(target.accepts * 2 - 1);
        target.far.insert(far, (from.clone(), connection));
        self.machine(from).far.insert(connection, (to.clone(), far));
        let certificate = None;
        let accepted = Input::Accepted {
            connection: far,
            certificate: None,
        };
        self.travel(to.clone(), accepted);
        self.travel(
            from.clone(),
            Input::Opened {
                connection,
                certificate,
            },
        );
    }

    // Time

    pub fn run_us(&mut self, us: u64) {
        let end_us = self.now_us + us;
        while let Some((at_us, name, input)) = self.next(end_us) {
            self.now_us = self.now_us.max(at_us);
            self.input(&name, input);
        }
        self.now_us = end_us;
    }

    /// The next input of a node that is not stopped.
    fn next(&mut self, end_us: u64) -> Option<(u64, Atom, Input<P>)> {
        let runs = |name: &Atom| self.machines.get(name).is_none_or(|machine| !machine.is_stopped);
        let due = self.travelling.iter().find(|(_, (name, _))| runs(name));
        let due = due.map(|(key, _)| *key);
        let alarms = self.machines.iter().filter(|(_, machine)| !machine.is_stopped);
        let alarm = alarms
            .filter_map(|(name, machine)| Some((machine.node.deadline()?, name.clone())))
            .min();
        match (due, alarm) {
            (Some(key), alarm) if key.0 <= end_us && alarm.as_ref().is_none_or(|alarm| key.0 <= alarm.0) => {
                let (name, input) = self.travelling.remove(&key).unwrap();
                Some((key.0, name, input))
            }
            (_, Some((at_us, name))) if at_us <= end_us => Some((at_us, name, Input::Alarm)),
            _ => None,
        }
    }

    // Reading

    /// The nodes that run and are not stopped.
    pub fn running(&self) -> Vec<Atom> {
        let runs = |(name, machine): (&Atom, &Machine<P>)| (!machine.is_stopped).then(|| name.clone());
        self.machines.iter().filter_map(runs).collect()
    }

    pub fn events(&self, name: &Atom) -> &[Event] {
        &self.machines[name].events
    }

    /// The memory that a node last asked to write down.
    pub fn memory(&self, name: &Atom) -> Memory {
        self.machines[name].memory.clone().unwrap_or_default()
    }

    /// Messages for adopted processes that no test has taken yet.
    pub fn delivered(&self, name: &Atom) -> &[(Pid, Message<P>)] {
        &self.machines[name].delivered
    }

    /// The same, so that a test can take some.
    pub fn delivered_mut(&mut self, name: &Atom) -> &mut Vec<(Pid, Message<P>)> {
        &mut self.machine(name).delivered
    }
}
