//! Accepts connections, at most so many at a time, and lets their requests end when the node stops.

use std::{pin::pin, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet, time};

/// Time in which the head of a request has to arrive; an idle connection is closed after it.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// Time that requests under way have left when the node stops. Event streams end with it.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause after an accept that failed, as it does when the process has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Connections and what serves them.
pub(super) struct Listening {
    router: Router,
    seats: Arc<Semaphore>,
    graceful: GracefulShutdown,
    connections: JoinSet<()>,
}

impl Listening {
    /// Serves `router`, at most `connections_max` connections at a time; more of them wait in the listener's queue.
    pub(super) fn open(router: Router, connections_max: usize) -> Self {
        Self {
            router,
            seats: Arc::new(Semaphore::new(connections_max)),
            graceful: GracefulShutdown::new(),
            connections: JoinSet::new(),
        }
    }

    /// Accepts connections until `stop` ends. Those that are there stay.
    pub(super) async fn until(mut self, listener: TcpListener, stop: impl Future<Output = ()>) -> Self {
        let mut stop = pin!(stop);
        loop {
            let seats = self.seats.clone();
            let accepted = async {
                let seat = seats.acquire_owned().await.expect("the semaphore is never closed");
                (listener.accept().await, seat)
            };
            let (accepted, seat) = tokio::select! {
                biased;
                () = &mut stop => return self,
                Some(_) = self.connections.join_next() => continue,
                accepted = accepted => accepted,
            };
            let Ok((stream, _)) = accepted else {
                time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            // Answers are small and written at once; waiting to fill a segment only delays them.
            let _ = stream.set_nodelay(true);
            let service = TowerToHyperService::new(self.router.clone());
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            let connection = self.graceful.watch(connection);
            self.connections.spawn(async move {
                // A connection that breaks concerns its client alone.
                let _ = connection.await;
                drop(seat);
            });
        }
    }

    /// Waits until there is no connection.
    pub(super) async fn all_closed(&mut self) {
        while self.connections.join_next().await.is_some() {}
    }

    /// Closes all connections, those at once that wait for no answer.
    pub(super) async fn close(self) {
        let _ = time::timeout(DRAIN_TIMEOUT, self.graceful.shutdown()).await;
    }
}
