//! What a run is made of, all of it drawn from the seed: the cluster, the workload, and how often which fault strikes.

use store::quorum::Level;

use crate::random::Random;

/// Which faults and requests a run is made of, and by which rules it is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// The faults up to [`Fault::Swap`], the requests of `workload.rs`, judged in a quiet world only. Its seeds are
    /// kept as they were.
    First,
    /// All faults and requests, judged by `rules.rs`.
    Second,
}

/// Everything that can go wrong. To add one: a variant here, its rate in [`Fault::every_ms`], its arm in
/// `cluster/strikes.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A process dies with its memory; its machine closes its connections.
    Crash,
    /// A machine loses its power: nobody is told.
    PowerOff,
    /// Two processes die at the same instant, of three copies or more.
    CrashTwo,
    /// A process dies, whatever the others hold and whatever else is going on.
    WildCrash,
    /// A node hands over and goes.
    Leave,
    /// A new node comes, or a name comes back.
    Join,
    /// All nodes are restarted, one after the other.
    Rolling,
    /// A process stands still.
    Pause,
    /// The wall clock of a machine jumps.
    ClockJump,
    /// A connection is cut, and both ends know.
    Cut,
    /// A connection is cut, and one end or none knows.
    HalfOpen,
    /// One direction between two machines is blocked.
    OneWay,
    /// Some machines are cut off from the others.
    Partition,
    /// The same, on and off.
    Flap,
    /// Everything is blocked for some milliseconds.
    Blip,
    /// A machine's lines become slow.
    Slow,
    /// Sends are dropped.
    Lose,
    /// Sends arrive twice.
    Double,
    /// Sends arrive in another order.
    Swap,
    /// One link between two machines is blocked, both ways.
    LinkDown,
    /// The same, on and off.
    LinkFlap,
    /// Every machine reaches its neighbours in a ring only, so that majorities overlap.
    Ring,
    /// Two groups are cut off from each other, and one machine reaches both.
    Bridge,
    /// A process dies and starts again cut off from all others.
    RestartCutOff,
    /// Two processes die and start again at once; one is told of the other alone.
    RestartPair,
    /// A node handles all that it is given late.
    Sluggish,
    /// A copy that is being handed over is interrupted at one of its chunks, or a large message at one of its slices:
    /// by a cut, or by the death of an end.
    ChunkCut,
    /// A node starts again and is told of no other node.
    Blind,
    /// A second node under the name of one that lives.
    Twin,
    /// A node of another cluster, which holds the same keys, meets this one.
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

    /// Those that kill a process whatever the others hold.
    pub const WILD: [Self; 7] = [
        Self::WildCrash,
        Self::RestartCutOff,
        Self::RestartPair,
        Self::ChunkCut,
        Self::Blind,
        Self::Twin,
        Self::Stranger,
    ];

    /// The faults of a table that may be drawn.
    fn of(table: Table) -> impl Iterator<Item = Self> {
        let is_in = move |fault: &Self| table == Table::Second || *fault <= Self::Swap;
        Self::ALL.into_iter().filter(is_in)
    }

    /// As the command line names it.
    pub fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// Its place in [`Fault::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// Mean time between two of a kind, where it is enabled.
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

/// What a run is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where all this comes from.
    pub seed: u64,
    /// Time under faults.
    pub seconds: u64,
    /// Nodes at the beginning.
    pub nodes: usize,
    /// Names that may join later.
    pub spare: usize,
    /// Shards of a keyspace.
    pub shards: u16,
    /// One, or two: in the second one client flushes all now and then.
    pub keyspaces: u16,
    /// Copies of each.
    pub replicas: u8,
    /// `tick_ms` of every node.
    pub tick_ms: u64,
    /// One way, in microseconds.
    pub latency_us: u64,
    /// And up to so much more.
    pub jitter_us: u64,
    /// How far wall clocks are apart.
    pub skew_ms: u64,
    /// Which faults strike.
    pub faults: Vec<Fault>,
    /// The cluster begins all at once, each node told of all, or one after the other.
    pub all_at_once: bool,
    /// Whose faults, requests and rules.
    pub table: Table,
    /// In the second table: so many of a thousand machines are containers without a volume, and lose the state file.
    pub containers: u64,
    /// What the clients do.
    pub load: Load,
}

/// What the clients of a run do, and what their keyspaces are set to.
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
    /// What a write waits for unless it says otherwise.
    pub level: Level,
    /// Copies that must be within reach for a write.
    pub min_acks: u32,
    /// What carries more bytes to another node travels in slices of so many.
    pub slice_bytes: usize,
    /// While so many bytes are on their way to a node, no slice is sent to it.
    pub busy_bytes: usize,
}

impl Plan {
    /// The plan of a seed; what the command line fixes is fixed.
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
        // Few faults at a time: with all of them at once the world is never quiet, and less is checked.
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
        if table == Table::Second {
            plan.load.level = random.pick(&[Level::All, Level::All, Level::Quorum, Level::One]);
            plan.load.min_acks = random.pick(&[1, 1, 1, 2, 3]).min(u32::from(replicas));
            if random.chance(100) {
                plan.skew_ms = 2 * DAY_MS;
            }
            plan.containers = random.pick(&[0, 0, 200, 500, 1_000]);
            if random.chance(300) {
                plan.load.slice_bytes = random.pick(&[60, 200, 200, 1_000]);
                plan.load.busy_bytes = random.pick(&[200, 1_000, 4_000]);
                plan.load.value_bytes_max = plan.load.value_bytes_max.max(600);
            }
        }
        plan
    }

    /// Shards of all keyspaces.
    pub fn shards_total(&self) -> usize {
        usize::from(self.shards * self.keyspaces)
    }

    /// Whether a fault strikes in this run.
    pub fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }
}
