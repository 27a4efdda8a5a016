//! What a run is made of, all of it drawn from the seed: the cluster, the workload, and how often which fault strikes.

use crate::random::Random;

/// Everything that can go wrong. To add one: a variant here, its rate in [`Fault::every_ms`], its arm in
/// `cluster.rs`.
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
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 19] = [
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
    ];

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
        }
    }
}

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
    /// Clients.
    pub clients: usize,
    /// Longest pause of a client between two batches.
    pub think_us: u64,
    /// Most requests in a batch.
    pub batch_max: u64,
    /// Largest value.
    pub value_bytes_max: u64,
    /// Which faults strike.
    pub faults: Vec<Fault>,
    /// The cluster begins all at once, each node told of all, or one after the other.
    pub all_at_once: bool,
}

impl Plan {
    /// The plan of a seed; what the command line fixes is fixed.
    pub fn draw(seed: u64, seconds: u64, nodes: Option<usize>) -> Self {
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
        let faults = Fault::ALL.into_iter().filter(|_| random.chance(share)).collect();
        Self {
            seed,
            seconds,
            nodes,
            spare: random.index(3),
            shards,
            replicas,
            tick_ms: random.pick(&[2_000, 4_000, 8_000]),
            latency_us,
            jitter_us: latency_us * random.below(3),
            skew_ms: random.pick(&[0, 50, 2_000, 259_200_000]),
            clients: random.between(3, 6) as usize,
            think_us: random.pick(&[40_000, 100_000, 250_000]),
            batch_max: random.pick(&[1, 4, 8]),
            value_bytes_max: if large { 8_000 } else { 40 },
            faults,
            all_at_once: random.chance(500),
            keyspaces: if shards < 64 { random.pick(&[1, 1, 2]) } else { 1 },
        }
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
