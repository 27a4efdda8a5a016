//! Further settings of a [`Builder`]. [`Builder::setting`] reaches all settings of `salp start`.

use std::time::Duration;

use store::{keyspaces::Slots, quorum::Level};

use crate::{
    config::{ConfigError, settings::Setting},
    running::Builder,
};

fn time_text(time: Duration) -> String {
    format!("{}ms", time.as_millis())
}

impl Builder {
    /// Any setting of `salp start` by its name, with or without dashes in front: `("max-memory", "2gb")`. The values of
    /// a list are separated by commas, a switch is `true` or `false`. [`start`](Builder::start) fails if there is no
    /// such setting.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        let plain = name.trim_start_matches('-').replace('_', "-");
        match Setting::find(&plain) {
            Some(setting) => self.settings.set(setting.name, &setting.texts(value)),
            None => {
                let fault = ConfigError::new(name, "is not a setting", "`salp start --help` lists the settings");
                self.fault.get_or_insert(fault);
            }
        }
        self
    }

    /// Adds a keyspace. The first call replaces the numbered databases. A write waits as `level` says, and needs
    /// `min_acks` copies within reach.
    #[must_use]
    pub fn keyspace(mut self, name: &str, level: Level, min_acks: u32) -> Self {
        let level = match level {
            Level::One => "one",
            Level::Quorum => "quorum",
            Level::All => "all",
        };
        let mut table = toml::Table::new();
        table.insert("name".into(), name.into());
        table.insert("level".into(), level.into());
        table.insert("min_acks".into(), i64::from(min_acks).into());
        let (_, tables) = self
            .settings
            .keyspaces
            .get_or_insert_with(|| ("the program".into(), Vec::new()));
        tables.push(toml::Value::Table(table));
        self
    }

    /// How the keys of a keyspace, which was added before, come to their slots.
    #[must_use]
    pub fn slots(mut self, keyspace: &str, slots: Slots) -> Self {
        let value = match slots {
            Slots::Hash | Slots::One => slots.to_string().into(),
            Slots::Prefix(segments) => {
                let mut table = toml::Table::new();
                table.insert("prefix".into(), i64::from(segments).into());
                toml::Value::Table(table)
            }
        };
        let tables = self.settings.keyspaces.iter_mut().flat_map(|(_, tables)| tables);
        let mut tables = tables.filter_map(toml::Value::as_table_mut);
        let is_it = |table: &&mut toml::Table| table.get("name").and_then(toml::Value::as_str) == Some(keyspace);
        match tables.find(is_it) {
            Some(table) => {
                table.insert("slots".into(), value);
            }
            None => {
                let problem = format_args!("there is no {keyspace}");
                let fault = ConfigError::new("slots", problem, "add the keyspace first");
                self.fault.get_or_insert(fault);
            }
        }
        self
    }

    /// Number of numbered databases, if no keyspace is added: `default` with many shards, and `1`, `2` and so on, with
    /// one shard each. It cannot be changed while the cluster lives. Default: 16.
    #[must_use]
    pub fn databases(self, count: u16) -> Self {
        self.setting("databases", &count.to_string())
    }

    /// The file with the cluster's secret, instead of `~/.erlang.cookie`. If it does not exist, it is created.
    #[must_use]
    pub fn cookie_file(self, path: &str) -> Self {
        self.setting("cookie-file", path)
    }

    /// Password that Redis clients must send.
    #[must_use]
    pub fn resp_password(self, password: &str) -> Self {
        self.setting("resp-password", password)
    }

    /// Token that HTTP clients must send as `Authorization: Bearer …`.
    #[must_use]
    pub fn http_token(self, token: &str) -> Self {
        self.setting("http-token", token)
    }

    /// Whether ports may be open to other machines without password, token or TLS.
    #[must_use]
    pub fn insecure(self, insecure: bool) -> Self {
        self.setting("insecure", if insecure { "true" } else { "false" })
    }

    /// Whether the node is hidden from the visible nodes of a BEAM. A hidden node takes no part in `global`.
    #[must_use]
    pub fn hidden(self, hidden: bool) -> Self {
        self.setting("hidden", if hidden { "true" } else { "false" })
    }

    /// Number of shards of each keyspace, unless all its keys have one slot: a power of two. It cannot be changed while
    /// the cluster lives. Default: 1,024.
    #[must_use]
    pub fn shards(self, shards: u16) -> Self {
        self.setting("shards", &shards.to_string())
    }

    /// Limit of memory in bytes. Past it, writes that need more memory are refused. Default: 0, no limit.
    #[must_use]
    pub fn max_memory(self, bytes: u64) -> Self {
        self.setting("max-memory", &bytes.to_string())
    }

    /// A node that is silent for this time counts as down. Default: 5 s.
    #[must_use]
    pub fn tick_time(self, time: Duration) -> Self {
        self.setting("tick-time", &time_text(time))
    }

    /// After this time a majority of the replicas is enough for a write. Default: 1 s.
    #[must_use]
    pub fn write_timeout(self, time: Duration) -> Self {
        self.setting("write-timeout", &time_text(time))
    }

    /// Every request is answered within this time. Default: 5 s.
    #[must_use]
    pub fn request_timeout(self, time: Duration) -> Self {
        self.setting("request-timeout", &time_text(time))
    }

    /// How long a stopping node may take to hand its data over. Default: 60 s.
    #[must_use]
    pub fn leave_timeout(self, time: Duration) -> Self {
        self.setting("leave-timeout", &time_text(time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Node,
        config::{Config, settings::Kind},
    };

    #[test]
    fn every_setting_can_be_given_by_a_program() {
        for setting in Setting::all() {
            let value = if setting.kind == Kind::Switch { "true" } else { "x,y" };
            for name in [
                setting.name.to_owned(),
                format!("--{}", setting.name),
                setting.name.replace('-', "_"),
            ] {
                let builder = Node::builder().setting(&name, value);
                assert_eq!(builder.fault, None, "{name}");
                let given = builder.settings.many(setting.name);
                assert_eq!(given.len(), if setting.kind == Kind::Many { 2 } else { 1 }, "{name}");
            }
        }
        let builder = Node::builder().setting("max-memroy", "1gb");
        assert!(
            builder
                .fault
                .is_some_and(|fault| fault.to_string().starts_with("max-memroy: is not a setting"))
        );
    }

    #[test]
    fn what_a_program_gives_is_what_the_node_has() {
        let builder = Node::builder()
            .cookie("a_secret_of_this_cluster")
            .shards(64)
            .max_memory(1 << 30)
            .tick_time(Duration::from_millis(1_500))
            .write_timeout(Duration::from_millis(250))
            .request_timeout(Duration::from_secs(3))
            .leave_timeout(Duration::from_secs(7))
            .hidden(true)
            .setting("max-clients", "77")
            .keyspace("carts", Level::Quorum, 2)
            .keyspace("sessions", Level::One, 1)
            .slots("sessions", Slots::One)
            .keyspace("jobs", Level::All, 1)
            .slots("jobs", Slots::Prefix(2));
        let config = Config::resolve(&builder.settings).unwrap();
        assert_eq!(
            (config.shards, config.memory_bytes_max, config.clients_max),
            (64, 1 << 30, 77)
        );
        assert_eq!(
            (config.tick.as_millis(), config.write_timeout.as_millis()),
            (1_500, 250)
        );
        assert_eq!(
            (config.request_timeout.as_secs(), config.leave_timeout.as_secs()),
            (3, 7)
        );
        assert!(config.hidden);
        let keyspaces = config
            .keyspaces
            .iter()
            .map(|keyspace| (&*keyspace.name, keyspace.level, keyspace.min_acks, keyspace.slots));
        let wanted = [
            ("carts", Level::Quorum, 2, Slots::Hash),
            ("sessions", Level::One, 1, Slots::One),
            ("jobs", Level::All, 1, Slots::Prefix(2)),
        ];
        assert!(keyspaces.eq(wanted));
        let builder = Node::builder().slots("jobs", Slots::One);
        assert_eq!(
            builder.fault.unwrap().to_string(),
            "slots: there is no jobs; add the keyspace first"
        );
        let builder = Node::builder().cookie("a_secret_of_this_cluster").databases(3);
        assert_eq!(Config::resolve(&builder.settings).unwrap().keyspaces.len(), 3);
    }
}
