//! The cluster over HTTP: its state, and requests to add and remove nodes.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use node::MemberState;
use serde::{Deserialize, Serialize, Serializer};
use store::{
    ask::{NodeStatus, ShardStatus, Status},
    vitals::Vitals,
};
use wire::reply::Retry;

use super::{Answer, Shared, address, header_value, json, problem::Problem};

/// One node as `/nodes` shows it.
#[derive(Debug, Serialize)]
pub(crate) struct NodeView<'a> {
    name: &'a str,
    creation: u32,
    state: &'static str,
    connected: bool,
    #[serde(flatten)]
    vitals: Figures,
    safe_to_stop: bool,
    /// Why it must not be stopped now.
    stop_risk: Option<String>,
}

/// The vitals of a node, by name.
#[derive(Debug)]
struct Figures(Vitals);

impl Serialize for Figures {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.named().map(|(name, _, value)| (name, value)))
    }
}

impl<'a> NodeView<'a> {
    fn of(node: &'a NodeStatus) -> Self {
        let member = &node.member;
        Self {
            name: member.name.as_str(),
            creation: member.creation,
            state: member.state.word(),
            connected: member.connected,
            vitals: Figures(node.vitals),
            safe_to_stop: node.stop_risk.is_none(),
            stop_risk: node.stop_risk.as_ref().map(ToString::to_string),
        }
    }
}

fn views(status: &Status) -> Vec<NodeView<'_>> {
    status.nodes.iter().map(NodeView::of).collect()
}

#[derive(Debug, Serialize)]
struct ClusterView<'a> {
    name: &'a str,
    nodes: Vec<NodeView<'a>>,
    shards: u16,
    replicas: u8,
    healed: bool,
    moves: u64,
    unavailable_shards: u64,
    keyspaces: Vec<&'a str>,
    /// How the keys of each keyspace come to their slots.
    slots: Vec<String>,
    leaving: bool,
    /// The id of the cluster, once one is formed.
    cluster: Option<&'a str>,
    /// The nodes that this node waits for before it forms shards that no node within reach holds.
    waiting: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct ShardView<'a> {
    shard: usize,
    keyspace: &'a str,
    replicas: &'a [String],
    ready: &'a [String],
    primary: Option<&'a str>,
    keys: u64,
}

/// Sums over all nodes.
#[derive(Debug, Default, Serialize)]
struct Sum {
    keys_primary: u64,
    keys_held: u64,
    memory_bytes: u64,
    ops_per_second: u64,
}

#[derive(Debug, Serialize)]
struct StatsView<'a> {
    nodes: Vec<NodeView<'a>>,
    sum: Sum,
}

/// `GET /cluster`
pub(super) async fn cluster(State(door): State<Shared>) -> Answer {
    let status = door.status().await?;
    let view = ClusterView {
        name: &status.name,
        nodes: views(&status),
        shards: status.ring_shards,
        replicas: status.replicas,
        healed: status.healed,
        moves: status.moves,
        unavailable_shards: status.unavailable,
        keyspaces: status.keyspaces.iter().map(|keyspace| &*keyspace.name).collect(),
        slots: status
            .keyspaces
            .iter()
            .map(|keyspace| keyspace.slots.to_string())
            .collect(),
        leaving: status.leaving,
        cluster: status.forming.cluster.as_deref(),
        waiting: status.forming.waiting.as_deref(),
    };
    Ok(json(StatusCode::OK, &view))
}

/// `GET /nodes`
pub(super) async fn nodes(State(door): State<Shared>) -> Answer {
    Ok(json(StatusCode::OK, &views(&*door.status().await?)))
}

/// `GET /nodes/{name}`
pub(super) async fn node(State(door): State<Shared>, request: Request) -> Answer {
    let name = named(&request)?;
    let status = door.status().await?;
    let node = status.nodes.iter().find(|node| node.member.name.as_str() == name);
    let node = node.ok_or_else(|| no_node(&name))?;
    Ok(json(StatusCode::OK, &NodeView::of(node)))
}

/// The name at the end of the path.
fn named(request: &Request) -> Result<String, Problem> {
    let name = request.uri().path().strip_prefix("/nodes/");
    let name = address::decode(name.ok_or_else(Problem::unexpected)?)?;
    String::from_utf8(name).map_err(|_| Problem::bad("a node's name must be UTF-8 text"))
}

fn no_node(name: &str) -> Problem {
    let detail = format!("{name} is not a member of this cluster");
    Problem::refused(StatusCode::NOT_FOUND, "no_node", "No such node", detail)
}

/// `GET /stats`
pub(super) async fn stats(State(door): State<Shared>) -> Answer {
    let status = door.status().await?;
    let mut sum = Sum::default();
    for node in &status.nodes {
        sum.keys_primary += node.vitals.keys_primary;
        sum.keys_held += node.vitals.keys_held;
        sum.memory_bytes += node.vitals.memory_bytes;
        sum.ops_per_second += node.vitals.ops_per_second;
    }
    Ok(json(
        StatusCode::OK,
        &StatsView {
            nodes: views(&status),
            sum,
        },
    ))
}

/// `GET /shards`
pub(super) async fn shards(State(door): State<Shared>) -> Answer {
    let status = door.status().await?;
    let keyspace = |shard: &ShardStatus| status.keyspaces.get(usize::from(shard.keyspace));
    let views = status.shards.iter().map(|shard| ShardView {
        shard: shard.number,
        keyspace: keyspace(shard).map_or("", |keyspace| &keyspace.name),
        replicas: &shard.replicas,
        ready: &shard.ready,
        primary: shard.primary.as_deref(),
        keys: shard.keys,
    });
    Ok(json(StatusCode::OK, &views.collect::<Vec<_>>()))
}

/// `GET /readyz`
pub(super) async fn ready(State(door): State<Shared>) -> Answer {
    let status = door.status().await?;
    match unready(&status) {
        None => Ok(match stop_risk(&status) {
            None => "ready\nsafe to stop\n".into_response(),
            Some(risk) => format!("ready\nnot safe to stop: {risk}\n").into_response(),
        }),
        Some(unready) => Ok(unready.respond()),
    }
}

/// Why this node must not be stopped now.
fn stop_risk(status: &Status) -> Option<String> {
    let me = status
        .nodes
        .iter()
        .find(|node| node.member.name.as_str() == status.name);
    me?.stop_risk.as_ref().map(ToString::to_string)
}

/// Why the node should not get requests.
#[derive(Debug, Serialize)]
struct Unready {
    #[serde(skip)]
    detail: String,
    /// `leaving`, `shards` or `nodes`.
    reason: &'static str,
    /// Nodes with which it does not agree yet.
    awaited: Vec<AwaitedView>,
    /// Why the node must not be stopped now, if there is a reason.
    stop_risk: Option<String>,
}

#[derive(Debug, Serialize)]
struct AwaitedView {
    node: String,
    /// The step that is missing: `connection`, `global` or `groups`.
    exchange: &'static str,
}

impl Unready {
    fn new(status: &Status, reason: &'static str, detail: impl Into<String>) -> Self {
        let view = |awaited: &node::Awaited| AwaitedView {
            node: awaited.node.as_str().into(),
            exchange: awaited.exchange.word(),
        };
        Self {
            detail: detail.into(),
            reason,
            awaited: status.awaited.iter().map(view).collect(),
            stop_risk: stop_risk(status),
        }
    }

    fn respond(self) -> Response {
        let problem = Problem {
            retry: Retry::Safe,
            ..Problem::refused(
                StatusCode::SERVICE_UNAVAILABLE,
                "not_ready",
                "The node is not ready",
                self.detail.clone(),
            )
        };
        problem.respond_with(self)
    }
}

fn unready(status: &Status) -> Option<Unready> {
    if status.leaving {
        let detail = "the node is handing over its shards and leaves";
        return Some(Unready::new(status, "leaving", detail));
    }
    if status.ready {
        return None;
    }
    if let Some(waiting) = &status.forming.waiting {
        return Some(Unready::new(status, "forming", waiting));
    }
    let me = status.name.as_str();
    let mine = status
        .shards
        .iter()
        .filter(|shard| shard.replicas.iter().any(|name| name == me));
    let (mut placed, mut filling) = (0, 0);
    for shard in mine {
        placed += 1;
        filling += u64::from(shard.ready.iter().all(|name| name != me));
    }
    Some(match (placed, filling, status.awaited.first()) {
        (1.., 0, Some(first)) => {
            let (node, exchange) = (first.node.as_str(), first.exchange.word());
            let count = status.awaited.len();
            let detail =
                format!("names, locks and groups do not agree yet with {count} nodes, first: {node} ({exchange})");
            Unready::new(status, "nodes", detail)
        }
        (0, ..) => Unready::new(status, "shards", "the node has not joined its cluster yet"),
        _ => {
            let detail = format!("{filling} of the {placed} shards placed here are still to be synchronised");
            Unready::new(status, "shards", detail)
        }
    })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    name: String,
}

fn accepted(name: &str, then: &str) -> Response {
    let location = format!("/nodes/{}", address::encode(name.as_bytes()));
    let body = serde_json::json!({ "name": name, "accepted": then });
    (
        [(header::LOCATION, header_value(&location))],
        json(StatusCode::ACCEPTED, &body),
    )
        .into_response()
}

/// `POST /nodes`
pub(super) async fn add(State(door): State<Shared>, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    let (body, _held) = door.body(&parts.headers, body).await?;
    let Named { name } = serde_json::from_slice(&body)
        .map_err(|error| Problem::bad(format!("the body must be {{\"name\": \"…\"}}: {error}")))?;
    if wire::dist::node_name(name.as_bytes()).is_none() {
        return Err(Problem::bad(
            "a node's name must be name@host, of letters, digits, dots, dashes and underscores",
        ));
    }
    if door.status().await?.name == name {
        let detail = format!("{name} is this node; name another");
        let title = "A node is always connected to itself";
        return Err(Problem::refused(StatusCode::CONFLICT, "this_node", title, detail));
    }
    door.handle.add(&name);
    Ok(accepted(&name, "connect"))
}

/// How a node is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Removal {
    /// It is this node: it hands over and ends.
    Leave,
    /// It is another node, which is asked to leave.
    LeaveOther,
    /// It is down, and is forgotten.
    Forget,
}

/// How `name` is removed, if it is a member or awaited.
fn removal(status: &Status, name: &str) -> Option<Removal> {
    if name == status.name {
        return Some(Removal::Leave);
    }
    let node = status.nodes.iter().find(|node| node.member.name.as_str() == name);
    let Some(node) = node else {
        let is_awaited = status.forming.awaited.iter().any(|awaited| awaited == name);
        return is_awaited.then_some(Removal::Forget);
    };
    match node.member.state {
        MemberState::Up | MemberState::Suspect | MemberState::Leaving => Some(Removal::LeaveOther),
        MemberState::Down => Some(Removal::Forget),
        MemberState::Gone => None,
    }
}

/// `DELETE /nodes/{name}`
pub(super) async fn remove(State(door): State<Shared>, request: Request) -> Answer {
    let name = named(&request)?;
    let status: Arc<Status> = door.status().await?;
    let removal = removal(&status, &name).ok_or_else(|| no_node(&name))?;
    let then = match removal {
        Removal::Leave => {
            door.handle.leave();
            "leave"
        }
        Removal::LeaveOther => {
            door.handle.leave_other(&name);
            "leave"
        }
        Removal::Forget => {
            door.handle.forget(&name);
            "forget"
        }
    };
    Ok(accepted(&name, then))
}

#[cfg(test)]
mod tests {
    use super::*;
    use node::Member;
    use wire::etf::Atom;

    fn status(states: &[(&str, MemberState)]) -> Status {
        let node = |(name, state): &(&str, MemberState)| NodeStatus {
            member: Member {
                name: Atom::new(name),
                creation: 4,
                state: *state,
                connected: true,
                dist_port: None,
            },
            vitals: Vitals::default(),
            stop_risk: None,
        };
        Status {
            name: "a@h".into(),
            ready: true,
            awaited: Vec::new(),
            leaving: false,
            nodes: states.iter().map(node).collect(),
            shards: Vec::new(),
            ring_shards: 2,
            replicas: 3,
            keyspaces: store::config::Keyspace::databases(1),
            healed: true,
            moves: 0,
            unavailable: 0,
            clock_skew_ms: 0,
            counters: Vec::new(),
            commands: Vec::new(),
            errors: Vec::new(),
            measured: Default::default(),
            tables: Default::default(),
            forming: Default::default(),
        }
    }

    #[test]
    fn a_node_goes_by_the_way_its_state_allows() {
        let mut status = status(&[
            ("a@h", MemberState::Up),
            ("b@h", MemberState::Suspect),
            ("c@h", MemberState::Down),
            ("d@h", MemberState::Gone),
        ]);
        for (name, way) in [
            ("a@h", Some(Removal::Leave)),
            ("b@h", Some(Removal::LeaveOther)),
            ("c@h", Some(Removal::Forget)),
            ("d@h", None),
            ("e@h", None),
        ] {
            assert_eq!(removal(&status, name), way, "{name}");
        }
        status.forming.awaited = vec!["e@h".into()];
        assert_eq!(removal(&status, "e@h"), Some(Removal::Forget), "it was never met");
    }

    #[tokio::test]
    async fn an_answer_of_not_ready_names_the_nodes_that_are_awaited() {
        let mut status = status(&[]);
        status.ready = false;
        let shard = ShardStatus {
            keyspace: 0,
            number: 0,
            replicas: vec!["a@h".into()],
            ready: vec!["a@h".into()],
            primary: None,
            keys: 0,
        };
        status.shards = vec![shard];
        let awaited = |node: &str, exchange| node::Awaited {
            node: Atom::new(node),
            exchange,
        };
        status.awaited = vec![
            awaited("b@h", node::Exchange::Connection),
            awaited("c@h", node::Exchange::Global),
        ];
        let response = unready(&status).unwrap().respond();
        assert_eq!(response.status(), 503);
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let wanted = serde_json::json!({
            "type": "not_ready", "title": "The node is not ready", "status": 503, "retry": "safe",
            "detail": "names, locks and groups do not agree yet with 2 nodes, first: b@h (connection)",
            "reason": "nodes",
            "awaited": [
                {"node": "b@h", "exchange": "connection"}, {"node": "c@h", "exchange": "global"},
            ],
            "stop_risk": null,
        });
        assert_eq!(body, wanted);
    }

    #[test]
    fn readiness_says_what_is_missing() {
        let mut status = status(&[]);
        let why = |status: &Status| unready(status).map(|unready| (unready.reason, unready.detail));
        assert_eq!(why(&status), None);
        status.ready = false;
        assert!(why(&status).unwrap().1.contains("has not joined"));
        let shard = |ready: &[&str]| ShardStatus {
            keyspace: 0,
            number: 0,
            replicas: vec!["a@h".into(), "b@h".into()],
            ready: ready.iter().map(|name| (*name).into()).collect(),
            primary: None,
            keys: 0,
        };
        status.shards = vec![shard(&["a@h"]), shard(&["b@h"]), shard(&[])];
        let (reason, detail) = why(&status).unwrap();
        assert!(
            reason == "shards" && detail.starts_with("2 of the 3 shards"),
            "{detail}"
        );
        status.forming.waiting = Some("waits for b@h".into());
        assert_eq!(why(&status).unwrap(), ("forming", "waits for b@h".into()));
        status.leaving = true;
        assert!(why(&status).unwrap().1.contains("leaves"));
    }
}
