//! Entrances for the fuzz targets: what this crate decodes, without sockets and files. Only with the feature `fuzzing`.
//!
//! Each function panics if a rule of its decoder is broken.

use std::path::Path;

use axum::http::{HeaderMap, Method, Uri, header};
use node::Cookie;

use crate::{
    config::{Config, settings::Setting, settings::Settings},
    discovery::{FOUND_MAX, datagram, hosts, kubernetes},
    http,
};

/// The text of a settings file, and below it one flag a line, as `name=value`.
pub fn settings(file: &str, flags: &str) {
    let flags = flags.lines().filter_map(|line| line.split_once('='));
    let flags = flags.filter_map(|(name, value)| Some((Setting::find(name)?.name, vec![value.to_owned()])));
    let flags: Vec<_> = flags.collect();
    let Ok(mut settings) = Settings::of_text(Path::new("salp.toml"), file, &flags) else {
        return;
    };
    // Settings that name files are left out: an input must not read or create any.
    for setting in Setting::all().filter(|setting| ["FILE", "DIR"].contains(&setting.value)) {
        settings.forget(setting.name);
    }
    settings.set("cookie", &["secret_of_this_target"]);
    if let Err(error) = Config::resolve(&settings) {
        let line = error.to_string();
        assert!(!line.contains('\n') && line.contains("; "), "{line}");
    }
}

/// The text of a hosts file.
pub fn hosts_file(text: &str) {
    if let Ok(listed) = hosts::understand(text) {
        assert!(listed.nodes.len() + listed.hosts.len() <= FOUND_MAX);
        assert!(listed.nodes.iter().all(|found| is_node(found.node.as_str())));
    }
}

/// A datagram of gossip: as it is, and sealed with the right cookie.
pub fn gossip_datagram(bytes: &[u8]) {
    let seal = datagram::Seal::new(&Cookie::new(b"secret_of_this_target"));
    assert!(seal.open(bytes).is_err(), "nobody guesses the cookie");
    if let Ok(datagram) = seal.open(&seal.over(bytes)) {
        assert!(is_node(datagram.sender.node.as_str()));
        assert_eq!(seal.open(&seal.seal(&datagram)), Ok(datagram));
    }
}

/// An answer of the Kubernetes API, as a list of endpoint slices and as a list of pods.
pub fn kubernetes_answer(body: &[u8]) {
    for found in kubernetes::found_in(body) {
        assert!(is_node(found.node.as_str()));
    }
}

/// An answer of a name server.
#[cfg(feature = "dns")]
pub fn dns_answer(bytes: &[u8]) {
    for found in crate::discovery::dns::found_in(bytes) {
        assert!(is_node(found.node.as_str()));
    }
}

/// The target of an HTTP request, and the text of some of its headers.
pub fn http_request(target: &str, headers: &str) {
    if let Ok(uri) = target.parse::<Uri>() {
        let (_, path) = http::address::split_keyspace(uri.path());
        if let Ok(key) = http::address::decode(path) {
            assert_eq!(http::address::decode(&http::address::encode(&key)).ok(), Some(key));
        }
        if let Ok(query) = http::address::Query::of(&uri, &["ttl", "prefix", "limit"]) {
            let _ = query.parse::<u64>("limit", "a number");
            let ttl = query.bytes("ttl").and_then(|ttl| str::from_utf8(ttl).ok());
            let _ = ttl.map(http::address::ttl_ms);
        }
    }
    let mut map = HeaderMap::new();
    let names = [header::RANGE, header::IF_RANGE, header::HOST, header::CONTENT_TYPE];
    for (name, line) in names.into_iter().zip(headers.lines()) {
        if let Ok(value) = line.parse() {
            map.insert(name, value);
        }
    }
    for length in [0, 1, 1000] {
        if let http::range::Wanted::Part(range) = http::range::wanted(&Method::GET, &map, length, "\"1\"") {
            assert!(range.start < range.end && range.end <= length, "{range:?} of {length}");
        }
    }
}

/// The body of `POST /batch`.
pub fn http_batch(body: &[u8]) {
    http::batch::check(body);
}

fn is_node(name: &str) -> bool {
    wire::dist::node_name(name.as_bytes()).is_some()
}
