//! A node from its start to its end: its sockets, its thread, its registration.
//!
//! The core runs on a thread of its own. HTTP, the port mapper, look-ups and logging run on the runtime of the caller.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener},
    ops::RangeInclusive,
    sync::{Arc, atomic::AtomicU64},
    thread,
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};
use store::config::Host;
use tokio::{
    runtime::{self, LocalOptions},
    sync::{broadcast, mpsc, watch},
    task::{JoinHandle, spawn_local},
    time::{sleep, timeout},
};
use wire::resp::Limits;

use crate::{
    budget::Budget,
    config::{
        self, Config, ConfigError, millis,
        settings::{Setting, Settings},
    },
    core::{self, Parts, Shell},
    departure::{Departure, FrontEnd},
    descriptors::Shares,
    discovery::{self, Finder},
    dist::{self, Router},
    epmd::{self, RegisterError},
    handle::{EVENTS_MAX, Gone, Handle, ORDERS_MAX, WISHES_MAX},
    http,
    inboxes::Tasks,
    keyspace::Keyspace,
    log,
    measure::{self, Meter},
    redis,
    state::{self, State},
};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;
/// How often [`Node::ready`] checks.
const READY_EVERY: Duration = Duration::from_millis(20);
/// How long the last write of the state file may take.
const LAST_WRITE: Duration = Duration::from_secs(2);
/// How long the last requests of a node may take once its time to hand over has ended.
pub(crate) const LAST_REPLIES: Duration = Duration::from_secs(5);
/// Creations below this are reserved for older releases of Erlang.
const CREATION_MIN: u32 = 4;

/// A running node. If this is dropped, the node stops without handing over its data.
#[derive(Debug)]
pub struct Node {
    name: String,
    /// Names of the keyspaces, by number.
    keyspaces: Vec<String>,
    handle: Handle,
    resp: Option<SocketAddr>,
    http: Option<SocketAddr>,
    /// Serves HTTP until shortly after the core has ended.
    http_task: Option<JoinHandle<()>>,
    dist: SocketAddr,
    leave_timeout: Duration,
    /// Its sender is dropped when the core ends.
    ended: watch::Receiver<()>,
    /// How the node ended.
    departure: Departure,
    /// Writes the state file until shortly after the core has ended.
    keeper: Option<JoinHandle<()>>,
    /// Logs events until the core has ended.
    log: Option<JoinHandle<()>>,
    registration: Option<epmd::Registration>,
}

impl Node {
    /// Settings of a new node. The defaults are those of `salp start`, with two exceptions: no client's port is opened,
    /// and nothing is written to disk. A node that must know its cluster after a crash needs [`Builder::state_dir`].
    pub fn builder() -> Builder {
        let mut settings = Settings::default();
        settings.set("resp", &["off"]);
        settings.set("http", &["off"]);
        settings.set("state-dir", &["none"]);
        Builder { settings, fault: None }
    }

    /// The full name of the node.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A keyspace of the store, by name. The default keyspace is called `default`.
    ///
    /// # Errors
    /// The settings have no such keyspace.
    pub fn store(&self, keyspace: &str) -> Result<Keyspace, ConfigError> {
        let number = self.keyspaces.iter().position(|name| name == keyspace);
        match number.and_then(|number| u16::try_from(number).ok()) {
            Some(number) => Ok(Keyspace::new(self.handle.clone(), number)),
            None => Err(ConfigError::new(
                "keyspace",
                format_args!("there is no {keyspace}"),
                format_args!("the settings have {}", self.keyspaces.join(", ")),
            )),
        }
    }

    /// A handle, which works from any thread.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// The address for Redis clients, if there is one.
    pub fn resp(&self) -> Option<SocketAddr> {
        self.resp
    }

    /// The address for HTTP clients, if there is one.
    pub fn http(&self) -> Option<SocketAddr> {
        self.http
    }

    /// The address for other nodes.
    pub fn dist(&self) -> SocketAddr {
        self.dist
    }

    /// Waits until the node is in sync with its cluster, or has formed one. Before that the store refuses requests.
    /// Afterwards the names and locks of `global`, and the process groups, include those of each visible node that this
    /// node is connected to or must join. False if the node ended first.
    pub async fn ready(&self) -> bool {
        loop {
            match self.handle.status().await {
                Err(Gone) => return false,
                Ok(status) if status.ready => return true,
                Ok(_) => sleep(READY_EVERY).await,
            }
        }
    }

    /// Waits until the node has ended, for whatever reason.
    pub async fn ended(&self) {
        let mut ended = self.ended.clone();
        while ended.changed().await.is_ok() {}
    }

    /// Why the node ended without being told to: while starting it met a cluster that it cannot join, or a live node
    /// with the same name. `None` if it runs, or was told to end.
    pub fn fault(&self) -> Option<ConfigError> {
        self.departure.fault()
    }

    /// Hands over all data, answers requests under way, and ends. False if it ended with keys that no other node has
    /// taken over: there was no other node, or it took longer than the settings allow.
    pub async fn leave(self) -> bool {
        let leave = async {
            self.handle.begin_to_leave().await;
            self.ended().await;
        };
        let mut has_left = timeout(self.leave_timeout, leave).await.is_ok();
        if !has_left {
            self.handle.cut_short().await;
            has_left = timeout(LAST_REPLIES, self.ended()).await.is_ok();
        }
        let has_left = has_left && self.lost().is_none();
        self.stop().await;
        has_left
    }

    /// The data that no other node took over when this node left, in words. `None` if there was none, or the node has
    /// not left.
    pub fn lost(&self) -> Option<&str> {
        self.departure.lost()
    }

    /// Ends at once, without handing over data. When this returns, its addresses are free.
    pub async fn stop(mut self) {
        self.handle.stop();
        self.ended().await;
        if let Some(http) = self.http_task.take() {
            // Answers under way have a moment. Event streams end.
            let _ = http.await;
        }
        if let Some(keeper) = self.keeper.take() {
            // A disk that does not answer must not delay the end.
            let _ = timeout(LAST_WRITE, keeper).await;
        }
        if let Some(log) = self.log.take() {
            // It ends with the events, the last of which say how the node ended.
            let _ = timeout(LAST_WRITE, log).await;
        }
        self.registration = None;
    }

    /// Starts a node. Needs a tokio runtime with I/O and time.
    pub(crate) async fn start(config: Config, meter: Meter) -> Result<Self, ConfigError> {
        let (state, mut memory) = match &config.state_dir {
            Some(directory) => {
                State::open(directory, &config.name).map(|(state, memory)| (Some(Arc::new(state)), memory))?
            }
            None => (None, node::Memory::default()),
        };
        let resp = config.resp.map(|address| listen("resp", address)).transpose()?;
        let http = config.http.map(|address| listen("http", address)).transpose()?;
        let (dist, dist_address) = listen_in("dist-port", config.dist_bind, config.dist_ports.clone())?;
        let resp_address = resp.as_ref().and_then(|listener| listener.local_addr().ok());
        let http_address = http.as_ref().and_then(|listener| listener.local_addr().ok());
        warn_if_unreachable(&config);

        let seeds = [random()?, random()?];
        let registration = match config.epmd {
            Some(port) => Some(register(&config, port, dist_address.port()).await?),
            None => None,
        };
        let proposed = match &registration {
            Some(registration) => registration.creation,
            // 2³² values: without a state file, a restart draws the previous creation again once in 4 billion times.
            None => (random()? as u32).max(CREATION_MIN),
        };
        let creation = state::next_creation(proposed, memory.creation, CREATION_MIN);
        memory.creation = creation;
        let (remember, remembered) = watch::channel(memory.clone());
        let state_failures = Arc::new(AtomicU64::new(0));
        let keeper = match &state {
            Some(state) => {
                let mut keeper = state::Keeper::new(state.clone(), state_failures.clone());
                keeper.write(memory.clone()).await;
                Some(tokio::spawn(keeper.keep(remembered)))
            }
            None => None,
        };

        let finder = Finder::new(
            &config.discovery,
            discovery::Context {
                me: config.name.clone(),
                dist_port: dist_address.port(),
                cookie: config.cookie.clone(),
            },
        );

        let (orders, orders_taken) = mpsc::channel(ORDERS_MAX);
        let (wishes, wishes_taken) = mpsc::channel(WISHES_MAX);
        let (events, logged) = broadcast::channel(EVENTS_MAX);
        let tasks = Tasks::default();
        let handle = Handle {
            orders,
            wishes,
            events: events.downgrade(),
            stop: Arc::default(),
            tasks: tasks.clone(),
            runtime: runtime::Handle::current(),
        };
        let log = tokio::spawn(log::events(logged));
        let shares = Shares::of_process(config.clients_max, config.resp.is_some());
        let mut store = config.store(creation, resp_address);
        store.host = Host {
            clients_max: shares.redis,
            ..measure::host()
        };
        let budget = Budget::new(config.buffer_bytes_max);
        let parts = Parts {
            node: node_config(&config, creation, dist_address.port()),
            memory,
            store,
            facades: config.facades.clone(),
            seeds,
            router: router(&config),
            leave_timeout: config.leave_timeout,
            orders: orders_taken,
            wishes: wishes_taken,
            stop: handle.stop.clone(),
            events,
            tasks,
            meter,
            state: state::StateFile {
                remember,
                path: state.as_ref().map(|state| state.path().to_owned()),
            },
            departure: Departure::default(),
            budget: budget.clone(),
        };
        let departure = parts.departure.clone();
        let (alive, ended) = watch::channel(());
        let doors = Doors {
            shares,
            resp,
            dist,
            config: config.clone(),
            departure: departure.clone(),
        };
        // Counted before the core starts, so the count is never too low.
        let http_front_end = departure.front_end();
        run_apart(parts, doors, alive)?;
        if let Some(finder) = finder {
            // It ends with the core, to which it reports.
            tokio::spawn(finder.run(handle.clone()));
        }
        let http_task = http
            .map(|listener| {
                let departure = (departure.clone(), http_front_end);
                open_http(
                    listener,
                    &config,
                    shares.http,
                    handle.clone(),
                    (state_failures.clone(), budget.clone()),
                    (departure, ended.clone()),
                )
            })
            .transpose()?;
        let name = config.name.as_str().to_owned();
        tracing::info!(
            name,
            creation,
            resp = resp_address.map(tracing::field::display),
            http = http_address.map(tracing::field::display),
            dist = %dist_address,
            "node started"
        );
        let leave_timeout = config.leave_timeout;
        Ok(Self {
            keyspaces: names_of_keyspaces(&config),
            name,
            handle,
            resp: resp_address,
            http: http_address,
            http_task,
            dist: dist_address,
            leave_timeout,
            ended,
            departure,
            keeper,
            log: Some(log),
            registration,
        })
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.handle.stop();
    }
}

/// The listeners of a node, on the way to its thread.
struct Doors {
    resp: Option<TcpListener>,
    dist: TcpListener,
    config: Config,
    departure: Departure,
    shares: Shares,
}

impl Doors {
    /// Starts the listeners. Runs on the core's thread.
    fn open(self, shell: &Shell) -> io::Result<()> {
        let Self {
            resp,
            dist,
            config,
            departure,
            shares,
        } = self;
        shell.core().connections.limit(shares.nodes);
        let dist = tokio::net::TcpListener::from_std(dist)?;
        spawn_local(dist::listen(shell.clone(), dist, config.dist_tls.clone()));
        if let Some(resp) = resp {
            let limits = Limits {
                bulk_bytes_max: config.value_bytes_max.max(64 << 10),
                request_bytes_max: redis::request_bytes_max(&shell.core().budget),
                ..Limits::default()
            };
            let password = config.resp_password.is_some();
            let options = redis::Options {
                clients_max: shares.redis,
                limits,
                password,
            };
            spawn_local(redis::listen(
                shell.clone(),
                tokio::net::TcpListener::from_std(resp)?,
                options,
                (departure.clone(), departure.front_end()),
            ));
        }
        Ok(())
    }
}

/// The names of the keyspaces, by number.
fn names_of_keyspaces(config: &Config) -> Vec<String> {
    config.keyspaces.iter().map(|keyspace| keyspace.name.clone()).collect()
}

/// Serves HTTP until the core ends.
fn open_http(
    listener: TcpListener,
    config: &Config,
    connections_max: usize,
    handle: Handle,
    (state_failures, budget): (Arc<AtomicU64>, Arc<Budget>),
    (departure, mut ended): ((Departure, FrontEnd), watch::Receiver<()>),
) -> Result<JoinHandle<()>, ConfigError> {
    let listener = tokio::net::TcpListener::from_std(listener)
        .map_err(|error| ConfigError::new("--http", error, "choose another address"))?;
    let settings = http::Settings {
        token: config.http_token.clone(),
        hosts: http::Hosts::new(config::host(&config.name), &config.http_hosts),
        origins: http::Origins::new(&config.http_origins),
        keyspaces: names_of_keyspaces(config),
        value_bytes_max: config.value_bytes_max,
        key_bytes_max: store::config::Config::default().key_bytes_max,
        connections_max,
        state_failures,
        budget,
    };
    let stop = async move { while ended.changed().await.is_ok() {} };
    Ok(tokio::spawn(http::serve(listener, handle, settings, departure, stop)))
}

/// Runs the core on a thread of its own. `alive` is dropped when it ends.
fn run_apart(parts: Parts, doors: Doors, alive: watch::Sender<()>) -> Result<(), ConfigError> {
    let thread = thread::Builder::new().name("salp-core".into()).spawn(move || {
        let _alive = alive;
        let mut builder = runtime::Builder::new_current_thread();
        let runtime = match builder.enable_all().build_local(LocalOptions::default()) {
            Ok(runtime) => runtime,
            Err(error) => return tracing::error!(%error, "the node's thread has no event loop"),
        };
        runtime.block_on(core::run(parts, |shell| {
            if let Err(error) = doors.open(shell) {
                tracing::error!(%error, "the node's sockets cannot be used");
            }
        }));
        // A look-up of a name may be under way. It is not awaited.
        runtime.shutdown_background();
    });
    thread
        .map(drop)
        .map_err(|error| ConfigError::new("start", error, "allow the process more threads"))
}

fn node_config(config: &Config, creation: u32, dist_port: u16) -> node::Config {
    node::Config {
        name: config.name.clone(),
        creation,
        cookie: config.cookie.clone(),
        hidden: config.hidden,
        tick_ms: millis(config.tick),
        birth: config.store(creation, None).birth(),
        join: config.join.iter().map(|join| join.node.clone()).collect(),
        dist_port: Some(dist_port),
        limits: node::Limits::default(),
    }
}

fn router(config: &Config) -> Router {
    let given = config
        .join
        .iter()
        .filter_map(|join| Some((join.node.clone(), join.port?)));
    let (epmd, common) = (config.epmd, config.common_port());
    Router::new(given.collect(), epmd, common, config.dist_tls.clone())
}

async fn register(config: &Config, epmd: u16, port: u16) -> Result<epmd::Registration, ConfigError> {
    let short = config.name.as_str().split('@').next().unwrap_or_default();
    let place = epmd::Place::beside(config.dist_bind, epmd);
    match epmd::register(place, wire::epmd::Node::new(short, port, config.hidden)).await {
        Ok(registration) => Ok(registration),
        Err(RegisterError::Taken) => {
            let problem = format!("a node named {short} already runs on this machine");
            Err(ConfigError::new(
                "--name",
                problem,
                "choose another name, or stop that node",
            ))
        }
        Err(RegisterError::Unreachable(error)) => {
            let problem = format!("the port mapper on port {epmd} cannot be used: {error}");
            Err(ConfigError::new(
                "ERL_EPMD_PORT",
                problem,
                "set another port, or use --no-epmd with ports in --join",
            ))
        }
    }
}

fn random() -> Result<u64, ConfigError> {
    getrandom::u64().map_err(|error| ConfigError::new("start", error, "run it on a system with a random source"))
}

fn warn_if_unreachable(config: &Config) {
    let host = config::host(&config.name);
    let is_local = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if config.dist_bind.is_loopback() && !is_local {
        tracing::warn!(
            host,
            "nodes on other machines cannot connect: --dist-bind is {}; give --dist-bind {host}, and TLS or --insecure",
            config.dist_bind
        );
    }
}

fn listen(setting: &str, address: SocketAddr) -> Result<TcpListener, ConfigError> {
    bind(address).map_err(|error| {
        let problem = format!("cannot listen on {address}: {}", reason(&error));
        ConfigError::new(
            format_args!("--{setting}"),
            problem,
            "choose another address, or stop what listens there",
        )
    })
}

/// Listens on the first free port of a range.
fn listen_in(
    setting: &str,
    address: IpAddr,
    ports: RangeInclusive<u16>,
) -> Result<(TcpListener, SocketAddr), ConfigError> {
    let mut last = None;
    for port in ports.clone() {
        match bind((address, port).into()).and_then(|listener| Ok((listener.local_addr()?, listener))) {
            Ok((address, listener)) => return Ok((listener, address)),
            Err(error) => last = Some(error),
        }
    }
    let reason = last.map_or_else(|| "the range is empty".into(), |error| reason(&error));
    let (first, last) = (ports.start(), ports.end());
    let problem = format!("cannot listen on any of {address}:{first}-{last}: {reason}");
    Err(ConfigError::new(
        format_args!("--{setting}"),
        problem,
        "choose other ports, or leave it out for any free one",
    ))
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "the port is in use".into(),
        io::ErrorKind::AddrNotAvailable => "it is not an address of this machine".into(),
        io::ErrorKind::PermissionDenied => "ports below 1024 need privileges".into(),
        _ => error.to_string(),
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A port of a stopped node is free at once.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Settings of a node that runs inside a program. They are checked when the node starts.
#[derive(Clone, Debug)]
pub struct Builder {
    pub(crate) settings: Settings,
    /// An error in the settings so far.
    pub(crate) fault: Option<ConfigError>,
}

impl Builder {
    /// The full name, `name@host`. It must be unique in the cluster.
    #[must_use]
    pub fn name(self, name: &str) -> Self {
        self.set("name", &[name])
    }

    /// The secret of the cluster. Without it the secret is read from `~/.erlang.cookie`.
    #[must_use]
    pub fn cookie(self, cookie: &str) -> Self {
        self.set("cookie", &[cookie])
    }

    /// Nodes to connect to: `name@host`, or `name@host:port` if EPMD is not to be asked.
    #[must_use]
    pub fn join<N: AsRef<str>>(self, nodes: impl IntoIterator<Item = N>) -> Self {
        let nodes: Vec<N> = nodes.into_iter().collect();
        let texts: Vec<&str> = nodes.iter().map(AsRef::as_ref).collect();
        self.set("join", &texts)
    }

    /// The address for Redis clients. Port 0 is any free port.
    #[must_use]
    pub fn resp(self, address: &str) -> Self {
        self.set("resp", &[address])
    }

    /// The address for HTTP clients. Port 0 is any free port.
    #[must_use]
    pub fn http(self, address: &str) -> Self {
        self.set("http", &[address])
    }

    /// The address for other nodes. Default: loopback.
    #[must_use]
    pub fn dist_bind(self, address: &str) -> Self {
        self.set("dist-bind", &[address])
    }

    /// The port for other nodes: a port, or a range `A-B`. Default: any free port.
    #[must_use]
    pub fn dist_port(self, ports: &str) -> Self {
        self.set("dist-port", &[ports])
    }

    /// Turns TLS between nodes on, with these PEM files: the node's certificate for the host of its name, its private
    /// key, and the CAs that sign for nodes. They are read again when they change.
    #[must_use]
    pub fn dist_tls(self, cert: &str, key: &str, ca: &str) -> Self {
        self.set("dist-tls-cert", &[cert])
            .set("dist-tls-key", &[key])
            .set("dist-tls-ca", &[ca])
    }

    /// Whether nodes are registered and found by the port mapper of their machine (EPMD).
    #[must_use]
    pub fn epmd(self, epmd: bool) -> Self {
        self.set("no-epmd", &[if epmd { "false" } else { "true" }])
    }

    /// The port of EPMD, if it is not the usual one.
    #[must_use]
    pub fn epmd_port(self, port: u16) -> Self {
        self.set("epmd-port", &[&port.to_string()])
    }

    /// How nodes are found besides those to join: a kind and its settings. Their names are those of the table
    /// `[discovery]` in the settings file, such as `("dns", &[("query", "salp.example.com")])`. A list is separated by
    /// commas.
    #[must_use]
    pub fn discovery(self, kind: &str, settings: &[(&str, &str)]) -> Self {
        let mut builder = self.set("discovery", &[kind]);
        for (key, text) in settings {
            let name = format!("discovery-{}", key.replace('_', "-"));
            builder = match Setting::find(&name) {
                Some(setting) => builder.set(setting.name, &setting.texts(text)),
                None => {
                    let mend = "the table [discovery] in docs/discovery.md has its settings";
                    let place = format!("discovery.{key}");
                    builder
                        .fault
                        .get_or_insert(ConfigError::new(place, "is not a setting", mend));
                    builder
                }
            };
        }
        builder
    }

    /// Number of copies of each shard. It must be the same on all nodes of a cluster.
    #[must_use]
    pub fn replicas(self, replicas: u8) -> Self {
        self.set("replicas", &[&replicas.to_string()])
    }

    /// Further names of the store, for programs of a BEAM: `NAME[:style=server|messages][:missing=ATOM]`.
    #[must_use]
    pub fn facades<F: AsRef<str>>(self, facades: impl IntoIterator<Item = F>) -> Self {
        let facades: Vec<F> = facades.into_iter().collect();
        let texts: Vec<&str> = facades.iter().map(AsRef::as_ref).collect();
        self.set("facade", &texts)
    }

    /// The directory in which the node remembers its cluster, without any data. With it the node finds its cluster
    /// again after a crash. Without it nothing is written to disk, and a node without a node to join begins a new
    /// cluster.
    #[must_use]
    pub fn state_dir(self, path: &str) -> Self {
        self.set("state-dir", &[path])
    }

    /// The first cluster is formed only when this many nodes have met.
    #[must_use]
    pub fn expect(self, nodes: u32) -> Self {
        self.set("expect", &[&nodes.to_string()])
    }

    /// For caches: a node that has not met the others within this time serves without them. When it meets its cluster,
    /// its writes until then are dropped. Without this setting it waits.
    #[must_use]
    pub fn form_after(self, time: Duration) -> Self {
        self.set("form-after", &[&format!("{}ms", time.as_millis())])
    }

    /// Starts the node. Needs a tokio runtime with I/O and time.
    ///
    /// # Errors
    /// A setting is wrong, a port is in use, or another node has the same name.
    pub async fn start(self) -> Result<Node, ConfigError> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        Node::start(Config::resolve(&self.settings)?, Meter::default()).await
    }

    fn set(mut self, name: &'static str, texts: &[&str]) -> Self {
        self.settings.set(name, texts);
        self
    }
}
