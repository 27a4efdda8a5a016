//! `stats`, `cluster`, `add`, `leave`.

use std::fmt::Write as _;

use axum::http::Method;
use hyper::body::Bytes;
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    remote::{Failure, Shown, print, succeed},
    table::{Column, Table, bytes},
};
use crate::{client::Client, http::encode};

/// What is shown of a node.
#[derive(Debug, Deserialize)]
struct Node {
    name: String,
    state: String,
    connected: bool,
    keys_primary: u64,
    keys_held: u64,
    shards_primary: u64,
    shards_replica: u64,
    shards_held: u64,
    memory_bytes: u64,
    ops_per_second: u64,
    safe_to_stop: bool,
    #[serde(default)]
    stop_risk: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Sum {
    keys_primary: u64,
    keys_held: u64,
    memory_bytes: u64,
    ops_per_second: u64,
}

#[derive(Debug, Deserialize)]
struct Stats {
    nodes: Vec<Node>,
    sum: Sum,
}

#[derive(Debug, Deserialize)]
struct Cluster {
    nodes: Vec<Node>,
    shards: u64,
    replicas: u64,
    healed: bool,
    moves: u64,
    unavailable_shards: u64,
    keyspaces: Vec<String>,
    slots: Vec<String>,
    #[serde(default)]
    cluster: Option<String>,
    #[serde(default)]
    waiting: Option<String>,
}

impl Cluster {
    /// How many copies each shard can have: one on each node that is up and stays.
    fn copies(&self) -> u64 {
        let holds = |node: &&Node| node.connected && matches!(node.state.as_str(), "up" | "suspect");
        self.replicas.min(self.nodes.iter().filter(holds).count() as u64)
    }
}

/// Prints the answer for `path`: unchanged, or as `render` formats it.
async fn show<T: DeserializeOwned>(shown: &Shown, path: &str, render: fn(&T) -> String) -> Result<(), Failure> {
    let client = shown.target.client()?;
    let body = succeed(&client, Method::GET, path, Bytes::new()).await?;
    if shown.json {
        print(&body)?;
        return print("\n");
    }
    let value = serde_json::from_slice(&body)
        .map_err(|error| Failure::unreachable(format!("{} is not a salp node: {error}", client.url())))?;
    print(render(&value))
}

/// `salp stats`
pub(super) async fn stats(shown: &Shown) -> Result<(), Failure> {
    show(shown, "/stats", render_stats).await
}

/// `salp cluster`
pub(super) async fn cluster(shown: &Shown) -> Result<(), Failure> {
    show(shown, "/cluster", render_cluster).await
}

/// `salp add NODE`
pub(super) async fn add(client: &Client, node: &str) -> Result<(), Failure> {
    let body = serde_json::json!({ "name": node }).to_string();
    succeed(client, Method::POST, "/nodes", body.into()).await?;
    print(format!("connecting to {node}; `salp cluster` shows when it is up\n"))
}

/// `salp leave NODE`
pub(super) async fn leave(client: &Client, node: &str) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Accepted {
        accepted: String,
    }
    let path = format!("/nodes/{}", encode(node.as_bytes()));
    let body = succeed(client, Method::DELETE, &path, Bytes::new()).await?;
    let forgotten = serde_json::from_slice(&body).is_ok_and(|accepted: Accepted| accepted.accepted == "forget");
    print(match forgotten {
        true => format!("{node} is down and was forgotten\n"),
        false => format!("{node} hands over its shards and stops; `salp cluster` shows the progress\n"),
    })
}

/// `salp form --accept-loss`
pub(super) async fn form(client: &Client) -> Result<(), Failure> {
    let body = succeed(client, Method::POST, "/form?accept_loss=true", Bytes::new()).await?;
    let begun = serde_json::from_slice(&body)
        .map_err(|error| Failure::unreachable(format!("{} is not a salp node: {error}", client.url())))?;
    print(render_begun(&begun))
}

/// What `POST /form` did.
#[derive(Debug, Deserialize)]
struct Begun {
    declared_gone: Vec<String>,
    shards: u64,
}

fn render_begun(begun: &Begun) -> String {
    let gone = match begun.declared_gone.as_slice() {
        [] => "no node is missing".to_owned(),
        names => format!("declared gone: {}", names.join(", ")),
    };
    match begun.shards {
        0 => format!("{gone}; every shard has a holder within reach, so no shard begins empty\n"),
        shards => format!("{gone}; {shards} shards begin empty, `salp cluster` shows when they are served\n"),
    }
}

fn render_stats(stats: &Stats) -> String {
    let mut table = Table::new([
        Column::Left("node"),
        Column::Left("state"),
        Column::Right("primary keys"),
        Column::Right("keys held"),
        Column::Right("memory"),
        Column::Right("ops/s"),
    ]);
    for node in &stats.nodes {
        table.row([
            node.name.clone(),
            node.state.clone(),
            node.keys_primary.to_string(),
            node.keys_held.to_string(),
            bytes(node.memory_bytes),
            node.ops_per_second.to_string(),
        ]);
    }
    let sum = &stats.sum;
    table.row([
        "sum".into(),
        String::new(),
        sum.keys_primary.to_string(),
        sum.keys_held.to_string(),
        bytes(sum.memory_bytes),
        sum.ops_per_second.to_string(),
    ]);
    table.render()
}

fn render_cluster(cluster: &Cluster) -> String {
    let mut table = Table::new([
        Column::Left("node"),
        Column::Left("state"),
        Column::Right("primaries"),
        Column::Right("replicas"),
        Column::Right("held"),
        Column::Right("keys held"),
        Column::Left("safe to stop"),
    ]);
    for node in &cluster.nodes {
        table.row([
            node.name.clone(),
            node.state.clone(),
            node.shards_primary.to_string(),
            node.shards_replica.to_string(),
            node.shards_held.to_string(),
            node.keys_held.to_string(),
            match (node.safe_to_stop, &node.stop_risk) {
                (true, _) => "yes".into(),
                (false, Some(risk)) => format!("no: {risk}"),
                (false, None) => "no".into(),
            },
        ]);
    }
    let mut text = table.render();
    let _ = writeln!(text, "\nkeyspaces  {}", keyspaces(cluster));
    let _ = writeln!(text, "replicas   {}", cluster.replicas);
    let _ = match (cluster.healed, cluster.unavailable_shards) {
        (true, _) => match (cluster.copies(), cluster.replicas) {
            (copies, wanted) if copies < wanted => {
                writeln!(text, "healed     yes, with {copies} of {wanted} copies: too few nodes")
            }
            _ => writeln!(text, "healed     yes: every shard has all its copies"),
        },
        (false, 0) if cluster.moves == 0 => writeln!(text, "healed     no: replicas are being compared"),
        (false, 0) => writeln!(
            text,
            "healed     no: {} copies still to be made or handed over",
            cluster.moves
        ),
        (false, unavailable) if cluster.moves == 0 => {
            writeln!(text, "healed     no: {unavailable} shards are unavailable")
        }
        (false, unavailable) => {
            writeln!(
                text,
                "healed     no: {unavailable} shards are unavailable, {} copies to be made",
                cluster.moves
            )
        }
    };
    if let Some(id) = &cluster.cluster {
        let _ = writeln!(text, "cluster    {id}");
    }
    if let Some(waiting) = &cluster.waiting {
        let _ = writeln!(text, "waiting    {waiting}");
    }
    text
}

/// The keyspaces with their shards: neighbours with the same rule for slots are shown together.
fn keyspaces(cluster: &Cluster) -> String {
    let pairs: Vec<(&String, &String)> = cluster.keyspaces.iter().zip(&cluster.slots).collect();
    let shown = |same: &[(&String, &String)]| {
        let each = if same.len() > 1 { " each" } else { "" };
        let shards = match same[0].1.as_str() {
            "hash" => format!("{} shards{each}", cluster.shards),
            "one" => format!("one shard{each}"),
            rule => format!("{} shards{each}, {rule}", cluster.shards),
        };
        format!(
            "{} ({shards})",
            names(&same.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>())
        )
    };
    let groups = pairs.chunk_by(|one, other| one.1 == other.1).map(shown);
    groups.collect::<Vec<_>>().join(", ")
}

/// Names in one text. Of more than two numbers in sequence, the first and the last are shown.
fn names(names: &[&str]) -> String {
    let first = names[0].parse::<usize>();
    let is_sequence = first.is_ok_and(|first| {
        let mut numbers = names.iter().enumerate();
        numbers.all(|(index, name)| name.parse() == Ok(first + index))
    });
    match names {
        [first, _, .., last] if is_sequence => format!("{first} to {last}"),
        _ => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: &str = r#"{"name":"a@h","creation":4,"state":"up","connected":true,"keys_primary":5,"keys_held":15,
        "shards_primary":2,"shards_replica":6,"shards_held":6,"memory_bytes":2048,"ops_per_second":7,"safe_to_stop":true}"#;

    #[test]
    fn the_last_line_has_the_sums() {
        let sum = r#"{"keys_primary":5,"keys_held":15,"memory_bytes":2048,"ops_per_second":7}"#;
        let stats = serde_json::from_str(&format!(r#"{{"nodes":[{NODE}],"sum":{sum}}}"#)).unwrap();
        let wanted = "node  state  primary keys  keys held   memory  ops/s\n\
                      a@h   up                5         15  2.0 KiB      7\n\
                      sum                     5         15  2.0 KiB      7\n";
        assert_eq!(render_stats(&stats), wanted);
    }

    #[test]
    fn forming_says_what_was_given_up() {
        let of = |names: &[&str], shards| {
            let declared_gone = names.iter().map(|name| (*name).to_owned()).collect();
            render_begun(&Begun { declared_gone, shards })
        };
        assert!(of(&["b@h", "c@h"], 1024).starts_with("declared gone: b@h, c@h; 1024 shards begin empty"));
        assert!(of(&[], 0).starts_with("no node is missing; every shard has a holder"));
    }

    #[test]
    fn the_cluster_says_whether_it_is_healed() {
        let with_moves = |nodes: &[&str], healed: bool, unavailable: u64, moves: u64| {
            let rest = format!(
                r#""name":"a@h","shards":1024,"replicas":3,"healed":{healed},"moves":{moves},"unavailable_shards":{unavailable},
                "keyspaces":["default"],"slots":["hash"],"leaving":false"#
            );
            render_cluster(&serde_json::from_str(&format!(r#"{{"nodes":[{}],{rest}}}"#, nodes.join(","))).unwrap())
        };
        let of = |nodes: &[&str], healed, unavailable| with_moves(nodes, healed, unavailable, 4);
        assert!(with_moves(&[NODE; 3], false, 0, 0).contains("healed     no: replicas are being compared\n"));
        assert!(with_moves(&[NODE; 3], false, 2, 0).contains("healed     no: 2 shards are unavailable\n"));
        let (three, down) = ([NODE; 3], NODE.replace("true", "false").replace("up", "down"));
        assert!(of(&three, true, 0).ends_with("healed     yes: every shard has all its copies\n"));
        assert!(of(&[NODE, NODE, &down], true, 0).ends_with("healed     yes, with 2 of 3 copies: too few nodes\n"));
        assert!(of(&[NODE], true, 0).ends_with("healed     yes, with 1 of 3 copies: too few nodes\n"));
        assert!(of(&three, false, 0).contains("no: 4 copies"));
        let risky = NODE.replace(
            r#""safe_to_stop":true"#,
            r#""safe_to_stop":false,"stop_risk":"add a node""#,
        );
        assert!(of(&[NODE, &risky], true, 0).contains("  no: add a node\n"));
        assert!(of(&three, false, 2).contains("2 shards are unavailable"));
    }

    #[test]
    fn keyspaces_are_shown_with_their_shards() {
        let of = |names: &[&str], slots: &[&str]| {
            let cluster = serde_json::json!({
                "nodes": [], "shards": 64, "replicas": 3, "healed": true, "moves": 0, "unavailable_shards": 0,
                "keyspaces": names, "slots": slots,
            });
            keyspaces(&serde_json::from_value(cluster).unwrap())
        };
        assert_eq!(of(&["default"], &["hash"]), "default (64 shards)");
        let (numbered, ones) = (["default", "1", "2", "3"], ["hash", "one", "one", "one"]);
        assert_eq!(of(&numbered, &ones), "default (64 shards), 1 to 3 (one shard each)");
        assert_eq!(
            of(&numbered[..3], &ones[..3]),
            "default (64 shards), 1, 2 (one shard each)"
        );
        let named = of(&["a", "jobs", "mail", "z"], &["hash", "one", "prefix 2", "prefix 2"]);
        assert_eq!(
            named,
            "a (64 shards), jobs (one shard), mail, z (64 shards each, prefix 2)"
        );
        assert_eq!(
            of(&["1a", "7", "9", "10"], &["one"; 4]),
            "1a, 7, 9, 10 (one shard each)"
        );
        assert_eq!(of(&["7", "9", "10"], &["one"; 3]), "7, 9, 10 (one shard each)");
    }
}
