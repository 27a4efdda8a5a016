//! The table of settings; for each, the values that were given and their sources.
//!
//! A row defines the flag, the environment variable, the key in the file and the help. The order of precedence is flag,
//! environment, file, default. Each value keeps its source, so an error can name it.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
};

use super::{ConfigError, discovery::DISCOVERY};
use crate::variable::Variable;

/// How often a setting may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// At most once.
    One,
    /// Any number of times. A list in the file, separated by commas in the environment.
    Many,
    /// Given or not; `true` or `false` in the file and the environment.
    Switch,
}

/// One setting of `salp start`.
#[derive(Debug)]
pub(crate) struct Setting {
    /// The name of the flag, without its dashes.
    pub(crate) name: &'static str,
    /// A placeholder for the value, for the help.
    pub(crate) value: &'static str,
    pub(crate) kind: Kind,
    pub(crate) default: Option<&'static str>,
    pub(crate) help: &'static str,
}

pub(super) const fn one(name: &'static str, value: &'static str, default: &'static str, help: &'static str) -> Setting {
    Setting {
        name,
        value,
        kind: Kind::One,
        default: Some(default),
        help,
    }
}

pub(super) const fn optional(name: &'static str, value: &'static str, help: &'static str) -> Setting {
    Setting {
        name,
        value,
        kind: Kind::One,
        default: None,
        help,
    }
}

pub(super) const fn many(name: &'static str, value: &'static str, help: &'static str) -> Setting {
    Setting {
        name,
        value,
        kind: Kind::Many,
        default: None,
        help,
    }
}

const fn switch(name: &'static str, help: &'static str) -> Setting {
    Setting {
        name,
        value: "",
        kind: Kind::Switch,
        default: None,
        help,
    }
}

/// All settings of `salp start` except those of [`DISCOVERY`].
pub(crate) const SETTINGS: &[Setting] = &[
    one(
        "name",
        "NAME@HOST",
        "salp@127.0.0.1",
        "Full name of this node; a host with a dot makes a long name, a host without one a short name",
    ),
    one(
        "cookie-file",
        "FILE",
        "~/.erlang.cookie",
        "File with the cluster's secret; created if it is missing",
    ),
    optional(
        "cookie",
        "SECRET",
        "The cluster's secret itself, for tests only: other users of this machine can see it",
    ),
    one("resp", "ADDR", "127.0.0.1:6379", "Address for Redis clients, or off"),
    optional(
        "resp-password",
        "SECRET",
        "Password that Redis clients must send; put it in the file or the environment, since others can see flags",
    ),
    one("http", "ADDR", "127.0.0.1:4000", "Address for HTTP clients, or off"),
    optional(
        "http-token",
        "SECRET",
        "Bearer token that HTTP clients must send; put it in the file or the environment, since others can see flags",
    ),
    many(
        "http-host",
        "HOST",
        "Further host name that HTTP clients may use for this node, or * for any (repeatable); localhost, IP addresses \
         and the host in --name are always allowed",
    ),
    many(
        "http-cors",
        "ORIGIN",
        "Web site whose pages may use this node, such as https://app.example, or * for any (repeatable)",
    ),
    one("dist-bind", "IP", "127.0.0.1", "Address for other nodes"),
    one(
        "dist-port",
        "P|A-B",
        "0",
        "Port for other nodes, or a range to choose from; 0: any free port",
    ),
    optional(
        "dist-tls-cert",
        "FILE",
        "Certificate of this node (PEM); turns on TLS between nodes, unencrypted peers are then refused",
    ),
    optional("dist-tls-key", "FILE", "Private key of that certificate (PEM)"),
    optional(
        "dist-tls-ca",
        "FILE",
        "Certificates of the CAs that sign for nodes (PEM)",
    ),
    many(
        "join",
        "NODE[:PORT]",
        "Node to connect to (repeatable); with a port, EPMD is not asked",
    ),
    one(
        "discovery",
        "KIND",
        "static",
        "How nodes are found besides --join: static, epmd, hosts, dns, gossip or kubernetes",
    ),
    optional(
        "data-dir",
        "DIR",
        "Directory for data; without it data is only in memory",
    ),
    switch(
        "hidden",
        "Hide this node from the nodes() of a BEAM, and take no part in global",
    ),
    optional(
        "epmd-port",
        "PORT",
        "Port of the Erlang port mapper (EPMD); default: ERL_EPMD_PORT, or 4369",
    ),
    switch(
        "no-epmd",
        "Neither ask nor run EPMD; then --join needs ports, or all nodes the same --dist-port",
    ),
    one(
        "tick-time",
        "TIME",
        "5s",
        "A node that is silent for this time counts as down",
    ),
    one("replicas", "N", "3", "Copies of each shard; the same on all nodes"),
    one(
        "shards",
        "N",
        "1024",
        "Shards of each keyspace, a power of two; the same on all nodes, and fixed for the life of a cluster",
    ),
    one(
        "databases",
        "N",
        "16",
        "Numbered databases (SELECT), if salp.toml has no [[keyspace]]: 0 has many shards, each other has one; the same \
         on all nodes, and fixed for the life of a cluster",
    ),
    one("workers", "N", "1", "Threads that execute requests"),
    one(
        "max-memory",
        "SIZE",
        "0",
        "Memory limit; past it, writes that need more memory are refused; 0: no limit",
    ),
    one(
        "max-buffers",
        "SIZE",
        "256mb",
        "Limit of the memory for requests and replies under way, besides stored data; at least 16mb, and four times \
         --max-value",
    ),
    one("max-value", "SIZE", "64mb", "Largest size of a value, at most 64mb"),
    one("max-clients", "N", "10000", "Most Redis clients at a time"),
    one(
        "write-timeout",
        "TIME",
        "1s",
        "After this time, plus 100 ms for each MiB of the request, a majority of replicas is enough for a write",
    ),
    one(
        "request-timeout",
        "TIME",
        "5s",
        "Every request is answered within this time, plus 100 ms for each MiB of the request",
    ),
    optional(
        "state-dir",
        "DIR",
        "Directory in which this node remembers its cluster, without any data, or none; default: $STATE_DIRECTORY, \
         else $XDG_STATE_HOME/salp, else ~/.local/state/salp",
    ),
    one(
        "expect",
        "N",
        "1",
        "Form the first cluster only when this many nodes have met",
    ),
    one(
        "form-after",
        "TIME",
        "0s",
        "For caches: after this time a node that has not met the others serves without them, empty; its data is \
         dropped when it meets them; 0: never",
    ),
    one(
        "leave-timeout",
        "TIME",
        "60s",
        "How long a stopping node may take to hand over its data",
    ),
    one("log", "LEVEL", "info", "Log level: error, warn, info, debug or trace"),
    one("log-format", "FORMAT", "text", "Format of the log: text or json"),
    many(
        "facade",
        "NAME[:style=STYLE][:missing=ATOM]",
        "Further module and process name of the store, for BEAM programs (repeatable); STYLE is server or messages, \
         ATOM is the answer for a missing key",
    ),
    switch(
        "insecure",
        "Allow ports open to other machines without password, token or TLS; for private networks only",
    ),
];

impl Setting {
    /// All settings.
    pub(crate) fn all() -> impl Iterator<Item = &'static Setting> {
        SETTINGS.iter().chain(DISCOVERY)
    }

    pub(crate) fn find(name: &str) -> Option<&'static Setting> {
        Self::all().find(|setting| setting.name == name)
    }

    /// Its value is never shown.
    fn is_secret(&self) -> bool {
        ["cookie", "resp-password", "http-token"].contains(&self.name)
    }

    /// It is reserved but not implemented yet: only its default is accepted.
    pub(crate) fn is_to_come(&self) -> bool {
        ["data-dir", "workers"].contains(&self.name)
    }

    pub(crate) fn variable(&self) -> String {
        format!("SALP_{}", self.name.replace('-', "_").to_uppercase())
    }

    /// The values in one text. The values of a list are separated by commas.
    pub(crate) fn texts<'a>(&self, text: &'a str) -> Vec<&'a str> {
        match self.kind {
            Kind::Many => text.split(',').map(str::trim).filter(|text| !text.is_empty()).collect(),
            Kind::One | Kind::Switch => vec![text],
        }
    }

    /// Its key in the file: the key of its table and a dot, if it has one, then its own key.
    pub(crate) fn key(&self) -> String {
        match self.name.strip_prefix("discovery-") {
            Some(rest) => format!("discovery.{}", rest.replace('-', "_")),
            None => self.name.replace('-', "_"),
        }
    }
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Flag,
    Environment,
    File(PathBuf),
    /// The program that embeds the node.
    Program,
    /// No source gave it.
    Default,
}

/// A value and its source.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    pub(crate) text: String,
    pub(crate) source: Source,
}

/// The name of a setting in the source that gave it.
pub(crate) struct Place<'a>(pub(crate) &'static Setting, pub(crate) &'a Source);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(setting, source) = self;
        match source {
            Source::Flag | Source::Default => write!(f, "--{}", setting.name),
            Source::Environment => f.write_str(&setting.variable()),
            Source::File(path) => write!(f, "{} in {}", setting.key(), path.display()),
            Source::Program => f.write_str(&setting.key()),
        }
    }
}

/// The values that were given for each setting, not parsed yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    given: BTreeMap<&'static str, Vec<Given>>,
    /// Variables that are ignored because they are not meant for salp, each with advice.
    pub(crate) ignored: Vec<String>,
    /// The tables `[[keyspace]]` of the file.
    pub(crate) keyspaces: Option<(PathBuf, Vec<toml::Value>)>,
}

/// The default settings file.
const FILE: &str = "salp.toml";

/// Largest settings file, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

impl Settings {
    /// Merges the sources. `flags` are the given flags, `file` is the named file.
    pub(crate) fn merge(
        flags: &[(&'static str, Vec<String>)],
        variable: impl Fn(&str) -> Option<String>,
        file: Option<&Path>,
    ) -> Result<Self, ConfigError> {
        let mut settings = Self::default();
        settings.read_file(file)?;
        for setting in Setting::all() {
            let name = setting.variable();
            let text = match variable(&name).map(Variable::of) {
                None => continue,
                // An empty secret would open a port that was meant to be protected.
                Some(Variable::Empty) if setting.is_secret() => String::new(),
                Some(Variable::Empty) => continue,
                Some(Variable::OfService(text)) => {
                    settings.ignored.push(format!(
                        "{name}={text} is ignored: Kubernetes sets such variables for its services. Use --{}, the settings \
                         file, or enableServiceLinks: false in the pod",
                        setting.name
                    ));
                    continue;
                }
                Some(Variable::Text(text)) => text,
            };
            settings.replace(setting, &setting.texts(&text), &Source::Environment);
        }
        settings.take_flags(flags);
        Ok(settings)
    }

    fn take_flags(&mut self, flags: &[(&'static str, Vec<String>)]) {
        for (name, values) in flags {
            if let Some(setting) = Setting::find(name) {
                let texts: Vec<&str> = values.iter().map(String::as_str).collect();
                self.replace(setting, &texts, &Source::Flag);
            }
        }
    }

    /// Sets one setting from the program that embeds the node.
    pub(crate) fn set(&mut self, name: &'static str, texts: &[&str]) {
        let setting = Setting::find(name).expect("the builder sets what is in the table");
        self.replace(setting, texts, &Source::Program);
    }

    /// The value of a setting that has one value: the given one, or its default.
    pub(crate) fn one(&self, name: &str) -> Option<Given> {
        let setting = Setting::find(name).expect("only settings of the table are asked for");
        let given = self.given.get(setting.name).and_then(|given| given.last().cloned());
        given.or_else(|| {
            Some(Given {
                text: setting.default?.into(),
                source: Source::Default,
            })
        })
    }

    /// All values of a setting that may have many.
    pub(crate) fn many(&self, name: &str) -> &[Given] {
        self.given.get(name).map_or(&[], Vec::as_slice)
    }

    /// The source of a setting.
    pub(crate) fn source(&self, name: &str) -> Source {
        self.given
            .get(name)
            .and_then(|given| given.last())
            .map_or(Source::Default, |given| given.source.clone())
    }

    fn replace(&mut self, setting: &'static Setting, texts: &[&str], source: &Source) {
        let given = texts.iter().map(|&text| Given {
            text: text.into(),
            source: source.clone(),
        });
        self.given.insert(setting.name, given.collect());
    }

    fn read_file(&mut self, named: Option<&Path>) -> Result<(), ConfigError> {
        let path = named.unwrap_or(Path::new(FILE));
        let fault = |problem: String| ConfigError::new(path.display(), problem, "correct the file, or name another");
        let too_large = fs::metadata(path).is_ok_and(|file| file.len() > FILE_BYTES_MAX);
        if too_large {
            return Err(fault("is larger than a megabyte".into()));
        }
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(ConfigError::new(path.display(), error, "name a file that can be read")),
        };
        self.take_text(path, &text)
    }

    /// The settings of a file with this text, and these flags.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn of_text(path: &Path, text: &str, flags: &[(&'static str, Vec<String>)]) -> Result<Self, ConfigError> {
        let mut settings = Self::default();
        settings.take_text(path, text)?;
        settings.take_flags(flags);
        Ok(settings)
    }

    /// Makes a setting as if it had not been given.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn forget(&mut self, name: &str) {
        self.given.remove(name);
    }

    fn take_text(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let fault = |problem: String| ConfigError::new(path.display(), problem, "correct the file, or name another");
        let table: toml::Table = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start].lines().count().max(1));
            fault(format!(
                "line {line}: {}",
                error.message().lines().next().unwrap_or_default()
            ))
        })?;
        for (key, value) in table {
            self.take_from_file(path, &key, value)?;
        }
        Ok(())
    }

    fn take_from_file(&mut self, path: &Path, key: &str, value: toml::Value) -> Result<(), ConfigError> {
        let place = format!("{key} in {}", path.display());
        if key == "keyspace" {
            let toml::Value::Array(tables) = value else {
                return Err(ConfigError::new(place, "is not a list of tables", "write [[keyspace]]"));
            };
            self.keyspaces = Some((path.into(), tables));
            return Ok(());
        }
        if key == "discovery"
            && let toml::Value::Table(table) = value
        {
            for (key, value) in table {
                match key.as_str() {
                    "kind" => self.take_from_file(path, "discovery", value)?,
                    key => self.take_from_file(path, &format!("discovery.{key}"), value)?,
                }
            }
            return Ok(());
        }
        let setting = Setting::all().find(|setting| setting.key() == key);
        let Some(setting) = setting else {
            let mend = match nearest(key) {
                Some(near) => format!("did you mean {near}?"),
                None => "`salp start --help` lists the settings".into(),
            };
            return Err(ConfigError::new(place, "is not a setting", mend));
        };
        let values = match (value, setting.kind) {
            (toml::Value::Array(values), Kind::Many) => values,
            (value, _) => vec![value],
        };
        let texts: Option<Vec<String>> = values.iter().map(scalar).collect();
        let Some(texts) = texts else {
            return Err(ConfigError::new(
                place,
                "is not a plain value",
                "give a string, a number or true or false",
            ));
        };
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        self.replace(setting, &texts, &Source::File(path.into()));
        Ok(())
    }
}

fn scalar(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(truth) => Some(truth.to_string()),
        toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Array(_) | toml::Value::Table(_) => None,
    }
}

/// The key of a setting that differs in at most two letters.
fn nearest(key: &str) -> Option<String> {
    let keys = Setting::all().map(|setting| (distance(&setting.key(), key), setting.key()));
    keys.filter(|(distance, _)| *distance <= 2).min().map(|(_, key)| key)
}

/// The number of letters to insert, remove or replace to turn one word into the other (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut corner = i;
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let exchanged = corner + usize::from(a != *b);
            corner = row[j + 1];
            row[j + 1] = exchanged.min(row[j] + 1).min(corner + 1);
        }
    }
    row[other.len()]
}
