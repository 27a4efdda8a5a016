//! Precedence and errors of the settings.

use std::{collections::HashMap, fs, time::Duration};

use super::discovery::Kind;
use super::{
    Config, ConfigError, LogFormat, default_state_dir,
    settings::{Setting, Settings},
};
use crate::{
    discovery::{dns, epmd, kubernetes},
    test_dir::TestDir,
};
use store::{keyspaces::Slots, quorum::Level};

/// Resolves flags, variables and a file. A cookie is given, so no cookie file is read or created.
fn resolve(flags: &[(&str, &str)], variables: &[(&str, &str)], file: Option<&str>) -> Result<Config, ConfigError> {
    let dir = TestDir::new();
    let path = dir.join("salp.toml");
    if let Some(text) = file {
        fs::write(&path, text).unwrap();
    }
    let mut given: Vec<(&'static str, Vec<String>)> = vec![("cookie", vec!["secret_of_this_test".into()])];
    for (name, text) in flags {
        let name = Setting::find(name).expect("a setting").name;
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

/// Checks that the line of an error names the place, the problem and the fix.
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
        max_buffers = "1gb"
        log_format = "json"
        epmd_port = 4370
        [discovery]
        kind = "epmd"
        interval = "1m"
        [[keyspace]]
        name = "default"
        [[keyspace]]
        name = "carts"
        level = "quorum"
        min_acks = 2
        slots = "one"
        [[keyspace]]
        name = "jobs"
        slots = { prefix = 2 }
    "#;
    let config = resolve(&[], &[], Some(file)).unwrap();
    assert_eq!(config.name.as_str(), "db1@10.0.0.7");
    assert_eq!((config.resp, config.http.map(|http| http.port())), (None, Some(0)));
    assert_eq!(config.dist_ports, 9100..=9199);
    assert_eq!(config.tick, Duration::from_millis(1500));
    assert_eq!((config.memory_bytes_max, config.clients_max), (2 << 30, 7));
    assert_eq!(config.buffer_bytes_max, 1 << 30);
    assert_eq!(config.log_format, LogFormat::Json);
    assert_eq!(config.discovery.interval, Duration::from_secs(60));
    let hosts = epmd::Hosts {
        hosts: vec!["10.0.0.7".into()],
        prefix: "salp".into(),
        port: 4370,
    };
    assert_eq!(config.discovery.kind, Kind::Epmd(hosts));
    let carts = &config.keyspaces[1];
    assert_eq!(
        (carts.name.as_str(), carts.level, carts.min_acks),
        ("carts", Level::Quorum, 2)
    );
    let slots: Vec<Slots> = config.keyspaces.iter().map(|keyspace| keyspace.slots).collect();
    assert_eq!(slots, [Slots::Hash, Slots::One, Slots::Prefix(2)]);
}

#[test]
fn without_keyspaces_there_are_numbered_databases() {
    let databases = |flags: &[(&str, &str)]| resolve(flags, &[], None).unwrap().keyspaces;
    let all = databases(&[]);
    let shown: Vec<String> = all.iter().map(|one| format!("{} {}", one.name, one.slots)).collect();
    assert_eq!(shown.len(), 16);
    assert_eq!([&*shown[0], &shown[1], &shown[15]], ["default hash", "1 one", "15 one"]);
    for (count, last) in [("1", "default"), ("4", "3"), ("256", "255")] {
        let all = databases(&[("databases", count)]);
        let name = all.last().map(|keyspace| &*keyspace.name);
        assert_eq!((all.len().to_string().as_str(), name), (count, Some(last)));
    }
}

#[test]
fn the_file_may_have_16_keyspaces_with_many_shards_and_256_in_all() {
    let table = |number: usize, slots: &str| format!("[[keyspace]]\nname = 'k{number}'\nslots = {slots}\n");
    let file = |hashed: usize, of_one: usize| {
        let hashed = (0..hashed).map(|number| table(number, "'hash'"));
        let of_one = (0..of_one).map(|number| table(100 + number, "'one'"));
        hashed.chain(of_one).collect::<String>()
    };
    let config = resolve(&[], &[], Some(&file(16, 240))).unwrap();
    assert_eq!(config.keyspaces.len(), 256);
    let wanted = ["keyspace 17 in ", "one too many", "slots = \"one\""];
    check_error(&[], &[], Some(&file(17, 0)), &wanted);
    check_error(&[], &[], Some(&file(16, 241)), &["keyspace 257 in ", "one too many"]);
}

#[test]
fn errors_name_the_setting_its_place_and_the_mend() {
    for (name, text, parts) in [
        ("name", "salp", &["--name", "has no host", "salp@127.0.0.1"][..]),
        ("name", "a@b@c", &["more than one @"]),
        ("name", "å@h", &["--name", "letters"]),
        ("join", "a@h.x:0", &["--join", "not a port"]),
        ("join", "short@host", &["short name", "long one"]),
        ("resp", "6379", &["--resp", "127.0.0.1:6379", "off"]),
        ("resp", "0.0.0.0:6379", &["without a password", "SALP_RESP_PASSWORD"]),
        ("http", "[::]:4000", &["without a token", "SALP_HTTP_TOKEN"]),
        ("dist-bind", "0.0.0.0", &["without TLS", "--insecure"]),
        ("dist-bind", "localhost", &["not an IP address"]),
        ("dist-tls-cert", "a.pem", &["--dist-tls-key: is missing", "go together"]),
        ("dist-tls-key", "a.key", &["--dist-tls-cert: is missing"]),
        ("dist-port", "9-8", &["neither a port nor a range", "9100-9199"]),
        ("dist-port", "0-8", &["neither a port nor a range"]),
        ("tick-time", "5x", &["not a time", "5s"]),
        ("tick-time", "1ms", &["too short", "100ms"]),
        ("tick-time", "99999999999999999999s", &["not a time"]),
        ("tick-time", "1001h", &["longer than 1000 hours"]),
        ("replicas", "0", &["from 1 to 15"]),
        ("shards", "1000", &["power of two"]),
        ("workers", "4", &["not supported yet"]),
        ("data-dir", "d", &["not supported yet"]),
        ("facade", "Apothik.Cache", &["Elixir.Apothik.Cache"]),
        ("facade", "salp", &["is taken"]),
        ("facade", "cache:color=red", &["\"color=red\""]),
        ("facade", "cache:style=redis", &["\"redis\"", "server or messages"]),
        ("facade", "cache:missing=", &["missing="]),
        ("facade", "", &["has no name"]),
        ("discovery", "magic", &["not a kind", "gossip"]),
        ("max-memory", "2 apples", &["not a size", "2gb"]),
        ("max-memory", "99999999999tb", &["not a size"]),
        ("max-buffers", "1mb", &["at least 16mb"]),
        ("max-buffers", "128mb", &["four times", "--max-value"]),
        ("max-value", "1tb", &["from 1 byte to 64mb"]),
        ("max-value", "65mb", &["from 1 byte to 64mb", "65mb"]),
        ("log", "loud", &["not a log level"]),
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
        &["EPMD is off", "NAME@HOST:PORT", "--dist-port"],
    );
    let fixed = [("no-epmd", "true"), ("join", "salp@127.0.0.3"), ("dist-port", "9100")];
    assert_eq!(resolve(&fixed, &[], None).unwrap().common_port(), Some(9100));
    assert_eq!(
        resolve(&fixed[2..], &[], None).unwrap().common_port(),
        None,
        "EPMD knows better"
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
        ("[[keyspace]]\nname = 'a b'", "not a name for a keyspace"),
        ("[[keyspace]]\nname = 'a'\nlevel = 'most'", "use one, quorum or all"),
        ("[[keyspace]]\nname = 'a'\nmin_acks = 0", "from 1 to 15"),
        ("[[keyspace]]\nname = 'a'\nmin_acks = 4", "of 3 replicas"),
        ("[[keyspace]]\nname = 'a'\nsize = 1", "size is not a setting"),
        ("[[keyspace]]\nname = 'a'\n[[keyspace]]\nname = 'a'", "used twice"),
        ("keyspace = 'a'", "write [[keyspace]]"),
    ] {
        check_error(&[], &[], Some(table), &["keyspace", part]);
    }
}

#[test]
fn a_rule_for_slots_that_does_not_exist_is_refused_with_the_rules_that_do() {
    for value in [
        "'two'",
        "2",
        "{ prefix = 0 }",
        "{ prefix = 17 }",
        "{ prefix = 258 }",
        "{ prefix = '2' }",
        "{}",
    ] {
        let file = format!("[[keyspace]]\nname = 'a'\nslots = {value}");
        check_error(
            &[],
            &[],
            Some(&file),
            &["keyspace 1 in", "slots cannot be", "slots = { prefix = N }"],
        );
    }
    let two = "[[keyspace]]\nname = 'a'\nslots = { prefix = 1, segments = 2 }";
    check_error(&[], &[], Some(two), &["slots cannot be", "segments"]);
}

#[test]
fn databases_are_numbered_by_their_number_or_by_the_file() {
    for (flags, variables) in [(&[("databases", "4")][..], &[][..]), (&[], &[("SALP_DATABASES", "4")])] {
        let place = if flags.is_empty() {
            "SALP_DATABASES"
        } else {
            "--databases"
        };
        let parts = [place, "salp.toml", "leave this setting out"];
        check_error(flags, variables, Some("[[keyspace]]\nname = 'a'"), &parts);
    }
    check_error(&[("databases", "0")], &[], None, &["--databases", "from 1 to 256"]);
    check_error(&[("databases", "257")], &[], None, &["--databases", "from 1 to 256"]);
}

#[test]
fn what_is_open_needs_a_secret_or_consent() {
    resolve(
        &[("resp", "0.0.0.0:6379")],
        &[("SALP_RESP_PASSWORD", "0123456789abcdef")],
        None,
    )
    .unwrap();
    resolve(
        &[("resp", "0.0.0.0:6379"), ("dist-bind", "0.0.0.0"), ("insecure", "true")],
        &[],
        None,
    )
    .unwrap();
    resolve(&[("http", "10.0.0.1:1")], &[], Some("http_token = '0123456789abcdef'")).unwrap();
}

#[test]
fn a_short_secret_is_for_loopback_alone() {
    let short = "0123456789abcde";
    for (address, text, secret) in [
        ("resp", "0.0.0.0:6379", "resp-password"),
        ("resp", "[::]:6379", "resp-password"),
        ("http", "10.0.0.1:4000", "http-token"),
        ("http", "0.0.0.0:0", "http-token"),
        ("dist-bind", "10.0.0.1", "cookie"),
    ] {
        let name = format!("--{secret}");
        check_error(
            &[(address, text), (secret, short)],
            &[],
            None,
            &[&name, "shorter than 16 bytes", "--insecure"],
        );
        resolve(&[(address, text), (secret, short), ("insecure", "true")], &[], None).unwrap();
    }
    let dir = TestDir::new();
    let path = dir.join("cookie");
    fs::write(&path, short).unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o400)).unwrap();
    let flags = [
        ("cookie-file", vec![path.display().to_string()]),
        ("dist-bind", vec!["10.0.0.1".to_owned()]),
    ];
    let settings = Settings::merge(&flags, |_| None, None).unwrap();
    let line = Config::resolve(&settings).unwrap_err().to_string();
    assert!(line.starts_with("--cookie-file: is shorter than 16 bytes"), "{line}");
    resolve(
        &[("resp-password", "p"), ("http-token", "t"), ("cookie", "c")],
        &[],
        None,
    )
    .unwrap();
}

#[test]
fn what_kubernetes_sets_for_services_is_passed_over() {
    for (variable, text) in [
        ("SALP_DIST_PORT", "tcp://10.3.2.1:9100"),
        ("SALP_EPMD_PORT", "tcp://10.3.2.1:4369"),
        ("SALP_DISCOVERY_PORT", "udp://10.3.2.1:4369"),
        ("SALP_HTTP", "tcp://10.3.2.1:80"),
        ("SALP_RESP", "tcp://10.3.2.1:6379"),
        ("SALP_LOG", "sctp://10.3.2.1:1"),
        ("SALP_HTTP_TOKEN", "tcp://10.3.2.1:80"),
    ] {
        let flags = [("cookie", vec!["secret".to_owned()])];
        let settings = Settings::merge(&flags, |name| (name == variable).then(|| text.to_owned()), None).unwrap();
        let [line] = settings.ignored.as_slice() else {
            panic!("{variable}: {:?}", settings.ignored);
        };
        assert!(
            line.starts_with(&format!("{variable}={text} is ignored")) && line.contains("Kubernetes"),
            "{line}"
        );
        let with = format!("{:?}", Config::resolve(&settings).unwrap());
        let without = format!(
            "{:?}",
            Config::resolve(&Settings::merge(&flags, |_| None, None).unwrap()).unwrap()
        );
        assert_eq!(with, without, "{variable}");
    }
}

#[test]
fn an_empty_variable_is_unset_unless_it_is_a_secret() {
    let nothing = format!("{:?}", resolve(&[], &[], None).unwrap());
    for setting in Setting::all() {
        let variable = setting.variable();
        let resolved = resolve(&[], &[(&variable, "")], None);
        match setting.name {
            "resp-password" | "http-token" => {
                let line = resolved.unwrap_err().to_string();
                assert!(line.starts_with(&variable) && line.contains("is empty"), "{line}");
            }
            _ => assert_eq!(format!("{:?}", resolved.unwrap()), nothing, "{variable}"),
        }
    }
    let flags = |_: &str| Some(String::new());
    assert!(
        Settings::merge(&[], flags, None)
            .unwrap()
            .one("cookie")
            .is_some_and(|given| given.text.is_empty())
    );
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
    for setting in Setting::all() {
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

/// Parses a table `[discovery]` with this kind and these lines.
fn discover(kind: &str, lines: &str) -> Result<Config, ConfigError> {
    let table = format!("[discovery]\nkind = '{kind}'\n{lines}");
    resolve(&[("name", "salp@10.0.0.1")], &[], Some(&table))
}

#[test]
fn every_kind_of_discovery_reads_its_own_settings() {
    let dns = discover(
        "dns",
        "query = 'db.test.'\nport = 9100\nserver = ['10.0.0.2', '10.0.0.3:5353']",
    )
    .unwrap();
    let query = dns::Query {
        name: "db.test.".into(),
        record: dns::Record::A,
        basename: "salp".into(),
        port: Some(9100),
        servers: vec!["10.0.0.2:53".parse().unwrap(), "10.0.0.3:5353".parse().unwrap()],
    };
    assert_eq!(dns.discovery.kind, Kind::Dns(query));
    let Kind::Gossip(gossip) = discover("gossip", "ttl = 3").unwrap().discovery.kind else {
        panic!("another kind")
    };
    assert_eq!(
        (gossip.group.to_string().as_str(), gossip.ttl),
        ("233.252.1.32:45893", 3)
    );
    assert!(gossip.interface.is_loopback(), "it stays where the node listens");
    let lines = "namespace = 'db'\nservice = 'salp'\nport = 'dist'\nmode = 'dns'\naddress = 'hostname'";
    let Kind::Kubernetes(settings) = discover("kubernetes", lines).unwrap().discovery.kind else {
        panic!("another kind")
    };
    assert_eq!(settings.port, Some(kubernetes::Port::Named("dist".into())));
    let proxied = "namespace = 'db'\nservice = 'salp'\napi = 'http://127.0.0.1:8001'";
    let Kind::Kubernetes(settings) = discover("kubernetes", proxied).unwrap().discovery.kind else {
        panic!("another kind")
    };
    assert_eq!((settings.api.tls, settings.api.port), (false, 8001));
    let by_variable = [("SALP_DISCOVERY", "epmd"), ("SALP_DISCOVERY_HOST", "a, b")];
    let Kind::Epmd(hosts) = resolve(&[], &by_variable, None).unwrap().discovery.kind else {
        panic!("another kind")
    };
    assert_eq!(hosts.hosts, ["a", "b"]);
    let dir = TestDir::new();
    let path = dir.join("hosts");
    fs::write(&path, "salp@a.test:9100").unwrap();
    let given = [
        ("discovery", "hosts"),
        ("discovery-file", path.to_str().unwrap()),
        ("no-epmd", "true"),
    ];
    resolve(&given, &[], None).unwrap();
    fs::write(&path, "a.test").unwrap();
    check_error(
        &given,
        &[],
        None,
        &["--discovery-file", "may not be asked", "NAME@HOST:PORT"],
    );
}

#[test]
fn what_is_wrong_with_discovery_is_said_at_the_start() {
    for (kind, lines, parts) in [
        (
            "gossip",
            "group = '10.0.0.1'",
            &[
                "discovery.group in ",
                "salp.toml",
                "not a group address",
                "233.252.1.32:45893",
            ][..],
        ),
        ("gossip", "interface = 'eth0'", &["not an IPv4 address"]),
        ("gossip", "ttl = 256", &["from 0 to 255"]),
        (
            "gossip",
            "query = 'a'",
            &[
                "discovery.query",
                "has no effect with discovery gossip",
                "discovery dns",
            ],
        ),
        ("gossip", "grup = 'a'", &["did you mean discovery.group?"]),
        ("static", "interval = '1s'", &["discovery.interval", "has no effect"]),
        ("epmd", "interval = '1ms'", &["too short"]),
        ("epmd", "host = ['a b']", &["discovery.host", "not a host"]),
        ("hosts", "", &["--discovery-file", "is missing"]),
        (
            "hosts",
            "file = '/nowhere/at/all'",
            &["discovery.file", "/nowhere/at/all", "NAME@HOST"],
        ),
        ("dns", "", &["--discovery-query", "is missing", "salp.example.com"]),
        ("dns", "query = 'a..b'", &["not a domain name"]),
        ("dns", "query = 'a'\nrecord = 'mx'", &["discovery.record", "a or srv"]),
        (
            "dns",
            "query = 'a'\nrecord = 'srv'\nport = 1",
            &["SRV records have ports"],
        ),
        (
            "dns",
            "query = 'a'\nport = 'dist'",
            &["discovery.port", "from 1 to 65535"],
        ),
        (
            "dns",
            "query = 'a'\nserver = 'ns'",
            &["discovery.server", "10.0.0.2:53"],
        ),
        (
            "dns",
            "query = 'a'\nbasename = 'a b'",
            &["discovery.basename", "letters"],
        ),
        ("kubernetes", "mode = 'watch'", &["endpoints, pods or dns"]),
        ("kubernetes", "", &["--discovery-service", "is missing"]),
        ("kubernetes", "mode = 'pods'", &["--discovery-selector", "app=salp"]),
        ("kubernetes", "selector = 'a=\"b\"'", &["not a selector"]),
        ("kubernetes", "service = 's'", &["--discovery-namespace", "is missing"]),
        ("kubernetes", "service = 's'\nport = 'A port!'", &["not a port"]),
        (
            "kubernetes",
            "service = 's'\nnamespace = 'n'\napi = 'http://10.0.0.1'",
            &["plain HTTP", "https"],
        ),
        (
            "kubernetes",
            "service = 's'\nnamespace = 'n'\napi = 'ftp://a'",
            &["discovery.api", "https://HOST:PORT"],
        ),
        (
            "kubernetes",
            "service = 's'\nnamespace = 'n'\ntoken_file = '/none'",
            &["discovery.token_file", "/none"],
        ),
        (
            "kubernetes",
            "service = 's'\nmode = 'dns'\naddress = 'hostname'",
            &["discovery.address", "name of a port"],
        ),
    ] {
        let line = match discover(kind, lines) {
            Ok(_) => panic!("{kind}, {lines} was taken"),
            Err(error) => error.to_string(),
        };
        assert!(!line.contains('\n') && line.contains("; "), "{line}");
        for part in parts {
            assert!(line.contains(part), "{line:?} lacks {part:?}");
        }
    }
    for (kind, part) in [
        ("epmd", "asks EPMD, which is off"),
        ("dns", "--discovery-port: is missing, and EPMD is off"),
    ] {
        check_error(
            &[
                ("discovery", kind),
                ("name", "salp@10.0.0.1"),
                ("no-epmd", "true"),
                ("discovery-interval", "5s"),
            ],
            &[],
            None,
            &[part],
        );
    }
    // If it were found by address, it would have another name than the one it is dialled by.
    for name in [vec![], vec![("name", "salp@db.test")]] {
        for (kind, of_kind) in [
            ("dns", ("discovery-query", "a")),
            ("kubernetes", ("discovery-service", "s")),
        ] {
            let settings: Vec<_> = [("discovery", kind), of_kind].into_iter().chain(name.clone()).collect();
            check_error(&settings, &[], None, &["--name: is salp@", "NAME@ADDRESS"]);
        }
    }
}

#[test]
fn a_node_remembers_where_it_is_told_or_where_the_system_has_such_things() {
    let given = |text| resolve(&[("state-dir", text)], &[], None).unwrap().state_dir;
    assert_eq!(given("none"), None);
    assert_eq!(given("/var/lib/salp"), Some("/var/lib/salp".into()));
    let check = |variables: &[(&str, &str)], wanted: Option<&str>| {
        let variables: HashMap<&str, &str> = variables.iter().copied().collect();
        let found = default_state_dir(|name| variables.get(name).map(Into::into));
        assert_eq!(found, wanted.map(Into::into), "{variables:?}");
    };
    let home = ("HOME", "/users/me");
    check(
        &[("STATE_DIRECTORY", "/var/lib/salp:/var/lib/other"), home],
        Some("/var/lib/salp"),
    );
    check(&[("XDG_STATE_HOME", "/state"), home], Some("/state/salp"));
    check(
        &[("XDG_STATE_HOME", "relative"), home],
        Some("/users/me/.local/state/salp"),
    );
    check(&[("XDG_STATE_HOME", ""), home], Some("/users/me/.local/state/salp"));
    check(&[], None);
}

#[test]
fn what_is_said_of_forming_reaches_the_store() {
    let of = |flags| resolve(flags, &[], None).unwrap().store(4, None).forming;
    let settings = of(&[]);
    assert_eq!(
        (settings.form_after_ms, settings.expect, settings.discovers),
        (0, 1, false)
    );
    let flags = [("form-after", "10s"), ("expect", "3"), ("discovery", "epmd")];
    let settings = of(&flags);
    assert_eq!(
        (settings.form_after_ms, settings.expect, settings.discovers),
        (10_000, 3, true)
    );
    check_error(&[("expect", "0")], &[], None, &["--expect", "from 1 to 128"]);
}
