//! A chat over a process group: whoever is in the group `lobby` hears what is said, in Rust or in `iex`.
//!
//! ```text
//! $ cargo run -p salp --example chat ada
//! $ cargo run -p salp --example chat bob ada          in a second terminal
//! good evening
//!                                                     ada sees: bob: good evening
//!
//! $ iex --name eve@127.0.0.1 --cookie example
//! iex> Node.connect(:"ada@127.0.0.1"); :pg.start_link(); :pg.join(:lobby, self())
//! iex> for pid <- :pg.get_members(:lobby), do: send(pid, {:said, "eve", "hello"})
//!                                                     all see: eve: hello
//! iex> flush()
//! {:said, "eve", "hello"}
//! {:said, "bob", "good evening"}                      what bob says from now on
//! ```

use std::{env, error::Error, io};

use salp::{Address, FromTerm, Inbox, Message, Term, ToTerm};
use tokio::sync::mpsc;

const SCOPE: &str = "pg";

/// `{:said, who, what}`
#[derive(FromTerm, ToTerm)]
pub enum Word {
    /// Somebody said something.
    Said(String, String),
}

/// Joins the lobby, says what comes from `lines`, and gives what others say to `heard`.
///
/// # Errors
/// The node has stopped, or runs no groups.
pub async fn chatter(
    mut inbox: Inbox,
    name: String,
    mut lines: mpsc::Receiver<String>,
    heard: impl Fn(String) + Send,
) -> Result<(), Term> {
    let lobby = || Term::atom("lobby");
    let joined = inbox.act(move |ctx| ctx.join(SCOPE, lobby(), &ctx.me().clone())).await;
    if joined != Ok(true) {
        return Err(Term::atom("no_lobby"));
    }
    let me = inbox.me().clone();
    loop {
        tokio::select! {
            message = inbox.receive() => match message {
                Some(Message::Term { term, .. }) => {
                    if let Ok(Word::Said(who, what)) = Word::from_term(&term) {
                        heard(format!("{who}: {what}"));
                    }
                }
                Some(_) => {}
                None => return Ok(()),
            },
            line = lines.recv() => {
                let Some(line) = line else { return Ok(()) };
                let word = Word::Said(name.clone(), line).to_term();
                let me = me.clone();
                let said = inbox.act(move |ctx| {
                    for pid in ctx.members_of(SCOPE, &lobby()) {
                        if pid != me {
                            ctx.send(&Address::Pid(pid), word.clone());
                        }
                    }
                });
                said.await.map_err(|_| Term::atom("gone"))?;
            }
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let name = args.next().ok_or("usage: chat NAME [WHOM_TO_JOIN]")?;
    let mut node = salp::Node::builder()
        .name(&format!("{name}@127.0.0.1"))
        .cookie("example");
    if let Some(other) = args.next() {
        node = node.join([format!("{other}@127.0.0.1")]);
    }
    let node = node.start().await?;
    let (said, lines) = mpsc::channel(16);
    node.spawn_async(move |inbox| chatter(inbox, name, lines, |line| println!("{line}")))
        .await?;
    std::thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            if said.blocking_send(line).is_err() {
                return;
            }
        }
    });
    node.ended().await;
    Ok(())
}
