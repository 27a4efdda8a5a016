//! The rows of the command table, and the families that run them.
//!
//! To add a command: one row here, one function in its family. Routing, arity, `COMMAND` and its docs read the row.

pub(crate) mod cluster;
pub(crate) mod fold;
pub(crate) mod scan;

mod client;
mod connection;
mod describe;
mod expiry;
mod float;
mod glob;
mod info;
mod keys;
mod kill;
mod memory;
mod number;
mod salp;
mod server;
mod settings;
mod slow;
mod string;
mod transactions;

use crate::command::{
    Access::{Grow, Read, Write},
    Arity::{AtLeast, Exactly},
    Fold, Keys, Row,
    Run::{Each, Every, Family, Here, Scan, Shard},
};

/// Rows, numbered from the first number on.
macro_rules! rows {
    ($first:expr; $($group:literal { $($name:literal $arity:expr, $keys:ident, $run:expr, $doc:literal;)* })*) => {
        &numbered(
            $first,
            [$($(Row {
                name: $name, arity: $arity, keys: Keys::$keys, run: $run, group: $group, doc: $doc, number: 0
            },)*)*],
        )
    };
}

const fn numbered<const COUNT: usize>(first: u16, mut rows: [Row; COUNT]) -> [Row; COUNT] {
    let mut index = 0;
    while index < COUNT {
        rows[index].number = first + index as u16;
        index += 1;
    }
    rows
}

/// The number behind those of `rows`.
const fn behind(rows: &[Row]) -> u16 {
    rows[rows.len() - 1].number + 1
}

/// The rows of subcommands, family by family in the order of their numbers.
pub(crate) fn families() -> impl Iterator<Item = &'static [Row]> {
    [
        CLIENT, COMMAND, CONFIG, LATENCY, MEMORY, MODULE, OBJECT, SLOWLOG, CLUSTER,
    ]
    .into_iter()
}

/// Every command.
pub const ROWS: &[Row] = rows! {
    behind(CLUSTER);
    "string" {
        "append" Exactly(3), First, Shard(Grow, string::append), "Appends to a value, or begins it.";
        "decr" Exactly(2), First, Shard(Grow, number::decr), "Takes one off a number.";
        "decrby" Exactly(3), First, Shard(Grow, number::decrby), "Takes an amount off a number.";
        "get" Exactly(2), First, Shard(Read, string::get), "Gives the value of a key.";
        "getdel" Exactly(2), First, Shard(Write, string::getdel), "Gives the value of a key and deletes it.";
        "getex" AtLeast(2), First, Shard(Write, string::getex), "Gives the value of a key and sets when it expires.";
        "getrange" Exactly(4), First, Shard(Read, string::getrange), "Gives a part of a value.";
        "getset" Exactly(3), First, Shard(Grow, string::getset), "Sets a key and gives what it held before.";
        "incr" Exactly(2), First, Shard(Grow, number::incr), "Adds one to a number.";
        "incrby" Exactly(3), First, Shard(Grow, number::incrby), "Adds an amount to a number.";
        "incrbyfloat" Exactly(3), First, Shard(Grow, number::incrbyfloat), "Adds a fraction to a number.";
        "mget" AtLeast(2), All, Each("get", Fold::Array), "Gives the values of keys.";
        "mset" AtLeast(3), Pairs, Each("%set", Fold::Ok), "Sets keys.";
        "msetnx" AtLeast(3), Pairs, Shard(Grow, string::msetnx), "Sets keys of one slot if none of them is there.";
        "psetex" Exactly(4), First, Shard(Grow, string::psetex), "Sets a key that expires, in milliseconds.";
        "set" AtLeast(3), First, Shard(Grow, string::set), "Sets a key.";
        "setex" Exactly(4), First, Shard(Grow, string::setex), "Sets a key that expires, in seconds.";
        "setnx" Exactly(3), First, Shard(Grow, string::setnx), "Sets a key if it is not there.";
        "setrange" Exactly(4), First, Shard(Grow, string::setrange), "Overwrites a part of a value.";
        "strlen" Exactly(2), First, Shard(Read, string::strlen), "Gives the length of a value.";
        "substr" Exactly(4), First, Shard(Read, string::getrange), "Gives a part of a value, as GETRANGE does.";
        "%set" Exactly(3), First, Shard(Grow, string::set_pair), "One pair of MSET.";
    }
    "generic" {
        "copy" AtLeast(3), Two, Shard(Grow, keys::copy), "Copies a value to another key of the slot.";
        "del" AtLeast(2), All, Each("%del", Fold::Sum), "Deletes keys.";
        "exists" AtLeast(2), All, Each("%exists", Fold::Sum), "Counts which of the keys are there.";
        "expire" AtLeast(3), First, Shard(Write, expiry::expire), "Sets the seconds until a key expires.";
        "expireat" AtLeast(3), First, Shard(Write, expiry::expireat), "Sets the Unix second at which a key expires.";
        "expiretime" Exactly(2), First, Shard(Read, expiry::expiretime), "Gives the Unix second at which a key expires.";
        "keys" Exactly(2), None, Every("%keys", Fold::Concat), "Gives all keys that match a pattern.";
        "object" AtLeast(2), None, Family(OBJECT), "Tells how a value is kept.";
        "persist" Exactly(2), First, Shard(Write, expiry::persist), "Lets a key live for ever.";
        "pexpire" AtLeast(3), First, Shard(Write, expiry::pexpire), "Sets the milliseconds until a key expires.";
        "pexpireat" AtLeast(3), First, Shard(Write, expiry::pexpireat), "Sets the Unix millisecond at which a key expires.";
        "pexpiretime" Exactly(2), First, Shard(Read, expiry::pexpiretime), "Gives the Unix millisecond at which a key expires.";
        "pttl" Exactly(2), First, Shard(Read, expiry::pttl), "Gives the milliseconds a key has left.";
        "randomkey" Exactly(1), None, Every("%randomkey", Fold::Random), "Gives a key at random.";
        "rename" Exactly(3), Two, Shard(Grow, keys::rename), "Moves a value to another key of the slot.";
        "renamenx" Exactly(3), Two, Shard(Grow, keys::renamenx), "Moves a value to another key of the slot if that is free.";
        "scan" AtLeast(2), None, Scan, "Gives some keys, and where to go on.";
        "touch" AtLeast(2), All, Each("%exists", Fold::Sum), "Counts which of the keys are there.";
        "ttl" Exactly(2), First, Shard(Read, expiry::ttl), "Gives the seconds a key has left.";
        "type" Exactly(2), First, Shard(Read, keys::kind), "Gives the type of a key.";
        "unlink" AtLeast(2), All, Each("%del", Fold::Sum), "Deletes keys.";
        "wait" Exactly(3), None, Here(server::wait), "Tells how many replicas hold the writes so far.";
        "%del" Exactly(2), First, Shard(Write, keys::del), "One key of DEL.";
        "%exists" Exactly(2), First, Shard(Read, keys::exists), "One key of EXISTS.";
        "%keys" Exactly(3), Shard, Shard(Read, keys::keys), "One shard of KEYS.";
        "%randomkey" Exactly(2), Shard, Shard(Read, keys::randomkey), "How many keys a shard has, and one of them.";
        "%scan" Exactly(5), Shard, Shard(Read, scan::scan), "One shard of SCAN.";
    }
    "connection" {
        "auth" AtLeast(2), None, Here(connection::auth), "Shows the password.";
        "client" AtLeast(2), None, Family(CLIENT), "Tells of this and other connections.";
        "echo" Exactly(2), None, Here(connection::echo), "Gives its argument back.";
        "hello" AtLeast(1), None, Here(connection::hello), "Chooses the version of RESP.";
        "ping" AtLeast(1), None, Here(connection::ping), "Answers PONG.";
        "quit" AtLeast(1), None, Here(connection::quit), "Closes the connection.";
        "reset" Exactly(1), None, Here(connection::reset), "Puts the connection back as it began.";
        "select" Exactly(2), None, Here(connection::select), "Chooses the keyspace, by number or name.";
    }
    "server" {
        "command" AtLeast(1), None, Family(COMMAND), "Describes commands.";
        "config" AtLeast(2), None, Family(CONFIG), "Shows and changes settings.";
        "dbsize" Exactly(1), None, Every("%dbsize", Fold::Sum), "Counts the keys.";
        "flushall" AtLeast(1), None, Every("%flush", Fold::Ok), "Deletes all keys of the keyspace.";
        "flushdb" AtLeast(1), None, Every("%flush", Fold::Ok), "Deletes all keys of the keyspace.";
        "info" AtLeast(1), None, Here(info::info), "Tells how the node fares.";
        "lastsave" Exactly(1), None, Here(server::lastsave), "Gives the Unix second of the start: nothing is saved yet.";
        "latency" AtLeast(2), None, Family(LATENCY), "Tells how long requests take, and of spikes.";
        "memory" AtLeast(2), None, Family(MEMORY), "Tells of memory.";
        "module" AtLeast(2), None, Family(MODULE), "Accepted: there are no modules.";
        "role" Exactly(1), None, Here(server::role), "Tells that this node takes writes.";
        "slowlog" AtLeast(2), None, Family(SLOWLOG), "Shows requests that took long.";
        "time" Exactly(1), None, Here(server::time), "Gives the time of this node's wall clock.";
        "%dbsize" Exactly(2), Shard, Shard(Read, keys::dbsize), "One shard of DBSIZE.";
        "%flush" AtLeast(2), Shard, Shard(Write, keys::flush), "One shard of FLUSHALL.";
    }
    "cluster" {
        "asking" Exactly(1), None, Here(cluster::accepted), "Accepted: any node answers for any key.";
        "cluster" AtLeast(2), None, Family(CLUSTER), "Tells of nodes, slots and shards.";
        "readonly" Exactly(1), None, Here(cluster::accepted), "Accepted: any node answers for any key.";
        "readwrite" Exactly(1), None, Here(cluster::accepted), "Accepted: any node answers for any key.";
    }
    "transactions" {
        "discard" Exactly(1), None, Here(transactions::discard), "Ends what a refused MULTI began.";
        "exec" Exactly(1), None, Here(transactions::exec), "Refused: ends what a refused MULTI began.";
        "multi" Exactly(1), None, Here(transactions::multi), "Refused, with all that follows until EXEC or DISCARD.";
        "unwatch" Exactly(1), None, Here(transactions::unwatch), "Accepted: no key is watched.";
        "watch" AtLeast(2), All, Here(transactions::watch), "Refused: there are no transactions yet.";
    }
    "salp" {
        "salp.get" Exactly(2), First, Shard(Read, salp::get), "Gives value, content type, version and deadline of a key.";
        "salp.put" AtLeast(4), First, Shard(Grow, salp::put), "Sets a key with a content type; tells whether it is new, and its version.";
    }
};

const CLIENT: &[Row] = rows! {
    0;
    "connection" {
        "client|getname" Exactly(2), None, Here(client::getname), "Gives the name of this connection.";
        "client|getredir" Exactly(2), None, Here(client::getredir), "Gives -1: nothing is tracked.";
        "client|help" Exactly(2), None, Here(describe::help), "Shows these lines.";
        "client|id" Exactly(2), None, Here(client::id), "Gives the number of this connection.";
        "client|info" Exactly(2), None, Here(client::info), "Tells of this connection.";
        "client|kill" AtLeast(3), None, Here(kill::kill), "Closes connections of this node, by address, ID, TYPE, USER, ADDR or LADDR.";
        "client|list" AtLeast(2), None, Here(client::list), "Tells of the connections of this node, all or by TYPE or ID.";
        "client|no-evict" Exactly(3), None, Here(client::no_evict), "Accepted: no client is evicted.";
        "client|no-touch" Exactly(3), None, Here(client::no_touch), "Accepted: reads leave no trace.";
        "client|pause" AtLeast(3), None, Here(kill::pause), "Lets the writes, or all requests, of this node's Redis clients wait for some milliseconds.";
        "client|reply" Exactly(3), None, Here(client::reply), "Chooses which replies are sent: ON, OFF, or SKIP the next.";
        "client|setinfo" Exactly(4), None, Here(client::setinfo), "Notes LIB-NAME or LIB-VER of the client's library.";
        "client|setname" Exactly(3), None, Here(client::setname), "Names this connection.";
        "client|unpause" Exactly(2), None, Here(kill::unpause), "Ends a pause.";
    }
};

const COMMAND: &[Row] = rows! {
    behind(CLIENT);
    "server" {
        "command|" Exactly(1), None, Here(describe::all), "Describes all commands.";
        "command|count" Exactly(2), None, Here(describe::count), "Counts the commands.";
        "command|docs" AtLeast(2), None, Here(describe::docs), "Tells what commands do, all or those named.";
        "command|getkeys" AtLeast(4), None, Here(describe::getkeys), "Gives the keys in a whole request.";
        "command|help" Exactly(2), None, Here(describe::help), "Shows these lines.";
        "command|info" AtLeast(2), None, Here(describe::info), "Describes commands, all or those named.";
        "command|list" AtLeast(2), None, Here(describe::list), "Names commands, all or FILTERBY ACLCAT or PATTERN.";
    }
};

const CONFIG: &[Row] = rows! {
    behind(COMMAND);
    "server" {
        "config|get" AtLeast(3), None, Here(settings::get), "Shows the settings whose names match a pattern.";
        "config|help" Exactly(2), None, Here(describe::help), "Shows these lines.";
        "config|resetstat" Exactly(2), None, Here(settings::resetstat), "Counts from zero again.";
        "config|rewrite" Exactly(2), None, Here(settings::rewrite), "Refused: the settings stand in salp.toml.";
        "config|set" AtLeast(4), None, Here(settings::set), "Changes maxmemory, slowlog-log-slower-than, slowlog-max-len or latency-monitor-threshold, on this node, until it ends.";
    }
};

const LATENCY: &[Row] = rows! {
    behind(CONFIG);
    "server" {
        "latency|doctor" Exactly(2), None, Here(slow::doctor), "Tells in words which batches of requests took long.";
        "latency|help" Exactly(2), None, Here(describe::help), "Shows these lines.";
        "latency|histogram" AtLeast(2), None, Here(slow::histogram), "Gives how many calls took how long, by command.";
        "latency|history" Exactly(3), None, Here(slow::history), "Gives the spikes of an event, second by second.";
        "latency|latest" Exactly(2), None, Here(slow::latest), "Gives the last spike of each event, and the highest.";
        "latency|reset" AtLeast(2), None, Here(slow::reset), "Forgets the spikes, all or of some events.";
    }
};

const MEMORY: &[Row] = rows! {
    behind(LATENCY);
    "server" {
        "memory|doctor" Exactly(2), None, Here(memory::doctor), "Tells in words what is wrong with memory.";
        "memory|help" Exactly(2), None, Here(describe::help), "Shows these lines.";
        "memory|malloc-stats" Exactly(2), None, Here(memory::malloc_stats), "Says that the allocator gives no figures.";
        "memory|purge" Exactly(2), None, Here(server::accepted), "Accepted: the allocator returns free memory by itself.";
        "memory|stats" Exactly(2), None, Here(memory::stats), "Gives the figures of this node's memory.";
        "memory|usage" AtLeast(3), Second, Shard(Read, keys::memory), "Tells the bytes a key takes.";
    }
};

const MODULE: &[Row] = rows! {
    behind(MEMORY);
    "server" {
        "module|help" Exactly(2), None, Here(describe::help), "Shows these lines.";
        "module|list" Exactly(2), None, Here(server::none), "Gives no modules.";
    }
};

const OBJECT: &[Row] = rows! {
    behind(MODULE);
    "generic" {
        "object|encoding" Exactly(3), Second, Shard(Read, keys::encoding), "Tells how a value would be kept by Redis.";
        "object|freq" Exactly(3), Second, Shard(Read, keys::freq), "Refused: how often a key is used is not counted.";
        "object|help" Exactly(2), None, Here(describe::help), "Shows these lines.";
        "object|idletime" Exactly(3), Second, Shard(Read, keys::idletime), "Gives the seconds since a key was written.";
        "object|refcount" Exactly(3), Second, Shard(Read, keys::refcount), "Gives 1 for a key that is there.";
    }
};

const SLOWLOG: &[Row] = rows! {
    behind(OBJECT);
    "server" {
        "slowlog|get" AtLeast(2), None, Here(slow::slowlog_get), "Gives the last entries, so many, or all of them: -1.";
        "slowlog|help" Exactly(2), None, Here(describe::help), "Shows these lines.";
        "slowlog|len" Exactly(2), None, Here(slow::slowlog_len), "Counts the entries.";
        "slowlog|reset" Exactly(2), None, Here(slow::slowlog_reset), "Drops all entries.";
    }
};

const CLUSTER: &[Row] = rows! {
    behind(SLOWLOG);
    "cluster" {
        "cluster|countkeysinslot" Exactly(3), Slot, Shard(Read, cluster::countkeysinslot), "Counts the keys in a slot.";
        "cluster|getkeysinslot" Exactly(4), Slot, Shard(Read, cluster::getkeysinslot), "Gives keys in a slot, at most so many.";
        "cluster|help" Exactly(2), None, Here(describe::help), "Shows these lines.";
        "cluster|info" Exactly(2), None, Here(cluster::info), "Tells whether all slots are served.";
        "cluster|keyslot" Exactly(3), None, Here(cluster::keyslot), "Gives the slot of a key.";
        "cluster|myid" Exactly(2), None, Here(cluster::myid), "Gives the id of this node.";
        "cluster|nodes" Exactly(2), None, Here(cluster::nodes), "Tells of the nodes, one a line.";
        "cluster|shards" Exactly(2), None, Here(cluster::shards), "Tells which nodes serve which slots, by nodes.";
        "cluster|slots" Exactly(2), None, Here(cluster::slots), "Tells which nodes serve which slots, by slots.";
    }
};
