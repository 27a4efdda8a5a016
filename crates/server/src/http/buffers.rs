//! Bodies and responses, within the [`Budget`](crate::budget::Budget) of the node.
//!
//! - A body is read once there is room for all of it. A body of unknown length is read as it comes.
//! - A response is held until its client has taken it. It leaves in pieces, so its room is given back after the last
//!   piece, not after the first. A client that does not take it is cut.

use std::{
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use tokio::time::{self, timeout};
use wire::reply::Retry;

use super::{Door, Shared, listener::Seat, problem::Problem};
use crate::{
    budget::{Budget, COPIES, Claim, LARGE_BYTES, NO_ROOM, SMALL_BYTES, STILL_TIME_MAX, Turn, UNREAD_TIME_MAX},
    log::limit,
};

/// Time limit for a body to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// Bytes of a response that are handed to the HTTP library at a time.
const PIECE_BYTES: usize = 64 << 10;

/// The room of a request. It is given back when the request is answered.
#[derive(Debug)]
pub(super) struct Held {
    claim: Claim,
    turn: Option<Turn>,
}

impl Held {
    /// Waits for the turn of a request of `bytes`. Until it is answered there are copies of it.
    pub(super) async fn take_turn(&mut self, bytes: usize) -> Result<(), Problem> {
        if self.turn.is_none() {
            self.turn = self.claim.budget().turn(bytes).await;
            if self.turn.is_none() {
                return Err(no_room(self.claim.budget(), Retry::Safe));
            }
        }
        self.claim.force(self.claim.bytes() * COPIES);
        Ok(())
    }
}

/// A refusal because there is no room.
fn no_room(budget: &Budget, retry: Retry) -> Problem {
    budget.count_refused();
    if limit::NO_ROOM.allows() {
        tracing::warn!("an HTTP client was refused: the buffers are full (max-buffers)");
    }
    let (status, title) = (StatusCode::SERVICE_UNAVAILABLE, "The buffers are full");
    let detail = match retry {
        Retry::Safe => NO_ROOM,
        _ => "the buffers of this node are full (max-buffers): the request was executed, and its answer has no room",
    };
    let problem = Problem {
        retry,
        ..Problem::refused(status, "no_room", title, detail)
    };
    problem.with_header(header::RETRY_AFTER, 5)
}

impl Door {
    /// The whole body, unless it is larger than a value may be, and its room.
    pub(super) async fn body(&self, headers: &HeaderMap, body: Body) -> Result<(Bytes, Held), Problem> {
        let bytes_max = self.settings.value_bytes_max;
        let length = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse().ok());
        if length.is_some_and(|length: u64| length > bytes_max as u64) {
            return Err(Problem::too_large(bytes_max));
        }
        let mut held = Held {
            claim: self.settings.budget.claim(),
            turn: None,
        };
        let length = length.map_or(0, |length| length as usize);
        let collected = collect(&mut held.claim, length, body, bytes_max);
        let bytes = match timeout(BODY_TIMEOUT, collected).await {
            Ok(bytes) => bytes?,
            Err(_) => return Err(slow()),
        };
        if bytes.len() > LARGE_BYTES {
            held.take_turn(bytes.len()).await?;
        }
        Ok((bytes.into(), held))
    }
}

fn slow() -> Problem {
    let detail = format!("the body has to arrive within {} s", BODY_TIMEOUT.as_secs());
    Problem::refused(StatusCode::REQUEST_TIMEOUT, "slow_body", "Body too slow", detail)
}

/// Reads a body of `length` bytes. 0: the length is unknown.
async fn collect(claim: &mut Claim, length: usize, mut body: Body, bytes_max: usize) -> Result<Vec<u8>, Problem> {
    if !claim.await_room(length).await {
        return Err(no_room(claim.budget(), Retry::Safe));
    }
    let mut bytes = Vec::with_capacity(length);
    loop {
        let frame = match timeout(STILL_TIME_MAX, body.frame()).await {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(bytes),
            Err(_) if claim.bytes() > SMALL_BYTES && claim.budget().is_scarce() => return Err(slow()),
            Err(_) => continue,
        };
        let frame = frame.map_err(|error| Problem::bad(format!("the body did not arrive whole: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        let together = bytes.len() + data.len();
        if together > bytes_max {
            return Err(Problem::too_large(bytes_max));
        }
        if together > claim.bytes() && !claim.await_room(together).await {
            return Err(no_room(claim.budget(), Retry::Safe));
        }
        bytes.extend_from_slice(&data);
    }
}

/// The middleware: holds room for a response until its client has taken it.
pub(super) async fn hold(State(door): State<Shared>, request: Request, next: Next) -> Response {
    let retry = match *request.method() {
        Method::GET | Method::HEAD | Method::OPTIONS => Retry::Safe,
        _ => Retry::Unsafe,
    };
    let seat = request.extensions().get::<Arc<Seat>>().cloned();
    let response = next.run(request).await;
    let bytes = response.body().size_hint().exact().unwrap_or(0) as usize;
    if bytes <= SMALL_BYTES {
        return response;
    }
    let mut claim = door.settings.budget.claim();
    if !claim.await_room(bytes).await {
        return no_room(claim.budget(), retry).into_response();
    }
    let taken = Arc::<AtomicUsize>::default();
    if let Some(seat) = seat {
        let watch = watch(seat, door.settings.budget.clone(), Arc::downgrade(&taken), bytes);
        tokio::spawn(watch);
    }
    response.map(|body| {
        Body::new(Pieces {
            body,
            rest: Bytes::new(),
            taken,
            _claim: claim,
        })
    })
}

/// Closes the connection of a client that does not take its response.
async fn watch(seat: Arc<Seat>, budget: Arc<Budget>, taken: Weak<AtomicUsize>, bytes: usize) {
    let (mut before, mut still) = (0, Duration::ZERO);
    loop {
        time::sleep(STILL_TIME_MAX).await;
        let Some(taken) = taken.upgrade().map(|taken| taken.load(Ordering::Relaxed)) else {
            return;
        };
        still = if taken == before {
            still + STILL_TIME_MAX
        } else {
            Duration::ZERO
        };
        before = taken;
        if still >= UNREAD_TIME_MAX || !still.is_zero() && budget.is_scarce() {
            budget.count_cut();
            if limit::UNREAD.allows() {
                tracing::warn!(
                    bytes,
                    "an HTTP client was cut: it does not read its response (max-buffers)"
                );
            }
            return seat.leave();
        }
    }
}

/// A response in pieces, and the room that it takes.
struct Pieces {
    body: Body,
    rest: Bytes,
    /// Bytes that the HTTP library has taken.
    taken: Arc<AtomicUsize>,
    _claim: Claim,
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        while self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                end => return Poll::Ready(end),
            }
        }
        let length = self.rest.len().min(PIECE_BYTES);
        self.taken.fetch_add(length, Ordering::Relaxed);
        let piece = self.rest.split_to(length);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        let hint = self.body.size_hint();
        let mut whole = SizeHint::new();
        whole.set_lower(hint.lower() + rest);
        if let Some(upper) = hint.upper() {
            whole.set_upper(upper + rest);
        }
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_response_leaves_in_pieces_and_gives_its_room_back_with_the_last() {
        let budget = Budget::new(64 << 20);
        let mut claim = budget.claim();
        assert!(claim.set(3 * PIECE_BYTES));
        let mut pieces = Pieces {
            body: Body::from(vec![7; 2 * PIECE_BYTES + 1]),
            rest: Bytes::new(),
            taken: Arc::default(),
            _claim: claim,
        };
        let mut lengths = Vec::new();
        while !pieces.is_end_stream() {
            let left = 2 * PIECE_BYTES + 1 - lengths.iter().sum::<usize>();
            assert_eq!(pieces.size_hint().exact(), Some(left as u64));
            let frame = pieces.frame().await.unwrap().unwrap();
            lengths.push(frame.into_data().unwrap().len());
        }
        assert_eq!(lengths, [PIECE_BYTES, PIECE_BYTES, 1]);
        assert_eq!(budget.used(), 3 * PIECE_BYTES);
        drop(pieces);
        assert_eq!(budget.used(), 0);
    }
}
