//! `salp start`: one node in the foreground, from its settings to its end. And `salp epmd`.

use std::{
    backtrace::Backtrace,
    env, io,
    net::{IpAddr, SocketAddr},
    panic,
    process::{self, ExitCode},
    thread,
};

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::runtime::{self, Runtime};

use crate::{
    cli::StartArgs,
    config::{Config, ConfigError, LogFormat, settings::Settings},
    epmd, log,
    measure::Meter,
    output,
    running::Node,
    signals::Stop,
};

/// Exit code of a program that stopped because of a bug in it.
const BUG: i32 = 101;
/// Threads besides that of the core: HTTP, look-ups, logs.
const THREADS: usize = 2;

/// Runs a node until it is told to stop, or has left.
pub(crate) fn run(args: &StartArgs) -> Result<ExitCode, ConfigError> {
    let settings = Settings::merge(&args.flags, |name| env::var(name).ok(), args.file.as_deref())?;
    let config = Config::resolve(&settings)?;
    start_log(config.log, config.log_format)?;
    for line in &settings.ignored {
        tracing::warn!("{line}");
    }
    end_with_a_panic();
    raise_the_limit_of_files();
    if args.until_stdin_ends {
        end_with_stdin()?;
    }
    let runtime = runtime()?;
    let served = runtime.block_on(serve(config));
    // A look-up of a name may be under way. It is not awaited.
    runtime.shutdown_background();
    served
}

async fn serve(config: Config) -> Result<ExitCode, ConfigError> {
    let mut stop = Stop::new()?;
    let node = Node::start(config, meter()).await?;
    tokio::select! {
        biased;
        () = stop.asked() => {}
        // It was asked to leave in another way, and has left.
        () = node.ended() => {
            let (fault, has_lost) = (node.fault(), node.lost().is_some());
            node.stop().await;
            let code = if has_lost { ExitCode::FAILURE } else { ExitCode::SUCCESS };
            return fault.map_or(Ok(code), Err);
        }
    }
    tracing::info!("leaving: handing all data to the other nodes; a second signal stops at once");
    tokio::select! {
        biased;
        has_left = node.leave() => {
            if has_left {
                return Ok(ExitCode::SUCCESS);
            }
            tracing::warn!("not everything was handed over");
        }
        () = stop.asked() => tracing::warn!("stopped before everything was handed over"),
    }
    Ok(ExitCode::FAILURE)
}

/// Ends the process with its standard input: a node of `salp dev` must not outlive that command.
fn end_with_stdin() -> Result<(), ConfigError> {
    let wait = || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        output::flush();
        process::exit(0);
    };
    let waiting = thread::Builder::new().name("salp-stdin".into()).spawn(wait);
    waiting
        .map(drop)
        .map_err(|error| ConfigError::new("start", error, "allow the process more threads"))
}

/// A panic anywhere ends the process: other nodes have its data, and a half-dead node is of no use. The report goes to
/// the log's output, so an unread pipe cannot keep the process alive.
fn end_with_a_panic() {
    panic::set_hook(Box::new(|info| {
        let thread = thread::current();
        let name = thread.name().unwrap_or("without a name");
        let trace = Backtrace::capture();
        output::stderr().push(format!("thread {name} {info}\nbacktrace {trace}\n"));
        output::flush();
        process::exit(BUG);
    }));
}

fn start_log(level: tracing::Level, format: LogFormat) -> Result<(), ConfigError> {
    log::init(level, format).map_err(|error| ConfigError::new("start", error, "allow the process more threads"))
}

/// Raises the limit of open files as far as the system allows: each client needs one.
fn raise_the_limit_of_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

fn runtime() -> Result<Runtime, ConfigError> {
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build();
    runtime.map_err(|error| ConfigError::new("start", error, "allow the process more threads and files"))
}

#[cfg(feature = "jemalloc")]
fn meter() -> Meter {
    use tikv_jemalloc_ctl::{background_thread, epoch, stats};
    // Another thread gives memory back to the system, so no request waits for that.
    if let Err(error) = background_thread::write(true) {
        tracing::debug!(%error, "memory is returned by the threads that use it");
    }
    let allocator = || {
        epoch::advance().ok()?;
        Some((
            stats::allocated::read().ok()? as u64,
            stats::resident::read().ok()? as u64,
        ))
    };
    Meter {
        allocator: Some(allocator),
    }
}

#[cfg(not(feature = "jemalloc"))]
fn meter() -> Meter {
    Meter::default()
}

/// Runs the port mapper alone until it is told to stop.
pub(crate) fn run_epmd(port: u16, bind: IpAddr) -> Result<ExitCode, ConfigError> {
    start_log(tracing::Level::INFO, LogFormat::Text)?;
    runtime()?.block_on(async {
        let mut stop = Stop::new()?;
        let serving = epmd::serve(&epmd::Place { port, bind: vec![bind] }).await;
        let _serving = serving.map_err(|error| {
            let address = SocketAddr::from((bind, port));
            let reason = match error.kind() {
                io::ErrorKind::AddrInUse => "the port is in use".to_owned(),
                _ => error.to_string(),
            };
            let problem = format!("cannot listen on {address}: {reason}");
            ConfigError::new("--port", problem, "choose another, or stop what listens there")
        })?;
        tracing::info!(port, %bind, "port mapper started");
        stop.asked().await;
        Ok(ExitCode::SUCCESS)
    })
}
