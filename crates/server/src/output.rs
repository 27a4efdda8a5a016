//! [`Output`]: lines for standard output or standard error, written by a thread of their own. Adding a line never
//! waits, and a failed write ends nothing.
//!
//! ```text
//! any thread ── push ──▶ lines, at most LINES_MAX and BYTES_MAX ── one thread ──▶ file descriptor
//! ```
//!
//! - A line is dropped if there is no room for it (the reader of the pipe is slow) or if its write fails (the disk is
//!   full, the reader is gone). Dropped lines are counted.
//! - When lines can be written again, one line says how many were dropped before it.
//! - [`Output::flush`] waits until all lines are written, up to a time limit.
//!
//! `tracing-appender` has such a thread too. But it does not count lines whose write fails, and its queue has no bound
//! in bytes. If the queue is full when the process ends, its guard calls `println!`, which waits for the full pipe.

use std::{
    collections::VecDeque,
    io::{self, Write},
    mem,
    os::fd::AsFd,
    sync::{
        Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, poll};

use crate::log;

/// Most lines that wait to be written. A further one is dropped and counted.
const LINES_MAX: usize = 4096;
/// Most bytes of these lines. A line past it is dropped and counted.
const BYTES_MAX: usize = 1 << 20;
/// Time between two lines that say how many were dropped.
const NOTICE_GAP: Duration = Duration::from_secs(1);
/// How long an ending process waits for its lines to be written.
const FLUSH_TIME_MAX: Duration = Duration::from_secs(1);

static STDOUT: LazyLock<Output> =
    LazyLock::new(|| Output::start("salp-stdout", Descriptor(io::stdout()), plain_notice));
static STDERR: LazyLock<Output> = LazyLock::new(|| Output::start("salp-log", Descriptor(io::stderr()), log::notice));

pub(crate) fn stdout() -> &'static Output {
    &STDOUT
}

/// Standard error: the log, and errors of the command.
pub(crate) fn stderr() -> &'static Output {
    &STDERR
}

/// Lines of standard error that were dropped since the process began.
pub(crate) fn log_lines_dropped() -> u64 {
    LazyLock::get(&STDERR).map_or(0, |output| output.shared.dropped.load(Ordering::Relaxed))
}

/// Writes an error of the command to standard error.
pub(crate) fn complain(text: &str) {
    let line = format!("salp: {text}\n");
    if stderr().is_running() {
        stderr().push(line);
    } else {
        // Without threads no node runs in this process, so this write may wait.
        let _ = io::stderr().write_all(line.as_bytes());
    }
}

/// Waits until all lines are written, at most a second. Called last in a process.
pub(crate) fn flush() {
    let until = Instant::now() + FLUSH_TIME_MAX;
    for output in [LazyLock::get(&STDOUT), LazyLock::get(&STDERR)].into_iter().flatten() {
        output.flush(until);
    }
}

/// The line that says how many lines were dropped, for processes without a log.
pub(crate) fn plain_notice(lines: u64) -> Vec<u8> {
    format!("salp: {lines} lines of this output were dropped\n").into_bytes()
}

/// See the [module](self).
pub(crate) struct Output {
    shared: Arc<Shared>,
    is_running: bool,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// The thread waits here for lines.
    filled: Condvar,
    /// A flush waits here until all lines are written.
    emptied: Condvar,
    dropped: AtomicU64,
}

#[derive(Default)]
struct Queue {
    lines: VecDeque<Line>,
    /// Bytes of all lines.
    bytes: usize,
    /// Lines dropped for lack of room since the last line that had room.
    missing: u64,
    /// The thread has taken something that is not written yet.
    is_writing: bool,
}

struct Line {
    bytes: Vec<u8>,
    /// Lines dropped just before this one.
    missing: u64,
}

impl Output {
    /// Starts the thread. `notice` makes the line that says how many lines were dropped.
    fn start(thread: &str, target: impl Write + Send + 'static, notice: fn(u64) -> Vec<u8>) -> Self {
        let shared = Arc::<Shared>::default();
        let writes = shared.clone();
        let run = move || writes.run(Lines { target, torn: false }, notice);
        let is_running = thread::Builder::new().name(thread.into()).spawn(run).is_ok();
        Self { shared, is_running }
    }

    /// Whether the system granted it a thread. Without one all lines are dropped.
    pub(crate) fn is_running(&self) -> bool {
        self.is_running
    }

    /// Adds a line, which must end with a line break. Without room it is dropped and counted.
    pub(crate) fn push(&self, line: impl Into<Vec<u8>>) {
        let bytes = line.into();
        let mut queue = self.shared.lock();
        if !self.is_running || queue.lines.len() >= LINES_MAX || queue.bytes + bytes.len() > BYTES_MAX {
            queue.missing += 1;
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        } else {
            queue.bytes += bytes.len();
            let missing = mem::take(&mut queue.missing);
            queue.lines.push_back(Line { bytes, missing });
        }
        drop(queue);
        self.shared.filled.notify_one();
    }

    /// Waits until all lines are written or dropped. False if that takes longer.
    fn flush(&self, until: Instant) -> bool {
        let mut queue = self.shared.lock();
        while self.is_running && (queue.is_writing || queue.has_some()) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.shared.emptied.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Queue {
    fn has_some(&self) -> bool {
        !self.lines.is_empty() || self.missing > 0
    }
}

impl Shared {
    /// The queue is complete between calls, so a panic while it is locked does no harm.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread: writes lines. Never returns.
    fn run(&self, mut lines: Lines<impl Write>, notice: fn(u64) -> Vec<u8>) {
        // Dropped lines that no notice has reported yet.
        let mut untold = 0;
        let mut told: Option<Instant> = None;
        loop {
            let line = self.next(untold > 0);
            untold += line.missing;
            let is_time = told.is_none_or(|told| told.elapsed() >= NOTICE_GAP);
            if untold > 0 && is_time {
                told = Some(Instant::now());
                if lines.write(&notice(untold)) {
                    untold = 0;
                }
            }
            if !lines.write(&line.bytes) {
                untold += 1;
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Waits for the next line. It is empty if there are only dropped lines to report.
    fn next(&self, has_untold: bool) -> Line {
        let mut queue = self.lock();
        queue.is_writing = false;
        let mut is_late = false;
        while !queue.has_some() && !is_late {
            self.emptied.notify_all();
            if has_untold {
                let waited = self.filled.wait_timeout(queue, NOTICE_GAP);
                let (guard, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                (queue, is_late) = (guard, timeout.timed_out());
            } else {
                queue = self.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
        }
        queue.is_writing = true;
        if let Some(line) = queue.lines.pop_front() {
            queue.bytes -= line.bytes.len();
            return line;
        }
        Line {
            bytes: Vec::new(),
            missing: mem::take(&mut queue.missing),
        }
    }
}

/// Whole lines, written to a target that may fail.
struct Lines<W> {
    target: W,
    /// The last line was written in part.
    torn: bool,
}

impl<W: Write> Lines<W> {
    /// False if the line, or a part of it, could not be written.
    fn write(&mut self, line: &[u8]) -> bool {
        if self.torn && !line.is_empty() {
            // The rest is dropped: the next line must begin at the left.
            if self.target.write_all(b"\n").is_err() {
                return false;
            }
            self.torn = false;
        }
        let mut rest = line;
        while !rest.is_empty() {
            match self.target.write(rest) {
                Ok(count @ 1..) => rest = &rest[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => {
                    self.torn |= rest.len() < line.len();
                    return false;
                }
            }
        }
        true
    }
}

/// A file descriptor, without the locks and buffers of the standard library. If it is non-blocking, a write waits all
/// the same, since only the thread of its output writes.
struct Descriptor<F>(F);

impl<F: AsFd> Write for Descriptor<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match rustix::io::write(&self.0, bytes) {
                Err(rustix::io::Errno::AGAIN) => {
                    poll(&mut [PollFd::new(&self.0, PollFlags::OUT)], None)?;
                }
                written => return Ok(written?),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver, Sender};

    use super::*;

    /// What a target does with the next write.
    enum Turn {
        Take,
        /// Takes so many bytes, and fails the next time.
        Tear(usize),
        Fail,
    }

    /// Waits for a turn before each write, and reports what was written.
    struct Target {
        turns: Receiver<Turn>,
        written: Sender<String>,
    }

    impl Write for Target {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = match self.turns.recv() {
                Ok(Turn::Take) => bytes.len(),
                Ok(Turn::Tear(count)) => count,
                Ok(Turn::Fail) | Err(_) => return Err(io::ErrorKind::StorageFull.into()),
            };
            let _ = self.written.send(String::from_utf8_lossy(&bytes[..count]).into_owned());
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn output() -> (Output, Sender<Turn>, Receiver<String>) {
        let ((turn, turns), (written, writes)) = (mpsc::channel(), mpsc::channel());
        (
            Output::start("test", Target { turns, written }, plain_notice),
            turn,
            writes,
        )
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn lines_are_written_in_order() {
        let (output, turn, written) = output();
        output.push("one\n");
        output.push("two\n");
        assert!(!output.flush(Instant::now()), "nothing is written yet");
        for line in ["one\n", "two\n"] {
            turn.send(Turn::Take).unwrap();
            assert_eq!(written.recv().unwrap(), line);
        }
        assert!(output.flush(soon()));
        assert_eq!(output.shared.dropped.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_reader_that_stands_still_costs_lines_and_no_time() {
        let (output, turn, written) = output();
        output.push("first\n");
        while !output.shared.lock().lines.is_empty() {
            thread::yield_now();
        }
        for number in 0..LINES_MAX + 500 {
            output.push(format!("{number}\n"));
        }
        assert_eq!(output.shared.dropped.load(Ordering::Relaxed), 500);
        for _ in 0..LINES_MAX + 2 {
            turn.send(Turn::Take).unwrap();
        }
        assert!(output.flush(soon()));
        let written: Vec<String> = written.try_iter().collect();
        assert_eq!((written.len(), written[0].as_str()), (LINES_MAX + 2, "first\n"));
        let last = written.last().unwrap();
        assert_eq!(last, "salp: 500 lines of this output were dropped\n");
    }

    #[test]
    fn a_line_beyond_the_bytes_is_dropped() {
        let (output, turn, written) = output();
        output.push(vec![b'x'; BYTES_MAX + 1]);
        for _ in 0..2 {
            turn.send(Turn::Take).unwrap();
        }
        assert_eq!(written.recv().unwrap(), "salp: 1 lines of this output were dropped\n");
        output.push("short\n");
        assert_eq!(written.recv().unwrap(), "short\n");
    }

    #[test]
    fn after_failed_writes_it_goes_on_and_says_how_many_lines_are_missing() {
        let (output, turn, written) = output();
        for _ in 0..3 {
            output.push("lost\n");
        }
        // Three lines, and a notice before the second, which fails too. No notice before the third: it follows too
        // soon.
        for _ in 0..4 {
            turn.send(Turn::Fail).unwrap();
        }
        assert!(output.flush(soon()));
        assert_eq!(output.shared.dropped.load(Ordering::Relaxed), 3);
        for _ in 0..2 {
            turn.send(Turn::Take).unwrap();
        }
        let notice = written.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(
            notice, "salp: 3 lines of this output were dropped\n",
            "it comes unasked"
        );
        output.push("next\n");
        assert_eq!(written.recv().unwrap(), "next\n");
    }

    #[test]
    fn the_line_after_one_that_is_torn_begins_at_the_left() {
        let (output, turn, written) = output();
        output.push("torn\n");
        turn.send(Turn::Tear(2)).unwrap();
        turn.send(Turn::Fail).unwrap();
        assert!(output.flush(soon()));
        for _ in 0..2 {
            turn.send(Turn::Take).unwrap();
        }
        let written: Vec<String> = (0..3)
            .map(|_| written.recv_timeout(Duration::from_secs(10)).unwrap())
            .collect();
        assert_eq!(written, ["to", "\n", "salp: 1 lines of this output were dropped\n"]);
    }
}
