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
pub mod glob;
mod info;
mod keys;
mod kill;
mod memory;
pub(crate) mod nested;
mod number;
mod salp;
pub(crate) mod scripts;
mod server;
mod settings;
mod slow;
mod string;
pub(crate) mod transactions;

use crate::command::{
    Access::{Grow, Read, Watch, Write},
    Arity::{AtLeast, Exactly},
    Fold, Keys, Row,
    Run::{Each, Every, Family, Here, Plan, Shard},
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
        CLIENT, COMMAND, CONFIG, LATENCY, MEMORY, MODULE, OBJECT, SLOWLOG, SCRIPT, CLUSTER,
    ]
    .into_iter()
}

/// Every command.
pub const ROWS: &[Row] = rows! {
    behind(CLUSTER);
    "string" {
        "append" Exactly(3), First, Shard(Grow, string::append), "Appends to the value of a key, or sets it if the key is missing.";
        "decr" Exactly(2), First, Shard(Grow, number::decr), "Subtracts one from a number.";
        "decrby" Exactly(3), First, Shard(Grow, number::decrby), "Subtracts an integer from a number.";
        "get" Exactly(2), First, Shard(Read, string::get), "Returns the value of a key.";
        "getdel" Exactly(2), First, Shard(Write, string::getdel), "Returns the value of a key and deletes the key.";
        "getex" AtLeast(2), First, Shard(Write, string::getex), "Returns the value of a key and sets when it expires.";
        "getrange" Exactly(4), First, Shard(Read, string::getrange), "Returns a part of a value.";
        "getset" Exactly(3), First, Shard(Grow, string::getset), "Sets a key and returns its old value.";
        "incr" Exactly(2), First, Shard(Grow, number::incr), "Adds one to a number.";
        "incrby" Exactly(3), First, Shard(Grow, number::incrby), "Adds an integer to a number.";
        "incrbyfloat" Exactly(3), First, Shard(Grow, number::incrbyfloat), "Adds a decimal number to a number.";
        "mget" AtLeast(2), All, Each("get", Fold::Array), "Returns the values of keys.";
        "mset" AtLeast(3), Pairs, Each("%set", Fold::Ok), "Sets keys.";
        "msetnx" AtLeast(3), Pairs, Shard(Grow, string::msetnx), "Sets keys of one slot if none of them exists.";
        "psetex" Exactly(4), First, Shard(Grow, string::psetex), "Sets a key that expires after some milliseconds.";
        "set" AtLeast(3), First, Shard(Grow, string::set), "Sets a key.";
        "setex" Exactly(4), First, Shard(Grow, string::setex), "Sets a key that expires after some seconds.";
        "setnx" Exactly(3), First, Shard(Grow, string::setnx), "Sets a key if it does not exist.";
        "setrange" Exactly(4), First, Shard(Grow, string::setrange), "Overwrites a part of a value.";
        "strlen" Exactly(2), First, Shard(Read, string::strlen), "Returns the length of a value in bytes.";
        "substr" Exactly(4), First, Shard(Read, string::getrange), "Returns a part of a value, as GETRANGE does.";
        "%set" Exactly(3), First, Shard(Grow, string::set_pair), "One pair of MSET.";
    }
    "generic" {
        "copy" AtLeast(3), Two, Shard(Grow, keys::copy), "Copies a value to another key of the slot.";
        "del" AtLeast(2), All, Each("%del", Fold::Sum), "Deletes keys.";
        "exists" AtLeast(2), All, Each("%exists", Fold::Sum), "Counts how many of the keys exist.";
        "expire" AtLeast(3), First, Shard(Write, expiry::expire), "Sets the seconds until a key expires.";
        "expireat" AtLeast(3), First, Shard(Write, expiry::expireat), "Sets the Unix second at which a key expires.";
        "expiretime" Exactly(2), First, Shard(Read, expiry::expiretime), "Returns the Unix second at which a key expires.";
        "keys" Exactly(2), None, Every("%keys", Fold::Concat), "Returns all keys that match a pattern.";
        "object" AtLeast(2), None, Family(OBJECT), "Shows how a value is stored.";
        "persist" Exactly(2), First, Shard(Write, expiry::persist), "Removes the expiry of a key.";
        "pexpire" AtLeast(3), First, Shard(Write, expiry::pexpire), "Sets the milliseconds until a key expires.";
        "pexpireat" AtLeast(3), First, Shard(Write, expiry::pexpireat), "Sets the Unix millisecond at which a key expires.";
        "pexpiretime" Exactly(2), First, Shard(Read, expiry::pexpiretime), "Returns the Unix millisecond at which a key expires.";
        "pttl" Exactly(2), First, Shard(Read, expiry::pttl), "Returns the milliseconds until a key expires.";
        "randomkey" Exactly(1), None, Every("%randomkey", Fold::Random), "Returns a random key.";
        "rename" Exactly(3), Two, Shard(Grow, keys::rename), "Moves a value to another key of the slot.";
        "renamenx" Exactly(3), Two, Shard(Grow, keys::renamenx), "Moves a value to another key of the slot if that key does not exist.";
        "scan" AtLeast(2), None, Plan(Some(Read), scan::plan), "Returns some keys, and the cursor for the next call.";
        "touch" AtLeast(2), All, Each("%exists", Fold::Sum), "Counts how many of the keys exist.";
        "ttl" Exactly(2), First, Shard(Read, expiry::ttl), "Returns the seconds until a key expires.";
        "type" Exactly(2), First, Shard(Read, keys::kind), "Returns the type of the value of a key.";
        "unlink" AtLeast(2), All, Each("%del", Fold::Sum), "Deletes keys.";
        "wait" Exactly(3), None, Here(server::wait), "Returns how many replicas have the writes so far.";
        "%del" Exactly(2), First, Shard(Write, keys::del), "One key of DEL.";
        "%exists" Exactly(2), First, Shard(Read, keys::exists), "One key of EXISTS.";
        "%keys" Exactly(3), Shard, Shard(Read, keys::keys), "One shard of KEYS.";
        "%randomkey" Exactly(2), Shard, Shard(Read, keys::randomkey), "How many keys a shard has, and one of them.";
        "%scan" Exactly(5), Shard, Shard(Read, scan::scan), "One shard of SCAN.";
    }
    "connection" {
        "auth" AtLeast(2), None, Here(connection::auth), "Sends the password.";
        "client" AtLeast(2), None, Family(CLIENT), "Shows and controls connections of Redis clients.";
        "echo" Exactly(2), None, Here(connection::echo), "Returns its argument.";
        "hello" AtLeast(1), None, Here(connection::hello), "Chooses the version of the protocol RESP.";
        "ping" AtLeast(1), None, Here(connection::ping), "Answers PONG.";
        "quit" AtLeast(1), None, Here(connection::quit), "Closes the connection.";
        "reset" Exactly(1), None, Here(connection::reset), "Resets the connection to its initial state.";
        "select" Exactly(2), None, Here(connection::select), "Chooses the keyspace, by number or name.";
    }
    "server" {
        "command" AtLeast(1), None, Family(COMMAND), "Describes commands.";
        "config" AtLeast(2), None, Family(CONFIG), "Shows and changes settings.";
        "dbsize" Exactly(1), None, Every("%dbsize", Fold::Sum), "Counts the keys.";
        "flushall" AtLeast(1), None, Every("%flush", Fold::Ok), "Deletes all keys of the keyspace.";
        "flushdb" AtLeast(1), None, Every("%flush", Fold::Ok), "Deletes all keys of the keyspace.";
        "info" AtLeast(1), None, Here(info::info), "Shows the state and the figures of this node.";
        "lastsave" Exactly(1), None, Here(server::lastsave), "Returns the Unix second of the node's start, since nothing is saved to disk.";
        "latency" AtLeast(2), None, Family(LATENCY), "Shows how long requests take, and latency spikes.";
        "memory" AtLeast(2), None, Family(MEMORY), "Shows how much memory is used.";
        "module" AtLeast(2), None, Family(MODULE), "Lists modules. There are none.";
        "role" Exactly(1), None, Here(server::role), "Returns the role of this node: master, since every node accepts writes.";
        "slowlog" AtLeast(2), None, Family(SLOWLOG), "Shows slow requests.";
        "time" Exactly(1), None, Here(server::time), "Returns the time of this node's wall clock.";
        "%dbsize" Exactly(2), Shard, Shard(Read, keys::dbsize), "One shard of DBSIZE.";
        "%flush" AtLeast(2), Shard, Shard(Write, keys::flush), "One shard of FLUSHALL.";
    }
    "cluster" {
        "asking" Exactly(1), None, Here(cluster::accepted), "Accepted without effect: every node answers for every key.";
        "cluster" AtLeast(2), None, Family(CLUSTER), "Shows nodes, slots and shards.";
        "readonly" Exactly(1), None, Here(cluster::accepted), "Accepted without effect: every node answers for every key.";
        "readwrite" Exactly(1), None, Here(cluster::accepted), "Accepted without effect: every node answers for every key.";
    }
    "transactions" {
        "discard" Exactly(1), None, Here(transactions::discard), "Ends a transaction without executing it.";
        "exec" Exactly(1), None, Plan(None, transactions::exec), "Executes the requests queued since MULTI, all at once.";
        "multi" Exactly(1), None, Here(transactions::multi), "Starts a transaction: requests are queued until EXEC.";
        "unwatch" Exactly(1), None, Here(transactions::unwatch), "Watches no key any more.";
        "watch" AtLeast(2), All, Plan(None, transactions::watch), "Lets the next EXEC do nothing if one of the keys changes before it.";
        "%exec.grow" Exactly(4), First, Shard(Grow, transactions::execute), "A transaction that may make the shard larger.";
        "%exec.read" Exactly(4), First, Shard(Read, transactions::execute), "A transaction that only reads.";
        "%exec.write" Exactly(4), First, Shard(Write, transactions::execute), "A transaction that writes, or depends on versions.";
        "%reply" Exactly(2), None, Shard(Read, transactions::reply), "A reply in a transaction that is known already.";
        "%watch" Exactly(2), First, Shard(Watch, transactions::version), "Returns the version of a key.";
    }
    "scripting" {
        "eval" AtLeast(3), Counted, Plan(Some(Write), scripts::eval), "Executes a Lua script.";
        "eval_ro" AtLeast(3), Counted, Plan(Some(Read), scripts::eval_ro), "Executes a Lua script that only reads.";
        "evalsha" AtLeast(3), Counted, Plan(Some(Write), scripts::evalsha), "Executes a Lua script that is known by its SHA-1.";
        "evalsha_ro" AtLeast(3), Counted, Plan(Some(Read), scripts::evalsha_ro), "Executes a Lua script that only reads and is known by its SHA-1.";
        "script" AtLeast(2), None, Family(SCRIPT), "Manages the Lua scripts that are known.";
        "%eval" AtLeast(3), Counted, Shard(Write, scripts::execute), "A Lua script at its primary.";
        "%eval_ro" AtLeast(3), Counted, Shard(Read, scripts::execute_ro), "A Lua script that only reads, at a replica.";
        "%evalsha" AtLeast(3), Counted, Shard(Write, scripts::execute_sha), "A known Lua script at its primary.";
        "%evalsha_ro" AtLeast(3), Counted, Shard(Read, scripts::execute_sha_ro), "A known Lua script that only reads, at a replica.";
    }
    "salp" {
        "salp.del" AtLeast(2), First, Shard(Write, salp::del), "Deletes a key, if it has a given version.";
        "salp.get" Exactly(2), First, Shard(Read, salp::get), "Returns value, content type, version and expiry of a key.";
        "salp.put" AtLeast(4), First, Shard(Grow, salp::put), "Sets a key with a content type, if it has a given version. Returns whether it is new, and its version.";
    }
};

const CLIENT: &[Row] = rows! {
    0;
    "connection" {
        "client|getname" Exactly(2), None, Here(client::getname), "Returns the name of this connection.";
        "client|getredir" Exactly(2), None, Here(client::getredir), "Returns -1: client-side caching is not supported.";
        "client|help" Exactly(2), None, Here(describe::help), "Shows these lines.";
        "client|id" Exactly(2), None, Here(client::id), "Returns the number of this connection.";
        "client|info" Exactly(2), None, Here(client::info), "Shows this connection.";
        "client|kill" AtLeast(3), None, Here(kill::kill), "Closes connections of this node, by address, ID, TYPE, USER, ADDR or LADDR.";
        "client|list" AtLeast(2), None, Here(client::list), "Shows connections of this node, all or by TYPE or ID.";
        "client|no-evict" Exactly(3), None, Here(client::no_evict), "Accepted without effect: no client is evicted.";
        "client|no-touch" Exactly(3), None, Here(client::no_touch), "Accepted without effect: reads are not recorded.";
        "client|pause" AtLeast(3), None, Here(kill::pause), "Delays the writes, or all requests, of this node's Redis clients for some milliseconds.";
        "client|reply" Exactly(3), None, Here(client::reply), "Chooses which replies are sent: ON (all), OFF (none) or SKIP (not the next).";
        "client|setinfo" Exactly(4), None, Here(client::setinfo), "Sets LIB-NAME or LIB-VER, which describe the client's library.";
        "client|setname" Exactly(3), None, Here(client::setname), "Names this connection.";
        "client|unpause" Exactly(2), None, Here(kill::unpause), "Ends the delay of CLIENT PAUSE.";
    }
};

const COMMAND: &[Row] = rows! {
    behind(CLIENT);
    "server" {
        "command|" Exactly(1), None, Here(describe::all), "Describes all commands.";
        "command|count" Exactly(2), None, Here(describe::count), "Counts the commands.";
        "command|docs" AtLeast(2), None, Here(describe::docs), "Shows what commands do, all or those named.";
        "command|getkeys" AtLeast(4), None, Here(describe::getkeys), "Returns the keys in a request.";
        "command|help" Exactly(2), None, Here(describe::help), "Shows these lines.";
        "command|info" AtLeast(2), None, Here(describe::info), "Describes commands, all or those named.";
        "command|list" AtLeast(2), None, Here(describe::list), "Lists names of commands, all or FILTERBY ACLCAT or PATTERN.";
    }
};

const CONFIG: &[Row] = rows! {
    behind(COMMAND);
    "server" {
        "config|get" AtLeast(3), None, Here(settings::get), "Shows the settings whose names match a pattern.";
        "config|help" Exactly(2), None, Here(describe::help), "Shows these lines.";
        "config|resetstat" Exactly(2), None, Here(settings::resetstat), "Resets the counters of this node to zero.";
        "config|rewrite" Exactly(2), None, Here(settings::rewrite), "Refused: change the settings in salp.toml.";
        "config|set" AtLeast(4), None, Here(settings::set), "Changes maxmemory, slowlog-log-slower-than, slowlog-max-len or latency-monitor-threshold on this node until it stops.";
    }
};

const LATENCY: &[Row] = rows! {
    behind(CONFIG);
    "server" {
        "latency|doctor" Exactly(2), None, Here(slow::doctor), "Describes the batches of requests that took long.";
        "latency|help" Exactly(2), None, Here(describe::help), "Shows these lines.";
        "latency|histogram" AtLeast(2), None, Here(slow::histogram), "Returns a histogram of durations for each command.";
        "latency|history" Exactly(3), None, Here(slow::history), "Returns the spikes of an event, second by second.";
        "latency|latest" Exactly(2), None, Here(slow::latest), "Returns the last and the highest spike of each event.";
        "latency|reset" AtLeast(2), None, Here(slow::reset), "Deletes the spikes of all or some events.";
    }
};

const MEMORY: &[Row] = rows! {
    behind(LATENCY);
    "server" {
        "memory|doctor" Exactly(2), None, Here(memory::doctor), "Describes problems with memory.";
        "memory|help" Exactly(2), None, Here(describe::help), "Shows these lines.";
        "memory|malloc-stats" Exactly(2), None, Here(memory::malloc_stats), "Returns a text that says that the allocator has no statistics.";
        "memory|purge" Exactly(2), None, Here(server::accepted), "Accepted without effect: the allocator returns free memory by itself.";
        "memory|stats" Exactly(2), None, Here(memory::stats), "Returns the memory figures of this node.";
        "memory|usage" AtLeast(3), Second, Shard(Read, keys::memory), "Returns the bytes of memory that a key uses.";
    }
};

const MODULE: &[Row] = rows! {
    behind(MEMORY);
    "server" {
        "module|help" Exactly(2), None, Here(describe::help), "Shows these lines.";
        "module|list" Exactly(2), None, Here(server::none), "Returns an empty list: there are no modules.";
    }
};

const OBJECT: &[Row] = rows! {
    behind(MODULE);
    "generic" {
        "object|encoding" Exactly(3), Second, Shard(Read, keys::encoding), "Returns how Redis would store a value.";
        "object|freq" Exactly(3), Second, Shard(Read, keys::freq), "Refused: uses of a key are not counted.";
        "object|help" Exactly(2), None, Here(describe::help), "Shows these lines.";
        "object|idletime" Exactly(3), Second, Shard(Read, keys::idletime), "Returns the seconds since a key was written.";
        "object|refcount" Exactly(3), Second, Shard(Read, keys::refcount), "Returns 1 for a key that exists.";
    }
};

const SLOWLOG: &[Row] = rows! {
    behind(OBJECT);
    "server" {
        "slowlog|get" AtLeast(2), None, Here(slow::slowlog_get), "Returns the last entries: 10, a given number, or all with -1.";
        "slowlog|help" Exactly(2), None, Here(describe::help), "Shows these lines.";
        "slowlog|len" Exactly(2), None, Here(slow::slowlog_len), "Counts the entries.";
        "slowlog|reset" Exactly(2), None, Here(slow::slowlog_reset), "Deletes all entries.";
    }
};

const SCRIPT: &[Row] = rows! {
    behind(SLOWLOG);
    "scripting" {
        "script|debug" Exactly(3), None, Here(scripts::debug), "Refused, except for NO: there is no debugger.";
        "script|exists" AtLeast(3), None, Here(scripts::exists), "Returns which scripts are known by their SHA-1.";
        "script|flush" AtLeast(2), None, Here(scripts::flush), "Forgets all scripts, at all nodes.";
        "script|help" Exactly(2), None, Here(describe::help), "Shows these lines.";
        "script|kill" Exactly(2), None, Here(scripts::kill), "Answers that no script is running: scripts end by themselves.";
        "script|load" Exactly(3), None, Here(scripts::load), "Remembers a script at all nodes, and returns its SHA-1.";
        "script|show" Exactly(3), None, Here(scripts::show), "Returns the source of a script.";
    }
};

const CLUSTER: &[Row] = rows! {
    behind(SCRIPT);
    "cluster" {
        "cluster|countkeysinslot" Exactly(3), Slot, Shard(Read, cluster::countkeysinslot), "Counts the keys in a slot.";
        "cluster|getkeysinslot" Exactly(4), Slot, Shard(Read, cluster::getkeysinslot), "Returns keys in a slot, at most the given number.";
        "cluster|help" Exactly(2), None, Here(describe::help), "Shows these lines.";
        "cluster|info" Exactly(2), None, Here(cluster::info), "Shows whether all slots are served.";
        "cluster|keyslot" Exactly(3), None, Here(cluster::keyslot), "Returns the slot of a key.";
        "cluster|myid" Exactly(2), None, Here(cluster::myid), "Returns the id of this node.";
        "cluster|nodes" Exactly(2), None, Here(cluster::nodes), "Lists the nodes, one a line.";
        "cluster|shards" Exactly(2), None, Here(cluster::shards), "Lists the slots, grouped by the nodes that serve them.";
        "cluster|slots" Exactly(2), None, Here(cluster::slots), "Lists the slots, and the nodes that serve each.";
    }
};
