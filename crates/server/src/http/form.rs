//! `POST /form`: an operator declares that the missing nodes are lost.

use axum::{
    extract::{Request, State},
    http::StatusCode,
};
use serde::Serialize;

use super::{Answer, Shared, address::Query, json, problem::Problem};

/// What was done.
#[derive(Debug, Serialize)]
struct Begun<'a> {
    /// Nodes that were declared gone.
    declared_gone: &'a [String],
    /// Shards that no node within reach holds: they begin empty.
    shards: u64,
}

/// `POST /form?accept_loss=true`
pub(super) async fn form(State(door): State<Shared>, request: Request) -> Answer {
    let query = Query::of(request.uri(), &["accept_loss"])?;
    if query.bytes("accept_loss") != Some(b"true") {
        return Err(Problem::bad(
            "this declares nodes lost that are not connected, with what only they hold: add ?accept_loss=true",
        ));
    }
    let status = door.status().await?;
    let begun = Begun {
        declared_gone: &status.forming.awaited,
        shards: status.unavailable,
    };
    door.handle.accept_loss();
    Ok(json(StatusCode::ACCEPTED, &begun))
}
