//! The HTTP front end: its routes, the layers that every request passes on the way to them, and its listener.
//!
//! ```text
//! listener → observe (time, count) → addressed (Host) → share (CORS) → admit (token, origin) → check (methods)
//!          → hold (buffers) → remember (Idempotency-Key) → compress → a handler → Handle
//! ```
//!
//! - Handlers ask the store through [`Handle`] and decide nothing about data.
//! - Every failure is answered with a [`Problem`], unknown routes and methods included.
//! - A body is read only after its request is admitted, and at most as far as the largest value.
//! - The number of connections, the time for a request to arrive, and remembered answers are bounded.
//!
//! To add a route: a line in [`routes`] and an entry in `http/openapi.json`. A test compares the two.

pub(crate) mod address;
mod answers;
pub(crate) mod batch;
mod buffers;
mod cluster;
mod cors;
#[cfg(test)]
mod edge_tests;
mod events;
mod form;
mod found;
mod guard;
mod gzip;
mod host;
mod kv;
mod listener;
mod methods;
mod metrics;
mod problem;
pub(crate) mod range;
mod refusals;
#[cfg(test)]
mod tests;

use std::{
    pin::pin,
    sync::{Arc, atomic::AtomicU64},
};

use axum::{
    Router,
    extract::Request,
    http::{HeaderValue, StatusCode, header},
    middleware::{from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post},
};
use store::{ask::Status, config::Password, quorum::Level};
use tokio::{net::TcpListener, sync::watch};
use wire::{
    reply::{Replies, Reply},
    request::Batch,
};

pub(crate) use address::encode;
use answers::Answers;
pub(crate) use cors::Origins;
pub(crate) use host::Hosts;
use metrics::Timings;
use problem::Problem;

use crate::{
    budget::Budget,
    departure::{Departure, FrontEnd, Stage},
    handle::Handle,
};

/// Settings of the HTTP front end.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The token that a client must send as `Authorization: Bearer …`. `None`: every client is admitted.
    pub(crate) token: Option<Password>,
    /// The host names of this node.
    pub(crate) hosts: Hosts,
    /// The web sites whose pages may use this node.
    pub(crate) origins: Origins,
    /// Names of the keyspaces; the first is the default.
    pub(crate) keyspaces: Vec<String>,
    pub(crate) value_bytes_max: usize,
    pub(crate) key_bytes_max: usize,
    /// Most connections at a time. A further one waits until another is closed.
    pub(crate) connections_max: usize,
    /// Counts writes of the state file that failed.
    pub(crate) state_failures: Arc<AtomicU64>,
    /// The limit of the bytes that this node holds for clients.
    pub(crate) budget: Arc<Budget>,
}

/// State shared by all handlers.
#[derive(Debug)]
struct Door {
    handle: Handle,
    settings: Settings,
    answers: Answers,
    timings: Timings,
    /// Becomes true when the node stops. Then streams end, and each connection closes after its next response.
    closing: watch::Sender<bool>,
}

type Shared = Arc<Door>;
type Answer = Result<Response, Problem>;

/// Serves the node behind `handle` on `listener` until `stop` ends. Returns once the last request was answered or
/// aborted.
pub(crate) async fn serve(
    listener: TcpListener,
    handle: Handle,
    settings: Settings,
    (departure, front_end): (Departure, FrontEnd),
    stop: impl Future<Output = ()>,
) {
    let connections_max = settings.connections_max;
    let (closing, _) = watch::channel(false);
    let door = Arc::new(Door {
        handle,
        settings,
        answers: Answers::default(),
        timings: Timings::default(),
        closing,
    });
    let (mut stop, mut has_stopped) = (pin!(stop), false);
    let serve_out = async {
        tokio::select! {
            () = departure.reach(Stage::ServingOut) => {}
            () = &mut stop => has_stopped = true,
        }
        door.closing.send_replace(true);
    };
    let listening = listener::Listening::open(router(&door), connections_max);
    let mut listening = listening.until(listener, serve_out).await;
    if !has_stopped {
        tokio::select! {
            () = departure.reach(Stage::Closing) => {}
            () = stop => {}
            () = listening.all_closed() => {}
        }
    }
    listening.close().await;
    drop(front_end);
}

fn router(door: &Shared) -> Router {
    let mut router = Router::new();
    for (path, methods) in routes() {
        router = router.route(&pattern(&path), methods);
    }
    router
        .fallback(unknown_route)
        .layer(from_fn(gzip::compress))
        .layer(from_fn_with_state(door.clone(), answers::remember))
        .layer(from_fn_with_state(door.clone(), buffers::hold))
        .layer(from_fn(methods::check))
        .layer(from_fn_with_state(door.clone(), guard::admit))
        .layer(from_fn_with_state(door.clone(), cors::share))
        .layer(from_fn_with_state(door.clone(), host::addressed))
        .layer(from_fn_with_state(door.clone(), metrics::observe))
        .layer(from_fn(guard::harden))
        .layer(from_fn_with_state(door.clone(), guard::part))
        .with_state(door.clone())
}

/// Each path as in `openapi.json`, and its handlers.
fn routes() -> Vec<(String, MethodRouter<Shared>)> {
    let of_keyspace = || {
        [
            ("/kv", get(kv::list)),
            ("/kv/{key}", get(kv::get).put(kv::put).delete(kv::delete)),
            ("/kv/{key}/incr", post(kv::incr)),
            ("/batch", post(batch::execute)),
            ("/watch", get(kv::watch)),
        ]
    };
    let of_node = [
        (
            "/",
            get(async || page("text/html; charset=utf-8", include_str!("http/dashboard.html"))),
        ),
        (
            "/openapi.json",
            get(async || page("application/json", include_str!("http/openapi.json"))),
        ),
        ("/healthz", get(async || "ok\n")),
        ("/readyz", get(cluster::ready)),
        ("/metrics", get(metrics::show)),
        ("/cluster", get(cluster::cluster)),
        ("/nodes", get(cluster::nodes).post(cluster::add)),
        ("/nodes/{name}", get(cluster::node).delete(cluster::remove)),
        ("/form", post(form::form)),
        ("/shards", get(cluster::shards)),
        ("/stats", get(cluster::stats)),
        ("/events", get(events::stream)),
    ];
    let default = of_keyspace().map(|(path, methods)| (path.to_owned(), methods));
    let named = of_keyspace().map(|(path, methods)| (format!("/ks/{{keyspace}}{path}"), methods));
    let of_node = of_node.map(|(path, methods)| (path.to_owned(), methods));
    of_node.into_iter().chain(default).chain(named).collect()
}

/// A path in the syntax of the router. A key may contain slashes, so it matches the rest of the path. So the two routes
/// that begin with a key are one route.
fn pattern(path: &str) -> String {
    path.strip_suffix("/incr").unwrap_or(path).replace("{key}", "{*key}")
}

fn page(kind: &'static str, text: &'static str) -> Response {
    // The dashboard runs its own script and style and talks to its own node. It cannot be shown in a frame.
    const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
                          connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    let headers = [(header::CONTENT_TYPE, kind), (header::CONTENT_SECURITY_POLICY, POLICY)];
    (headers, text).into_response()
}

async fn unknown_route(request: Request) -> Problem {
    let path: String = request.uri().path().chars().take(200).collect();
    let detail = format!("there is nothing at {path}; /openapi.json lists what there is");
    Problem::refused(StatusCode::NOT_FOUND, "no_route", "No such route", detail)
}

/// The target of a request: its keyspace, and the level for its writes.
#[derive(Clone, Copy, Debug)]
struct Place {
    keyspace: u16,
    level: Option<Level>,
}

impl Door {
    /// The target of `request`, and its path below the keyspace.
    fn place<'a>(&self, request: &'a Request) -> Result<(Place, &'a str), Problem> {
        let (name, path) = address::split_keyspace(request.uri().path());
        let keyspace = match name {
            None => 0,
            Some(name) => self.keyspace(&address::decode(name)?)?,
        };
        let level = match request.headers().get("salp-consistency") {
            None => None,
            Some(name) => Some(
                name.to_str()
                    .ok()
                    .and_then(Level::of)
                    .ok_or_else(|| Problem::bad("the header Salp-Consistency is one, quorum or all"))?,
            ),
        };
        Ok((Place { keyspace, level }, path))
    }

    fn keyspace(&self, name: &[u8]) -> Result<u16, Problem> {
        let names = &self.settings.keyspaces;
        let number = names.iter().position(|other| other.as_bytes() == name);
        number.map(|number| number as u16).ok_or_else(|| {
            let detail = format!("the keyspaces are [{}]", names.join(", "));
            Problem::refused(StatusCode::NOT_FOUND, "no_keyspace", "No such keyspace", detail)
        })
    }

    /// Checks that the store accepts a key of this length.
    fn checked_key(&self, key: Vec<u8>) -> Result<Vec<u8>, Problem> {
        let bytes_max = self.settings.key_bytes_max;
        if (1..=bytes_max).contains(&key.len()) {
            Ok(key)
        } else {
            Err(Problem::bad(format!(
                "a key has 1 to {bytes_max} bytes, this one has {}",
                key.len()
            )))
        }
    }

    async fn ask(&self, place: Place, batch: Batch) -> Result<Replies, Problem> {
        let batch = self
            .handle
            .ask(place.keyspace, place.level, batch)
            .await
            .map_err(|_| Problem::gone())?;
        Ok(batch.replies)
    }

    /// The replies to the one request `args`. An error becomes a problem.
    async fn ask_one(&self, place: Place, args: &[&[u8]]) -> Result<Replies, Problem> {
        let mut batch = Batch::new();
        batch.push(args);
        let replies = self.ask(place, batch).await?;
        match replies.tokens().next() {
            Some(Reply::Error(kind, text)) => Err(Problem::of(kind, text)),
            _ => Ok(replies),
        }
    }

    async fn status(&self) -> Result<Arc<Status>, Problem> {
        self.handle.status().await.map_err(|_| Problem::gone())
    }
}

/// A header value from text that cannot contain control characters.
fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn json(status: StatusCode, value: &impl serde::Serialize) -> Response {
    let body = serde_json::to_vec(value).expect("maps with text keys and finite numbers are JSON");
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (status, headers, body).into_response()
}
