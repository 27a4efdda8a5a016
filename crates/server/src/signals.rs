//! [`Stop`]: the signals that stop a process of salp, and the signals that must not end it.
//!
//! | signal | what it does |
//! |---|---|
//! | SIGINT, SIGTERM | stops the process |
//! | SIGHUP | stops a process that has a controlling terminal: the terminal was closed |
//! | SIGHUP without a terminal, or under `nohup` | nothing: a service goes on |
//! | SIGXFSZ | nothing: the write that the limit of file size forbids fails, and loses a log line |

use std::{
    fs::{self, File},
    io,
};

use rustix::process::Signal as Number;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::ConfigError;

/// The signals that stop a process.
pub(crate) struct Stop {
    interrupt: Signal,
    terminate: Signal,
    /// `None`: SIGHUP does not stop the process.
    hang_up: Option<Signal>,
}

impl Stop {
    /// Listens from now on. Needs a tokio runtime with I/O.
    pub(crate) fn new() -> Result<Self, ConfigError> {
        Self::listen().map_err(|error| ConfigError::new("start", error, "run it where signals can be received"))
    }

    fn listen() -> io::Result<Self> {
        // Listening for a signal removes its default action, which would end the process.
        drop(signal(SignalKind::from_raw(Number::XFSZ.as_raw()))?);
        let mut hang_up = None;
        if !ignores_hang_up() {
            let listener = signal(SignalKind::hangup())?;
            hang_up = has_terminal().then_some(listener);
        }
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up,
        })
    }

    /// Waits until the process is told to stop.
    pub(crate) async fn asked(&mut self) {
        let hang_up = async {
            match &mut self.hang_up {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = hang_up => {}
        }
    }
}

/// Whether this process has a controlling terminal, even if its output goes elsewhere.
fn has_terminal() -> bool {
    File::open("/dev/tty").is_ok()
}

/// Whether this process was started with SIGHUP ignored, as `nohup` does. Always false except on Linux.
fn ignores_hang_up() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignored(&status).is_some_and(|ignored| ignored & (1 << (Number::HUP.as_raw() - 1)) != 0)
}

/// The signals that a process ignores, one bit each, from its `status` (proc_pid_status(5)).
fn ignored(status: &str) -> Option<u64> {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ignored_signals_are_read() {
        assert_eq!(
            ignored("Name:\tsalp\nSigBlk:\t00\nSigIgn:\t0000000000001001\n"),
            Some(0x1001)
        );
        assert_eq!(ignored("Name:\tsalp\n"), None);
    }
}
