//! The time as the shell reads it. The core has no clock of its own.

/// Both clocks at one instant. Order and time-outs use monotonic time. Wall time is only data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Time {
    /// Microseconds since some fixed instant of this run. Never goes back.
    pub monotonic_us: u64,
    /// Milliseconds since 1970-01-01 UTC; may jump.
    pub wall_ms: u64,
}
