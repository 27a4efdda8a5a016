//! The world of one run: machines with nodes on them, the network between them, time, and faults.
//!
//! - One queue of events, ordered by time and then by sequence number, drives everything. The same seed gives the same
//!   events.
//! - A *machine* is a name. Its *lives* are the processes that ran on it. Each life has its own creation and its own
//!   monotonic clock, and no memory of the previous life. Events for a life that is over are ignored.
//! - Nodes are driven as the server drives them: inputs one by one, effects carried out in order, an `Alarm` at the
//!   deadline, a `Flush` when no further input is at hand.
//! - A paused life takes no input; its inputs wait, in order of arrival.

mod clients;
mod ending;
mod identity;
mod links;
mod outsiders;
mod sight;
mod stops;
mod strikes;

use std::{cell::RefCell, collections::VecDeque, rc::Rc, sync::Arc};

use node::{Address, Atom, ConnectionId, Cookie, Effect, Event as Told, Input, Limits, Message, Node, Pid, Time};
use store::{
    ask::{Payload, Status},
    store::{NAME, Store},
};
use wire::reply::Reply;

use crate::{
    agenda::{Agenda, Event},
    check::{Quiet, Verdict},
    clusters::{Birth, Clusters, Standing},
    fault::{DAY_MS, Fault, Plan, Table},
    network::{Hostile, Network, Socket},
    plant::{Fuse, Plant, Tampered},
    random::Random,
    trace::Trace,
    workload::Workload,
};

/// Wall time at the beginning of a run, in Unix milliseconds.
const EPOCH_MS: u64 = 1_700_000_000_000;
/// Time between two looks of the checker.
const LOOK_US: u64 = 250_000;
/// How long the shell waits for another input before it flushes, at most.
const FLUSH_US: u64 = 60;
/// For one planted bug: how long after a start an operator gives up all missing nodes.
const ACCEPTS_AFTER_US: u64 = 10_000_000;
/// How much longer than its deadline a request may take: a tick of the store, and the network latency.
const SLACK_US: u64 = 250_000;

/// A process that runs on a machine.
pub struct Life {
    node: Node<Payload>,
    /// The store inside the node.
    pub store: Rc<RefCell<Store>>,
    /// No other life has this number.
    pub number: u64,
    /// Whether the process is stopped (as by SIGSTOP).
    pub paused: bool,
    waiting: VecDeque<Input<Payload>>,
    flushing: bool,
    alarm_us: Option<u64>,
    accepts: u64,
    clients: Vec<(Pid, usize)>,
    watcher: Pid,
    /// The last status it reported.
    pub status: Option<Arc<Status>>,
    leaving: bool,
    /// Whether it leaves with keys that no other node took over.
    loses: bool,
    dropped: u64,
    standing: Standing,
    /// Its calendar, known once it serves.
    calendar_ms: u64,
}

/// A name in the cluster.
pub struct Machine {
    /// The node's full name.
    pub name: Atom,
    /// The node process that runs on the machine now.
    pub life: Option<Life>,
    /// Whether the node is to run, now and at the end.
    pub wanted: bool,
    creation: u32,
    wall_offset_ms: i64,
    /// Its monotonic clock starts at another value in each life.
    base_us: u64,
    paused_at_us: u64,
    stood_us: u64,
    /// The state file, which outlives the process.
    file: identity::StateFile,
    /// What the current or last life knew at its start. `last_life` is the number of that life; 0 before the first one.
    birth: Birth,
    last_life: u64,
    /// Whether the node is an outsider: a twin or a stranger. No client connects to it, and it is gone at the end.
    pub outsider: bool,
    /// Inputs are handled this much later. All of them are handled before `late_until_us`.
    late_us: u64,
    late_until_us: u64,
    /// Counts down with each chunk that the node receives.
    fuse: Rc<Fuse>,
    /// Changes whenever the member list of its store changes.
    view: usize,
}

/// The results of a run, in numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Requests answered.
    pub requests: u64,
    /// Requests done, refused, and with unknown outcome.
    pub outcomes: [u64; 3],
    /// Writes acknowledged.
    pub acknowledged: u64,
    /// Replies judged strictly, and all replies.
    pub strict: [u64; 2],
    /// How often each fault struck.
    pub faults: [u64; Fault::ALL.len()],
    /// Sends that were lost, sent twice, reordered.
    pub hostile_sends: [u64; 3],
    /// Clusters founded after the first one; nodes that threw away their data; nodes that ended because they did not
    /// fit; nodes that an operator restarted without their state at the end.
    pub identity: [u64; 4],
    /// Simulated time, in microseconds.
    pub simulated_us: u64,
    /// Time it took to heal after the faults, in microseconds.
    pub healing_us: u64,
    /// A hash of all effects.
    pub trace: u64,
}

/// Everything in a run.
pub struct World {
    /// The plan of the run.
    pub plan: Plan,
    /// The machines.
    pub machines: Vec<Machine>,
    /// The clients.
    pub workload: Workload,
    /// Whether the world is quiet, and since when.
    pub quiet: Quiet,
    /// The results so far.
    pub tally: Tally,
    pub(crate) network: Network,
    agenda: Agenda,
    random: Random,
    trace: Trace,
    lives: u64,
    plant: Option<Plant>,
    /// Whether no more faults and requests are to come.
    ending: bool,
    last_crash_us: u64,
    failure: Option<String>,
    /// Which clusters exist, and which nodes are together in each, for the rules of the second table.
    pub clusters: Clusters,
    /// Whether an event may have changed `clusters`.
    regroups: bool,
}

impl World {
    /// The world of a plan, before its first event.
    pub fn new(plan: Plan, plant: Option<Plant>, trace: Trace) -> Self {
        let mut random = Random::new(plan.seed.wrapping_mul(3));
        let outsiders: Vec<Fault> = [Fault::Twin, Fault::Stranger]
            .into_iter()
            .filter(|fault| plan.has(*fault))
            .collect();
        let members = plan.nodes + plan.spare;
        let count = members + outsiders.len();
        let machines = (0..count).map(|number| {
            let skew_ms = random.below(2 * plan.skew_ms + 1).cast_signed() - plan.skew_ms.cast_signed();
            let outsider = number.checked_sub(members).map(|index| outsiders[index]);
            let name = match outsider {
                None => format!("n{number}@sim"),
                Some(Fault::Twin) => "n0@sim".into(),
                Some(_) => "stranger@sim".into(),
            };
            Machine {
                name: Atom::new(&name),
                life: None,
                wanted: number < plan.nodes,
                creation: if plan.table == Table::First {
                    4
                } else {
                    random.between(4, 2_000_000) as u32
                },
                wall_offset_ms: skew_ms,
                base_us: 0,
                paused_at_us: 0,
                stood_us: 0,
                file: identity::StateFile::new(plan.table != Table::First && random.chance(plan.containers)),
                birth: Birth::default(),
                last_life: 0,
                outsider: outsider.is_some(),
                late_us: 0,
                late_until_us: 0,
                fuse: Rc::default(),
                view: 0,
            }
        });
        let machines = machines.collect();
        let network = Network::new(count, plan.latency_us, plan.jitter_us, random.fork());
        let mut workload = Workload::new(&plan, random.fork());
        workload.hasty = plant == Some(Plant::HastyAck);
        workload.shadow.calendar_error_us = 1_000_000;
        workload.shadow.write_timeout_us = 1000 * store::config::Config::default().write_timeout_ms;
        let mut world = Self {
            machines,
            workload,
            quiet: Quiet::default(),
            tally: Tally::default(),
            network,
            agenda: Agenda::default(),
            random,
            trace,
            lives: 0,
            plant,
            ending: false,
            last_crash_us: 0,
            failure: None,
            clusters: Clusters::default(),
            regroups: true,
            plan,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for machine in 0..self.plan.nodes {
            let at_us = if self.plan.all_at_once {
                self.random.below(200_000)
            } else {
                700_000 * machine as u64
            };
            self.agenda.at(at_us, Event::Start(machine));
        }
        for client in 0..self.workload.clients.len() {
            self.agenda
                .at(1_000_000 + self.random.below(500_000), Event::Client(client));
        }
        for fault in self.plan.faults.clone() {
            let every_us = fault.every_ms() * 1000;
            let at_us = 3_000_000 + self.random.below(every_us);
            self.agenda.at(at_us, Event::Strike(fault));
        }
        self.agenda.at(LOOK_US, Event::Look);
    }

    // Time

    /// Simulated time since the beginning.
    pub fn now_us(&self) -> u64 {
        self.agenda.now_us
    }

    /// Runs until the given time, or until a check fails.
    pub fn run_until(&mut self, until_us: u64) -> Verdict {
        while self.failure.is_none()
            && let Some(event) = self.agenda.next(until_us)
        {
            self.happen(event);
            if self.regroups {
                self.regroup();
            }
        }
        match self.failure.take() {
            None => {
                self.agenda.now_us = self.agenda.now_us.max(until_us);
                Ok(())
            }
            Some(failure) => Err(format!("at {} ms: {failure}", self.now_us() / 1000)),
        }
    }

    fn happen(&mut self, event: Event) {
        if event.is_trouble() {
            self.trouble();
        }
        match event {
            Event::Connect { from, target } => self.connect(from, &target),
            Event::Arrive { wire, end, parcel } => {
                for (socket, input) in self.network.arrive(wire, end, parcel) {
                    self.give(socket.machine, socket.life, input);
                }
            }
            Event::Give { machine, life, input } => self.give(machine, life, input),
            Event::Flush { machine, life } => {
                if let Some(state) = self.life(machine, life) {
                    state.flushing = false;
                    self.give(machine, life, Input::Flush);
                }
            }
            Event::Alarm { machine, life } => {
                let now_us = self.now_us();
                if self
                    .life(machine, life)
                    .is_some_and(|state| state.alarm_us.is_some_and(|at_us| at_us <= now_us))
                {
                    self.give(machine, life, Input::Alarm);
                }
            }
            Event::Client(client) => self.client(client),
            // Once the world is being healed, the later steps of a fault do not happen.
            Event::Block { .. } | Event::Unblock { .. } | Event::Start(_) | Event::StartTold { .. } if self.ending => {}
            Event::Strike(fault) => self.strike(fault),
            Event::Late { machine, life, input } => self.handle(machine, life, input),
            Event::Brisk(machine) => {
                self.machines[machine].late_us = 0;
                self.troubled();
            }
            Event::StartTold { machine, told } => self.start_knowing(machine, told),
            Event::Written { machine, life } => self.written(machine, life),
            Event::Supervise { machine, life } => self.supervise(machine, life),
            Event::Expel(machine) => self.expel(machine),
            Event::Block { from, to } => {
                self.troubled();
                self.network.block(from, to);
            }
            Event::Unblock { from, to, cut } => {
                self.troubled();
                self.network.unblock(&mut self.agenda, from, to, cut);
            }
            Event::Resume { machine, life } => self.resume(machine, life),
            Event::Start(machine) => self.start(machine),
            Event::Roll(machine) => self.roll(machine),
            Event::End { machine, life } => self.end(machine, life),
            Event::AcceptLoss { machine, life } => {
                self.tell_store(machine, life, Payload::AcceptLoss);
            }
            Event::Calm => self.network.hostile = Hostile::default(),
            Event::Hasten(machine) => self.set_pace(machine, 0),
            Event::Look => self.look(),
        }
    }

    fn look(&mut self) {
        let mut quiet = std::mem::take(&mut self.quiet);
        let spread_us = quiet.look(self);
        self.quiet = quiet;
        self.look_at_copies(spread_us);
        self.regroups |= self.clusters.is_merging();
        self.check_deadlines();
        if let Err(failure) = crate::check::pairs_are_whole(self) {
            self.fail(failure);
        }
        self.agenda.after(LOOK_US, Event::Look);
    }

    fn disturbed(&mut self) {
        self.quiet.disturbed(self.agenda.now_us);
        self.regroups = true;
    }

    /// Notes that a fault affects the network or a node.
    fn troubled(&mut self) {
        self.disturbed();
        self.clusters.troubled(self.agenda.now_us);
    }

    fn fail(&mut self, failure: String) {
        self.failure.get_or_insert(failure);
    }

    // Nodes

    fn life(&mut self, machine: usize, number: u64) -> Option<&mut Life> {
        self.machines[machine]
            .life
            .as_mut()
            .filter(|life| life.number == number)
    }

    /// The machines whose node runs.
    pub fn running(&self) -> Vec<usize> {
        (0..self.machines.len())
            .filter(|&machine| self.machines[machine].life.is_some())
            .collect()
    }

    /// The stores of all running nodes, with the index of their machine.
    pub fn stores(&self) -> impl Iterator<Item = (usize, std::cell::Ref<'_, Store>)> {
        let life = |(at, machine): (usize, &'_ Machine)| Some((at, machine.life.as_ref()?.store.clone()));
        let lives = self
            .machines
            .iter()
            .enumerate()
            .filter(move |(at, machine)| life((*at, machine)).is_some());
        lives.filter_map(|(at, machine)| Some((at, machine.life.as_ref()?.store.borrow())))
    }

    fn start(&mut self, at: usize) {
        if self.machines[at].life.is_none() {
            let others = self.names_to_join(at);
            self.start_knowing(at, others);
        }
    }

    /// Starts a node with `others` as the nodes to join.
    fn start_knowing(&mut self, at: usize, others: Vec<Atom>) {
        if self.machines[at].life.is_some() {
            return;
        }
        self.lives += 1;
        self.regroups = true;
        let creation = self.next_creation(at);
        let named = |name: &Atom| self.machines.iter().position(|machine| machine.name == *name);
        // A node does not join itself.
        let is_other = |name: &&Atom| **name != self.machines[at].name;
        let told = others.iter().filter(is_other).filter_map(named).collect();
        let others = match self.plant {
            Some(Plant::KnowsNobody) if self.machines[at].last_life > 0 => Vec::new(),
            _ => others,
        };
        let machine = &mut self.machines[at];
        machine.wanted = true;
        machine.creation = creation;
        machine.last_life = self.lives;
        machine.birth = Birth {
            told,
            memory: machine.file.read().clone(),
            started_us: self.agenda.now_us,
            holds: false,
        };
        machine.base_us = self.random.below(1 << 40);
        let name = machine.name.clone();
        let min_acks = if self.plant == Some(Plant::NoMinAcks) {
            1
        } else {
            self.plan.load.min_acks
        };
        let keyspace = |number: u16| store::config::Keyspace {
            level: self.plan.load.level,
            min_acks,
            ..store::config::Keyspace::named(&format!("k{number}"))
        };
        let writer = if self.plant == Some(Plant::ReusedDot) {
            5
        } else {
            machine.creation
        };
        let config = store::config::Config {
            name: name.as_str().into(),
            creation: writer,
            shards: self.plan.shards,
            keyspaces: (0..self.plan.keyspaces).map(keyspace).collect(),
            replicas: self.plan.replicas,
            join: match self.plant {
                Some(Plant::ForgottenJoin) => Vec::new(),
                _ => others.iter().map(|other| other.as_str().into()).collect(),
            },
            // What a planted bug is to spoil has to be seen in one frame.
            slice_bytes: match self.plant {
                None => self.plan.load.slice_bytes,
                Some(_) => store::config::Config::default().slice_bytes,
            },
            ..store::config::Config::default()
        };
        let node_config = node::Config {
            name: name.clone(),
            creation: machine.creation,
            cookie: Cookie::new(b"oyster"),
            hidden: true,
            tick_ms: self.plan.tick_ms,
            birth: config.birth(),
            join: others,
            dist_port: Some(4000),
            limits: Limits {
                output_bytes_busy: self.plan.load.busy_bytes,
                ..Limits::default()
            },
        };
        let store = Rc::new(RefCell::new(Store::new(config, self.random.next())));
        let mut node = Node::new(node_config, self.random.next());
        node.recall(machine.birth.memory.clone());
        node.add_service(
            NAME,
            Box::new(Tampered::new(store.clone(), self.plant, machine.fuse.clone())),
        );
        if let Some(observer) = self.trace.observer(&name, machine.base_us) {
            node.observe(observer);
        }
        let watcher = node.adopt();
        let number = self.lives;
        machine.life = Some(Life {
            node,
            store,
            number,
            paused: false,
            waiting: VecDeque::new(),
            flushing: false,
            alarm_us: None,
            accepts: 0,
            clients: Vec::new(),
            watcher,
            status: None,
            leaving: false,
            loses: false,
            dropped: 0,
            standing: Standing::default(),
            calendar_ms: 0,
        });
        self.say(|| format!("{} starts", name.as_str()));
        if self.plant == Some(Plant::ReusedDot) {
            // Cut off, the node serves nothing, and so writes nothing, until an operator accepts the loss of the
            // others.
            let life = number;
            self.agenda
                .after(ACCEPTS_AFTER_US, Event::AcceptLoss { machine: at, life });
        }
        self.give(at, number, Input::Start);
    }

    fn give(&mut self, at: usize, number: u64, input: Input<Payload>) {
        let now_us = self.now_us();
        let machine = &mut self.machines[at];
        // Inputs that are delayed already are handled before this one.
        if machine.late_us > 0 || machine.late_until_us > now_us {
            machine.late_until_us = machine.late_until_us.max(now_us + machine.late_us);
            let event = Event::Late {
                machine: at,
                life: number,
                input,
            };
            return self.agenda.at(machine.late_until_us, event);
        }
        self.handle(at, number, input);
    }

    /// A node handles an input.
    fn handle(&mut self, at: usize, number: u64, input: Input<Payload>) {
        let now_us = self.now_us();
        let machine = &mut self.machines[at];
        let time = Time {
            monotonic_us: machine.base_us + now_us,
            wall_ms: (EPOCH_MS + now_us / 1000).saturating_add_signed(machine.wall_offset_ms),
        };
        let Some(life) = machine.life.as_mut().filter(|life| life.number == number) else {
            return;
        };
        if life.paused {
            return life.waiting.push_back(input);
        }
        let flush = matches!(input, Input::Flush);
        let mut effects = Vec::new();
        life.node.handle(time, input, &mut effects);
        let dropped = life.store.borrow().counters().dropped;
        let has_dropped = std::mem::replace(&mut life.dropped, dropped) != dropped;
        let standing = Self::standing_now(life);
        let before = std::mem::replace(&mut life.standing, standing);
        let serves = standing.serves;
        let calendar_ms = life.store.borrow().now_ms();
        let view = Arc::as_ptr(life.store.borrow().cluster().members()).cast::<u8>().addr();
        self.regroups |= std::mem::replace(&mut machine.view, view) != view;
        // The node changed to an older calendar. What it wrote before may expire at another time.
        let is_note = |told: &Told| matches!(told, Told::Note { kind, .. } if *kind == "cluster_time");
        let gave_way = |effect: &Effect<_>| matches!(effect, Effect::Event(told) if is_note(told));
        if life.calendar_ms > 0 && effects.iter().any(gave_way) {
            self.workload.shadow.calendar_error_us += 1_000 * calendar_ms.abs_diff(life.calendar_ms);
            life.calendar_ms = 0;
        }
        let went_back = calendar_ms < life.calendar_ms;
        if serves || life.calendar_ms > 0 {
            life.calendar_ms = calendar_ms;
        }
        let begins_to_serve = serves && !before.serves;
        let base_us = machine.base_us;
        let deadline_us = life
            .node
            .deadline()
            .map(|at_us| at_us.saturating_sub(base_us).max(now_us));
        if life.alarm_us.is_none_or(|at_us| at_us <= now_us) || deadline_us < life.alarm_us {
            life.alarm_us = deadline_us;
            if let Some(at_us) = deadline_us {
                // A deadline that is already past: this input did not finish its work.
                let at_us = at_us.max(now_us + 1);
                life.alarm_us = Some(at_us);
                self.agenda.at(
                    at_us,
                    Event::Alarm {
                        machine: at,
                        life: number,
                    },
                );
            }
        }
        if !flush && !std::mem::replace(&mut life.flushing, true) {
            let delay_us = self.random.below(FLUSH_US);
            self.agenda.after(
                delay_us,
                Event::Flush {
                    machine: at,
                    life: number,
                },
            );
        }
        let throws_away = |effect: &Effect<_>| {
            matches!(
                effect,
                Effect::Event(Told::Note {
                    kind: "thrown_away",
                    ..
                })
            )
        };
        if effects.iter().any(throws_away) {
            self.thrown_away(at, before);
        }
        if standing != before {
            self.stands(at, before);
        }
        // A reply of this step is judged by whom the node has lost in the same step.
        if self.regroups {
            self.regroup();
        }
        for effect in effects {
            self.trace.effect(now_us, at, &effect);
            self.carry_out(at, number, effect);
        }
        if begins_to_serve && !crate::check::connected(self) {
            self.disturbed();
        }
        if self.machines[at].fuse.has_blown() {
            self.interrupt(at);
        }
        if went_back {
            let name = self.machines[at].name.clone();
            self.fail(format!("the calendar of {} went back to {calendar_ms}", name.as_str()));
        }
        if has_dropped {
            self.excuse_dropped(at);
            let mut quiet = std::mem::take(&mut self.quiet);
            let verdict = quiet.may_drop(self, at);
            self.quiet = quiet;
            if let Err(failure) = verdict {
                self.fail(failure);
            }
        }
    }

    fn carry_out(&mut self, at: usize, life: u64, effect: Effect<Payload>) {
        let socket = |connection: ConnectionId| Socket {
            machine: at,
            life,
            connection,
        };
        match effect {
            Effect::Dial { connection, node, .. } => {
                let delay_us = 2 * self.plan.latency_us;
                self.agenda.after(
                    delay_us,
                    Event::Connect {
                        from: socket(connection),
                        target: node,
                    },
                );
            }
            Effect::Send { bytes, .. } if self.plant.is_some_and(|plant| plant.swallows(at, &bytes)) => {}
            Effect::Send { connection, bytes } => self.network.send(&mut self.agenda, socket(connection), &bytes),
            Effect::Close { connection } => self.network.close(&mut self.agenda, socket(connection)),
            Effect::Deliver {
                to,
                message: Message::Payload(Payload::Ask(ask)),
            } => {
                if let Some(client) = self.client_of(at, life, &to) {
                    self.answered_piece(client, ask);
                } else if ask.batch.replies.tokens().any(|reply| matches!(reply, Reply::Ok)) {
                    self.machines[at].birth.holds = true;
                }
            }
            Effect::Deliver {
                to,
                message: Message::Term { term, .. },
            } => {
                let client = self.client_of(at, life, &to);
                if let Some((client, replies)) =
                    client.and_then(|client| Some((client, self.workload.reply_of(client, &term)?)))
                {
                    self.answered(client, replies);
                }
            }
            Effect::Deliver {
                message: Message::Payload(Payload::Status(status)),
                ..
            } => {
                if let Some(life) = self.life(at, life) {
                    life.status = Some(status);
                }
            }
            Effect::Remember(memory) => self.remember(at, life, memory),
            Effect::Event(Told::Note {
                kind: kind @ ("left" | "serving_out" | "lost"),
                text,
            }) => self.goes(at, life, kind, &text),
            Effect::Event(event @ (Told::MessageDropped { .. } | Told::ProcessExited { .. })) => {
                self.fail(format!("{}: {event:?}", self.machines[at].name.as_str()));
            }
            Effect::Event(event) => {
                self.connections(at, life, &event);
                self.misfit(at, life, &event);
            }
            Effect::Deliver { .. } => {}
        }
    }

    fn connect(&mut self, from: Socket, target: &Atom) {
        let Some(to) = self.machine_of(from.machine, target) else {
            return;
        };
        let refused = Input::Closed {
            connection: from.connection,
        };
        if self.network.is_blocked(from.machine, to) || self.network.is_blocked(to, from.machine) {
            let patience_us = self.random.between(500_000, 3_000_000);
            return self.agenda.give_after(patience_us, from, refused);
        }
        let Some(life) = self.machines[to].life.as_mut() else {
            return self.agenda.give_after(self.plan.latency_us, from, refused);
        };
        let connection = ConnectionId(2 * life.accepts + 1);
        life.accepts += 1;
        let server = Socket {
            machine: to,
            life: life.number,
            connection,
        };
        self.network.connect(&mut self.agenda, from, server);
        self.give(
            server.machine,
            server.life,
            Input::Accepted {
                connection,
                certificate: None,
            },
        );
    }

    /// Sends a payload to the store of a life.
    fn tell_store(&mut self, at: usize, life: u64, payload: Payload) {
        let to = Address::Name(Atom::new(NAME));
        let message = Message::Payload(payload);
        self.give(at, life, Input::Message { to, message });
    }

    /// Asks all nodes for the status of the cluster. The answers are in `status` a moment later.
    pub fn ask_status(&mut self) {
        for at in self.running() {
            let Some(life) = &mut self.machines[at].life else {
                continue;
            };
            life.status = None;
            let (number, to) = (life.number, life.watcher.clone());
            self.tell_store(at, number, Payload::StatusOf { to });
        }
    }

    /// Adds a line to the trace, if the trace is printed.
    fn say(&mut self, line: impl FnOnce() -> String) {
        self.trace.line(self.agenda.now_us, line);
    }
}
