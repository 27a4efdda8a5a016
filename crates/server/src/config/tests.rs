//! Precedence and errors of the settings.

use std::{collections::HashMap, fs, time::Duration};

use super::{
    Config, ConfigError, Discovery, LogFormat,
    settings::{SETTINGS, Settings},
};
use crate::test_dir::TestDir;
use store::quorum::Level;

/// Resolves flags, variables and a file, with a cookie so that none is read or made.
fn resolve(flags: &[(&str, &str)], variables: &[(&str, &str)], file: Option<&str>) -> Result<Config, ConfigError> {
    let dir = TestDir::new();
    let path = dir.join("salp.toml");
    if let Some(text) = file {
        fs::write(&path, text).unwrap();
    }
    let mut given: Vec<(&'static str, Vec<String>)> = vec![("cookie", vec!["secret".into()])];
    for (name, text) in flags {
        let name = SETTINGS
            .iter()
            .find(|setting| setting.name == *name)
            .expect("a setting")
            .name;
        match given.iter_mut().find(|(other, _)| *other == name) {
            Some((_, texts)) if name != "cookie" => texts.push((*text).into()),
            Some((_, texts)) => *texts = vec![(*text).into()],
            None => given.push((name, vec![(*text).into()])),
        }
    }
    let variables: HashMap<&str, &str> = variables.iter().copied().collect();
    let variable = |name: &str| variables.get(name).map(|text| (*text).to_owned());
    Config::resolve(&Settings::merge(&given, variable, file.map(|_| path.as_path()))?)
}

/// The line of an error, which names the place, the problem and the mend.
fn check_error(flags: &[(&str, &str)], variables: &[(&str, &str)], file: Option<&str>, parts: &[&str]) {
    let line = match resolve(flags, variables, file) {
        Ok(_) => panic!("{flags:?} {variables:?} {file:?} was taken"),
        Err(error) => error.to_string(),
    };
    assert!(!line.contains('\n') && line.contains("; "), "{line}");
    for part in parts {
        assert!(line.contains(part), "{line:?} lacks {part:?}");
    }
}

#[test]
fn a_flag_beats_a_variable_beats_the_file_beats_the_default() {
    let flag = [("replicas", "5")];
    let variable = [("SALP_REPLICAS", "4")];
    let file = Some("replicas = 2");
    for (flags, variables, file, expected) in [
        (&flag[..], &variable[..], file, 5),
        (&[], &variable, file, 4),
        (&[], &[], file, 2),
        (&[], &[], None, 3),
        (&flag, &[], None, 5),
    ] {
        assert_eq!(resolve(flags, variables, file).unwrap().replicas, expected);
    }
}

#[test]
fn lists_come_from_anywhere_and_the_first_source_that_has_one_counts() {
    let names = |config: &Config| {
        config
            .join
            .iter()
            .map(|join| join.node.as_str().to_owned())
            .collect::<Vec<_>>()
    };
    let file = Some("join = ['f@h.x', 'g@h.x']");
    assert_eq!(names(&resolve(&[], &[], file).unwrap()), ["f@h.x", "g@h.x"]);
    let variable = [("SALP_JOIN", "v@h.x, w@h.x")];
    assert_eq!(names(&resolve(&[], &variable, file).unwrap()), ["v@h.x", "w@h.x"]);
    let config = resolve(&[("join", "a@h.x:9100"), ("join", "b@h.x")], &variable, file).unwrap();
    assert_eq!(names(&config), ["a@h.x", "b@h.x"]);
    assert_eq!(config.join[0].port, Some(9100));
}

#[test]
fn a_switch_can_be_turned_off_by_a_nearer_source() {
    assert!(resolve(&[], &[], Some("hidden = true")).unwrap().hidden);
    assert!(
        !resolve(&[], &[("SALP_HIDDEN", "false")], Some("hidden = true"))
            .unwrap()
            .hidden
    );
    assert!(
        resolve(&[("hidden", "true")], &[("SALP_HIDDEN", "0")], None)
            .unwrap()
            .hidden
    );
}

#[test]
fn texts_mean_what_they_say() {
    let file = r#"
        name = "db1@10.0.0.7"
        resp = "off"
        http = "127.0.0.1:0"
        dist_port = "9100-9199"
        tick_time = "1500ms"
        max_memory = "2gb"
        max_clients = 7
        log_format = "json"
        discovery = "epmd"
        [[keyspace]]
        name = "default"
        [[keyspace]]
        name = "carts"
        level = "quorum"
        min_acks = 2
    "#;
    let config = resolve(&[], &[], Some(file)).unwrap();
    assert_eq!(config.name.as_str(), "db1@10.0.0.7");
    assert_eq!((config.resp, config.http.map(|http| http.port())), (None, Some(0)));
    assert_eq!(config.dist_ports, 9100..=9199);
    assert_eq!(config.tick, Duration::from_millis(1500));
    assert_eq!((config.memory_bytes_max, config.clients_max), (2 << 30, 7));
    assert_eq!(config.log_format, LogFormat::Json);
    assert_eq!(
        config.discovery,
        Discovery::Epmd {
            hosts: vec!["10.0.0.7".into()],
            prefix: "salp".into()
        }
    );
    let carts = &config.keyspaces[1];
    assert_eq!(
        (carts.name.as_str(), carts.level, carts.min_acks),
        ("carts", Level::Quorum, 2)
    );
}

#[test]
fn errors_name_the_setting_its_place_and_the_mend() {
    for (name, text, parts) in [
        ("name", "salp", &["--name", "no host", "salp@127.0.0.1"][..]),
        ("name", "a@b@c", &["more than one @"]),
        ("name", "å@h", &["--name", "letters"]),
        ("join", "a@h.x:0", &["--join", "no port"]),
        ("join", "short@host", &["short name", "long one"]),
        ("resp", "6379", &["--resp", "127.0.0.1:6379", "off"]),
        ("resp", "0.0.0.0:6379", &["without a password", "SALP_RESP_PASSWORD"]),
        ("http", "[::]:4000", &["without a token", "SALP_HTTP_TOKEN"]),
        ("dist-bind", "0.0.0.0", &["without TLS", "--insecure"]),
        ("dist-bind", "localhost", &["no IP address"]),
        ("dist-tls-cert", "a.pem", &["--dist-tls-key: is missing", "go together"]),
        ("dist-tls-key", "a.key", &["--dist-tls-cert: is missing"]),
        ("dist-port", "9-8", &["no range", "9100-9199"]),
        ("dist-port", "0-8", &["no range"]),
        ("tick-time", "5", &["no time", "5s"]),
        ("tick-time", "1ms", &["too short", "100ms"]),
        ("tick-time", "99999999999999999999s", &["no time"]),
        ("replicas", "0", &["from 1 to 15"]),
        ("shards", "1000", &["power of two"]),
        ("workers", "4", &["not there yet"]),
        ("data-dir", "d", &["not there yet"]),
        ("facade", "X", &["not there yet"]),
        ("discovery", "dns", &["dns is not there yet", "--join"]),
        ("discovery", "magic", &["no kind"]),
        ("max-memory", "2 apples", &["no size", "2gb"]),
        ("max-memory", "99999999999tb", &["no size"]),
        ("max-value", "1tb", &["out of range"]),
        ("log", "loud", &["no level"]),
        ("log-format", "xml", &["text or json"]),
        ("epmd-port", "0", &["from 1 to 65535"]),
        ("write-timeout", "1h", &["longer", "--request-timeout"]),
        ("cookie", "", &["--cookie", "empty"]),
        ("hidden", "maybe", &["true or false"]),
    ] {
        check_error(&[(name, text)], &[], None, parts);
    }
    check_error(
        &[("no-epmd", "true"), ("join", "a@h.x")],
        &[],
        None,
        &["EPMD is off", "NAME@HOST:PORT"],
    );
}

#[test]
fn the_place_is_where_the_value_came_from() {
    check_error(&[], &[("SALP_TICK_TIME", "soon")], None, &["SALP_TICK_TIME: "]);
    check_error(&[], &[], Some("tick_time = 'soon'"), &["tick_time in ", "salp.toml: "]);
    check_error(
        &[],
        &[],
        Some("tick_tmie = '5s'"),
        &["tick_tmie in ", "did you mean tick_time?"],
    );
    check_error(&[], &[], Some("resp = 1.5"), &["resp in ", "is not a plain value"]);
    check_error(&[], &[], Some("a = \n"), &["salp.toml", "line 1"]);
    for (table, part) in [
        ("[[keyspace]]\nname = 'a b'", "no name of a keyspace"),
        ("[[keyspace]]\nname = 'a'\nlevel = 'most'", "use one, quorum or all"),
        ("[[keyspace]]\nname = 'a'\nmin_acks = 0", "from 1 to 15"),
        ("[[keyspace]]\nname = 'a'\nsize = 1", "size is no setting"),
        ("[[keyspace]]\nname = 'a'\n[[keyspace]]\nname = 'a'", "used twice"),
        ("keyspace = 'a'", "write [[keyspace]]"),
    ] {
        check_error(&[], &[], Some(table), &["keyspace", part]);
    }
}

#[test]
fn what_is_open_needs_a_secret_or_consent() {
    resolve(&[("resp", "0.0.0.0:6379")], &[("SALP_RESP_PASSWORD", "p")], None).unwrap();
    resolve(
        &[("resp", "0.0.0.0:6379"), ("dist-bind", "0.0.0.0"), ("insecure", "true")],
        &[],
        None,
    )
    .unwrap();
    resolve(&[("http", "10.0.0.1:1")], &[], Some("http_token = 't'")).unwrap();
}

#[test]
fn secrets_are_in_no_message_and_no_debug_text() {
    let config = resolve(&[("cookie", "hush-hush")], &[("SALP_RESP_PASSWORD", "hush-hush")], None).unwrap();
    assert!(!format!("{config:?}").contains("hush"));
    let line = resolve(&[("cookie", "hush hush")], &[], None).unwrap_err().to_string();
    assert!(!line.contains("hush"), "{line}");
}

#[test]
fn every_setting_is_in_the_file_under_its_own_name() {
    for setting in SETTINGS {
        assert!(
            setting.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'),
            "{}",
            setting.name
        );
        assert_eq!(
            setting.variable(),
            format!("SALP_{}", setting.name.to_uppercase().replace('-', "_"))
        );
    }
}
