//! What must hold while the world runs, and after it has healed ([`settled`]). [`Quiet`] says when the stricter checks
//! apply.

use std::ops::Deref;

use store::{
    clock::Clock,
    cluster::{Peer, Seat},
    config::Config,
    dot::Writer,
    message::Copy,
    object::Value,
    slot,
    store::Store,
};

use crate::{
    cluster::World,
    fault::{Fault, Table},
    rules::{Reader, Sight, Spot},
    workload::transactions::number_of,
};

/// `Ok`, or what is wrong.
pub type Verdict = Result<(), String>;

/// Longest time until the cluster is healed after the last fault.
const HEAL_US_MAX: u64 = 120_000_000;
/// How long the healed cluster is left alone before it is checked: two rounds of anti-entropy.
const REST_US: u64 = 8_000_000;
/// Time after which everything that expires is freed: the longest deadline, plus the grace time of counters.
const EXPIRE_US_MAX: u64 = 90_000_000;
/// Time in which a node reports its status; it asks the other nodes first.
const ANSWER_US: u64 = 500_000;

/// Whether the main cluster is *quiet*: no network fault, no slow and no paused node; every two nodes that hold
/// something are connected; and every ready copy covers what any copy of its shard had at the previous look, ready or
/// not: a node that was paused may hold acknowledged writes in copies that it does not serve yet.
///
/// The last two conditions are read from the stores themselves. A crash and its effects do not end the quiet: that
/// other replicas take over without an error is what these checks test.
#[derive(Debug, Default)]
pub struct Quiet {
    /// The latest time at which the world was not quiet, as far as this checker knows.
    disturbed_us: u64,
    /// When the last fault struck other than an orderly stop or start.
    pub troubled_us: Option<u64>,
    /// Whether something has struck since the last look.
    struck: bool,
    /// When the world last was not quiet for a reason other than lost sends or differing copies.
    cut_us: u64,
    /// Whether the world was quiet at the last look, and nothing has struck since.
    now: bool,
    /// The same for [`Quiet::connected_since`].
    connected: bool,
    /// The time of the previous look.
    looked_us: u64,
    /// The copies at the previous look, for each shard.
    before: Vec<Vec<Held>>,
}

/// A copy of a shard.
#[derive(Debug)]
struct Held {
    machine: usize,
    clock: Clock,
    ready: bool,
}

impl Quiet {
    /// Notes that the world is not quiet now.
    pub fn disturbed(&mut self, now_us: u64) {
        self.disturbed_us = self.disturbed_us.max(now_us);
        self.cut_us = self.disturbed_us;
        (self.now, self.connected) = (false, false);
        self.struck = true;
    }

    /// Whether the world has been quiet since `from_us`.
    pub fn since(&self, from_us: u64) -> bool {
        self.now && self.disturbed_us < from_us
    }

    /// Whether no node was disconnected or paused since `from_us`.
    pub fn connected_since(&self, from_us: u64) -> bool {
        self.connected && self.cut_us < from_us
    }

    /// Looks at all nodes. Returns the time of the previous look if the world has been quiet since: then every ready
    /// copy has everything that any ready copy had at that time.
    pub fn look(&mut self, world: &World) -> Option<u64> {
        let copies = held_copies(world);
        self.connected = world.network.is_open() && running_well(world) && connected(world);
        self.now = self.connected && world.network.is_honest() && self.is_covered_by(&copies);
        if !self.connected || std::mem::take(&mut self.struck) {
            self.cut_us = world.now_us();
        }
        if !self.now || self.cut_us == world.now_us() {
            self.disturbed_us = world.now_us();
        }
        self.before = copies;
        let before_us = std::mem::replace(&mut self.looked_us, world.now_us());
        self.since(before_us).then_some(before_us)
    }

    /// The law of dropping. The node on `machine` has just dropped copies. All replicas in its view must cover what the
    /// dropped copy had at the last look. They need not be ready: a node that stood still since it told that it has
    /// everything still has it, and serves it once it has compared with others. Checked only in a quiet world, since
    /// otherwise a replica may have lost data in the meantime. Checked once for each copy, since the node's view may
    /// change and new replicas take time to fill.
    pub fn may_drop(&mut self, world: &World, machine: usize) -> Verdict {
        if !self.since(world.now_us()) {
            return Ok(());
        }
        let stores: Vec<_> = world.stores().collect();
        let Some((_, own)) = stores.iter().find(|(at, _)| *at == machine) else {
            return Ok(());
        };
        let lives = |seat| match seat {
            Seat::Me | Seat::Away => None,
            Seat::Peer(slot) => living(&stores, own.cluster().peer(slot)?),
        };
        for (shard, before) in self.before.iter_mut().enumerate() {
            if own.cluster().copy(shard) != Copy::Absent {
                continue;
            }
            let Some(index) = before.iter().position(|held| held.machine == machine && held.ready) else {
                continue;
            };
            let clock = &before.swap_remove(index).clock;
            for replica in own.cluster().order(shard).filter_map(lives) {
                if replica.cluster().copy(shard) == Copy::Absent || !replica.shard(shard).clock().covers(clock) {
                    let (name, other) = (own.cluster().name(), replica.cluster().name());
                    return Err(format!("{name} dropped shard {shard} before {other} had all of it"));
                }
            }
        }
        Ok(())
    }

    /// Whether each ready one of these copies has everything that any copy had before.
    fn is_covered_by(&self, now: &[Vec<Held>]) -> bool {
        self.before.iter().zip(now).all(|(before, now)| {
            let mut ready = now.iter().filter(|held| held.ready);
            ready.all(|held| before.iter().all(|earlier| held.clock.covers(&earlier.clock)))
        })
    }

    /// Whether each shard has at least `copies` ready copies left without `machines` (or as many as there are other
    /// machines). Only copies that cover what `machines` had at the last look count.
    pub fn can_lose(&self, world: &World, machines: &[usize], copies: usize) -> bool {
        let now = held_copies(world);
        let counted = world.running().into_iter().filter(|at| world.counts(*at));
        let left = counted.count() - machines.len();
        self.before.iter().zip(now).all(|(before, now)| {
            let lost: Vec<&Held> = before.iter().filter(|held| machines.contains(&held.machine)).collect();
            let others = now.iter().filter(|held| {
                let covers = || lost.iter().all(|lost| held.clock.covers(&lost.clock));
                held.ready && !machines.contains(&held.machine) && covers()
            });
            left > 0 && others.count() >= copies.min(left)
        })
    }
}

/// The store of a peer, if it lives.
fn living<'a, S: Deref<Target = Store>>(stores: &'a [(usize, S)], peer: &Peer) -> Option<&'a S> {
    let is_it = |config: &Config| config.name == peer.name && config.creation == peer.creation;
    let found = stores.iter().find(|(_, store)| is_it(store.config()));
    found.map(|(_, store)| store)
}

/// The shards of which the node on `machine` has no copy, although all replicas in its view have died.
pub fn dead_replicas(world: &World, machine: usize) -> Vec<usize> {
    let stores: Vec<_> = world.stores().collect();
    let Some((_, own)) = stores.iter().find(|(at, _)| *at == machine) else {
        return Vec::new();
    };
    let cluster = own.cluster();
    let is_dead = |seat| match seat {
        Seat::Me | Seat::Away => false,
        Seat::Peer(slot) => cluster.peer(slot).is_some_and(|peer| living(&stores, peer).is_none()),
    };
    let dropped = (0..cluster.shards()).filter(|&shard| cluster.copy(shard) == Copy::Absent);
    dropped.filter(|&shard| cluster.order(shard).all(is_dead)).collect()
}

/// The copies of the main cluster's nodes that are ready or hold something.
fn held_copies(world: &World) -> Vec<Vec<Held>> {
    let mut copies: Vec<Vec<Held>> = (0..world.plan.shards_total()).map(|_| Vec::new()).collect();
    for (machine, store) in world.stores().filter(|(at, _)| world.counts(*at)) {
        for (shard, copies) in copies.iter_mut().enumerate() {
            let clock = store.shard(shard).clock();
            let ready = store.cluster().copy(shard) == Copy::Ready;
            if ready || !clock.is_empty() {
                let clock = clock.clone();
                copies.push(Held { machine, clock, ready });
            }
        }
    }
    copies
}

fn running_well(world: &World) -> bool {
    world
        .machines
        .iter()
        .all(|machine| machine.life.as_ref().is_none_or(|life| !life.paused))
}

/// Whether every two nodes that serve or hold something have each other as peers.
pub fn connected(world: &World) -> bool {
    let is_empty = |store: &Store| (0..world.plan.shards_total()).all(|shard| store.shard(shard).clock().is_empty());
    let holding: Vec<_> = world
        .stores()
        .filter(|(at, store)| world.counts(*at) && (store.cluster().is_serving() || !is_empty(store)))
        .collect();
    holding.iter().all(|(_, a)| {
        holding.iter().all(|(_, b)| {
            let b = b.config();
            let is_it = |name: &str, creation| name == b.name && creation == b.creation;
            let is_peer = a.cluster().peers().any(|(_, peer)| is_it(&peer.name, peer.creation));
            is_it(&a.config().name, a.config().creation) || is_peer
        })
    })
}

// Single stores

/// The keyspace of a key, which its name tells: keys that begin with `w` are in the keyspace that `FLUSHALL` clears.
pub fn keyspace(key: &str) -> u16 {
    u16::from(key.starts_with('w'))
}

fn shard_of(store: &Store, key: &str) -> usize {
    shard_among(store.config().shards, key)
}

/// The shard of a key, if each keyspace has so many shards.
pub fn shard_among(shards: u16, key: &str) -> usize {
    usize::from(keyspace(key) * shards + slot::shard(slot::slot(key.as_bytes()), shards))
}

/// The value that a store has for a key.
pub fn shown(store: &Store, key: &str) -> Option<Vec<u8>> {
    let view = store.shard(shard_of(store, key)).view(key.as_bytes(), store.now_ms())?;
    Some(store::call::text(&view.value).into_owned())
}

/// Whether a store shows write `number` of a key or a later one. After a delete it may also show nothing.
pub fn holds(store: &Store, key: &str, number: usize, deleted: bool) -> bool {
    match shown(store, key) {
        None => deleted && is_ready(store, key),
        Some(value) => {
            let value = String::from_utf8_lossy(&value).into_owned();
            value
                .rsplit('#')
                .nth(1)
                .and_then(|n| n.parse::<usize>().ok())
                .is_some_and(|shown| shown >= number)
        }
    }
}

/// Whether every copy shows the same write for both keys of each pair, or nothing for both: a copy has all of a
/// transaction or nothing of it, ready or not.
pub fn pairs_are_whole(world: &World) -> Verdict {
    let shadow = &world.workload.shadow;
    for (_, store) in world.stores() {
        for pair in world.workload.pairs() {
            let [a, b] = pair.map(|key| shown(&store, shadow.name(key)).and_then(|value| number_of(&value)));
            if a != b {
                let (name, pair) = (&store.config().name, pair.map(|key| shadow.name(key)));
                let copy = store.cluster().copy(shard_of(&store, pair[0]));
                return Err(format!(
                    "{name} has a part of a transaction, {copy:?}: {pair:?} show {a:?}, {b:?}"
                ));
            }
        }
    }
    Ok(())
}

/// Whether every ready copy that the key's primary waits for holds write `number`. The primary waits for the copies of
/// its peers, except for a peer that was silent for the write timeout and has not answered since. If two nodes act as
/// primary, the check must succeed for one of them. If no node does, nothing is checked.
pub fn all_hold(world: &World, key: &str, number: usize, deleted: bool) -> Verdict {
    let stores: Vec<_> = world.stores().filter(|(at, _)| world.counts(*at)).collect();
    let mut lacking = None;
    for (_, primary) in &stores {
        let (cluster, shard) = (primary.cluster(), shard_of(primary, key));
        if cluster.route(shard).primary != Some(Seat::Me) {
            continue;
        }
        let lacks = stores.iter().find(|(_, store)| {
            let config = store.config();
            let sees = cluster.peers().any(|(slot, peer)| {
                peer.name == config.name && peer.creation == config.creation && !primary.is_silent(slot)
            });
            let concerned = config.name == cluster.name() || sees && store.cluster().copy(shard) == Copy::Ready;
            concerned && !holds(store, key, number, deleted)
        });
        match lacks {
            None => return Ok(()),
            Some((_, store)) => lacking = Some(store.config().name.clone()),
        }
    }
    match lacking {
        None => Ok(()),
        Some(name) => Err(format!(
            "write {number} of {key} is acknowledged at level all, and {name} does not hold it"
        )),
    }
}

/// Whether a store has a ready copy of a key's shard. A copy that is not ready shows 0 for any counter.
pub fn is_ready(store: &Store, key: &str) -> bool {
    store.cluster().copy(shard_of(store, key)) == Copy::Ready
}

/// The value of a counter in a store.
pub fn sum(store: &Store, key: &str) -> i64 {
    let view = store.shard(shard_of(store, key)).view(key.as_bytes(), store.now_ms());
    match view.map(|view| view.value) {
        Some(Value::Integer(sum)) => sum,
        Some(Value::Plain { bytes, .. }) => store::object::integer(bytes).unwrap_or(0),
        None => 0,
    }
}

// The end

/// Lets the world heal after the last fault, and checks what must hold then.
pub fn settled(world: &mut World) -> Verdict {
    let began_us = world.now_us();
    loop {
        world.reunite();
        world.ask_status();
        let next_us = world.now_us() + ANSWER_US;
        world.run_until(next_us)?;
        let healed = is_healed(world);
        if healed.is_ok() {
            break;
        }
        if world.now_us() > began_us + HEAL_US_MAX {
            return healed.map_err(|why| format!("not healed within {} s: {why}", HEAL_US_MAX / 1_000_000));
        }
    }
    world.tally.healing_us = world.now_us() - began_us;
    let rested_us = world.now_us() + REST_US;
    world.run_until(rested_us)?;
    while let Some((name, left_ms)) = keeps_what_expires(world) {
        if world.now_us() > rested_us + EXPIRE_US_MAX {
            return Err(format!("{name} keeps something that ends in {left_ms} ms"));
        }
        world.run_until(world.now_us() + ANSWER_US)?;
    }
    world.ask_status();
    world.run_until(world.now_us() + ANSWER_US)?;
    is_healed(world).map_err(|why| format!("healed, and then not any more: {why}"))?;
    replicas_are_equal(world)?;
    nothing_is_left_over(world)?;
    what_is_owed_is_there(world)
}

/// Finds a store that still holds something expired, and how many milliseconds of its calendar ago that should have
/// been freed.
fn keeps_what_expires(world: &World) -> Option<(String, i64)> {
    let overdue = |store: &Store| {
        let (now_ms, shards) = (store.now_ms().cast_signed(), 0..world.plan.shards_total());
        let ends = shards.flat_map(|shard| {
            let (held, _) = store.shard(shard).scan(0, usize::MAX, 0);
            let ends = held.into_iter().filter_map(|(_, view)| view.expiry_ms);
            ends.collect::<Vec<_>>()
        });
        ends.max().map(|end_ms| end_ms.cast_signed() - now_ms)
    };
    world
        .stores()
        .find_map(|(_, store)| Some((store.config().name.clone(), overdue(&store)?)))
}

fn is_healed(world: &World) -> Verdict {
    let running = world.running();
    for &at in &running {
        let machine = &world.machines[at];
        let name = machine.name.as_str();
        let status = machine.life.as_ref().and_then(|life| life.status.as_ref());
        let Some(status) = status else {
            return Err(format!("{name} does not tell its status"));
        };
        let met = status.nodes.iter().filter(|node| node.member.connected).count();
        if met != running.len() {
            return Err(format!("{name} sees {met} of {} nodes", running.len()));
        }
        if !status.healed {
            let behind: u64 = status.nodes.iter().map(|node| node.vitals.behind).sum();
            return Err(format!(
                "{name} is not healed: {} moves, {} shards without a primary, {behind} behind; {:?}",
                status.moves,
                status.unavailable,
                world
                    .stores()
                    .find(|(other, _)| *other == at)
                    .map(|(_, store)| store.underway()),
            ));
        }
    }
    match world.workload.clients.iter().position(|client| client.asked.is_some()) {
        Some(client) => Err(format!("client {client} still waits")),
        None => Ok(()),
    }
}

type Row = (Vec<u8>, Option<u64>, Vec<u8>);

/// The keys of a shard with their versions and values. The time 0 is used, so that expired keys are included.
fn content(store: &Store, shard: usize) -> Vec<Row> {
    let replica = store.shard(shard);
    let (found, _) = replica.scan(0, usize::MAX, 0);
    let mut rows: Vec<Row> = found
        .into_iter()
        .map(|(key, view)| {
            (
                key.to_vec(),
                replica.version(key),
                store::call::text(&view.value).into_owned(),
            )
        })
        .collect();
    rows.sort();
    rows
}

fn replicas_are_equal(world: &World) -> Verdict {
    for shard in 0..world.plan.shards_total() {
        let mut first: Option<(String, Clock, Vec<Row>)> = None;
        let mut holders = 0;
        for (_, store) in world.stores() {
            if store.cluster().copy(shard) == Copy::Absent {
                continue;
            }
            holders += 1;
            let name = store.config().name.clone();
            let (clock, rows) = (store.shard(shard).clock().clone(), content(&store, shard));
            let Some((other, their_clock, their_rows)) = &first else {
                first = Some((name, clock, rows));
                continue;
            };
            if clock != *their_clock {
                return Err(format!(
                    "shard {shard}: clocks of {other} and {name} differ: {their_clock:?} {clock:?}"
                ));
            }
            if rows != *their_rows {
                let odd = |a: &[Row], b: &[Row]| {
                    let rows: Vec<String> = a.iter().filter(|row| !b.contains(row)).map(row_line).collect();
                    rows.join(", ")
                };
                return Err(format!(
                    "shard {shard}: {other} alone holds [{}], {name} alone [{}]",
                    odd(their_rows, &rows),
                    odd(&rows, their_rows)
                ));
            }
        }
        let wanted = usize::from(world.plan.replicas).min(world.running().len());
        if holders != wanted {
            return Err(format!("shard {shard} has {holders} copies, not {wanted}"));
        }
    }
    Ok(())
}

fn row_line((key, version, value): &Row) -> String {
    let value = String::from_utf8_lossy(&value[..value.len().min(30)]).into_owned();
    format!("{} = {value} version {version:?}", String::from_utf8_lossy(key))
}

fn nothing_is_left_over(world: &World) -> Verdict {
    let writer = |config: &Config| Writer::of(&config.name, config.creation);
    let living: Vec<Writer> = world.stores().map(|(_, store)| writer(store.config())).collect();
    let holders_died = Fault::WILD.iter().any(|fault| world.tally.faults[fault.index()] > 0);
    for (_, store) in world.stores() {
        let (name, underway) = (&store.config().name, store.underway());
        if underway != store::inspect::Underway::default() {
            return Err(format!("{name} has left over {underway:?}"));
        }
        for shard in 0..world.plan.shards_total() {
            // A context waits for dots that will not come: their writer has died, or a writer handed its copy over and
            // the new holders died. It waits until a node closes those dots.
            let (stats, waiting) = (store.shard(shard).stats(), store.shard(shard).waiting());
            let dead = |(writer, _)| holders_died || !living.contains(&writer);
            if stats.contexts > 0 && (waiting.is_empty() || !waiting.spans().all(dead)) {
                return Err(format!(
                    "{name}: {} contexts of shard {shard} wait for {waiting:?}",
                    stats.contexts
                ));
            }
        }
    }
    Ok(())
}

fn what_is_owed_is_there(world: &World) -> Verdict {
    let shadow = &world.workload.shadow;
    let now_us = world.now_us();
    let spot = Spot {
        batch: u64::MAX,
        asked_us: now_us,
        ..Spot::default()
    };
    let sight = match world.plan.table {
        Table::First => Sight::Quiet(true),
        Table::Second | Table::Third => Sight::Known(Reader {
            spot,
            cluster: world.clusters.main(),
            whole: true,
            together: world.clusters.together(world.clusters.main()),
        }),
    };
    for (_, store) in world.stores() {
        let here = |key: &str| store.cluster().copy(shard_of(&store, key)) == Copy::Ready;
        let in_store = |why: String| format!("in the end, at {}: {why}", store.config().name);
        for key in 0..shadow.len() {
            let name = shadow.name(key);
            if here(name) {
                let shown = shown(&store, name)
                    .map(|value| world.workload.shown(key, &value))
                    .transpose()?;
                shadow
                    .shown(shadow.read(key, now_us), shown, &sight, now_us, now_us)
                    .map_err(in_store)?;
            }
        }
        for (number, counter) in shadow.counters.iter().enumerate() {
            if here(&counter.name) {
                let sum = sum(&store, &counter.name);
                world
                    .workload
                    .judge_sum(number, counter.len(), counter.owed, sum, &sight)
                    .map_err(in_store)?;
            }
        }
        for key in 0..shadow.contended_len() {
            let name = shadow.contended_name(key);
            if here(name) {
                let value = shown(&store, name).map(|value| String::from_utf8_lossy(&value).into_owned());
                shadow.contended_left(key, value.as_deref()).map_err(in_store)?;
            }
        }
    }
    Ok(())
}
