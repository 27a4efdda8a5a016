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

/// Batches of handles that wait for the core; further callers wait.
pub(crate) const ORDERS_MAX: usize = 4096;
/// Wishes about the cluster that wait for the core; a further one is dropped.
pub(crate) const WISHES_MAX: usize = 64;
/// Events that wait for a slow reader; past it the reader is told how many it missed.
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

/// Something to be done on the core's thread.
pub(crate) struct Act(pub(crate) Box<dyn FnOnce(&mut Core) + Send>);

impl fmt::Debug for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Act")
    }
}

/// What a handle wants an answer to.
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
        /// Told once there is room for more on the way there.
        room: Option<oneshot::Sender<()>>,
    },
    /// The answer of an async process to a call.
    Reply {
        process: Pid,
        from: From,
        answer: Term,
    },
    /// A call of an async process, or of a new one that is there for this call only.
    Call {
        process: Option<Pid>,
        to: Address,
        request: Term,
        timeout_us: u64,
        answer: Answer,
    },
    Act(Act),
}

/// Where the outcome of a call goes. Dropped if the process ends first.
pub(crate) type Answer = oneshot::Sender<Result<Term, Term>>;

/// What a handle wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Add(Atom),
    Forget(Atom),
    Leave,
    CutShort,
    LeaveOther(Atom),
    AcceptLoss,
    /// Discovery yields these.
    Propose(Vec<Found>),
}

/// A way into the store of a running node, from any thread. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) orders: mpsc::Sender<Order>,
    pub(crate) wishes: mpsc::Sender<Wish>,
    pub(crate) events: broadcast::WeakSender<Event>,
    /// Told once, and never too much at a time: the end is not dropped.
    pub(crate) stop: Arc<Notify>,
    pub(crate) tasks: Tasks,
    /// That of the program. The node's own thread has another, where nothing may wait.
    pub(crate) runtime: runtime::Handle,
}

impl Handle {
    /// Proposes nodes to the membership. False if the node has stopped.
    pub(crate) async fn propose(&self, found: Vec<Found>) -> bool {
        self.wishes.send(Wish::Propose(found)).await.is_ok()
    }

    /// Executes a batch; its replies are in `batch.replies`. `keyspace` is a number in the order of the settings, and
    /// `level` what writes wait for, or `None` for what their keyspace says.
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

    /// Connects to a node, trying until it answers. Without effect if `node` is no full node name.
    pub fn add(&self, node: &str) {
        self.wish(node, Wish::Add);
    }

    /// Gives up a node that is not connected, and will not come back.
    pub fn forget(&self, node: &str) {
        self.wish(node, Wish::Forget);
    }

    /// Begins to hand everything over; the node ends when that is done.
    pub fn leave(&self) {
        self.tell(Wish::Leave);
    }

    /// The same, however many other wishes there are.
    pub(crate) async fn begin_to_leave(&self) {
        // A node that has stopped has left.
        let _ = self.wishes.send(Wish::Leave).await;
    }

    /// No more time is given to that.
    pub(crate) async fn cut_short(&self) {
        // A node that has stopped has left.
        let _ = self.wishes.send(Wish::CutShort).await;
    }

    /// Asks another member to leave.
    pub fn leave_other(&self, node: &str) {
        self.wish(node, Wish::LeaveOther);
    }

    /// Declares all nodes gone that are known or awaited and not connected; shards that only they held begin anew,
    /// empty.
    pub fn accept_loss(&self) {
        self.tell(Wish::AcceptLoss);
    }

    /// Stops the node at once, without handing over.
    pub fn stop(&self) {
        self.stop.notify_one();
    }

    /// What happens in the node from now on. Ends with the node.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        // A node that has stopped has no more events: the channel ends at once.
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
            tracing::warn!(?wish, "too many wishes at a time, dropped one");
        }
    }
}
