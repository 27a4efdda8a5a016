//! Measurements that only the shell can make: memory and CPU time of the process.

use std::{env, fs, process, time::Duration};

use rustix::time::{ClockId, clock_gettime};
use store::{ask::Measured, config::Host};

use crate::output;

/// Measures the process it runs in.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Meter {
    /// Allocated and resident bytes, if the program knows its allocator.
    pub(crate) allocator: Option<Allocated>,
}

/// Returns the allocated and the resident bytes.
pub(crate) type Allocated = fn() -> Option<(u64, u64)>;

impl Meter {
    pub(crate) fn measure(self) -> Measured {
        // If the allocator is unknown, resident bytes are the best estimate of allocated bytes.
        let known = self.allocator.and_then(|measure| measure());
        let (memory_bytes, resident_bytes) = known.unwrap_or_else(|| {
            let resident = resident_bytes().unwrap_or(0);
            (resident, resident)
        });
        Measured {
            memory_bytes,
            resident_bytes,
            cpu_us: cpu_time().as_micros() as u64,
            cpu_system_us: system_time_us(),
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

/// The part of it in system mode, to a tick of the system's clock.
fn system_time_us() -> Option<u64> {
    let line = fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program, in parentheses, may contain blanks. The state is the first field after it.
    let ticks: u64 = line
        .rsplit_once(')')?
        .1
        .split_ascii_whitespace()
        .nth(12)?
        .parse()
        .ok()?;
    Some(ticks * 1_000_000 / rustix::param::clock_ticks_per_second())
}

/// The facts about this process and its machine that `INFO` shows.
pub(crate) fn host() -> Host {
    let words = ["ostype", "osrelease"].map(|name| fs::read_to_string(format!("/proc/sys/kernel/{name}")));
    let words = words.iter().flatten().map(|word| word.trim_end());
    let program = env::current_exe().unwrap_or_default();
    Host {
        process_id: process::id(),
        os: words.chain([env::consts::ARCH]).collect::<Vec<_>>().join(" "),
        executable: program.to_string_lossy().into_owned(),
        memory_bytes: machine_bytes().unwrap_or(0),
        ..Host::default()
    }
}

fn machine_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kib << 10)
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
        // The second one is measured in ticks.
        assert!(
            told.cpu_system_us
                .is_some_and(|system_us| system_us <= told.cpu_us + 20_000)
        );
    }

    #[test]
    fn the_host_is_the_machine_of_this_process() {
        let host = host();
        assert_eq!(host.process_id, process::id());
        assert!(
            host.os.starts_with("Linux ") || !cfg!(target_os = "linux"),
            "{}",
            host.os
        );
        assert!(host.memory_bytes > 16 << 20, "{host:?}");
    }
}
