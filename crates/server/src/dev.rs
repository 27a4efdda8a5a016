//! `salp dev`: a cluster on one machine, to try things out. Each node is a process of its own, so each can be killed,
//! stopped and inspected. No node is restarted. All nodes end when this command ends, for whatever reason.

use std::{
    env,
    fs::{self, DirBuilder},
    io,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process::{self, ExitCode, ExitStatus, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    process::{Child, ChildStdin, Command},
    runtime,
    sync::mpsc,
    time::{sleep, timeout},
};

use crate::{
    cli::DevArgs,
    config::{ConfigError, cookie, default_cookie_file},
    output,
    signals::Stop,
};

/// How long the nodes may take to start.
const START_TIME_MAX: Duration = Duration::from_secs(30);
/// Time between two checks of a node that does not answer yet.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Runs the cluster until Ctrl-C, or until its last node has ended.
pub(crate) fn run(args: &DevArgs) -> Result<ExitCode, ConfigError> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| ConfigError::new("dev", error, "allow the process more files"))?;
    runtime.block_on(cluster(args))
}

/// One node, as this command sees it.
struct Member {
    name: String,
    resp: SocketAddr,
    http: SocketAddr,
    pid: u32,
    /// The node ends when this is closed.
    _stdin: Option<ChildStdin>,
}

/// Where the nodes remember their cluster while this command runs.
struct StateDir(PathBuf);

impl StateDir {
    fn new() -> io::Result<Self> {
        let random = getrandom::u64().map_err(io::Error::other)?;
        let path = env::temp_dir().join(format!("salp-dev-{}-{random:016x}", process::id()));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for StateDir {
    fn drop(&mut self) {
        // If this fails, the directory is left in the system's temporary directory.
        let _ = fs::remove_dir_all(&self.0);
    }
}

async fn cluster(args: &DevArgs) -> Result<ExitCode, ConfigError> {
    let cookie_file = args.cookie_file.clone().unwrap_or_else(default_cookie_file);
    // Created before the nodes start, so that none of them creates it.
    cookie::read_or_make(&cookie_file).map_err(|(problem, mend)| ConfigError::new("--cookie-file", problem, mend))?;
    let mut stop = Stop::new()?;
    let state =
        StateDir::new().map_err(|error| ConfigError::new("dev", error, "make room in the temporary directory"))?;
    let (ended_tell, mut ended) = mpsc::channel(usize::from(args.nodes));
    let mut members = Vec::new();
    for index in 0..args.nodes {
        let (member, child) = start(args, &cookie_file, state.path(), index)?;
        let (name, tell) = (member.name.clone(), ended_tell.clone());
        tokio::spawn(async move {
            let status = watch(child, &name).await;
            let _ = tell.send((name, status)).await;
        });
        members.push(member);
    }
    drop(ended_tell);

    tokio::select! {
        biased;
        () = stop.asked() => return Ok(ExitCode::SUCCESS),
        Some((name, _)) = ended.recv() => {
            let problem = format!("{name} did not start");
            return Err(ConfigError::new("dev", problem, "see what it said above"));
        }
        ready = timeout(START_TIME_MAX, all_ready(&members)) => {
            if ready.is_err() {
                let problem = format!("not all nodes answered within {} s", START_TIME_MAX.as_secs());
                return Err(ConfigError::new("dev", problem, "see what they said above, or start fewer"));
            }
        }
    }
    let said = output::stdout();
    said.push(format!(
        "{}dashboard  http://{}/\ncookie     in {} (salp cookie prints it)\nCtrl-C stops all\n",
        table(&members),
        members[0].http,
        cookie_file.display()
    ));
    loop {
        tokio::select! {
            biased;
            () = stop.asked() => {
                said.push("stopped\n");
                return Ok(ExitCode::SUCCESS);
            }
            end = ended.recv() => match end {
                Some((name, status)) => said.push(format!("{name} ended ({})\n", describe(status))),
                None => return Ok(ExitCode::FAILURE),
            }
        }
    }
}

fn start(args: &DevArgs, cookie_file: &Path, state_dir: &Path, index: u16) -> Result<(Member, Child), ConfigError> {
    let name = |index: u16| format!("salp_{}@127.0.0.1", index + 1);
    let port = |setting: &str, base: u16| {
        let port = base.checked_add(index).filter(|_| base > 0);
        let problem = format!("{} nodes from {base} on do not fit below 65536", args.nodes);
        port.ok_or_else(|| ConfigError::new(setting, problem, "choose a lower port"))
    };
    let resp = SocketAddr::from((Ipv4Addr::LOCALHOST, port("--base-resp", args.base_resp)?));
    let http = SocketAddr::from((Ipv4Addr::LOCALHOST, port("--base-http", args.base_http)?));
    let program = env::current_exe();
    let fault = |error| ConfigError::new("dev", error, "run it where programs can be started");
    let mut command = Command::new(program.map_err(fault)?);
    command
        .args([
            "start",
            "--until-stdin-ends",
            "--name",
            &name(index),
            "--log",
            &args.log,
        ])
        .args([
            "--resp",
            &resp.to_string(),
            "--http",
            &http.to_string(),
            "--cookie-file",
        ])
        .arg(cookie_file)
        .arg("--state-dir")
        .arg(state_dir);
    for other in (0..args.nodes).filter(|other| *other != index) {
        command.args(["--join", &name(other)]);
    }
    // Ctrl-C must reach this command alone, which then ends its nodes.
    command
        .args(&args.options)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(fault)?;
    let pid = child.id().unwrap_or(0);
    Ok((
        Member {
            name: name(index),
            resp,
            http,
            pid,
            _stdin: child.stdin.take(),
        },
        child,
    ))
}

/// Prints the output of a node, with its name in front, until the node ends. Lines that standard error does not take
/// are dropped: the node's pipe is always read.
async fn watch(mut child: Child, name: &str) -> Option<ExitStatus> {
    let short = name.split('@').next().unwrap_or(name);
    if let Some(stderr) = child.stderr.take() {
        let mut lines = BufReader::new(stderr).split(b'\n');
        while let Ok(Some(line)) = lines.next_segment().await {
            output::stderr().push([short.as_bytes(), b" | ", &line, b"\n"].concat());
        }
    }
    child.wait().await.ok()
}

fn describe(status: Option<ExitStatus>) -> String {
    status.map_or_else(|| "unknown why".into(), |status| status.to_string())
}

async fn all_ready(members: &[Member]) {
    for member in members {
        while !is_ready(member.http).await {
            sleep(LOOK_AGAIN).await;
        }
    }
}

/// Whether a node reports that it is ready. It does so without a password or token too.
async fn is_ready(http: SocketAddr) -> bool {
    const YES: &[u8] = b"HTTP/1.1 200";
    let probe = async {
        let mut stream = TcpStream::connect(http).await.ok()?;
        let request = b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.ok()?;
        let mut answer = [0; YES.len()];
        stream.read_exact(&mut answer).await.ok()?;
        Some(answer)
    };
    let answer = timeout(Duration::from_secs(1), probe).await.ok().flatten();
    answer.is_some_and(|answer| answer == YES)
}

/// The nodes as a table.
fn table(members: &[Member]) -> String {
    let header = ["node", "RESP", "HTTP", "pid"].map(str::to_owned);
    let row = |member: &Member| {
        [
            member.name.clone(),
            member.resp.to_string(),
            format!("http://{}", member.http),
            member.pid.to_string(),
        ]
    };
    let rows: Vec<[String; 4]> = [header].into_iter().chain(members.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let mut text = String::new();
    for row in &rows {
        let cells = row
            .iter()
            .enumerate()
            .map(|(column, cell)| format!("{cell:<width$}", width = width(column)));
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let member = |name: &str, port| Member {
            name: name.into(),
            resp: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            http: SocketAddr::from((Ipv4Addr::LOCALHOST, 4000)),
            pid: 7,
            _stdin: None,
        };
        let expected = "\
node  RESP             HTTP                   pid
a@h   127.0.0.1:9      http://127.0.0.1:4000  7
bb@h  127.0.0.1:10000  http://127.0.0.1:4000  7
";
        assert_eq!(table(&[member("a@h", 9), member("bb@h", 10_000)]), expected);
    }
}
