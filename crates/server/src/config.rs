//! Settings of a node: merged from flags, environment, file and defaults, parsed, and checked against each other.
//!
//! Every error is one line that names the setting, where it was given, what is wrong and how to fix it. An error never
//! contains a secret.

pub(crate) mod cookie;
pub(crate) mod discovery;
mod facade;
pub(crate) mod settings;
#[cfg(test)]
mod tests;
mod value;

use std::{
    env,
    ffi::OsString,
    fmt,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use node::{Atom, Cookie};
use store::{
    config::{Keyspace, Password},
    facade::Face,
    forming,
    keyspaces::Slots,
    quorum::Level,
};

use crate::{
    epmd,
    tls::{self, Keeper},
};

use self::{
    discovery::{Around, Discovery},
    settings::{Given, Place, Setting, Settings, Source},
};

/// Why a node cannot start with these settings: one line, without a final full stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    place: String,
    problem: String,
    mend: String,
}

impl ConfigError {
    /// `place` is the setting, `problem` says what is wrong with it, `mend` says how to fix it.
    pub(crate) fn new(place: impl fmt::Display, problem: impl fmt::Display, mend: impl fmt::Display) -> Self {
        Self {
            place: place.to_string(),
            problem: problem.to_string(),
            mend: mend.to_string(),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = format!("{}: {}; {}", self.place, self.problem, self.mend);
        f.write_str(&line.replace(['\n', '\r'], " "))
    }
}

impl std::error::Error for ConfigError {}

/// A node to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Join {
    pub(crate) node: Atom,
    /// The port it listens on, if EPMD need not be asked.
    pub(crate) port: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// Settings of one node, parsed and checked.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) name: Atom,
    pub(crate) cookie: Cookie,
    pub(crate) resp: Option<SocketAddr>,
    pub(crate) resp_password: Option<Password>,
    pub(crate) http: Option<SocketAddr>,
    pub(crate) http_token: Option<Password>,
    /// Further host names of the HTTP listener.
    pub(crate) http_hosts: Vec<String>,
    /// Web sites whose pages may use the HTTP listener.
    pub(crate) http_origins: Vec<String>,
    pub(crate) dist_bind: IpAddr,
    /// Ports to choose from. 0 alone: any free one.
    pub(crate) dist_ports: RangeInclusive<u16>,
    /// The certificate for connections between nodes. `None`: without TLS.
    pub(crate) dist_tls: Option<Arc<Keeper>>,
    pub(crate) join: Vec<Join>,
    pub(crate) discovery: Discovery,
    pub(crate) hidden: bool,
    /// The port of EPMD on every host. `None`: EPMD is neither asked nor run.
    pub(crate) epmd: Option<u16>,
    pub(crate) tick: Duration,
    pub(crate) replicas: u8,
    pub(crate) shards: u16,
    pub(crate) keyspaces: Vec<Keyspace>,
    pub(crate) facades: Vec<Face>,
    /// 0: no limit.
    pub(crate) memory_bytes_max: u64,
    pub(crate) buffer_bytes_max: usize,
    pub(crate) value_bytes_max: usize,
    pub(crate) clients_max: usize,
    pub(crate) write_timeout: Duration,
    pub(crate) request_timeout: Duration,
    /// Where the node remembers its cluster. `None`: it does not.
    pub(crate) state_dir: Option<PathBuf>,
    pub(crate) forming: forming::Settings,
    /// Commands that are made for tests.
    pub(crate) leave_timeout: Duration,
    pub(crate) log: tracing::Level,
    pub(crate) log_format: LogFormat,
}

/// Shortest secret of a port that is open to other machines. `guesses.rs` allows fewer than ten guesses a second, so
/// even one of lower-case letters alone cannot be guessed.
const SECRET_BYTES_MIN: usize = 16;

/// Most keyspaces.
const KEYSPACES_MAX: usize = 256;
/// Most keyspaces with many shards.
const WITH_SHARDS_MAX: usize = 16;

impl Config {
    /// Parses and checks `settings`. Reads the cookie file, and creates it if it is missing.
    pub(crate) fn resolve(settings: &Settings) -> Result<Self, ConfigError> {
        let read = Reading(settings);
        read.refuse_what_is_to_come()?;
        let name = read.one("name", value::name)?;
        let dist_bind = read.one("dist-bind", value::ip)?;
        let dist_ports = read.one("dist-port", value::ports)?;
        let epmd = read.epmd()?;
        let around = Around {
            name: &name,
            dist_bind,
            epmd,
            fixed_port: fixed(&dist_ports).is_some(),
        };
        let discovery = discovery::resolve(&read, around)?;
        let discovers = !matches!(discovery.kind, discovery::Kind::Static);
        let replicas = read.one("replicas", |text| value::number(text, 1, 15))?;
        let config = Self {
            resp: read.one("resp", value::listen)?,
            resp_password: read.optional("resp-password", value::secret)?,
            http: read.one("http", value::listen)?,
            http_token: read.optional("http-token", value::secret)?,
            http_hosts: read.many("http-host", value::http_host)?,
            http_origins: read.many("http-cors", value::origin)?,
            dist_bind,
            dist_ports,
            dist_tls: read.dist_tls(&name)?,
            join: read.many("join", value::join)?,
            discovery,
            hidden: read.switch("hidden")?,
            epmd,
            tick: read.one("tick-time", |text| value::time(text, Duration::from_millis(100)))?,
            replicas,
            shards: read.one("shards", value::shards)?,
            keyspaces: read.keyspaces(replicas)?,
            facades: read.facades()?,
            memory_bytes_max: read.one("max-memory", value::size)?,
            buffer_bytes_max: read.one("max-buffers", value::buffer_size)?,
            value_bytes_max: read.one("max-value", value::value_size)?,
            clients_max: read.one("max-clients", |text| value::number(text, 1, 1_000_000))?,
            write_timeout: read.one("write-timeout", |text| value::time(text, Duration::from_millis(10)))?,
            request_timeout: read.one("request-timeout", |text| value::time(text, Duration::from_millis(10)))?,
            state_dir: read.state_dir()?,
            forming: forming::Settings {
                form_after_ms: millis(read.one("form-after", |text| value::time(text, Duration::ZERO))?),
                expect: read.one("expect", |text| value::number(text, 1, 128))?,
                discovers,
            },
            leave_timeout: read.one("leave-timeout", |text| value::time(text, Duration::ZERO))?,
            log: read.one("log", value::level)?,
            log_format: read.one("log-format", value::log_format)?,
            cookie: read.cookie()?,
            name,
        };
        config.check(&read)?;
        Ok(config)
    }

    /// Checks the rules between settings.
    fn check(&self, read: &Reading<'_>) -> Result<(), ConfigError> {
        let is_long = |name: &Atom| host(name).contains('.');
        for join in &self.join {
            if is_long(&join.node) != is_long(&self.name) {
                let (ours, theirs) = if is_long(&self.name) {
                    ("long", "short")
                } else {
                    ("short", "long")
                };
                let problem = format!(
                    "{} is a {theirs} name and this node has a {ours} one",
                    join.node.as_str()
                );
                return Err(read.error(
                    "join",
                    problem,
                    "use names with a dot in the host for all nodes, or for none",
                ));
            }
            if self.epmd.is_none() && join.port.is_none() && self.common_port().is_none() {
                let problem = format!("{} has no port and EPMD is off", join.node.as_str());
                let mend = "write NAME@HOST:PORT, or give all nodes the same --dist-port, or leave --no-epmd out";
                return Err(read.error("join", problem, mend));
            }
        }
        if self.write_timeout > self.request_timeout {
            let mend = "make it shorter than --request-timeout";
            return Err(read.error("write-timeout", "is longer than --request-timeout", mend));
        }
        if self.buffer_bytes_max / 4 < self.value_bytes_max {
            let mend = "make it larger, or --max-value smaller";
            return Err(read.error("max-buffers", "is less than four times --max-value", mend));
        }
        if read.switch("insecure")? {
            return Ok(());
        }
        if self.http_token.is_none() && self.http_origins.iter().any(|origin| origin == "*") {
            let mend = "set SALP_HTTP_TOKEN, or list the sites, or add --insecure";
            return Err(read.error("http-cors", "lets the pages of every web site read and write", mend));
        }
        let open = |address: Option<SocketAddr>| address.is_some_and(|address| !address.ip().is_loopback());
        if open(self.resp) && self.resp_password.is_none() {
            let mend = "set SALP_RESP_PASSWORD, or listen on 127.0.0.1, or add --insecure";
            return Err(read.error("resp", "is open to other machines without a password", mend));
        }
        if open(self.http) && self.http_token.is_none() {
            let mend = "set SALP_HTTP_TOKEN, or listen on 127.0.0.1, or add --insecure";
            return Err(read.error("http", "is open to other machines without a token", mend));
        }
        let length = |secret| read.0.one(secret).map_or(usize::MAX, |given| given.text.len());
        let is_given = |setting| read.0.source(setting) != Source::Default;
        let cookie = if is_given("cookie") { "cookie" } else { "cookie-file" };
        for (is_open, secret, length) in [
            (open(self.resp), "resp-password", length("resp-password")),
            (open(self.http), "http-token", length("http-token")),
            (!self.dist_bind.is_loopback(), cookie, self.cookie.secret().len()),
        ] {
            if is_open && length < SECRET_BYTES_MIN {
                let problem =
                    format!("is shorter than {SECRET_BYTES_MIN} bytes, and its port is open to other machines");
                let mend = "use a longer one, such as from `openssl rand -hex 16`, or add --insecure";
                return Err(read.error(secret, problem, mend));
            }
        }
        if !self.dist_bind.is_loopback() && self.dist_tls.is_none() {
            let mend = "set --dist-tls-cert, --dist-tls-key and --dist-tls-ca, or listen on 127.0.0.1, or add \
                        --insecure if the network is yours alone";
            return Err(read.error("dist-bind", "is open to other machines without TLS", mend));
        }
        Ok(())
    }

    /// The port of a node whose port is unknown: without EPMD, the fixed port of this node. This is the rule of
    /// `-erl_epmd_port`, under which each host has one node.
    pub(crate) fn common_port(&self) -> Option<u16> {
        if self.epmd.is_none() {
            fixed(&self.dist_ports)
        } else {
            None
        }
    }

    /// The settings of the store, for this life of the node. `resp` is where it listens for Redis clients.
    pub(crate) fn store(&self, creation: u32, resp: Option<SocketAddr>) -> store::config::Config {
        store::config::Config {
            name: self.name.as_str().into(),
            creation,
            shards: self.shards,
            replicas: self.replicas,
            keyspaces: self.keyspaces.clone(),
            join: self.join.iter().map(|join| join.node.as_str().into()).collect(),
            forming: self.forming,
            write_timeout_ms: millis(self.write_timeout),
            request_timeout_ms: millis(self.request_timeout),
            value_bytes_max: self.value_bytes_max,
            password: self.resp_password.clone(),
            memory_bytes_max: self.memory_bytes_max,
            buffer_bytes_max: self.buffer_bytes_max,
            resp: resp.map(|address| (address.ip().to_canonical().to_string(), address.port())),
            ..store::config::Config::default()
        }
    }
}

/// The only port in the range, unless it stands for any port.
fn fixed(ports: &RangeInclusive<u16>) -> Option<u16> {
    (ports.start() == ports.end() && *ports.start() > 0).then_some(*ports.start())
}

/// The host of a full node name.
pub(crate) fn host(name: &Atom) -> &str {
    name.as_str().split_once('@').map_or("", |(_, host)| host)
}

pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Settings while they are turned into a [`Config`]. The functions of [`value`] parse a value, and return what is wrong
/// and how to fix it. The functions here add the place.
struct Reading<'a>(&'a Settings);

impl Reading<'_> {
    fn one<T>(&self, name: &'static str, parse: impl Fn(&str) -> value::Parsed<T>) -> Result<T, ConfigError> {
        let given = self.0.one(name).expect("it has a default");
        understand(name, &given, parse)
    }

    fn optional<T>(
        &self,
        name: &'static str,
        parse: impl Fn(&str) -> value::Parsed<T>,
    ) -> Result<Option<T>, ConfigError> {
        self.0
            .one(name)
            .map(|given| understand(name, &given, parse))
            .transpose()
    }

    fn many<T>(&self, name: &'static str, parse: impl Fn(&str) -> value::Parsed<T>) -> Result<Vec<T>, ConfigError> {
        self.0
            .many(name)
            .iter()
            .map(|given| understand(name, given, &parse))
            .collect()
    }

    fn switch(&self, name: &'static str) -> Result<bool, ConfigError> {
        Ok(self.optional(name, value::truth)?.unwrap_or(false))
    }

    fn error(&self, name: &'static str, problem: impl fmt::Display, mend: impl fmt::Display) -> ConfigError {
        let setting = Setting::find(name).expect("only settings of the table are complained about");
        ConfigError::new(Place(setting, &self.0.source(name)), problem, mend)
    }

    /// Refuses settings that are reserved but not implemented yet.
    fn refuse_what_is_to_come(&self) -> Result<(), ConfigError> {
        if self.0.source("data-dir") != Source::Default {
            return Err(self.error("data-dir", "keeping data on disk is not supported yet", "leave it out"));
        }
        let workers: u32 = self.one("workers", |text| value::number(text, 1, 1024))?;
        if workers != 1 {
            return Err(self.error("workers", "more than one worker is not supported yet", "leave it out"));
        }
        Ok(())
    }

    fn epmd(&self) -> Result<Option<u16>, ConfigError> {
        if self.switch("no-epmd")? {
            return Ok(None);
        }
        let port = self.optional("epmd-port", |text| value::number(text, 1, u16::MAX))?;
        Ok(Some(port.unwrap_or_else(epmd::port)))
    }

    /// Reads the certificates. Checks that they fit each other and this node.
    fn dist_tls(&self, name: &Atom) -> Result<Option<Arc<Keeper>>, ConfigError> {
        let path = |name| self.optional(name, value::path);
        let files = match (path(tls::CERT)?, path(tls::KEY)?, path(tls::CA)?) {
            (None, None, None) => return Ok(None),
            (Some(cert), Some(key), Some(ca)) => tls::Files { cert, key, ca },
            (cert, key, _) => {
                let missing = match (cert, key) {
                    (None, _) => tls::CERT,
                    (_, None) => tls::KEY,
                    (Some(_), Some(_)) => tls::CA,
                };
                let mend = format!("--{}, --{} and --{} go together", tls::CERT, tls::KEY, tls::CA);
                return Err(self.error(missing, "is missing", mend));
            }
        };
        let keeper = Keeper::new(files, host(name));
        let keeper = keeper.map_err(|fault| self.error(fault.setting, fault.problem, fault.mend))?;
        Ok(Some(Arc::new(keeper)))
    }

    fn cookie(&self) -> Result<Cookie, ConfigError> {
        if let Some(given) = self.0.one("cookie") {
            return understand("cookie", &given, |text| {
                Ok(Cookie::new(value::cookie(text.as_bytes())?))
            });
        }
        let path = self.one("cookie-file", value::path)?;
        cookie::read_or_make(&path).map_err(|(problem, mend)| self.error("cookie-file", problem, mend))
    }

    /// The given directory, or the usual one of the system.
    fn state_dir(&self) -> Result<Option<PathBuf>, ConfigError> {
        let given = self.optional("state-dir", |text| match text {
            "none" => Ok(None),
            path => value::path(path).map(Some),
        })?;
        Ok(given.unwrap_or_else(|| default_state_dir(|name| env::var_os(name))))
    }

    fn facades(&self) -> Result<Vec<Face>, ConfigError> {
        let facades = self.many("facade", facade::parse)?;
        facade::check(&facades).map_err(|(problem, mend)| self.error("facade", problem, mend))?;
        Ok(facades)
    }

    fn keyspaces(&self, replicas: u8) -> Result<Vec<Keyspace>, ConfigError> {
        let databases = self.one("databases", |text| value::number(text, 1, KEYSPACES_MAX))?;
        let Some((path, tables)) = &self.0.keyspaces else {
            return Ok(Keyspace::databases(databases));
        };
        if self.0.source("databases") != Source::Default {
            let problem = format!("the keyspaces are listed in {}, which numbers them", path.display());
            return Err(self.error("databases", problem, "leave this setting out, or every [[keyspace]]"));
        }
        let mut keyspaces: Vec<Keyspace> = Vec::new();
        for (index, table) in tables.iter().enumerate() {
            let fault = |problem: String, mend: &str| {
                ConfigError::new(
                    format_args!("keyspace {} in {}", index + 1, path.display()),
                    problem,
                    mend,
                )
            };
            if index >= KEYSPACES_MAX {
                let problem = format!("is one too many: there may be {KEYSPACES_MAX}");
                return Err(fault(problem, "have fewer keyspaces"));
            }
            let keyspace = value::keyspace(table).map_err(|(problem, mend)| fault(problem, &mend))?;
            let have_shards = keyspaces.iter().filter(|other| other.slots != Slots::One).count();
            if keyspace.slots != Slots::One && have_shards >= WITH_SHARDS_MAX {
                let problem = format!("is one too many: there may be {WITH_SHARDS_MAX} with many shards");
                return Err(fault(problem, "give some of them slots = \"one\""));
            }
            if keyspaces.iter().any(|other| other.name == keyspace.name) {
                return Err(fault(
                    format!("the name {} is used twice", keyspace.name),
                    "give each its own name",
                ));
            }
            if keyspace.min_acks > u32::from(replicas) {
                let problem = format!("wants {} acknowledgements of {replicas} replicas", keyspace.min_acks);
                return Err(fault(problem, "give it fewer min_acks, or all more replicas"));
            }
            keyspaces.push(keyspace);
        }
        if keyspaces.is_empty() {
            let place = format!("keyspace in {}", path.display());
            return Err(ConfigError::new(
                place,
                "is empty",
                "describe at least one, or leave it out",
            ));
        }
        Ok(keyspaces)
    }
}

fn understand<T>(
    name: &'static str,
    given: &Given,
    parse: impl Fn(&str) -> value::Parsed<T>,
) -> Result<T, ConfigError> {
    let setting = Setting::find(name).expect("only settings of the table are read");
    parse(&given.text).map_err(|(problem, mend)| ConfigError::new(Place(setting, &given.source), problem, mend))
}

/// Where a node remembers its cluster by default: the directory that systemd made for it, else a directory of the user.
fn default_state_dir(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let path = |name| variable(name).filter(|path| !path.is_empty()).map(PathBuf::from);
    // The variable may list several directories, separated by colons.
    let of_service = path("STATE_DIRECTORY").and_then(|paths| env::split_paths(&paths).next());
    let of_user = || Some(path("XDG_STATE_HOME").filter(|path| path.is_absolute())?.join("salp"));
    let of_home = || Some(path("HOME")?.join(".local/state/salp"));
    of_service.or_else(of_user).or_else(of_home)
}

/// The default cookie file.
pub(crate) fn default_cookie_file() -> PathBuf {
    let setting = Setting::find("cookie-file").expect("it is in the table");
    value::path(setting.default.unwrap_or_default()).unwrap_or_default()
}

/// The consistency level of this name.
fn level(name: &str) -> Option<Level> {
    Level::of(name)
}
