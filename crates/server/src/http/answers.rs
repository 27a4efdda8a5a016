//! Answers remembered under their `Idempotency-Key`: a repeated write is answered and not executed again.
//!
//! Each node has its own table. A retry must go to the node that was asked first, and a restart forgets all answers.
//! The table holds at most [`ANSWERS_MAX`] answers and [`BYTES_MAX`] bytes of bodies. The oldest are dropped first.
//! Each is dropped after [`KEPT`].
//!
//! - A key stands for one request: reuse with another method, path, body or consistency is refused (422).
//! - A repetition that comes while the first request is under way waits for its answer. The first request runs to its
//!   end even if its client has gone, since a retry asks for its outcome.
//! - An answer is not remembered if nothing was done and a retry may help ([`NothingDone`]). An answer that does not
//!   know the outcome is remembered: then the retry learns that the outcome is unknown, and does no harm.
//!
//! Source: draft-ietf-httpapi-idempotency-key-header-07, *The Idempotency-Key HTTP Header Field*.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    hash::{BuildHasher, Hasher, RandomState},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http_body_util::BodyExt;
use tokio::sync::OnceCell;

use super::{
    Shared,
    problem::{NothingDone, Problem},
};

/// Most answers that are remembered.
const ANSWERS_MAX: usize = 10_000;

/// Most bytes of bodies that are remembered.
const BYTES_MAX: usize = 16 << 20;

/// How long an answer is remembered.
const KEPT: Duration = Duration::from_secs(600);

/// Longest key.
const KEY_BYTES_MAX: usize = 255;

/// A copy of an answer that can be sent again.
#[derive(Clone, Debug)]
struct Saved {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Saved {
    fn response(&self) -> Response {
        (self.status, self.headers.clone(), self.body.clone()).into_response()
    }
}

/// One request, and its answer once there is one.
#[derive(Debug)]
struct Remembered {
    /// Hash of everything that makes the request different from others.
    fingerprint: u64,
    answer: OnceCell<Saved>,
}

#[derive(Debug, Default)]
struct Table {
    by_key: HashMap<Arc<str>, Held>,
    /// Keys in the order in which they came. An entry whose key was dropped or replaced since has no effect.
    order: VecDeque<(Instant, Arc<str>, Arc<Remembered>)>,
    /// Bytes of all bodies in `by_key`.
    bytes: usize,
}

#[derive(Debug)]
struct Held {
    request: Arc<Remembered>,
    /// Bytes of the answer's body, once there is one.
    bytes: usize,
}

/// What the table has for a request.
#[derive(Debug)]
enum Met {
    /// The same request, new or known.
    Same(Arc<Remembered>),
    /// Another request with the same key.
    Another,
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct Answers {
    table: Mutex<Table>,
    /// With a random key, so that clients cannot construct two requests with one fingerprint.
    hasher: RandomState,
}

impl Answers {
    fn meet(&self, key: &str, fingerprint: u64, now: Instant) -> Met {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.forget(now);
        let key: Arc<str> = key.into();
        match table.by_key.entry(key.clone()) {
            Entry::Occupied(known) if known.get().request.fingerprint == fingerprint => {
                Met::Same(known.get().request.clone())
            }
            Entry::Occupied(_) => Met::Another,
            Entry::Vacant(place) => {
                let request = Arc::new(Remembered {
                    fingerprint,
                    answer: OnceCell::new(),
                });
                place.insert(Held {
                    request: request.clone(),
                    bytes: 0,
                });
                table.order.push_back((now, key, request.clone()));
                Met::Same(request)
            }
        }
    }

    /// The answer to `request` has come. Its body has `bytes`.
    fn settle(&self, key: &str, request: &Arc<Remembered>, bytes: usize) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let table = &mut *table;
        if let Some(held) = table
            .by_key
            .get_mut(key)
            .filter(|held| Arc::ptr_eq(&held.request, request))
        {
            held.bytes = bytes;
            table.bytes += bytes;
        }
        table.forget(Instant::now());
    }

    /// `request` will be executed when it comes again. If it has come again already, the entry is kept: the repetition
    /// that waits will execute it and settle it.
    fn drop_key(&self, key: &str, request: &Arc<Remembered>) {
        // Two of the table, and one of the request.
        const REFERENCES: usize = 3;
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if Arc::strong_count(request) <= REFERENCES {
            table.remove(key, request);
        }
    }

    fn fingerprint(&self, parts: &Parts, body: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        let level = parts
            .headers
            .get("salp-consistency")
            .map_or(&b""[..], |level| level.as_bytes());
        let kind = parts
            .headers
            .get(header::CONTENT_TYPE)
            .map_or(&b""[..], |kind| kind.as_bytes());
        let condition = |name| parts.headers.get(name).map_or(&b""[..], |value| value.as_bytes());
        let conditions = [condition(header::IF_MATCH), condition(header::IF_NONE_MATCH)];
        let uri = parts.uri.path_and_query().map_or("", |path| path.as_str());
        let all = [parts.method.as_str().as_bytes(), uri.as_bytes(), level, kind, body];
        for part in all.into_iter().chain(conditions) {
            hasher.write_usize(part.len());
            hasher.write(part);
        }
        hasher.finish()
    }
}

impl Table {
    /// Drops answers that are too old, and the oldest ones past the limits.
    fn forget(&mut self, now: Instant) {
        while let Some((since, ..)) = self.order.front() {
            let old = now.saturating_duration_since(*since) >= KEPT;
            if !old && self.order.len() <= ANSWERS_MAX && self.bytes <= BYTES_MAX {
                break;
            }
            let Some((_, key, request)) = self.order.pop_front() else {
                break;
            };
            self.remove(&key, &request);
        }
    }

    fn remove(&mut self, key: &str, request: &Arc<Remembered>) {
        if self
            .by_key
            .get(key)
            .is_some_and(|held| Arc::ptr_eq(&held.request, request))
        {
            let held = self.by_key.remove(key).expect("it was there a line above");
            self.bytes -= held.bytes;
        }
    }
}

/// The middleware. It passes on requests that are not writes or have no key.
pub(super) async fn remember(State(door): State<Shared>, request: Request, next: Next) -> Response {
    let writes = ![Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
    match request.headers().get("idempotency-key") {
        Some(key) if writes => {
            let key = key
                .to_str()
                .ok()
                .filter(|key| {
                    (1..=KEY_BYTES_MAX).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
                })
                .map(str::to_owned);
            let answer = match key {
                Some(key) => once(door, key, request, next).await,
                None => Err(Problem::bad(format!(
                    "an Idempotency-Key must have 1 to {KEY_BYTES_MAX} visible characters"
                ))),
            };
            answer.unwrap_or_else(IntoResponse::into_response)
        }
        _ => next.run(request).await,
    }
}

async fn once(door: Shared, key: String, request: Request, next: Next) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let (body, held) = door.body(&parts.headers, body).await?;
    let fingerprint = door.answers.fingerprint(&parts, &body);
    let remembered = match door.answers.meet(&key, fingerprint, Instant::now()) {
        Met::Same(remembered) => remembered,
        Met::Another => {
            let detail = "this Idempotency-Key was used for another request";
            let title = "Idempotency-Key reused";
            return Err(Problem::refused(
                StatusCode::UNPROCESSABLE_ENTITY,
                "key_reused",
                title,
                detail,
            ));
        }
    };
    // The handler counts the body again.
    drop(held);
    // A task of its own: it goes on if the client hangs up.
    let task = tokio::spawn(async move {
        let first = async {
            let response = next.run(Request::from_parts(parts, Body::from(body))).await;
            if response.extensions().get::<NothingDone>().is_some() {
                door.answers.drop_key(&key, &remembered);
                return Err(response);
            }
            let saved = save(response).await;
            door.answers.settle(&key, &remembered, saved.body.len());
            Ok(saved)
        };
        remembered
            .answer
            .get_or_try_init(|| first)
            .await
            .map_or_else(|response| response, Saved::response)
    });
    task.await.map_err(|_| Problem::unexpected())
}

/// Answers to writes are complete in memory, so collecting one neither waits nor fails.
async fn save(response: Response) -> Saved {
    let (parts, body) = response.into_parts();
    let body = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    Saved {
        status: parts.status,
        headers: parts.headers,
        body,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(met: Met) -> Arc<Remembered> {
        match met {
            Met::Same(request) => request,
            Met::Another => panic!("the fingerprints are equal"),
        }
    }

    #[test]
    fn a_key_is_one_request() {
        let (answers, now) = (Answers::default(), Instant::now());
        let first = same(answers.meet("k", 1, now));
        assert!(Arc::ptr_eq(&first, &same(answers.meet("k", 1, now))));
        assert!(matches!(answers.meet("k", 2, now), Met::Another));
        assert!(!Arc::ptr_eq(&first, &same(answers.meet("other", 1, now))));
    }

    #[test]
    fn a_key_leaves_with_age_and_when_nothing_was_done() {
        let (answers, now) = (Answers::default(), Instant::now());
        let first = same(answers.meet("k", 1, now));
        assert!(!Arc::ptr_eq(&first, &same(answers.meet("k", 1, now + KEPT))));
        let second = same(answers.meet("j", 1, now));
        answers.drop_key("j", &first);
        assert!(
            Arc::ptr_eq(&second, &same(answers.meet("j", 1, now))),
            "another request's key stays"
        );
        let waits = same(answers.meet("j", 1, now));
        answers.drop_key("j", &second);
        assert!(
            Arc::ptr_eq(&waits, &same(answers.meet("j", 1, now))),
            "who waits does it, once"
        );
        drop(waits);
        answers.drop_key("j", &second);
        assert!(!Arc::ptr_eq(&second, &same(answers.meet("j", 1, now))));
    }

    #[test]
    fn the_table_is_bounded_in_number_and_bytes() {
        let (answers, now) = (Answers::default(), Instant::now());
        for number in 0..ANSWERS_MAX + 10 {
            answers.meet(&number.to_string(), 1, now);
        }
        answers.meet("last", 1, now);
        let length = answers.table.lock().unwrap().by_key.len();
        assert!((ANSWERS_MAX..=ANSWERS_MAX + 1).contains(&length), "{length}");

        let large = same(answers.meet("large", 1, now));
        answers.settle("large", &large, BYTES_MAX + 1);
        let table = answers.table.lock().unwrap();
        assert_eq!((table.by_key.len(), table.order.len(), table.bytes), (0, 0, 0));
    }
}
