//! The command `salp`: its subcommands and how they end.
//!
//! Exit codes: 0 done, 1 the operation's negative answer, 2 wrong use or configuration, 3 the cluster could not be
//! reached. An error is one line on standard error.

mod bench;
mod cluster;
mod fill;
mod latency;
mod remote;
mod table;

use std::{
    ffi::OsString,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Arg, ArgAction, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, error::ErrorKind};
use clap_complete::Shell;

use crate::{
    config::{
        ConfigError, cookie, default_cookie_file,
        settings::{Kind, Setting},
    },
    dev, epmd,
    output::{self, complain},
    start, variable,
};

/// Wrong use or configuration.
pub(crate) const WRONG: u8 = 2;

/// Below the options of `salp start`.
const START_HELP: &str = "\
Values: TIME is a number with ms, s, m, h or d, such as 5s; without a unit it is seconds. SIZE is a number with kb, mb, \
gb or tb, such as 2gb (1 kb is 1024 bytes); without a unit it is bytes. An option is taken from the flag, else from the \
environment variable, else from the settings file, else it has its default.

Signals: on SIGINT (Ctrl-C) and SIGTERM the node hands its data to the other nodes and stops. A second signal stops it \
at once. SIGHUP does the same if the process has a controlling terminal (the terminal was closed). It is ignored \
without one (a service), and under nohup.

Log: it is written to standard error. The node never waits for it: lines that cannot be written are dropped and \
counted (log_lines_dropped in INFO, salp_log_lines_dropped_total in /metrics).";

#[derive(Debug, Parser)]
#[command(name = "salp", version = version(), about = "A distributed in-memory key-value store", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one node until SIGINT or SIGTERM, then hand over its data and stop
    #[command(after_help = START_HELP)]
    Start(StartArgs),
    /// Run a cluster on this machine until Ctrl-C, to try things out
    Dev(DevArgs),
    /// Run only the Erlang port mapper (EPMD)
    Epmd(EpmdArgs),
    /// Print the cluster's secret; create its file if it is missing
    Cookie(CookieArgs),
    /// Print a script that completes commands in a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    #[command(flatten)]
    Remote(remote::Remote),
}

/// Options of `salp start`, as far as they were given. The table of settings says which there are.
#[derive(Clone, Debug, Default)]
pub(crate) struct StartArgs {
    pub(crate) file: Option<PathBuf>,
    pub(crate) flags: Vec<(&'static str, Vec<String>)>,
    /// End when standard input does: a node must not outlive the command that runs it.
    pub(crate) until_stdin_ends: bool,
}

impl FromArgMatches for StartArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let values = |name: &str, kind| match kind {
            Kind::Switch => matches.get_flag(name).then(|| vec!["true".into()]),
            Kind::One | Kind::Many => Some(matches.get_many::<String>(name)?.cloned().collect()),
        };
        let flags = Setting::all().filter_map(|setting| Some((setting.name, values(setting.name, setting.kind)?)));
        Ok(Self {
            file: matches
                .get_one::<PathBuf>("config")
                .cloned()
                .or_else(|| variable::read("SALP_CONFIG").map(PathBuf::from)),
            flags: flags.collect(),
            until_stdin_ends: matches.get_flag("until-stdin-ends"),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for StartArgs {
    fn augment_args(command: clap::Command) -> clap::Command {
        let config = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help("File with these settings [default: salp.toml, if it exists] [env: SALP_CONFIG]");
        let until_stdin_ends = Arg::new("until-stdin-ends")
            .long("until-stdin-ends")
            .action(ArgAction::SetTrue)
            .hide(true);
        Setting::all().fold(command.arg(config).arg(until_stdin_ends), |command, setting| {
            let mut help = setting.help.to_owned();
            if let Some(default) = setting.default {
                help += &format!(" [default: {default}]");
            }
            help += &format!(" [env: {}]", setting.variable());
            let mut arg = Arg::new(setting.name)
                .long(setting.name)
                .help(help)
                .hide(setting.is_to_come());
            if setting.name.starts_with("discovery-") {
                arg = arg.help_heading("Discovery");
            }
            command.arg(match setting.kind {
                Kind::Switch => arg.action(ArgAction::SetTrue),
                Kind::One => arg.value_name(setting.value).action(ArgAction::Set),
                Kind::Many => arg.value_name(setting.value).action(ArgAction::Append),
            })
        })
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct DevArgs {
    /// Number of nodes
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) nodes: u16,
    /// Port for Redis clients of the first node; the other nodes use the next ports
    #[arg(long, default_value_t = 6379, value_name = "PORT")]
    pub(crate) base_resp: u16,
    /// Port for HTTP clients of the first node; the other nodes use the next ports
    #[arg(long, default_value_t = 4000, value_name = "PORT")]
    pub(crate) base_http: u16,
    /// File with the cluster's secret [default: ~/.erlang.cookie]
    #[arg(long, value_name = "FILE")]
    pub(crate) cookie_file: Option<PathBuf>,
    /// Log level of the nodes: error, warn, info, debug or trace
    #[arg(long, default_value = "warn", value_name = "LEVEL")]
    pub(crate) log: String,
    /// Further options of `salp start` for every node, after --
    #[arg(last = true, value_name = "OPTIONS")]
    pub(crate) options: Vec<String>,
}

#[derive(Debug, clap::Args)]
struct EpmdArgs {
    /// Port to listen on [env: ERL_EPMD_PORT]
    #[arg(long, default_value_t = epmd::port(), value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// Address to listen on
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), value_name = "IP")]
    bind: IpAddr,
}

#[derive(Debug, clap::Args)]
struct CookieArgs {
    /// File with the cluster's secret [default: ~/.erlang.cookie] [env: SALP_COOKIE_FILE]
    #[arg(long, value_name = "FILE")]
    cookie_file: Option<PathBuf>,
}

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    run_with(std::env::args_os())
}

fn run_with(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let command = match Cli::try_parse_from(args) {
        Ok(cli) => cli.command,
        Err(error) => {
            let code = explain(&error);
            output::flush();
            return code;
        }
    };
    let ended = match command {
        Command::Start(args) => start::run(&args),
        Command::Dev(args) => dev::run(&args),
        Command::Epmd(args) => start::run_epmd(args.port, args.bind),
        Command::Cookie(args) => print_cookie(args),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "salp", &mut script);
            Ok(remote::ended(remote::print(script)))
        }
        Command::Remote(command) => Ok(remote::run(command)),
    };
    let code = ended.unwrap_or_else(|error| {
        complain(&error.to_string());
        ExitCode::from(WRONG)
    });
    output::flush();
    code
}

/// Prints help and version as clap formats them, and an error as one line.
fn explain(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            // If standard output fails, there is no other place to report it.
            let _ = error.print();
            if error.use_stderr() {
                ExitCode::from(WRONG)
            } else {
                ExitCode::SUCCESS
            }
        }
        _ => {
            complain(&one_line(&error.to_string()));
            ExitCode::from(WRONG)
        }
    }
}

/// What is wrong and the tip for it, without the usage.
fn one_line(text: &str) -> String {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let usage = text.find("Usage:").unwrap_or(text.len());
    let more = text.find("For more information").unwrap_or(text.len());
    let words: Vec<&str> = text[..usage.min(more)].split_whitespace().collect();
    words.join(" ").replace(" tip: ", "; ") + "; see salp --help"
}

fn version() -> &'static str {
    option_env!("SALP_VERSION").unwrap_or(env!("CARGO_PKG_VERSION"))
}

fn print_cookie(args: CookieArgs) -> Result<ExitCode, ConfigError> {
    let of_variable = || variable::read("SALP_COOKIE_FILE").map(PathBuf::from);
    let path = args
        .cookie_file
        .or_else(of_variable)
        .unwrap_or_else(default_cookie_file);
    let wrong = |(problem, mend): (String, String)| ConfigError::new("--cookie-file", problem, mend);
    cookie::read_or_make(&path).map_err(wrong)?;
    let text = std::fs::read_to_string(&path)
        .map_err(|error| ConfigError::new("--cookie-file", error, "name a file that can be read"))?;
    Ok(remote::ended(remote::print(format!("{}\n", text.trim()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from([&["salp"], args].concat())
    }

    #[test]
    fn the_definitions_hold_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_are_those_that_were_given() {
        let cli = parse(&["start", "--join", "a@h", "--join", "b@h", "--hidden", "--resp", "off"]).unwrap();
        let Command::Start(args) = cli.command else {
            panic!("another command")
        };
        let expected: [(&str, &[&str]); 3] = [("resp", &["off"]), ("join", &["a@h", "b@h"]), ("hidden", &["true"])];
        let given: Vec<(&str, Vec<&str>)> = args
            .flags
            .iter()
            .map(|(name, texts)| (*name, texts.iter().map(String::as_str).collect()))
            .collect();
        assert_eq!(given, expected.map(|(name, texts)| (name, texts.to_vec())));
    }

    #[test]
    fn help_shows_what_can_be_used() {
        let mut command = Cli::command();
        let start = command.find_subcommand_mut("start").unwrap();
        let help = start.render_long_help().to_string();
        for setting in Setting::all() {
            let is_shown = help
                .lines()
                .any(|line| line.split([' ', '=']).any(|word| word == format!("--{}", setting.name)));
            assert_eq!(is_shown, !setting.is_to_come(), "{}", setting.name);
        }
    }

    #[test]
    fn wrong_use_is_one_line_with_a_tip() {
        for (args, part) in [
            (&["start", "--rsp", "off"][..], "--resp"),
            (&["start", "--resp"][..], "--resp"),
            (&["strat"][..], "start"),
            (&["dev", "--nodes", "0"][..], "--nodes"),
        ] {
            let line = one_line(&parse(args).unwrap_err().to_string());
            assert!(
                line.contains(part) && !line.contains('\n') && !line.contains("Usage"),
                "{line}"
            );
        }
    }
}
