//! The commands that talk to a running node over HTTP.

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

use axum::http::{Method, StatusCode};
use clap::{Args, Subcommand};
use hyper::body::Bytes;

use super::{bench, cluster, fill};
use crate::{
    client::{Answer, Client, ClientError},
    duration,
    http::encode,
    output::complain,
    variable,
};

/// Commands for a running cluster.
#[derive(Debug, Subcommand)]
pub(crate) enum Remote {
    /// Print the value of a key; the exit code is 1 if it does not exist
    Get {
        /// The key
        #[arg(value_parser = key)]
        key: String,
        #[command(flatten)]
        target: Target,
    },
    /// Set a key
    Set {
        /// The key
        #[arg(value_parser = key)]
        key: String,
        /// The value
        #[arg(allow_hyphen_values = true)]
        value: String,
        /// Time to live, such as 60s, 1500ms, 5m, 12h or 7d [default: for ever]
        #[arg(long, value_parser = ttl)]
        ttl: Option<String>,
        #[command(flatten)]
        target: Target,
    },
    /// Delete keys and print how many existed; the exit code is 1 if none did
    Del {
        /// The keys
        #[arg(required = true, value_parser = key)]
        keys: Vec<String>,
        #[command(flatten)]
        target: Target,
    },
    /// Add to an integer and print the sum
    Incr {
        /// The key
        #[arg(value_parser = key)]
        key: String,
        /// The integer to add
        #[arg(default_value_t = 1, allow_negative_numbers = true)]
        by: i64,
        #[command(flatten)]
        target: Target,
    },
    /// Store many numbered keys, and print rate and latencies
    Fill(fill::Fill),
    /// Show keys, memory and requests of each node, and the totals
    Stats {
        #[command(flatten)]
        shown: Shown,
    },
    /// Show members, shards, moves under way, and which node may be stopped now
    Cluster {
        #[command(flatten)]
        shown: Shown,
    },
    /// Connect a running node to the cluster
    Add {
        /// Full name of the node, such as salp@10.0.0.7
        node: String,
        #[command(flatten)]
        target: Target,
    },
    /// Have a node hand over its data and stop; a node that is down is forgotten
    /// Full name of the node
    Leave {
        /// Full name of the node
        node: String,
        #[command(flatten)]
        target: Target,
    },
    /// Form a cluster of the connected nodes although others are missing: the missing ones are declared gone
    Form {
        /// Accept that data is lost if only the missing nodes hold it
        #[arg(long, required = true)]
        accept_loss: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Put a node under load, and print rate and latencies
    Bench(bench::Bench),
}

/// The node to talk to.
#[derive(Clone, Debug, Args)]
pub(crate) struct Target {
    /// HTTP address of a node [default: http://127.0.0.1:4000] [env: SALP_URL]
    #[arg(long)]
    url: Option<String>,
    /// Token of the node's HTTP listener [env: SALP_HTTP_TOKEN]
    #[arg(long)]
    token: Option<String>,
}

/// The address of a node with default settings, and of the first node of `salp dev`.
const URL: &str = "http://127.0.0.1:4000";

impl Target {
    pub(super) fn client(&self) -> Result<Client, Failure> {
        let of_variable = || variable::read("SALP_URL");
        let url = self.url.clone().or_else(of_variable);
        Ok(Client::new(url.as_deref().unwrap_or(URL), self.token())?)
    }

    /// Host and port, for code that makes connections without [`Client`].
    pub(super) fn host(&self) -> Result<String, Failure> {
        let client = self.client()?;
        let host = client.url().trim_start_matches("http://");
        let has_port = host
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        Ok(if has_port {
            host.to_owned()
        } else {
            format!("{host}:80")
        })
    }

    /// The value of the header `Authorization`.
    pub(super) fn authorization(&self) -> Option<String> {
        self.token().map(|token| format!("Bearer {token}"))
    }

    fn token(&self) -> Option<String> {
        self.token.clone().or_else(|| variable::read("SALP_HTTP_TOKEN"))
    }
}

/// The node to ask, and how to print its answer.
#[derive(Debug, Args)]
pub(crate) struct Shown {
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) target: Target,
}

/// Why a command failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(super) code: u8,
    /// One line. Empty if the exit code alone is the answer.
    pub(super) text: String,
}

impl Failure {
    /// The operation's negative answer.
    pub(super) fn negative(text: impl Into<String>) -> Self {
        Self {
            code: 1,
            text: text.into(),
        }
    }

    /// Wrong use or configuration.
    pub(super) fn usage(text: impl Into<String>) -> Self {
        Self {
            code: 2,
            text: text.into(),
        }
    }

    /// The cluster could not be reached.
    pub(super) fn unreachable(text: impl Into<String>) -> Self {
        Self {
            code: 3,
            text: text.into(),
        }
    }

    /// What an unsuccessful answer means: wrong use, or a fault of the cluster.
    pub(super) fn of(answer: &Answer) -> Self {
        let text = answer.problem();
        if !answer.is_problem() {
            return Self::unreachable(text);
        }
        match answer.status {
            StatusCode::NOT_FOUND | StatusCode::CONFLICT | StatusCode::INSUFFICIENT_STORAGE => Self::negative(text),
            StatusCode::UNAUTHORIZED => Self::usage("the node requires a token: give --token or set SALP_HTTP_TOKEN"),
            status if status.is_client_error() => Self::usage(text),
            _ => Self::unreachable(text),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Url(text) => Self::usage(text),
            ClientError::Unreachable(text) | ClientError::Broken(text) => Self::unreachable(text),
        }
    }
}

/// Runs a command to its end.
pub(crate) fn run(command: Remote) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(execute(command)),
        Err(error) => Err(Failure::usage(format!("no runtime: {error}"))),
    };
    ended(done)
}

/// Reports why a command failed. Returns its exit code.
pub(super) fn ended(done: Result<(), Failure>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.text.is_empty() {
                complain(&failure.text);
            }
            ExitCode::from(failure.code)
        }
    }
}

async fn execute(command: Remote) -> Result<(), Failure> {
    match command {
        Remote::Get { key, target } => get(&target.client()?, &key).await,
        Remote::Set {
            key,
            value,
            ttl,
            target,
        } => set(&target.client()?, &key, value, ttl).await,
        Remote::Del { keys, target } => del(&target.client()?, &keys).await,
        Remote::Incr { key, by, target } => incr(&target.client()?, &key, by).await,
        Remote::Fill(fill) => fill.run().await,
        Remote::Stats { shown } => cluster::stats(&shown).await,
        Remote::Cluster { shown } => cluster::cluster(&shown).await,
        Remote::Add { node, target } => cluster::add(&target.client()?, &node).await,
        Remote::Leave { node, target } => cluster::leave(&target.client()?, &node).await,
        Remote::Form { accept_loss: _, target } => cluster::form(&target.client()?).await,
        Remote::Bench(bench) => bench.run().await,
    }
}

/// Writes to standard output. A closed pipe is not an error.
pub(super) fn print(bytes: impl AsRef<[u8]>) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes.as_ref()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::negative(format!("stdout: {error}"))),
        _ => Ok(()),
    }
}

/// Sends a request. An unsuccessful answer is an error.
pub(super) async fn succeed(client: &Client, method: Method, path: &str, body: Bytes) -> Result<Bytes, Failure> {
    let answer = client.send(method, path, body).await?;
    if answer.status.is_success() {
        Ok(answer.body)
    } else {
        Err(Failure::of(&answer))
    }
}

fn ttl(text: &str) -> Result<String, String> {
    match duration::parse_ms(text) {
        Some(1..) => Ok(text.to_owned()),
        _ => Err(format!("must be a time above zero: {}", duration::GRAMMAR)),
    }
}

fn key(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("a key has at least one byte".to_owned());
    }
    Ok(text.to_owned())
}

fn path_of(key: &str) -> String {
    format!("/kv/{}", encode(key.as_bytes()))
}

async fn get(client: &Client, key: &str) -> Result<(), Failure> {
    let answer = client.send(Method::GET, &path_of(key), Bytes::new()).await?;
    match answer.status {
        StatusCode::OK if answer.has_version => {
            print(&answer.body)?;
            // A value in a file or a pipe must be exactly the value.
            if io::stdout().is_terminal() {
                print("\n")
            } else {
                Ok(())
            }
        }
        _ if answer.is_missing_key() => Err(Failure::negative("")),
        _ => Err(Failure::of(&answer)),
    }
}

async fn set(client: &Client, key: &str, value: String, ttl: Option<String>) -> Result<(), Failure> {
    let query = ttl.map_or(String::new(), |ttl| format!("?ttl={ttl}"));
    succeed(client, Method::PUT, &format!("{}{query}", path_of(key)), value.into()).await?;
    print("OK\n")
}

async fn del(client: &Client, keys: &[String]) -> Result<(), Failure> {
    let mut deleted = 0;
    for key in keys {
        let answer = client.send(Method::DELETE, &path_of(key), Bytes::new()).await?;
        match answer.status {
            _ if answer.is_missing_key() => {}
            status if status.is_success() => deleted += 1,
            _ => return Err(Failure::of(&answer)),
        }
    }
    print(format!("{deleted}\n"))?;
    if deleted == 0 {
        Err(Failure::negative(""))
    } else {
        Ok(())
    }
}

async fn incr(client: &Client, key: &str, by: i64) -> Result<(), Failure> {
    let sum = succeed(
        client,
        Method::POST,
        &format!("{}/incr?by={by}", path_of(key)),
        Bytes::new(),
    )
    .await?;
    print(&sum)?;
    print("\n")
}
