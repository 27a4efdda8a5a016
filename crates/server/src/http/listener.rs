//! Accepts a bounded number of connections, and lets their requests end when the node stops.
//!
//! An idle connection costs its client nothing but would keep others out. So if all seats are taken, the connection
//! that was silent for longest is closed for a new one. If none was silent for [`SILENT_MIN`], a new connection gets
//! one of a few seats for probes: `/healthz`, `/readyz` and `/metrics` are answered, all other paths are refused (503).
//! If these seats are taken too, the oldest of their connections is closed.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    http::{HeaderValue, Request, StatusCode, header},
    response::{IntoResponse, Response},
};
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinSet,
    time,
};
use wire::reply::Retry;

use super::{
    problem::Problem,
    refusals::{self, Stream},
};
use crate::{descriptors::PROBES, log::limit};

/// Time limit for the head of a request. An idle connection is closed after it.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// The same for a connection on a seat for probes.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection that was silent for less is not closed for a new one.
const SILENT_MIN: Duration = Duration::from_secs(1);

/// Time that requests under way have when the node stops. Event streams end at once.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause after a failed accept: the process may have no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Paths that a connection on a seat for probes may ask for.
const PROBE_PATHS: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// The address a request came from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

/// The state of one connection.
#[derive(Debug)]
pub(super) struct Seat {
    opened: Instant,
    /// When bytes were last read or written, in milliseconds since it was opened.
    active_ms: AtomicU64,
    /// A request is being answered.
    is_busy: AtomicBool,
    /// Whether the seat is for probes only.
    is_spare: bool,
    /// Notified when the connection must be closed.
    leave: Notify,
}

impl Seat {
    fn new(is_spare: bool) -> Self {
        Self {
            opened: Instant::now(),
            active_ms: AtomicU64::new(0),
            is_busy: AtomicBool::new(false),
            is_spare,
            leave: Notify::new(),
        }
    }

    /// Called when bytes were read or written.
    pub(super) fn touch(&self) {
        self.active_ms
            .store(self.opened.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// Closes the connection.
    pub(super) fn leave(&self) {
        self.leave.notify_one();
    }

    fn silent(&self) -> Duration {
        let active = Duration::from_millis(self.active_ms.load(Ordering::Relaxed));
        self.opened.elapsed().saturating_sub(active)
    }
}

/// All connections by number, in the order in which they came.
#[derive(Debug, Default)]
struct Seats(Mutex<(u64, BTreeMap<u64, Arc<Seat>>)>);

impl Seats {
    /// A seat for a new connection, and its number. Another connection may be closed for it.
    fn take(&self, connections_max: usize) -> (u64, Arc<Seat>) {
        let mut locked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (numbers, seats) = &mut *locked;
        let spare = seats.values().filter(|seat| seat.is_spare).count();
        let mut is_spare = false;
        if seats.len() - spare >= connections_max {
            let idle = seats
                .iter()
                .filter(|(_, seat)| !seat.is_spare && !seat.is_busy.load(Ordering::Relaxed));
            let longest = idle.map(|(number, seat)| (seat.silent(), *number)).max();
            let leaving = match longest {
                Some((silent, number)) if silent >= SILENT_MIN => Some(number),
                _ => {
                    is_spare = true;
                    let oldest = || seats.iter().find(|(_, seat)| seat.is_spare).map(|(number, _)| *number);
                    if spare >= PROBES { oldest() } else { None }
                }
            };
            if let Some(seat) = leaving.and_then(|number| seats.remove(&number)) {
                seat.leave.notify_one();
            }
        }
        *numbers += 1;
        let seat = Arc::new(Seat::new(is_spare));
        seats.insert(*numbers, seat.clone());
        (*numbers, seat)
    }

    fn free(&self, number: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1.remove(&number);
    }
}

/// The connections, and the service behind them.
pub(super) struct Listening {
    router: Router,
    connections_max: usize,
    seats: Arc<Seats>,
    graceful: GracefulShutdown,
    connections: JoinSet<()>,
}

impl Listening {
    /// Serves `router` on at most `connections_max` connections at a time, and some more for probes.
    pub(super) fn open(router: Router, connections_max: usize) -> Self {
        Self {
            router,
            connections_max,
            seats: Arc::default(),
            graceful: GracefulShutdown::new(),
            connections: JoinSet::new(),
        }
    }

    /// Accepts connections until `stop` ends. Existing connections stay open.
    pub(super) async fn until(mut self, listener: TcpListener, stop: impl Future<Output = ()>) -> Self {
        let mut stop = pin!(stop);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut stop => return self,
                Some(_) = self.connections.join_next() => continue,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => self.serve(stream, peer),
                Err(error) => {
                    if limit::ACCEPT.allows() {
                        tracing::warn!(%error, "an HTTP client could not be accepted");
                    }
                    time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn serve(&mut self, stream: TcpStream, peer: SocketAddr) {
        // Answers are small and written at once. Waiting to fill a segment would only delay them.
        let _ = stream.set_nodelay(true);
        let (number, seat) = self.seats.take(self.connections_max);
        let (watcher, seats, router) = (self.graceful.watcher(), self.seats.clone(), self.router.clone());
        self.connections.spawn(async move {
            let connection = refusals::run(stream, seat.clone(), |stream| {
                watcher.watch(connection(stream, &router, peer, seat.clone()))
            });
            tokio::select! {
                () = connection => {}
                () = seat.leave.notified() => {}
            }
            seats.free(number);
        });
    }

    /// Waits until there is no connection.
    pub(super) async fn all_closed(&mut self) {
        while self.connections.join_next().await.is_some() {}
    }

    /// Closes all connections. Idle ones are closed at once.
    pub(super) async fn close(self) {
        let _ = time::timeout(DRAIN_TIMEOUT, self.graceful.shutdown()).await;
    }
}

type Served = Result<Response, std::convert::Infallible>;

/// One connection of the HTTP library, on its seat.
fn connection(
    stream: Stream,
    router: &Router,
    peer: SocketAddr,
    seat: Arc<Seat>,
) -> http1::Connection<
    TokioIo<Stream>,
    impl Service<Request<Incoming>, Response = Response, Error = std::convert::Infallible, Future: Send> + use<>,
> {
    let routes = TowerToHyperService::new(router.clone());
    let is_spare = seat.is_spare;
    let service = service_fn(move |mut request: Request<Incoming>| {
        let (seat, routes) = (seat.clone(), routes.clone());
        request.extensions_mut().insert(Peer(peer.ip()));
        request.extensions_mut().insert(seat.clone());
        async move {
            if seat.is_spare && !PROBE_PATHS.contains(&request.uri().path()) {
                return Served::Ok(crowded());
            }
            seat.is_busy.store(true, Ordering::Relaxed);
            let response = routes.call(request).await;
            seat.is_busy.store(false, Ordering::Relaxed);
            response.map(|response| response.map(Body::new))
        }
    });
    let timeout = if is_spare { PROBE_TIMEOUT } else { HEAD_TIMEOUT };
    let mut builder = http1::Builder::new();
    let builder = builder
        .timer(TokioTimer::new())
        .header_read_timeout(timeout)
        .keep_alive(!is_spare);
    builder.serve_connection(TokioIo::new(stream), service)
}

fn crowded() -> Response {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    let detail =
        "this node has as many HTTP connections as it may have; it answers only /healthz, /readyz and /metrics";
    let problem = Problem {
        retry: Retry::Safe,
        ..Problem::refused(status, "connections", "Too many connections", detail)
    };
    let close = HeaderValue::from_static("close");
    problem.with_header(header::CONNECTION, close).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seat_that_was_silent_for_longest_makes_way() {
        let seats = Seats::default();
        let mut taken: Vec<(u64, Arc<Seat>)> = (0..3).map(|_| seats.take(3)).collect();
        let silent = |seat: &Seat, ms: u64| seat.active_ms.store(ms, Ordering::Relaxed);
        let is_asked = |seat: &Seat| {
            let mut leave = pin!(seat.leave.notified());
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            leave.as_mut().poll(&mut context).is_ready()
        };
        // None was silent for long enough: the next ones are for probes. The oldest of these is closed for a new one.
        let spare: Vec<_> = (0..=PROBES).map(|_| seats.take(3).1).collect();
        assert!(spare.iter().all(|seat| seat.is_spare));
        assert_eq!(
            spare.iter().map(|seat| is_asked(seat)).filter(|asked| *asked).count(),
            1
        );
        assert!(taken.iter().all(|(_, seat)| !is_asked(seat)));
        let past = Instant::now().checked_sub(2 * SILENT_MIN).unwrap();
        for (index, (number, seat)) in taken.iter_mut().enumerate() {
            let old = Arc::new(Seat {
                opened: past,
                ..Seat::new(false)
            });
            silent(&old, [500, 100, 0][index]);
            old.is_busy.store(index == 2, Ordering::Relaxed);
            seats.0.lock().unwrap().1.insert(*number, old.clone());
            *seat = old;
        }
        let (_, seat) = seats.take(3);
        assert!(!seat.is_spare);
        let asked: Vec<bool> = taken.iter().map(|(_, seat)| is_asked(seat)).collect();
        assert_eq!(
            asked,
            [false, true, false],
            "the second was silent for longest; the third is answering"
        );
    }
}
