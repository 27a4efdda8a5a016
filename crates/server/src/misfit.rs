//! One line for a node that cannot join the cluster it met: which settings differ, and how to fix that.

use std::path::Path;

use node::{Atom, ClusterId, Event, Mismatch};
use store::config::birth_difference;

use crate::config::ConfigError;

/// Why a starting node must end, if this event is a reason. `state` is its state file.
pub(crate) fn fatal(event: &Event, me: &Atom, state: Option<&Path>) -> Option<ConfigError> {
    match event {
        Event::PeerRefused {
            node,
            mismatch,
            is_fatal: true,
        } => Some(match mismatch {
            Mismatch::Birth { ours, theirs } => settings(node, ours, theirs),
            Mismatch::Cluster { ours, theirs } => clusters(node, *ours, *theirs, state),
        }),
        Event::NameTaken { by, is_fatal: true } => {
            let problem = format!(
                "another live node is called {}: {} is connected to it",
                me.as_str(),
                by.as_str()
            );
            let mend = "stop that node, or choose another name";
            Some(ConfigError::new("--name", problem, mend))
        }
        _ => None,
    }
}

/// The differences, for a log line.
pub(crate) fn describe(node: &Atom, mismatch: &Mismatch) -> String {
    match mismatch {
        Mismatch::Birth { ours, theirs } => settings(node, ours, theirs).to_string(),
        Mismatch::Cluster { ours, theirs } => format!(
            "{} is of cluster {theirs} and this node of {ours}: each goes on alone; to join them, stop the nodes of \
             one, remove their state files, and start them with --join",
            node.as_str()
        ),
    }
}

fn settings(node: &Atom, ours: &[u8], theirs: &[u8]) -> ConfigError {
    let Some(difference) = birth_difference(ours, theirs) else {
        let problem = format!("{} runs another version of salp", node.as_str());
        return ConfigError::new("version", problem, "run the same version everywhere");
    };
    let (mine, its) = (difference.ours, difference.theirs);
    let (place, mend) = match difference.setting {
        "version" => ("version".to_owned(), "run the same version of salp everywhere"),
        "keyspaces" => (
            "[[keyspace]]".to_owned(),
            "give all nodes of a cluster the same keyspaces in the same order in salp.toml",
        ),
        "databases" => (
            "--databases".to_owned(),
            "give all nodes of a cluster the same value, or the same [[keyspace]] tables",
        ),
        setting => (format!("--{setting}"), "give all nodes of a cluster the same value"),
    };
    let problem = format!("is {mine} here and {its} at {}", node.as_str());
    ConfigError::new(place, problem, mend)
}

fn clusters(node: &Atom, ours: ClusterId, theirs: ClusterId, state: Option<&Path>) -> ConfigError {
    let problem = format!(
        "this node was a member of cluster {ours}, and {} is of cluster {theirs}",
        node.as_str()
    );
    let mend = "remove this file to join the other cluster, or correct --join and --discovery";
    match state {
        Some(path) => ConfigError::new(path.display(), problem, mend),
        None => ConfigError::new("--join", problem, "correct --join and --discovery"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::{
        config::{Config, Keyspace},
        keyspaces::Slots,
    };

    fn refused(mismatch: Mismatch, is_fatal: bool) -> Event {
        Event::PeerRefused {
            node: Atom::new("b@h"),
            mismatch,
            is_fatal,
        }
    }

    fn line(event: &Event) -> String {
        let me = Atom::new("a@h");
        let state = Path::new("/var/lib/salp/a@h.toml");
        fatal(event, &me, Some(state)).map_or_else(String::new, |error| error.to_string())
    }

    #[test]
    fn the_setting_that_differs_is_named_with_both_values() {
        let base = Config::default();
        let ours = base.birth();
        let check = |other: Config, wanted: &str| {
            let theirs = other.birth();
            let mismatch = Mismatch::Birth {
                ours: ours.clone(),
                theirs,
            };
            let line = line(&refused(mismatch, true));
            assert!(line.starts_with(wanted), "{line}");
            assert!(line.contains("all nodes of a cluster the same"), "{line}");
        };
        let mut other = base.clone();
        other.replicas = 2;
        check(other, "--replicas: is 3 here and 2 at b@h; give");
        let mut other = base.clone();
        other.shards = 64;
        check(other, "--shards: is 1024 here and 64 at b@h; give");
        let mut other = base.clone();
        other.keyspaces.push(Keyspace::named("carts"));
        check(other, "[[keyspace]]: is default here and default, carts at b@h; give");
    }

    #[test]
    fn databases_and_rules_for_slots_that_differ_are_named() {
        let with = |keyspaces: &[Keyspace]| Config {
            keyspaces: keyspaces.to_vec(),
            ..Config::default()
        };
        let jobs = |slots| {
            let jobs = Keyspace {
                slots,
                ..Keyspace::named("jobs")
            };
            with(&[Keyspace::named("default"), jobs])
        };
        let databases = |count| with(&Keyspace::databases(count));
        let check = |ours: &Config, theirs: &Config, wanted: &str| {
            let mismatch = Mismatch::Birth {
                ours: ours.birth(),
                theirs: theirs.birth(),
            };
            let line = line(&refused(mismatch, true));
            assert!(line.starts_with(wanted), "{line}");
        };
        let fix = "give all nodes of a cluster the same";
        let wanted = format!("--databases: is 16 here and 4 at b@h; {fix} value");
        check(&databases(16), &databases(4), &wanted);
        let wanted = format!("--databases: is 1 here and 16 at b@h; {fix} value");
        check(&databases(1), &databases(16), &wanted);
        let (one, hash, prefix) = (jobs(Slots::One), jobs(Slots::Hash), jobs(Slots::Prefix(2)));
        let wanted = format!("[[keyspace]]: is default, jobs (one) here and default, jobs at b@h; {fix} keyspaces");
        check(&one, &hash, &wanted);
        check(
            &prefix,
            &one,
            "[[keyspace]]: is default, jobs (prefix 2) here and default, jobs (one) at b@h; give",
        );
        check(
            &prefix,
            &jobs(Slots::Prefix(3)),
            "[[keyspace]]: is default, jobs (prefix 2) here and default, jobs (pre",
        );
        check(
            &databases(16),
            &one,
            "[[keyspace]]: is 16 databases here and default, jobs (one) at b@h; give",
        );
        check(
            &one,
            &databases(1),
            "[[keyspace]]: is default, jobs (one) here and default at b@h; give",
        );
    }

    #[test]
    fn another_cluster_is_named_with_the_file_that_remembers_this_one() {
        let mismatch = || Mismatch::Cluster {
            ours: ClusterId(1),
            theirs: ClusterId(2),
        };
        let line_of = line(&refused(mismatch(), true));
        let start = "/var/lib/salp/a@h.toml: this node was a member of cluster 00000000000000000000000000000001, and \
                     b@h is of cluster 00000000000000000000000000000002; remove this file";
        assert!(line_of.starts_with(start), "{line_of}");
        assert_eq!(line(&refused(mismatch(), false)), "");
    }

    #[test]
    fn a_name_that_is_taken_is_named() {
        let by = Atom::new("c@h");
        let taken = |is_fatal| Event::NameTaken {
            by: by.clone(),
            is_fatal,
        };
        let wanted = "--name: another live node is called a@h: c@h is connected to it; stop that node";
        assert!(line(&taken(true)).starts_with(wanted));
        assert_eq!(line(&taken(false)), "");
    }
}
