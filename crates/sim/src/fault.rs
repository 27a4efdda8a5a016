//! The plan of a run, drawn from the seed: the cluster, the workload, and how often each fault strikes.

use store::quorum::Level;

use crate::random::Random;

/// Which faults and requests a run has, and by which rules replies are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// The faults up to [`Fault::Swap`], and the requests of `workload.rs`. Replies are judged strictly only in a quiet
    /// world. Old seeds give the same runs as before.
    First,
    /// All faults, and the requests of `workload/load.rs` too. Replies are judged by `rules.rs`.
    Second,
    /// The same, and transactions.
    Third,
}

/// Every fault. To add one, add a variant here, its rate in [`Fault::every_ms`], and its arm in `cluster/strikes.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A process dies, and its memory is lost. The machine closes the connections of the process.
    Crash,
    /// A machine loses its power: its peers are not notified.
    PowerOff,
    /// Two processes die at the same instant, if there are three or more copies of each shard.
    CrashTwo,
    /// A process dies, whatever data the other nodes have and whatever other fault is active.
    WildCrash,
    /// A node hands over its copies and leaves.
    Leave,
    /// A new node joins, or a node that left comes back.
    Join,
    /// All nodes are restarted, one after the other.
    Rolling,
    /// A process is paused.
    Pause,
    /// The wall clock of a machine jumps.
    ClockJump,
    /// A connection is cut, and both ends are notified.
    Cut,
    /// A connection is cut, and at most one end is notified.
    HalfOpen,
    /// One direction between two machines is blocked.
    OneWay,
    /// A network partition: some machines cannot reach the others.
    Partition,
    /// A partition that comes and goes.
    Flap,
    /// Everything is blocked for some milliseconds.
    Blip,
    /// The links of a machine become slow.
    Slow,
    /// Sends are dropped.
    Lose,
    /// Sends arrive twice.
    Double,
    /// Sends arrive in another order.
    Swap,
    /// One link between two machines is blocked, both ways.
    LinkDown,
    /// The same, coming and going.
    LinkFlap,
    /// Every machine reaches only its two neighbours in a ring, so that majorities overlap.
    Ring,
    /// Two groups cannot reach each other, but one machine reaches both.
    Bridge,
    /// A process dies and starts again cut off from all others.
    RestartCutOff,
    /// Two processes die and start again at about the same time; one of them gets the other as its only name to join.
    RestartPair,
    /// A node handles all its inputs late.
    Sluggish,
    /// A hand-over is interrupted at one of its chunks: by a cut connection, or by the death of one of the two nodes.
    ChunkCut,
    /// A node starts again without names to join.
    Blind,
    /// A second node starts with the name of a live one.
    Twin,
    /// A node of another cluster, which has the same keys, meets this cluster.
    Stranger,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 30] = [
        Self::Crash,
        Self::PowerOff,
        Self::CrashTwo,
        Self::WildCrash,
        Self::Leave,
        Self::Join,
        Self::Rolling,
        Self::Pause,
        Self::ClockJump,
        Self::Cut,
        Self::HalfOpen,
        Self::OneWay,
        Self::Partition,
        Self::Flap,
        Self::Blip,
        Self::Slow,
        Self::Lose,
        Self::Double,
        Self::Swap,
        Self::LinkDown,
        Self::LinkFlap,
        Self::Ring,
        Self::Bridge,
        Self::RestartCutOff,
        Self::RestartPair,
        Self::Sluggish,
        Self::ChunkCut,
        Self::Blind,
        Self::Twin,
        Self::Stranger,
    ];

    /// The faults that kill a process whatever data the other nodes have.
    pub const WILD: [Self; 7] = [
        Self::WildCrash,
        Self::RestartCutOff,
        Self::RestartPair,
        Self::ChunkCut,
        Self::Blind,
        Self::Twin,
        Self::Stranger,
    ];

    /// The faults of a table.
    fn of(table: Table) -> impl Iterator<Item = Self> {
        let is_in = move |fault: &Self| table != Table::First || *fault <= Self::Swap;
        Self::ALL.into_iter().filter(is_in)
    }

    /// Its name on the command line.
    pub fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// Its place in [`Fault::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// Mean time between two faults of this kind, if it is enabled.
    pub fn every_ms(self) -> u64 {
        match self {
            Self::Crash | Self::PowerOff | Self::WildCrash => 8_000,
            Self::CrashTwo => 12_000,
            Self::Leave => 15_000,
            Self::Join => 12_000,
            Self::Rolling => 40_000,
            Self::Pause => 6_000,
            Self::ClockJump => 5_000,
            Self::Cut | Self::HalfOpen => 4_000,
            Self::OneWay => 8_000,
            Self::Partition => 12_000,
            Self::Flap => 20_000,
            Self::Blip => 2_000,
            Self::Slow => 8_000,
            Self::Lose | Self::Double | Self::Swap => 10_000,
            Self::LinkDown | Self::Sluggish => 10_000,
            Self::LinkFlap | Self::Ring | Self::Bridge => 15_000,
            Self::RestartCutOff | Self::RestartPair | Self::Twin => 20_000,
            Self::ChunkCut => 6_000,
            Self::Blind | Self::Stranger => 15_000,
        }
    }
}

/// A day in milliseconds.
pub const DAY_MS: u64 = 86_400_000;

/// The plan of a run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed that everything is drawn from.
    pub seed: u64,
    /// How long faults strike.
    pub seconds: u64,
    /// Nodes at the beginning.
    pub nodes: usize,
    /// How many more nodes may join later.
    pub spare: usize,
    /// Shards of each keyspace.
    pub shards: u16,
    /// One or two keyspaces. In the second one, a client runs `FLUSHALL` now and then.
    pub keyspaces: u16,
    /// Copies of each shard.
    pub replicas: u8,
    /// `tick_ms` of every node.
    pub tick_ms: u64,
    /// Network latency in one direction, in microseconds.
    pub latency_us: u64,
    /// Up to this much is added to the latency.
    pub jitter_us: u64,
    /// Largest difference between two wall clocks.
    pub skew_ms: u64,
    /// The faults that strike.
    pub faults: Vec<Fault>,
    /// Whether all nodes start at once, each with all names to join; if not, they start one after the other.
    pub all_at_once: bool,
    /// The table that gives faults, requests and rules.
    pub table: Table,
    /// Not in the first table: this many of a thousand machines are containers without a volume, and lose the state
    /// file.
    pub containers: u64,
    /// The workload.
    pub load: Load,
}

/// What the clients of a run do, and the settings of their keyspaces.
#[derive(Clone, Debug)]
pub struct Load {
    /// Clients.
    pub clients: usize,
    /// Longest pause of a client between two batches.
    pub think_us: u64,
    /// Most requests in a batch.
    pub batch_max: u64,
    /// Largest value.
    pub value_bytes_max: u64,
    /// The level of a write that names none.
    pub level: Level,
    /// How many copies must be reachable for a write.
    pub min_acks: u32,
    /// A message to another node that carries more bytes than this travels in slices of this size.
    pub slice_bytes: usize,
    /// No slice is sent to a node while this many bytes are on their way to it.
    pub busy_bytes: usize,
}

impl Plan {
    /// Draws the plan of a seed. Options on the command line override what is drawn.
    pub fn draw(table: Table, seed: u64, seconds: u64, nodes: Option<usize>) -> Self {
        let mut random = Random::new(seed);
        let drawn_nodes = random.pick(&[3, 3, 4, 5, 5, 5, 6, 7]);
        let nodes = nodes.unwrap_or(drawn_nodes);
        let shards = if random.chance(30) {
            1024
        } else {
            random.pick(&[16, 16, 32, 64])
        };
        let replicas = random.pick(&[2, 3, 3, 3, 3]);
        let large = random.chance(100);
        let latency_us = random.pick(&[100, 500, 2_000]);
        // Few faults at a time: with all of them at once the world would never be quiet, and less would be checked.
        let share = random.pick(&[0, 80, 150, 150, 300]);
        let faults = Fault::of(table).filter(|_| random.chance(share)).collect();
        let mut plan = Self {
            seed,
            seconds,
            nodes,
            spare: random.index(3),
            shards,
            replicas,
            tick_ms: random.pick(&[2_000, 4_000, 8_000]),
            latency_us,
            jitter_us: latency_us * random.below(3),
            skew_ms: random.pick(&[0, 0, 50, 2_000]),
            load: Load {
                clients: random.between(3, 6) as usize,
                think_us: random.pick(&[40_000, 100_000, 250_000]),
                batch_max: random.pick(&[1, 4, 8]),
                value_bytes_max: if large { 8_000 } else { 40 },
                level: Level::All,
                min_acks: 1,
                slice_bytes: store::config::Config::default().slice_bytes,
                busy_bytes: node::Limits::default().output_bytes_busy,
            },
            faults,
            all_at_once: random.chance(500),
            keyspaces: if shards < 64 { random.pick(&[1, 1, 2]) } else { 1 },
            table,
            containers: 0,
        };
        if table != Table::First {
            plan.load.level = random.pick(&[Level::All, Level::All, Level::Quorum, Level::One]);
            plan.load.min_acks = random.pick(&[1, 1, 1, 2, 3]).min(u32::from(replicas));
            if random.chance(100) {
                plan.skew_ms = 2 * DAY_MS;
            }
            plan.containers = random.pick(&[0, 0, 200, 500, 1_000]);
            if random.chance(300) {
                plan.load.slice_bytes = random.pick(&[60, 200, 200, 1_000]);
                plan.load.value_bytes_max = plan.load.value_bytes_max.max(600);
                // With less on its way, a connection could not carry what the clients write: its latency bounds that.
                let busy_bytes = random.pick(&[200, 1_000, 4_000]);
                plan.load.busy_bytes = busy_bytes.max(plan.load.value_bytes_max as usize);
            }
        }
        plan
    }

    /// Number of shards in all keyspaces.
    pub fn shards_total(&self) -> usize {
        usize::from(self.shards * self.keyspaces)
    }

    /// Whether a fault can strike in this run.
    pub fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }
}
