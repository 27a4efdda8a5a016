//! What only the shell can measure: memory and CPU time of the process.

use std::{fs, time::Duration};

use rustix::time::{ClockId, clock_gettime};
use store::ask::Measured;

use crate::output;

/// Measures the process it runs in.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Meter {
    /// Allocated and resident bytes, if the program knows its allocator.
    pub(crate) allocator: Option<Allocated>,
}

/// Tells the allocated and the resident bytes.
pub(crate) type Allocated = fn() -> Option<(u64, u64)>;

impl Meter {
    pub(crate) fn measure(self) -> Measured {
        // Without an allocator that tells, what is resident is the best guess for what is allocated.
        let known = self.allocator.and_then(|measure| measure());
        let (memory_bytes, resident_bytes) = known.unwrap_or_else(|| {
            let resident = resident_bytes().unwrap_or(0);
            (resident, resident)
        });
        Measured {
            memory_bytes,
            resident_bytes,
            cpu_us: cpu_time().as_micros() as u64,
            log_lines_dropped: output::log_lines_dropped(),
            ..Measured::default()
        }
    }
}

fn resident_bytes() -> Option<u64> {
    let pages: u64 = fs::read_to_string("/proc/self/statm")
        .ok()?
        .split_ascii_whitespace()
        .nth(1)?
        .parse()
        .ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// CPU time of all threads, user and system.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_uses_memory_and_time() {
        let measured = Meter::default().measure();
        assert!(
            measured.resident_bytes > 1 << 16 && measured.memory_bytes > 0,
            "{measured:?}"
        );
        let told = Meter {
            allocator: Some(|| Some((1, 2))),
        }
        .measure();
        assert_eq!((told.memory_bytes, told.resident_bytes), (1, 2));
        assert!(told.cpu_us >= measured.cpu_us);
    }
}
