//! Settings of discovery: their table, and how they are parsed for each kind.
//!
//! In the file they are in the table `[discovery]`, where the kind is `kind`. A setting of another kind than the chosen
//! one is refused, since it would have no effect.

use std::{
    env, fs,
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4},
    time::Duration,
};

use node::Atom;

use super::{
    ConfigError, Reading, host,
    settings::{Setting, Source, many, one, optional},
    value::{self, Parsed},
};
use crate::discovery::{dns, epmd, gossip, hosts, kubernetes};

/// How nodes are found besides the named ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Discovery {
    pub(crate) kind: Kind,
    /// Time between two looks.
    pub(crate) interval: Duration,
}

/// How nodes are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// By their given names alone.
    Static,
    Epmd(epmd::Hosts),
    Hosts(hosts::HostsFile),
    Dns(dns::Query),
    Gossip(gossip::Settings),
    Kubernetes(kubernetes::Settings),
}

/// All settings of discovery except the kind.
pub(crate) const DISCOVERY: &[Setting] = &[
    one(
        "discovery-interval",
        "TIME",
        "5s",
        "Time between two searches for nodes",
    ),
    many(
        "discovery-host",
        "HOST",
        "epmd: host whose EPMD is asked (repeatable); default: the host in --name",
    ),
    one("discovery-prefix", "TEXT", "salp", "epmd, hosts: prefix of node names"),
    optional("discovery-file", "FILE", "hosts: file with one node or host per line"),
    optional("discovery-query", "NAME", "dns: the name to look up"),
    one("discovery-record", "a|srv", "a", "dns: the type of records to look up"),
    many(
        "discovery-server",
        "IP[:PORT]",
        "dns: address of a name server (repeatable); default: those of the system",
    ),
    optional(
        "discovery-basename",
        "NAME",
        "dns, kubernetes: part before the @ in all node names; default: as in --name",
    ),
    optional(
        "discovery-port",
        "PORT",
        "dns, kubernetes: port of all nodes (kubernetes: or the name of the port); default: EPMD is asked",
    ),
    one(
        "discovery-group",
        "IP:PORT",
        "233.252.1.32:45893",
        "gossip: multicast or broadcast address, and port",
    ),
    optional(
        "discovery-interface",
        "IP",
        "gossip: IPv4 address of the network interface; default: --dist-bind",
    ),
    one(
        "discovery-ttl",
        "N",
        "1",
        "gossip: number of routers that multicast may pass, plus one",
    ),
    one(
        "discovery-mode",
        "MODE",
        "endpoints",
        "kubernetes: how pods are found: endpoints, pods or dns (a headless service)",
    ),
    optional(
        "discovery-service",
        "NAME",
        "kubernetes: name of the service of the nodes",
    ),
    optional(
        "discovery-selector",
        "LABELS",
        "kubernetes: labels of the pods or endpoints, such as app=salp",
    ),
    optional(
        "discovery-namespace",
        "NAME",
        "kubernetes: namespace of the nodes; default: that of this pod",
    ),
    one(
        "discovery-address",
        "ip|hostname",
        "ip",
        "kubernetes: part after the @ in all node names",
    ),
    one(
        "discovery-domain",
        "NAME",
        "cluster.local",
        "kubernetes: DNS domain of the Kubernetes cluster",
    ),
    optional(
        "discovery-api",
        "URL",
        "kubernetes: URL of the API; default: from the environment of this pod",
    ),
    one(
        "discovery-token-file",
        "FILE",
        "/var/run/secrets/kubernetes.io/serviceaccount/token",
        "kubernetes: file with the token of the service account",
    ),
    one(
        "discovery-ca-file",
        "FILE",
        "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt",
        "kubernetes: file with the CA certificate of the API",
    ),
];

/// Where a pod reads its namespace.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
/// Most hosts or name servers in a list.
const HOSTS_MAX: usize = 256;

const KINDS: &str = "use static, epmd, hosts, dns, gossip or kubernetes";

/// The kinds that a setting belongs to.
fn kinds(name: &str) -> &'static [&'static str] {
    match name {
        "discovery-interval" => &["epmd", "hosts", "dns", "gossip", "kubernetes"],
        "discovery-host" => &["epmd"],
        "discovery-prefix" => &["epmd", "hosts"],
        "discovery-file" => &["hosts"],
        "discovery-query" | "discovery-record" | "discovery-server" => &["dns"],
        "discovery-basename" | "discovery-port" => &["dns", "kubernetes"],
        "discovery-group" | "discovery-interface" | "discovery-ttl" => &["gossip"],
        _ => &["kubernetes"],
    }
}

/// Other settings that discovery depends on.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    pub(super) name: &'a Atom,
    pub(super) dist_bind: IpAddr,
    pub(super) epmd: Option<u16>,
    /// Nodes whose port is unknown are dialled at this node's own port.
    pub(super) fixed_port: bool,
}

/// Parses the settings of discovery.
pub(super) fn resolve(read: &Reading<'_>, around: Around<'_>) -> Result<Discovery, ConfigError> {
    let chosen = read.one("discovery", |text| Ok(text.to_owned()))?;
    let interval = read.one("discovery-interval", |text| {
        value::time(text, Duration::from_millis(100))
    })?;
    let kind = match chosen.as_str() {
        "static" => Kind::Static,
        "epmd" => Kind::Epmd(read.epmd_hosts(around)?),
        "hosts" => Kind::Hosts(read.hosts_file(around)?),
        "dns" => Kind::Dns(read.dns(around)?),
        "gossip" => Kind::Gossip(read.gossip(around)?),
        "kubernetes" => Kind::Kubernetes(read.kubernetes(around)?),
        _ => return Err(read.error("discovery", format!("{chosen:?} is not a kind of discovery"), KINDS)),
    };
    let stray = DISCOVERY.iter().find(|setting| {
        read.0.source(setting.name) != Source::Default && !kinds(setting.name).contains(&chosen.as_str())
    });
    if let Some(stray) = stray {
        let problem = format!("has no effect with discovery {chosen}");
        let mend = format!("leave it out, or choose discovery {}", kinds(stray.name).join(" or "));
        return Err(read.error(stray.name, problem, mend));
    }
    Ok(Discovery { kind, interval })
}

impl Reading<'_> {
    fn epmd_hosts(&self, around: Around<'_>) -> Result<epmd::Hosts, ConfigError> {
        let Some(port) = around.epmd else {
            let mend = "leave --no-epmd out, or choose another kind";
            return Err(self.error("discovery", "asks EPMD, which is off", mend));
        };
        let mut hosts = self.many("discovery-host", value::host_name)?;
        if hosts.is_empty() {
            hosts.push(host(around.name).into());
        }
        self.bounded("discovery-host", hosts.len())?;
        let prefix = self.one("discovery-prefix", value::name_prefix)?;
        Ok(epmd::Hosts { hosts, prefix, port })
    }

    fn hosts_file(&self, around: Around<'_>) -> Result<hosts::HostsFile, ConfigError> {
        let path = self.needed("discovery-file", value::path, "name the file, such as hosts.txt")?;
        let prefix = self.one("discovery-prefix", value::name_prefix)?;
        let file = hosts::HostsFile {
            path,
            prefix,
            epmd: around.epmd,
        };
        let mend = "name a file of lines NAME@HOST:PORT, NAME@HOST or HOST";
        let checked = file
            .check()
            .map_err(|problem| format!("{}: {problem}", file.path.display()));
        checked.map_err(|problem| self.error("discovery-file", problem, mend))?;
        Ok(file)
    }

    fn dns(&self, around: Around<'_>) -> Result<dns::Query, ConfigError> {
        self.refuse_dns_if_left_out("discovery")?;
        let record = self.one("discovery-record", |text| match text {
            "a" | "A" => Ok(dns::Record::A),
            "srv" | "SRV" => Ok(dns::Record::Srv),
            _ => wrong(format!("{text:?} is not a kind of record"), "use a or srv"),
        })?;
        let port = self.optional("discovery-port", |text| value::number(text, 1, u16::MAX))?;
        match record {
            dns::Record::A => self.refuse_other_than_address(around, port.is_none())?,
            dns::Record::Srv if port.is_some() => {
                let mend = "leave it out: SRV records have ports";
                return Err(self.error("discovery-port", "has no effect with SRV records", mend));
            }
            dns::Record::Srv => {}
        }
        let servers = self.many("discovery-server", server)?;
        self.bounded("discovery-server", servers.len())?;
        Ok(dns::Query {
            name: self.needed("discovery-query", domain, "give a name, such as salp.example.com")?,
            record,
            basename: self.basename(around)?,
            port,
            servers,
        })
    }

    fn gossip(&self, around: Around<'_>) -> Result<gossip::Settings, ConfigError> {
        let own = match around.dist_bind {
            IpAddr::V4(address) => address,
            IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
        };
        Ok(gossip::Settings {
            group: self.one("discovery-group", group)?,
            interface: self.optional("discovery-interface", ipv4)?.unwrap_or(own),
            ttl: self.one("discovery-ttl", |text| value::number(text, 0, 255))?,
        })
    }

    fn kubernetes(&self, around: Around<'_>) -> Result<kubernetes::Settings, ConfigError> {
        use kubernetes::{Host, Mode, Port};
        let mode = self.one("discovery-mode", |text| match text {
            "endpoints" => Ok(Mode::Endpoints),
            "pods" => Ok(Mode::Pods),
            "dns" => Ok(Mode::Dns),
            _ => wrong(format!("{text:?} is not a mode"), "use endpoints, pods or dns"),
        })?;
        let service = self.optional("discovery-service", label)?;
        let selector = self.optional("discovery-selector", selector)?;
        let port = self.optional("discovery-port", kubernetes_port)?;
        let host = self.one("discovery-address", |text| match text {
            "ip" => Ok(Host::Ip),
            "hostname" => Ok(Host::Hostname),
            _ => wrong(format!("{text:?} is not a kind of address"), "use ip or hostname"),
        })?;
        match mode {
            Mode::Endpoints if service.is_none() && selector.is_none() => {
                let mend = "name the service of the nodes, or give --discovery-selector";
                return Err(self.error("discovery-service", "is missing", mend));
            }
            Mode::Endpoints if service.is_none() && host == Host::Hostname => {
                let mend = "name the service, since it is part of the node names";
                return Err(self.error("discovery-service", "is missing", mend));
            }
            Mode::Pods if selector.is_none() => {
                let mend = "give labels of the pods, such as app=salp";
                return Err(self.error("discovery-selector", "is missing", mend));
            }
            Mode::Dns if service.is_none() => {
                return Err(self.error(
                    "discovery-service",
                    "is missing",
                    "name the headless service of the nodes",
                ));
            }
            Mode::Dns if selector.is_some() => {
                let mend = "leave it out, or choose mode endpoints or pods";
                return Err(self.error("discovery-selector", "has no effect in mode dns", mend));
            }
            // SRV records contain the names of pods, A records their addresses.
            Mode::Dns if (host == Host::Hostname) != matches!(port, Some(Port::Named(_))) => {
                let mend = "use hostname with the name of a port in discovery-port, or ip with a number or none";
                return Err(self.error("discovery-address", "does not fit the port in mode dns", mend));
            }
            Mode::Dns => self.refuse_dns_if_left_out("discovery-mode")?,
            Mode::Endpoints | Mode::Pods => {}
        }
        match host {
            Host::Ip => self.refuse_other_than_address(around, port.is_none())?,
            Host::Hostname if port.is_none() => self.refuse_unknown_port(around)?,
            Host::Hostname => {}
        }
        Ok(kubernetes::Settings {
            mode,
            namespace: match self.optional("discovery-namespace", label)? {
                Some(namespace) => namespace,
                None => self.own_namespace()?,
            },
            service,
            selector,
            host,
            domain: self.one("discovery-domain", domain)?,
            basename: self.basename(around)?,
            port,
            api: self.api(mode)?,
        })
    }

    fn own_namespace(&self) -> Result<String, ConfigError> {
        let text = fs::read_to_string(NAMESPACE_FILE).ok();
        text.and_then(|text| label(text.trim()).ok()).ok_or_else(|| {
            let problem = format!("is missing, and {NAMESPACE_FILE} does not contain it");
            self.error("discovery-namespace", problem, "name the namespace")
        })
    }

    fn api(&self, mode: kubernetes::Mode) -> Result<kubernetes::Address, ConfigError> {
        let (tls, host, port) = match self.optional("discovery-api", url)? {
            Some(api) => api,
            None => (true, "kubernetes.default.svc".into(), 443),
        };
        let is_free = self.0.source("discovery-api") == Source::Default;
        let (host, port) = match (env::var("KUBERNETES_SERVICE_HOST"), env::var("KUBERNETES_SERVICE_PORT")) {
            (Ok(host), Ok(port)) if is_free => (host, port.parse().unwrap_or(port_of(tls))),
            _ => (host, port),
        };
        let is_here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if !tls && !is_here {
            let mend = "use https, or a proxy on 127.0.0.1";
            return Err(self.error("discovery-api", "is plain HTTP to another machine", mend));
        }
        let token = self.one("discovery-token-file", value::path)?;
        let authority = self.one("discovery-ca-file", value::path)?;
        if tls && mode != kubernetes::Mode::Dns {
            for (name, path) in [("discovery-token-file", &token), ("discovery-ca-file", &authority)] {
                if let Err(error) = fs::metadata(path) {
                    let problem = format!("{}: {error}", path.display());
                    return Err(self.error(name, problem, "name a file that can be read, or use mode dns"));
                }
            }
        }
        Ok(kubernetes::Address {
            tls,
            host,
            port,
            token,
            authority,
        })
    }

    fn basename(&self, around: Around<'_>) -> Result<String, ConfigError> {
        let own = around.name.as_str().split('@').next().unwrap_or_default();
        Ok(self
            .optional("discovery-basename", value::name_prefix)?
            .unwrap_or_else(|| own.into()))
    }

    fn needed<T>(&self, name: &'static str, parse: impl Fn(&str) -> Parsed<T>, mend: &str) -> Result<T, ConfigError> {
        self.optional(name, parse)?
            .ok_or_else(|| self.error(name, "is missing", mend))
    }

    fn bounded(&self, name: &'static str, count: usize) -> Result<(), ConfigError> {
        if count <= HOSTS_MAX {
            return Ok(());
        }
        Err(self.error(
            name,
            format_args!("{count} are too many"),
            format_args!("give at most {HOSTS_MAX}"),
        ))
    }

    /// Without EPMD, another setting must give the port.
    fn refuse_unknown_port(&self, around: Around<'_>) -> Result<(), ConfigError> {
        if around.epmd.is_some() || around.fixed_port {
            return Ok(());
        }
        let mend = "give it, or one --dist-port for all nodes, or leave --no-epmd out";
        Err(self.error("discovery-port", "is missing, and EPMD is off", mend))
    }

    /// A node that is found by address is named by it. So this node's own name must have an address too: otherwise the
    /// others would know it under another name.
    fn refuse_other_than_address(&self, around: Around<'_>, needs_port: bool) -> Result<(), ConfigError> {
        if host(around.name).parse::<Ipv4Addr>().is_err() || self.0.source("name") == Source::Default {
            let problem = format!("is {}, and nodes are found by their addresses", around.name.as_str());
            return Err(self.error(
                "name",
                problem,
                "give it as NAME@ADDRESS, with the IPv4 address of this node",
            ));
        }
        if needs_port {
            self.refuse_unknown_port(around)?;
        }
        Ok(())
    }

    fn refuse_dns_if_left_out(&self, name: &'static str) -> Result<(), ConfigError> {
        if cfg!(feature = "dns") {
            return Ok(());
        }
        Err(self.error(
            name,
            "dns is not part of this salp",
            "build it with --features dns, or choose another kind",
        ))
    }
}

fn wrong<T>(problem: impl Into<String>, mend: impl Into<String>) -> Parsed<T> {
    Err((problem.into(), mend.into()))
}

/// A name of DNS, with or without a final dot.
fn domain(text: &str) -> Parsed<String> {
    let labels = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    if labels.len() <= 253 && labels.split('.').all(is_label) {
        return Ok(text.into());
    }
    wrong(
        format!("{text:?} is not a domain name"),
        "write one such as salp.example.com",
    )
}

/// The name of a service or a namespace.
fn label(text: &str) -> Parsed<String> {
    match domain(text) {
        Ok(name) if !name.contains(['.', '_']) => Ok(name),
        _ => wrong(
            format!("{text:?} is not a Kubernetes name"),
            "use letters, digits and -",
        ),
    }
}

fn selector(text: &str) -> Parsed<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=!,() ".contains(c);
    if !text.is_empty() && text.len() <= 1024 && text.chars().all(is_plain) {
        return Ok(text.into());
    }
    wrong(format!("{text:?} is not a selector"), "write labels, such as app=salp")
}

fn kubernetes_port(text: &str) -> Parsed<kubernetes::Port> {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return value::number(text, 1, u16::MAX).map(kubernetes::Port::Number);
    }
    match label(text) {
        Ok(name) if name.len() <= 15 => Ok(kubernetes::Port::Named(name)),
        _ => wrong(
            format!("{text:?} is not a port"),
            "give a number, or the name of a port",
        ),
    }
}

/// A name server.
fn server(text: &str) -> Parsed<SocketAddr> {
    let with_port = text.parse::<SocketAddr>().ok().filter(|server| server.port() > 0);
    let server = with_port.or_else(|| text.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 53)));
    server.map_or_else(
        || {
            wrong(
                format!("{text:?} is not an address"),
                "write IP or IP:PORT, such as 10.0.0.2:53",
            )
        },
        Ok,
    )
}

fn group(text: &str) -> Parsed<SocketAddrV4> {
    match text.parse::<SocketAddrV4>() {
        Ok(group) if group.port() > 0 && !group.ip().is_unspecified() => Ok(group),
        _ => wrong(
            format!("{text:?} is not a group address"),
            "write a multicast or broadcast IPv4 address and a port, such as 233.252.1.32:45893",
        ),
    }
}

fn ipv4(text: &str) -> Parsed<Ipv4Addr> {
    text.parse().or_else(|_| {
        wrong(
            format!("{text:?} is not an IPv4 address"),
            "give the address of an interface",
        )
    })
}

/// Whether a URL means TLS, its host and its port.
fn url(text: &str) -> Parsed<(bool, String, u16)> {
    let mend = "write https://HOST:PORT";
    let (tls, rest) = match text.split_once("://") {
        Some(("https", rest)) => (true, rest),
        Some(("http", rest)) => (false, rest),
        _ => return wrong(format!("{text:?} is not a URL"), mend),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') && !port.ends_with(']') => (host, port.parse().ok()),
        _ => (rest, Some(port_of(tls))),
    };
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let is_host = host.parse::<IpAddr>().is_ok() || domain(host).is_ok();
    match port {
        Some(port) if is_host && port > 0 => Ok((tls, host.into(), port)),
        Some(_) | None => wrong(format!("{text:?} is not the URL of a server"), mend),
    }
}

fn port_of(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}
