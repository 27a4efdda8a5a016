//! The inboxes of async processes. The core puts messages in. Tasks on the program's runtime take them out.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use node::{Pid, Ref};
use tokio::{sync::mpsc, task::AbortHandle};

use crate::{
    handle::Answer,
    locks::{Locks, Step},
    process::Message,
};

/// Most messages that wait for one async process, including those that were read and put aside.
pub const INBOX_MAX: usize = 16_384;
/// Most bytes of the terms in these messages. The last message may exceed it, so one message may have any size.
pub const INBOX_BYTES_MAX: usize = 64 << 20;

/// The inboxes of async processes, and their tasks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tasks(Arc<Mutex<Inboxes>>);

#[derive(Debug, Default)]
struct Inboxes {
    held: HashMap<Pid, Held>,
    /// The node has ended: a new inbox is closed at once.
    is_closed: bool,
}

#[derive(Debug)]
struct Held {
    /// `None` for a process that exists for one call only.
    inbox: Option<Feeding>,
    task: Option<AbortHandle>,
    call: Option<Awaited>,
    locks: Locks,
}

impl Held {
    fn new(inbox: Option<Feeding>) -> Self {
        Self {
            inbox,
            task: None,
            call: None,
            locks: Locks::default(),
        }
    }
}

/// A call that an async process waits for.
#[derive(Debug)]
pub(crate) struct Awaited {
    pub(crate) call: Ref,
    /// Where its result goes.
    pub(crate) answer: Answer,
}

/// What must be done after a message was delivered.
#[derive(Debug)]
pub(crate) enum Then {
    Nothing,
    /// The process must end.
    End(&'static str),
    /// This request must be sent to `global`.
    Ask(Step),
}

/// Where the messages of an async process are put.
#[derive(Debug)]
struct Feeding {
    messages: mpsc::Sender<Weighed>,
    load: Arc<Load>,
}

/// The messages that wait for a process, including those put aside.
#[derive(Debug, Default)]
struct Load {
    messages: AtomicUsize,
    bytes: AtomicUsize,
}

impl Feeding {
    fn give(&self, message: Message) -> Then {
        // A process that no longer receives has not ended: its task reports its end, and the reason.
        if self.messages.is_closed() {
            return Then::Nothing;
        }
        let weighed = Weighed::new(message);
        let messages = self.load.messages.fetch_add(1, Ordering::Relaxed);
        let bytes = self.load.bytes.fetch_add(weighed.bytes, Ordering::Relaxed);
        if messages >= INBOX_MAX || bytes > INBOX_BYTES_MAX {
            return Then::End("overflow");
        }
        match self.messages.try_send(weighed) {
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Then::Nothing,
            Err(mpsc::error::TrySendError::Full(_)) => Then::End("overflow"),
        }
    }
}

/// The other end, from which an async process takes its messages.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) messages: mpsc::Receiver<Weighed>,
    load: Arc<Load>,
}

impl Waiting {
    pub(crate) fn take(&self, weighed: Weighed) -> Message {
        self.load.messages.fetch_sub(1, Ordering::Relaxed);
        self.load.bytes.fetch_sub(weighed.bytes, Ordering::Relaxed);
        weighed.message
    }
}

/// A message, and the bytes that it counts.
#[derive(Debug)]
pub(crate) struct Weighed {
    pub(crate) message: Message,
    bytes: usize,
}

impl Weighed {
    fn new(message: Message) -> Self {
        let bytes = match &message {
            Message::Term { term, .. }
            | Message::Reply { result: Ok(term), .. }
            | Message::Reply { result: Err(term), .. }
            | Message::Exit { reason: term, .. }
            | Message::Down { reason: term, .. } => term.held_bytes(),
            // These are small or shared.
            Message::Payload(_)
            | Message::Timer { .. }
            | Message::NodeUp { .. }
            | Message::NodeDown { .. }
            | Message::Members(_)
            | Message::Cluster(_)
            | Message::Flush => 0,
        };
        Self { message, bytes }
    }
}

impl Tasks {
    fn lock(&self) -> MutexGuard<'_, Inboxes> {
        // No code panics while it is locked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn open(&self, pid: &Pid) -> Waiting {
        let (messages, received) = mpsc::channel(INBOX_MAX);
        let load = Arc::<Load>::default();
        let waiting = Waiting {
            messages: received,
            load: load.clone(),
        };
        let held = Held::new(Some(Feeding { messages, load }));
        let mut inboxes = self.lock();
        if !inboxes.is_closed {
            inboxes.held.insert(pid.clone(), held);
        }
        waiting
    }

    pub(crate) fn hold(&self, pid: &Pid, task: AbortHandle) {
        match self.lock().held.get_mut(pid) {
            Some(held) => held.task = Some(task),
            // The process ended in between.
            None => task.abort(),
        }
    }

    /// Delivers a message.
    pub(crate) fn give(&self, pid: &Pid, message: Message) -> Then {
        let mut inboxes = self.lock();
        let Some(held) = inboxes.held.get_mut(pid) else {
            return Then::Nothing;
        };
        let (call, result) = match message {
            Message::Reply { call, result } => (call, result),
            message => return held.inbox.as_ref().map_or(Then::Nothing, |inbox| inbox.give(message)),
        };
        if held.locks.has_asked(&call) {
            return held.locks.answered(&call, result).map_or(Then::Nothing, Then::Ask);
        }
        let Some(awaited) = held.call.take_if(|awaited| awaited.call == call) else {
            let reply = Message::Reply { call, result };
            return held.inbox.as_ref().map_or(Then::Nothing, |inbox| inbox.give(reply));
        };
        // The caller may have given up.
        let _ = awaited.answer.send(result);
        match held.inbox {
            Some(_) => Then::Nothing,
            None => Then::End("normal"),
        }
    }

    /// The process waits for the result of a call. Returns the call that it waited for before. That call is to be
    /// forgotten.
    pub(crate) fn await_call(&self, pid: &Pid, call: Awaited) -> Option<Ref> {
        let mut inboxes = self.lock();
        let held = inboxes.held.get_mut(pid)?;
        held.call.replace(call).map(|forgotten| forgotten.call)
    }

    /// Runs `act` on the locks of a process. `None` if the process has ended.
    pub(crate) fn with_locks<R>(&self, pid: &Pid, act: impl FnOnce(&mut Locks) -> R) -> Option<R> {
        self.lock().held.get_mut(pid).map(|held| act(&mut held.locks))
    }

    /// Adds a process without an inbox, for one call.
    pub(crate) fn open_for_call(&self, pid: &Pid) {
        self.lock().held.insert(pid.clone(), Held::new(None));
    }

    /// The process has ended. Its task ends at its next await.
    pub(crate) fn drop(&self, pid: &Pid) {
        let held = self.lock().held.remove(pid);
        if let Some(task) = held.and_then(|held| held.task) {
            task.abort();
        }
    }
}

/// When this is dropped the node has ended, for whatever reason: all inboxes are closed.
pub(crate) struct LastWord(pub(crate) Tasks);

impl Drop for LastWord {
    fn drop(&mut self) {
        let mut inboxes = self.0.lock();
        inboxes.is_closed = true;
        inboxes.held.clear();
    }
}

#[cfg(test)]
mod tests {
    use node::Atom;

    use super::*;

    fn open() -> (Tasks, Pid, Waiting) {
        let (tasks, pid) = (
            Tasks::default(),
            Pid {
                node: Atom::new("a@h"),
                id: 1,
                serial: 0,
                creation: 1,
            },
        );
        let waiting = tasks.open(&pid);
        (tasks, pid, waiting)
    }

    #[test]
    fn messages_put_aside_count() {
        let (tasks, pid, mut waiting) = open();
        let give = || tasks.give(&pid, Message::Flush);
        let mut aside = Vec::new();
        for at in 0..INBOX_MAX {
            assert!(matches!(give(), Then::Nothing));
            if at % 2 == 0 {
                aside.extend(waiting.messages.try_recv());
            }
        }
        waiting.take(aside.pop().unwrap());
        assert!(matches!(give(), Then::Nothing));
        assert!(matches!(give(), Then::End("overflow")));
    }

    #[test]
    fn who_does_not_listen_goes_on() {
        let (tasks, pid, waiting) = open();
        drop(waiting);
        for _ in 0..=INBOX_MAX {
            assert!(matches!(tasks.give(&pid, Message::Flush), Then::Nothing));
        }
    }
}
