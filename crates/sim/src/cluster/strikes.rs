//! Carries out each fault of the plan, and the recovery from it.

use super::{DAY_MS, Event, Fault, Input, Table, World};
use node::ClusterId;
use store::ask::Payload;

impl World {
    pub(super) fn strike(&mut self, fault: Fault) {
        if self.ending {
            return;
        }
        let every_us = fault.every_ms() * 1000;
        let again_us = every_us / 2 + self.random.below(every_us);
        self.agenda.after(again_us, Event::Strike(fault));
        let mut running = self.running();
        running.retain(|at| !self.machines[*at].outsider);
        if running.is_empty() {
            return;
        }
        let machine = self.random.pick(&running);
        let struck = match fault {
            Fault::Crash => self.crash(&[machine], false),
            Fault::PowerOff => self.crash(&[machine], true),
            Fault::CrashTwo => {
                let other = self.random.pick(&running);
                other != machine && self.plan.replicas > 2 && self.crash(&[machine, other], false)
            }
            Fault::WildCrash => running.len() > 1 && self.wild_crash(machine),
            Fault::Leave => running.len() > usize::from(self.plan.replicas) && self.leave(machine),
            Fault::Join => self.join(),
            Fault::Rolling => {
                self.agenda.after(0, Event::Roll(0));
                true
            }
            Fault::Pause => self.pause(machine),
            Fault::ClockJump => self.jump(machine),
            Fault::Cut => self.cut(machine, [true, true]),
            Fault::HalfOpen => {
                let told = self.random.pick(&[[true, false], [false, true], [false, false]]);
                self.cut(machine, told)
            }
            Fault::OneWay => {
                let other = self.random.pick(&running);
                other != machine && self.block_for(&[(machine, other)], 20_000)
            }
            Fault::Partition => {
                let pairs = self.sides(&running);
                self.block_for(&pairs, 20_000)
            }
            Fault::Flap => self.flap(&running),
            Fault::Blip => {
                let pairs = self.sides(&running);
                self.block_for(&pairs, 12)
            }
            Fault::Slow => {
                let extra_us = self.random.pick(&[5_000, 50_000, 300_000]);
                self.set_pace(machine, extra_us);
                let time_us = self.random.between(500_000, 6_000_000);
                self.agenda.after(time_us, Event::Hasten(machine));
                true
            }
            Fault::Lose | Fault::Double | Fault::Swap => {
                let often = self.random.pick(&[2, 20, 200]);
                match fault {
                    Fault::Lose => self.network.hostile.lose = often,
                    Fault::Double => self.network.hostile.double = often,
                    _ => self.network.hostile.swap = often,
                }
                let time_us = self.random.between(100_000, 3_000_000);
                self.agenda.after(time_us, Event::Calm);
                true
            }
            Fault::LinkDown
            | Fault::LinkFlap
            | Fault::Ring
            | Fault::Bridge
            | Fault::RestartCutOff
            | Fault::RestartPair
            | Fault::Sluggish
            | Fault::ChunkCut
            | Fault::Blind
            | Fault::Twin
            | Fault::Stranger => self.strike_second(fault, machine, &running),
        };
        self.tally.faults[fault.index()] += u64::from(struck);
        if struck {
            self.say(|| format!("{fault:?} strikes {machine}"));
        }
        if struck
            && !matches!(
                fault,
                Fault::Crash
                    | Fault::CrashTwo
                    | Fault::Leave
                    | Fault::Join
                    | Fault::Rolling
                    | Fault::Twin
                    | Fault::Stranger
            )
        {
            self.troubled();
        }
    }

    /// A lawful crash: the world has been quiet for a while, and every shard has two ready copies without these
    /// machines (one if two machines crash at once).
    fn crash(&mut self, machines: &[usize], silent: bool) -> bool {
        let now_us = self.now_us();
        let lawful = machines.iter().all(|at| self.counts(*at))
            && self.quiet.since(now_us.saturating_sub(1_500_000))
            && now_us > self.last_crash_us + 2_000_000
            && self
                .quiet
                .can_lose(self, machines, if machines.len() == 1 { 2 } else { 1 });
        if !lawful {
            return false;
        }
        self.last_crash_us = now_us;
        self.trouble();
        let cluster = self.cluster_of(machines[0]);
        for &machine in machines {
            self.die(machine, silent);
            self.come_back(machine);
        }
        if machines.len() > 1 {
            // At level quorum two copies are enough, and both may have been on these machines.
            self.excuse(cluster);
        }
        true
    }

    pub(super) fn wild_crash(&mut self, machine: usize) -> bool {
        self.wild_death(machine);
        self.come_back(machine);
        true
    }

    /// Like [`World::wild_crash`], but the caller decides when the node comes back.
    pub(super) fn wild_death(&mut self, machine: usize) {
        self.last_crash_us = self.now_us();
        let silent = self.random.chance(500);
        let cluster = self.cluster_of(machine);
        self.orphan(machine);
        self.die(machine, silent);
        self.excuse(cluster);
    }

    fn come_back(&mut self, machine: usize) {
        let delay_us = match self.random.below(4) {
            0 => self.random.between(10_000, 300_000),
            1 | 2 => self.random.between(300_000, 5_000_000),
            _ => self.random.between(5_000_000, 40_000_000),
        };
        self.agenda.after(delay_us, Event::Start(machine));
    }

    /// Ends the process on a machine.
    pub(super) fn die(&mut self, at: usize, silent: bool) {
        let Some(life) = self.machines[at].life.take() else {
            return;
        };
        self.regroups = true;
        self.leave_file(at);
        let name = self.machines[at].name.as_str().to_owned();
        self.say(|| format!("{name} dies"));
        if silent {
            self.network.unplugged(&mut self.agenda, at);
            self.troubled();
        } else {
            let at_once = self.random.chance(500);
            self.network.killed(&mut self.agenda, at, at_once);
        }
        let now_us = self.now_us();
        for (_, client) in life.clients {
            let place = &self.workload.clients[client].place;
            if place.as_ref().is_some_and(|place| place.life == life.number) {
                let asking = self.workload.clients[client].asked.is_some();
                self.workload.abandoned(client, now_us);
                if asking {
                    self.agenda
                        .after(1 + self.plan.load.think_us / 2, Event::Client(client));
                }
            }
        }
    }

    /// The node on a machine is about to die. It may be the only node that has the writes of unanswered requests.
    /// Replies to them may still be on their way.
    pub(super) fn orphan(&mut self, machine: usize) {
        let mut shadow = std::mem::take(&mut self.workload.shadow);
        let cluster = self.cluster_of(machine);
        let of_it = |at: usize| self.cluster_of(at) == cluster;
        shadow.orphan(|name, number, deleted| {
            let mut holders = self
                .stores()
                .filter(|(at, store)| of_it(*at) && crate::check::holds(store, name, number, deleted));
            holders.all(|(at, _)| at == machine)
        });
        self.workload.shadow = shadow;
    }

    /// Writes that no living node of a cluster holds any more are excused for that cluster.
    pub(super) fn excuse(&mut self, cluster: Option<ClusterId>) {
        self.excuse_without(None, cluster);
    }

    /// Writes that no living node of a cluster holds are excused. The node on the machine `lost` does not count as
    /// living.
    pub(super) fn excuse_without(&mut self, lost: Option<usize>, cluster: Option<ClusterId>) {
        self.excuse_some(lost, cluster, |_| true);
    }

    /// The node on a machine has dropped copies, as all replicas in its view had allowed. If all of these replicas have
    /// died meanwhile, the node had not noticed that yet, and their deaths took the dropped copy too.
    pub(super) fn excuse_dropped(&mut self, at: usize) {
        let shards = crate::check::dead_replicas(self, at);
        if !shards.is_empty() {
            let per_keyspace = self.plan.shards;
            let concerns = |key: &str| shards.contains(&crate::check::shard_among(per_keyspace, key));
            self.excuse_some(None, self.cluster_of(at), concerns);
        }
    }

    /// The same for some keys only.
    fn excuse_some(&mut self, lost: Option<usize>, cluster: Option<ClusterId>, concerns: impl Fn(&str) -> bool) {
        let mut shadow = std::mem::take(&mut self.workload.shadow);
        let of_it = |at: usize| Some(at) != lost && self.cluster_of(at) == cluster;
        for key in 0..shadow.len() {
            if concerns(shadow.name(key)) {
                shadow.excuse_unless(key, cluster, |name, number, deleted| {
                    self.stores()
                        .any(|(at, store)| of_it(at) && crate::check::holds(&store, name, number, deleted))
                });
            }
        }
        shadow.excuse_counters(cluster, &concerns, |name| {
            self.stores()
                .filter(|(at, store)| of_it(*at) && crate::check::is_ready(store, name))
                .map(|(_, store)| crate::check::sum(&store, name))
                .collect()
        });
        shadow.excuse_contended(&concerns, |name| {
            self.stores()
                .any(|(_, store)| crate::check::shown(&store, name).is_some())
        });
        self.workload.shadow = shadow;
    }

    fn leave(&mut self, at: usize) -> bool {
        let Some(life) = &mut self.machines[at].life else {
            return false;
        };
        // A node without peers would end at once. Nodes that wait for its former life would not learn of that, until an
        // operator says that it is dead.
        if life.leaving || life.paused || life.store.borrow().cluster().is_alone() {
            return false;
        }
        life.leaving = true;
        let number = life.number;
        self.tell_store(at, number, Payload::Leave);
        true
    }

    fn join(&mut self) -> bool {
        let idle = |machine: &usize| self.machines[*machine].life.is_none() && !self.machines[*machine].outsider;
        let Some(machine) = (0..self.machines.len()).find(idle) else {
            return false;
        };
        self.start(machine);
        true
    }

    /// Restarts a node once the cluster is healthy, and then goes on with the next.
    pub(super) fn roll(&mut self, machine: usize) {
        if self.ending || machine >= self.plan.nodes + self.plan.spare {
            return;
        }
        let up = self.machines[machine].life.is_some();
        if up && !self.crash(&[machine], false) {
            return self.agenda.after(500_000, Event::Roll(machine));
        }
        self.agenda.after(500_000, Event::Roll(machine + 1));
    }

    fn pause(&mut self, at: usize) -> bool {
        let time_us = match self.random.below(4) {
            0 => self.random.between(10_000, 200_000),
            1 => self.random.between(200_000, 2_000_000),
            2 => self.random.between(2_000_000, 10_000_000),
            _ => self.random.between(10_000_000, 40_000_000),
        };
        let now_us = self.now_us();
        let machine = &mut self.machines[at];
        let Some(life) = &mut machine.life else { return false };
        if std::mem::replace(&mut life.paused, true) {
            return false;
        }
        machine.paused_at_us = now_us;
        let life = life.number;
        self.agenda.after(time_us, Event::Resume { machine: at, life });
        true
    }

    pub(super) fn resume(&mut self, at: usize, number: u64) {
        let now_us = self.now_us();
        let machine = &mut self.machines[at];
        let Some(life) = machine
            .life
            .as_mut()
            .filter(|life| life.number == number && life.paused)
        else {
            return;
        };
        life.paused = false;
        machine.stood_us += now_us - machine.paused_at_us;
        let waiting = std::mem::take(&mut life.waiting);
        self.troubled();
        for input in waiting {
            self.give(at, number, input);
        }
        self.give(at, number, Input::Alarm);
    }

    fn jump(&mut self, at: usize) -> bool {
        let mut far_ms = self.random.pick(&[100, 5_000, 3_600_000]);
        if self.plan.table != Table::First && self.random.chance(200) {
            far_ms = 3 * DAY_MS;
        }
        let jump_ms = self.random.below(2 * far_ms + 1).cast_signed() - far_ms.cast_signed();
        self.machines[at].wall_offset_ms = jump_ms;
        true
    }

    fn cut(&mut self, machine: usize, told: [bool; 2]) -> bool {
        let wires = self.network.wires_of(machine);
        if wires.is_empty() {
            return false;
        }
        let (wire, resets) = (self.random.pick(&wires), self.random.chance(500));
        self.network.cut(&mut self.agenda, wire, told, resets);
        true
    }

    /// All directions between the two sides of a partition.
    fn sides(&mut self, running: &[usize]) -> Vec<(usize, usize)> {
        let side: Vec<bool> = (0..self.machines.len()).map(|_| self.random.chance(500)).collect();
        let across = |&(from, to): &(usize, usize)| side[from] != side[to];
        running
            .iter()
            .flat_map(|&from| running.iter().map(move |&to| (from, to)))
            .filter(across)
            .collect()
    }

    pub(super) fn block_for(&mut self, pairs: &[(usize, usize)], time_ms_max: u64) -> bool {
        let (time_us, cut) = (self.random.between(1_000, time_ms_max * 1000), self.random.chance(300));
        for &(from, to) in pairs {
            self.agenda.after(0, Event::Block { from, to });
            self.agenda.after(time_us, Event::Unblock { from, to, cut });
        }
        !pairs.is_empty()
    }

    fn flap(&mut self, running: &[usize]) -> bool {
        let pairs = self.sides(running);
        let period_us = self.random.between(100_000, 3_000_000);
        let rounds = self.random.between(2, 6);
        self.flap_pairs(&pairs, period_us, rounds)
    }

    pub(super) fn flap_pairs(&mut self, pairs: &[(usize, usize)], period_us: u64, rounds: u64) -> bool {
        for round in 0..rounds {
            for &(from, to) in pairs {
                self.agenda.after(round * period_us, Event::Block { from, to });
                self.agenda.after(
                    round * period_us + period_us / 2,
                    Event::Unblock { from, to, cut: true },
                );
            }
        }
        !pairs.is_empty()
    }

    pub(super) fn set_pace(&mut self, machine: usize, extra_us: u64) {
        for other in 0..self.machines.len() {
            self.network.slow(machine, other, extra_us);
            self.network.slow(other, machine, extra_us);
        }
    }
}
