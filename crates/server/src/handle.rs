//! [`Handle`]: a way into the store of a running node, from any thread.
//!
//! Orders travel over bounded queues to the core's thread; answers come back through one-shot channels.

use std::{fmt, sync::Arc};

use node::{Address, Atom, Event, Pid, Term, gen_server::From};
use store::{ask::Status, quorum::Level};
use tokio::{
    runtime,
    sync::{Notify, broadcast, mpsc, oneshot},
};
use wire::request::Batch;

use crate::{core::Core, discovery::Found, inboxes::Tasks};

/// Batches of handles that wait for the core. Further callers wait.
pub(crate) const ORDERS_MAX: usize = 4096;
/// Wishes about the cluster that wait for the core. A further one is dropped.
pub(crate) const WISHES_MAX: usize = 64;
/// Events that wait for a slow reader. Past it the reader is told how many it missed.
pub(crate) const EVENTS_MAX: usize = 1024;

/// The node has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the node has stopped")
    }
}

impl std::error::Error for Gone {}

/// Something to do on the core's thread.
pub(crate) struct Act(pub(crate) Box<dyn FnOnce(&mut Core) + Send>);

impl fmt::Debug for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Act")
    }
}

/// A request of a handle that has an answer.
#[derive(Debug)]
pub(crate) enum Order {
    Ask {
        keyspace: u16,
        level: Option<Level>,
        batch: Batch,
        answer: oneshot::Sender<Batch>,
    },
    Status {
        answer: oneshot::Sender<Arc<Status>>,
    },
    /// A message of an async process, or of the shell.
    Send {
        from: Option<Pid>,
        to: Address,
        term: Term,
        /// Notified once there is room for more on the way to the receiver.
        room: Option<oneshot::Sender<()>>,
    },
    /// The answer of an async process to a call.
    Reply {
        process: Pid,
        from: From,
        answer: Term,
    },
    /// A call of an async process, or of a new process that exists for this call only.
    Call {
        process: Option<Pid>,
        to: Address,
        request: Term,
        timeout_us: u64,
        answer: Answer,
    },
    Act(Act),
}

/// Where the result of a call goes. Dropped if the process ends first.
pub(crate) type Answer = oneshot::Sender<Result<Term, Term>>;

/// A request of a handle that has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Add(Atom),
    Forget(Atom),
    Leave,
    CutShort,
    LeaveOther(Atom),
    AcceptLoss,
    /// Nodes that discovery found.
    Propose(Vec<Found>),
}

/// A way into the store of a running node, from any thread. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) orders: mpsc::Sender<Order>,
    pub(crate) wishes: mpsc::Sender<Wish>,
    pub(crate) events: broadcast::WeakSender<Event>,
    /// A `Notify`, not the bounded queue: a stop is never dropped.
    pub(crate) stop: Arc<Notify>,
    pub(crate) tasks: Tasks,
    /// The runtime of the program. The node's own thread has another one, where no task may wait.
    pub(crate) runtime: runtime::Handle,
}

impl Handle {
    /// Proposes nodes to the membership. False if the node has stopped.
    pub(crate) async fn propose(&self, found: Vec<Found>) -> bool {
        self.wishes.send(Wish::Propose(found)).await.is_ok()
    }

    /// Executes a batch. Its replies are in `batch.replies`. `keyspace` is a number in the order of the settings.
    /// `level` is the level for writes; `None` is the level of the keyspace.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn ask(&self, keyspace: u16, level: Option<Level>, batch: Batch) -> Result<Batch, Gone> {
        let (answer, answered) = oneshot::channel();
        let order = Order::Ask {
            keyspace,
            level,
            batch,
            answer,
        };
        self.orders.send(order).await.map_err(|_| Gone)?;
        answered.await.map_err(|_| Gone)
    }

    /// The cluster as this node sees it.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn status(&self) -> Result<Arc<Status>, Gone> {
        let (answer, answered) = oneshot::channel();
        self.orders.send(Order::Status { answer }).await.map_err(|_| Gone)?;
        answered.await.map_err(|_| Gone)
    }

    /// Connects to a node, and tries again until it answers. Ignored if `node` is not a full node name.
    pub fn add(&self, node: &str) {
        self.wish(node, Wish::Add);
    }

    /// Forgets a node that is not connected and will not come back.
    pub fn forget(&self, node: &str) {
        self.wish(node, Wish::Forget);
    }

    /// Begins to hand over all data. The node ends when that is done.
    pub fn leave(&self) {
        self.tell(Wish::Leave);
    }

    /// The same, even if the queue of wishes is full.
    pub(crate) async fn begin_to_leave(&self) {
        // If the node has stopped, it has left.
        let _ = self.wishes.send(Wish::Leave).await;
    }

    /// Ends the time for handing over.
    pub(crate) async fn cut_short(&self) {
        // If the node has stopped, it has left.
        let _ = self.wishes.send(Wish::CutShort).await;
    }

    /// Asks another member to leave.
    pub fn leave_other(&self, node: &str) {
        self.wish(node, Wish::LeaveOther);
    }

    /// Declares that all nodes that are known or awaited and not connected are gone. Shards that only they held begin
    /// empty.
    pub fn accept_loss(&self) {
        self.tell(Wish::AcceptLoss);
    }

    /// Stops the node at once, without handing over its data.
    pub fn stop(&self) {
        self.stop.notify_one();
    }

    /// The events of the node from now on. The channel ends with the node.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        // A stopped node has no more events: the channel ends at once.
        self.events
            .upgrade()
            .unwrap_or_else(|| broadcast::Sender::new(1))
            .subscribe()
    }

    fn wish(&self, node: &str, wish: impl FnOnce(Atom) -> Wish) {
        if let Some(node) = wire::dist::node_name(node.as_bytes()) {
            self.tell(wish(node));
        }
    }

    fn tell(&self, wish: Wish) {
        if let Err(mpsc::error::TrySendError::Full(wish)) = self.wishes.try_send(wish) {
            tracing::warn!(
                ?wish,
                "too many requests to add, forget or leave at a time; one was dropped"
            );
        }
    }
}
