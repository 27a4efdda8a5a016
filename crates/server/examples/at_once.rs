//! Two programs that want one lock, or one global name, the moment they are ready: never both have it.
//!
//! ```text
//! $ cargo run -p salp --example at_once 200
//! 200 tries, 0 with two holders
//! ```
//!
//! Each try is two processes. In half of the tries they start together and are to join each other; in the others the
//! second starts when the first has what both want. A holder makes a file that must not be there.

use std::{
    env,
    error::Error,
    fs::{self, File},
    io::{BufRead, BufReader},
    net::TcpListener,
    process::{Child, ChildStdout, Command, ExitCode, Stdio},
    time::Duration,
};

use salp::{Inbox, Method, Node, Term, process::Failure};
use tokio::{sync::oneshot, time::sleep};

/// What a child is to do: its name, its port, the node it joins or `-`, `lock` or `name`, the file, milliseconds to
/// hold.
pub const ROLE: &str = "SALP_AT_ONCE";
const HELD: &str = "at_once: held";
const TWO: &str = "at_once: two holders";
/// What both want.
const RESOURCE: &str = "printer";
/// A name that is taken is asked for again after this time.
const RETRY: Duration = Duration::from_millis(20);

/// One of the two programs.
///
/// # Errors
/// The role is none, or the node does not start.
pub async fn child(role: &str) -> Result<(), Box<dyn Error + Send + Sync>> {
    let role: Vec<String> = role.split(' ').map(String::from).collect();
    let [name, port, join, wanted, file, hold_ms] = <[String; 6]>::try_from(role).map_err(|_| "six words")?;
    let hold = Duration::from_millis(hold_ms.parse()?);
    let mut node = Node::builder()
        .name(&name)
        .cookie("at_once")
        .epmd(false)
        .dist_port(&port);
    if join != "-" {
        node = node.join([join]);
    }
    let node = node.start().await?;
    node.ready().await;
    let (done, is_done) = oneshot::channel();
    node.spawn_async(move |mut inbox: Inbox| async move {
        let outcome = turn(&mut inbox, &wanted, &file, hold).await;
        // The program waits for this.
        let _ = done.send(outcome.map_err(|failure| failure.to_string()));
    })
    .await?;
    is_done.await??;
    node.stop().await;
    Ok(())
}

/// Takes what both want, holds it and gives it back.
async fn turn(inbox: &mut Inbox, wanted: &str, file: &str, hold: Duration) -> Result<(), Failure> {
    let is_lock = wanted == "lock";
    if is_lock {
        inbox.lock(Term::atom(RESOURCE)).await?;
    } else {
        while !register(inbox).await? {
            sleep(RETRY).await;
        }
    }
    let is_alone = File::create_new(file).is_ok();
    println!("{}", if is_alone { HELD } else { TWO });
    sleep(hold).await;
    if is_alone {
        // The driver sees what is left.
        let _ = fs::remove_file(file);
    }
    if is_lock {
        return inbox.unlock(Term::atom(RESOURCE)).await;
    }
    let asked = inbox.act(|ctx| ctx.unregister_global(Term::atom(RESOURCE))).await?;
    inbox.answer(&asked).await.map(drop)
}

/// False if another process has the name.
async fn register(inbox: &mut Inbox) -> Result<bool, Failure> {
    let register = |ctx: &mut salp::Context<'_>| {
        let me = ctx.me().clone();
        ctx.register_global(Term::atom(RESOURCE), &me, Method::RandomExit)
    };
    let asked = inbox.act(register).await?;
    Ok(inbox.answer(&asked).await?.is_atom("yes"))
}

/// Runs `count` tries with programs that are this one, started with `args`. Gives how many had two holders.
///
/// # Errors
/// A program did not start, or did not come to its end.
pub fn tries(count: usize, args: &[&str]) -> Result<usize, Box<dyn Error>> {
    let mut bad = 0;
    for number in 0..count {
        let wanted = if number % 2 == 0 { "lock" } else { "name" };
        let lines = if number / 2 % 2 == 0 {
            together(number, wanted, args)?
        } else {
            one_after_the_other(number, wanted, args)?
        };
        let has = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
        if has(TWO) > 0 {
            bad += 1;
            eprintln!("try {number}: two processes have the {wanted}");
        } else if has(HELD) != 2 {
            return Err(format!("try {number}: not both had the {wanted} in turn: {lines:?}").into());
        }
    }
    Ok(bad)
}

/// Both start at the same time and are to join each other.
fn together(number: usize, wanted: &str, args: &[&str]) -> Result<Vec<String>, Box<dyn Error>> {
    let ports = free_ports()?;
    let file = env::temp_dir().join(format!("at_once_{}_{number}", std::process::id()));
    let start = |at: usize| {
        let join = format!("n{}@127.0.0.1:{}", 1 - at, ports[1 - at]);
        let role = format!("n{at}@127.0.0.1 {} {join} {wanted} {} 150", ports[at], file.display());
        Program::start(&role, args)
    };
    let (first, second) = (start(0)?, start(1)?);
    Ok([first.end()?, second.end()?].concat())
}

/// The second starts when the first has what both want.
fn one_after_the_other(number: usize, wanted: &str, args: &[&str]) -> Result<Vec<String>, Box<dyn Error>> {
    let ports = free_ports()?;
    let file = env::temp_dir().join(format!("at_once_{}_{number}", std::process::id()));
    let file = file.display();
    let mut first = Program::start(&format!("n0@127.0.0.1 {} - {wanted} {file} 1500", ports[0]), args)?;
    first.read_until(HELD)?;
    let join = format!("n0@127.0.0.1:{}", ports[0]);
    let second = Program::start(&format!("n1@127.0.0.1 {} {join} {wanted} {file} 50", ports[1]), args)?;
    Ok([first.end()?, second.end()?].concat())
}

fn free_ports() -> std::io::Result<[u16; 2]> {
    let listeners = [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?];
    Ok([listeners[0].local_addr()?.port(), listeners[1].local_addr()?.port()])
}

/// A child and what it printed until now. It is ended with this.
struct Program {
    child: Child,
    output: BufReader<ChildStdout>,
    lines: Vec<String>,
}

impl Program {
    fn start(role: &str, args: &[&str]) -> Result<Self, Box<dyn Error>> {
        let mut child = Command::new(env::current_exe()?)
            .args(args)
            .env(ROLE, role)
            .stdout(Stdio::piped())
            .spawn()?;
        let output = BufReader::new(child.stdout.take().ok_or("it has no output")?);
        let lines = Vec::new();
        Ok(Self { child, output, lines })
    }

    fn read_until(&mut self, text: &str) -> Result<(), Box<dyn Error>> {
        while !self.lines.last().is_some_and(|line| line.contains(text)) {
            if !self.read()? {
                return Err(format!("it ended after {:?}", self.lines).into());
            }
        }
        Ok(())
    }

    /// The next line; false at the end.
    fn read(&mut self) -> std::io::Result<bool> {
        let mut line = String::new();
        let is_line = self.output.read_line(&mut line)? > 0;
        self.lines.extend(is_line.then_some(line));
        Ok(is_line)
    }

    fn end(mut self) -> Result<Vec<String>, Box<dyn Error>> {
        while self.read()? {}
        let status = self.child.wait()?;
        if !status.success() {
            return Err(format!("{status} after {:?}", self.lines).into());
        }
        Ok(std::mem::take(&mut self.lines))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It has ended, or a try failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error + Send + Sync>> {
    if let Ok(role) = env::var(ROLE) {
        child(&role).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let count = env::args().nth(1).map_or(Ok(10), |count| count.parse())?;
    let bad = tokio::task::spawn_blocking(move || tries(count, &[]).map_err(|error| error.to_string())).await??;
    println!("{count} tries, {bad} with two holders");
    Ok(if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
