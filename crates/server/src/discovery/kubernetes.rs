//! Discovery by Kubernetes: asks its API for the pods behind a service or with some labels.
//!
//! | mode | asks for | a pod counts unless |
//! |---|---|---|
//! | `endpoints` | the EndpointSlices of a service, or with the labels | its endpoint is terminating |
//! | `pods` | the pods with the labels | it is being deleted, has ended or has no address yet |
//! | `dns` | the records of a headless service | see [`super::dns`] |
//!
//! - A pod that is not ready counts too: it may become ready only after it has found the others.
//! - The token and the certificate of the authority are read at each look, since Kubernetes replaces them.
//! - The token is sent over TLS only. Plain HTTP is for a proxy on this machine, which has its own token.
//!
//! Source: Kubernetes API, `discovery.k8s.io/v1` and `v1`; "Accessing the Kubernetes API from a Pod".

use std::path::PathBuf;

use serde::Deserialize;

use super::{
    FOUND_MAX, Found, Look, Strategy, Trouble,
    api::{Api, encoded},
    dns::{self, Dns},
};

/// Most items in one answer, and most requests in one look.
const PAGE_ITEMS: usize = 500;
const PAGES_MAX: usize = 16;

/// What to ask for, where, and how to turn the answer into nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) mode: Mode,
    pub(crate) namespace: String,
    /// The service whose endpoints are nodes. Required except in mode `pods`.
    pub(crate) service: Option<String>,
    /// Labels, in the syntax of Kubernetes selectors.
    pub(crate) selector: Option<String>,
    pub(crate) host: Host,
    /// The domain of the cluster, for names of pods and services.
    pub(crate) domain: String,
    /// The part of every node name before the `@`.
    pub(crate) basename: String,
    pub(crate) port: Option<Port>,
    pub(crate) api: Address,
}

/// How to find pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Endpoints,
    Pods,
    Dns,
}

/// The part of every node name after the `@`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// The pod's address.
    Ip,
    /// The pod's name within its service. In a StatefulSet it outlives the pod's address.
    Hostname,
}

/// The port on which nodes listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    Number(u16),
    /// The name of a port of the service or container.
    Named(String),
}

/// Where the API is, and what proves the identity of each side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) tls: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) token: PathBuf,
    pub(crate) authority: PathBuf,
}

pub(crate) enum Kubernetes {
    Api { settings: Settings, api: Api },
    Dns(Dns),
}

impl Kubernetes {
    pub(crate) fn new(settings: Settings) -> Self {
        match settings.mode {
            Mode::Dns => Self::Dns(Dns::new(settings.query())),
            Mode::Endpoints | Mode::Pods => Self::Api {
                api: Api::new(settings.api.clone()),
                settings,
            },
        }
    }
}

impl Strategy for Kubernetes {
    fn look(&mut self) -> Look<'_> {
        match self {
            Self::Dns(dns) => dns.look(),
            Self::Api { settings, api } => Box::pin(settings.ask(api)),
        }
    }
}

impl Settings {
    /// The DNS query for a headless service.
    pub(crate) fn query(&self) -> dns::Query {
        let service = self.service.as_deref().unwrap_or_default();
        let service = format!("{service}.{}.svc.{}.", self.namespace, self.domain);
        let (name, record, port) = match &self.port {
            Some(Port::Named(port)) => (format!("_{port}._tcp.{service}"), dns::Record::Srv, None),
            Some(Port::Number(port)) => (service, dns::Record::A, Some(*port)),
            None => (service, dns::Record::A, None),
        };
        dns::Query {
            name,
            record,
            basename: self.basename.clone(),
            port,
            servers: Vec::new(),
        }
    }

    async fn ask(&self, api: &Api) -> Result<Vec<Found>, Trouble> {
        match self.mode {
            Mode::Endpoints => {
                let of_service = self
                    .service
                    .iter()
                    .map(|name| format!("kubernetes.io/service-name={name}"));
                let selector: Vec<String> = of_service.chain(self.selector.clone()).collect();
                let path = format!("/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices", self.namespace);
                let slices: Vec<Slice> = list(api, &path, &selector.join(",")).await?;
                Ok(slices
                    .iter()
                    .flat_map(|slice| self.nodes_of_slice(slice))
                    .take(FOUND_MAX)
                    .collect())
            }
            Mode::Pods | Mode::Dns => {
                let path = format!("/api/v1/namespaces/{}/pods", self.namespace);
                let pods: Vec<Pod> = list(api, &path, self.selector.as_deref().unwrap_or_default()).await?;
                Ok(pods
                    .iter()
                    .filter_map(|pod| self.node_of_pod(pod))
                    .take(FOUND_MAX)
                    .collect())
            }
        }
    }

    fn nodes_of_slice(&self, slice: &Slice) -> Vec<Found> {
        let port = match &self.port {
            Some(Port::Number(port)) => Some(*port),
            Some(Port::Named(name)) => slice
                .ports
                .iter()
                .find(|port| port.name.as_ref() == Some(name))
                .and_then(|port| port.port),
            None => None,
        };
        let counted = slice
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.conditions.terminating != Some(true));
        let found = counted.filter_map(|endpoint| {
            // All addresses of an endpoint belong to the same pod. Only the first may be used (Kubernetes API).
            let address = endpoint.addresses.first()?;
            self.node(address, endpoint.hostname.as_deref(), self.service.as_deref(), port)
        });
        found.collect()
    }

    fn node_of_pod(&self, pod: &Pod) -> Option<Found> {
        let has_ended = matches!(pod.status.phase.as_deref(), Some("Succeeded" | "Failed"));
        if pod.metadata.deletion.is_some() || has_ended {
            return None;
        }
        let port = match &self.port {
            Some(Port::Number(port)) => Some(*port),
            Some(Port::Named(name)) => {
                let mut ports = pod.spec.containers.iter().flat_map(|container| &container.ports);
                ports
                    .find(|port| port.name.as_ref() == Some(name))
                    .and_then(|port| port.port)
            }
            None => None,
        };
        let service = self.service.as_deref().or(pod.spec.subdomain.as_deref());
        self.node(pod.status.ip.as_deref()?, pod.spec.hostname.as_deref(), service, port)
    }

    fn node(&self, address: &str, hostname: Option<&str>, service: Option<&str>, port: Option<u16>) -> Option<Found> {
        let host = match self.host {
            Host::Ip => address.to_owned(),
            Host::Hostname => format!("{}.{}.{}.svc.{}", hostname?, service?, self.namespace, self.domain),
        };
        let node = wire::dist::node_name(format!("{}@{host}", self.basename).as_bytes())?;
        Some(Found { node, port })
    }
}

/// The nodes in an answer of the API, read in each mode and with each kind of name.
#[cfg(feature = "fuzzing")]
pub(crate) fn found_in(body: &[u8]) -> Vec<Found> {
    let mut found = Vec::new();
    for (host, port) in [
        (Host::Ip, Port::Number(9100)),
        (Host::Hostname, Port::Named("dist".into())),
    ] {
        let settings = Settings {
            mode: Mode::Pods,
            namespace: "space".into(),
            service: None,
            selector: None,
            basename: "salp".into(),
            host,
            port: Some(port),
            domain: "cluster.local".into(),
            api: Address {
                tls: false,
                host: String::new(),
                port: 0,
                token: PathBuf::new(),
                authority: PathBuf::new(),
            },
        };
        if let Ok(slices) = serde_json::from_slice::<List<Slice>>(body) {
            found.extend(slices.items.iter().flat_map(|slice| settings.nodes_of_slice(slice)));
        }
        if let Ok(pods) = serde_json::from_slice::<List<Pod>>(body) {
            found.extend(pods.items.iter().filter_map(|pod| settings.node_of_pod(pod)));
        }
    }
    found
}

/// All items of a list, page by page.
async fn list<T: for<'a> Deserialize<'a>>(api: &Api, path: &str, selector: &str) -> Result<Vec<T>, Trouble> {
    let mut items = Vec::new();
    let mut next = String::new();
    for _ in 0..PAGES_MAX {
        let mut target = format!("{path}?limit={PAGE_ITEMS}");
        if !selector.is_empty() {
            target += &format!("&labelSelector={}", encoded(selector));
        }
        if !next.is_empty() {
            target += &format!("&continue={}", encoded(&next));
        }
        let body = api.get(&target).await?;
        let page: List<T> =
            serde_json::from_slice(&body).map_err(|_| Trouble::refused(api, "the server is not a Kubernetes API"))?;
        items.extend(page.items);
        next = page.metadata.next.unwrap_or_default();
        if next.is_empty() {
            return Ok(items);
        }
    }
    Err(Trouble::refused(
        api,
        format!("{path} has more than {} items", PAGES_MAX * PAGE_ITEMS),
    ))
}

// The parts of the API's answers that are used. Other parts are ignored.

#[derive(Deserialize)]
struct List<T> {
    #[serde(default)]
    metadata: ListMetadata,
    items: Vec<T>,
}

#[derive(Default, Deserialize)]
struct ListMetadata {
    #[serde(rename = "continue")]
    next: Option<String>,
}

#[derive(Deserialize)]
struct Slice {
    // Null where there are none.
    #[serde(default, deserialize_with = "null_is_default")]
    endpoints: Vec<Endpoint>,
    #[serde(default, deserialize_with = "null_is_default")]
    ports: Vec<NamedPort>,
}

#[derive(Deserialize)]
struct Endpoint {
    #[serde(default)]
    addresses: Vec<String>,
    #[serde(default)]
    conditions: Conditions,
    hostname: Option<String>,
}

#[derive(Default, Deserialize)]
struct Conditions {
    terminating: Option<bool>,
}

#[derive(Deserialize)]
struct NamedPort {
    name: Option<String>,
    #[serde(alias = "containerPort")]
    port: Option<u16>,
}

#[derive(Deserialize)]
struct Pod {
    metadata: PodMetadata,
    spec: PodSpec,
    #[serde(default)]
    status: PodStatus,
}

#[derive(Deserialize)]
struct PodMetadata {
    #[serde(rename = "deletionTimestamp")]
    deletion: Option<String>,
}

#[derive(Deserialize)]
struct PodSpec {
    hostname: Option<String>,
    subdomain: Option<String>,
    #[serde(default)]
    containers: Vec<Container>,
}

#[derive(Deserialize)]
struct Container {
    #[serde(default)]
    ports: Vec<NamedPort>,
}

#[derive(Default, Deserialize)]
struct PodStatus {
    phase: Option<String>,
    #[serde(rename = "podIP")]
    ip: Option<String>,
}

fn null_is_default<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(input: D) -> Result<T, D::Error> {
    Option::deserialize(input).map(Option::unwrap_or_default)
}
