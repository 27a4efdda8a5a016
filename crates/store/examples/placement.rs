//! Compares four placements: how evenly they spread the shards, and which copies move when one more node joins.
//!
//! ```text
//! cargo run --release -p store --example placement
//! ```
//!
//! *over* and *under* compare the fullest and the emptiest node with an even share. *moved* is the share of copies that
//! a node has after the join but did not have before. *stray* is the part of *moved* that went to another node than the
//! new one. *turned* is the share of shards whose primary changed from one old node to another. The best value is 0,
//! except for *moved*: there it is the new node's even share.

use std::time::Instant;

use store::ring::{NodeIndex, Ring, bounded, weight};
use xxhash_rust::xxh3::xxh3_64_with_seed;

const SHARDS: u16 = 1_024;
const REPLICAS: u8 = 3;
const TOKENS_PER_NODE: u64 = 128;

const TITLE: &str = "\
shards over nodes      |      copies     |    primaries    |      one node joins       |";
const HEADING: &str = "\
nodes  placement       |   over    under |   over    under |  moved    stray    turned | table";
const RULE: &str = "\
-----------------------+-----------------+-----------------+---------------------------+---------";

type Placement = fn(&[&str], u16, usize) -> Vec<NodeIndex>;

const PLACEMENTS: [(&str, Placement); 4] = [
    ("modulo", modulo),
    ("token ring", token_ring),
    ("plain hrw", plain),
    ("bounded hrw", bounded),
];

fn main() {
    println!("{SHARDS} shards, {REPLICAS} replicas, one node joins; in per cent");
    println!();
    println!("{TITLE}");
    println!("{HEADING}");
    for nodes in [3, 5, 9, 20, 50] {
        println!("{RULE}");
        for (name, placement) in PLACEMENTS {
            println!("{nodes:>5}  {name:<15} {}", row(placement, nodes));
        }
    }
}

/// Measures one placement on this many nodes, and formats the row of the table.
fn row(placement: Placement, nodes: usize) -> String {
    let started = Instant::now();
    let before = ring(placement, nodes);
    let elapsed = started.elapsed();
    let after = ring(placement, nodes + 1);
    let (copies_over, copies_under) = evenness(&before, before.copies());
    let (primaries_over, primaries_under) = evenness(&before, 1);
    let Moves { moved, stray, turned } = moves(&before, &after);
    let copies_total = f64::from(SHARDS) * after.copies() as f64;
    format!(
        "| {copies_over:>6.1} {copies_under:>8.1} | {primaries_over:>6.1} {primaries_under:>8.1} \
         | {:>6.1} {:>8.1} {:>9.1} | {:>5} µs",
        percent(moved, copies_total),
        percent(stray, copies_total),
        percent(turned, f64::from(SHARDS)),
        elapsed.as_micros(),
    )
}

fn ring(placement: Placement, nodes: usize) -> Ring {
    let names: Vec<String> = (1..=nodes).map(|n| format!("salp_{n}@127.0.0.1")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    Ring::placed_by(placement, &names, SHARDS, REPLICAS)
}

/// Compares the fullest and the emptiest node with an even share. Counts the first `columns` nodes of each shard.
fn evenness(ring: &Ring, columns: usize) -> (f64, f64) {
    let mut counts = vec![0_usize; ring.nodes().len()];
    for shard in 0..SHARDS {
        for node in &ring.replicas(shard)[..columns] {
            counts[usize::from(node.0)] += 1;
        }
    }
    let even = f64::from(SHARDS) * columns as f64 / counts.len() as f64;
    let against = |count: Option<&usize>| count.map_or(0.0, |count| percent(*count, even) - 100.0);
    (against(counts.iter().max()), against(counts.iter().min()))
}

struct Moves {
    moved: usize,
    stray: usize,
    turned: usize,
}

fn moves(before: &Ring, after: &Ring) -> Moves {
    let mut moves = Moves {
        moved: 0,
        stray: 0,
        turned: 0,
    };
    for shard in 0..SHARDS {
        let old: Vec<&str> = before.replicas(shard).iter().map(|node| before.name(*node)).collect();
        let new: Vec<&str> = after.replicas(shard).iter().map(|node| after.name(*node)).collect();
        let gained = new.iter().filter(|name| !old.contains(name));
        moves.moved += gained.clone().count();
        moves.stray += gained.filter(|name| before.index(name).is_some()).count();
        moves.turned += usize::from(new[0] != old[0] && before.index(new[0]).is_some());
    }
    moves
}

fn percent(part: usize, whole: f64) -> f64 {
    100.0 * part as f64 / whole
}

/// The primary is the shard number modulo the number of nodes; the other copies are on the nodes that follow.
fn modulo(nodes: &[&str], shards: u16, copies: usize) -> Vec<NodeIndex> {
    let nodes = nodes.len();
    let row = |shard: u16| (0..copies).map(move |copy| index((usize::from(shard) + copy) % nodes));
    (0..shards).flat_map(row).collect()
}

/// Consistent hashing: each node has tokens on a circle, and a shard goes to the nodes whose tokens
/// follow it.
fn token_ring(nodes: &[&str], shards: u16, copies: usize) -> Vec<NodeIndex> {
    let mut tokens: Vec<(u64, NodeIndex)> = Vec::new();
    for (at, node) in nodes.iter().enumerate() {
        tokens.extend((0..TOKENS_PER_NODE).map(|token| (xxh3_64_with_seed(node.as_bytes(), token), index(at))));
    }
    tokens.sort_unstable();
    let mut table = Vec::new();
    for shard in 0..shards {
        let point = xxh3_64_with_seed(b"shard", u64::from(shard));
        let start = tokens.partition_point(|(token, _)| *token < point);
        let mut row: Vec<NodeIndex> = Vec::new();
        for (_, node) in tokens[start..].iter().chain(&tokens[..start]) {
            if row.len() < copies && !row.contains(node) {
                row.push(*node);
            }
        }
        table.extend(row);
    }
    table
}

/// Highest random weight, without a limit for each node.
fn plain(nodes: &[&str], shards: u16, copies: usize) -> Vec<NodeIndex> {
    let mut table = Vec::new();
    for shard in 0..shards {
        let mut ranked: Vec<NodeIndex> = (0..nodes.len()).map(index).collect();
        ranked.sort_by_cached_key(|node| std::cmp::Reverse(weight(nodes[usize::from(node.0)], shard)));
        table.extend(&ranked[..copies]);
    }
    table
}

fn index(at: usize) -> NodeIndex {
    NodeIndex(u16::try_from(at).expect("a ring has at most 65,535 nodes"))
}
