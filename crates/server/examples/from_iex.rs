//! An async Rust process that `iex` talks to: it waits, and nobody waits for it.
//!
//! ```text
//! $ cargo run -p salp --example from_iex
//! rust@127.0.0.1 listens
//!
//! $ iex --name me@127.0.0.1 --cookie example --hidden
//! iex> sleeper = {:sleeper, :"rust@127.0.0.1"}
//! iex> GenServer.call(sleeper, {:after, 1000, "good morning"})
//! "good morning"                                              a second later
//! iex> send(sleeper, {self(), :hello})
//! iex> flush()
//! {:hello, #PID<…>}
//! iex> Process.monitor(sleeper)
//! iex> GenServer.cast(sleeper, :panic)
//! iex> flush()
//! {:DOWN, #Reference<…>, :process, {:sleeper, :"rust@127.0.0.1"}, {:panic, "as you like"}}
//! ```

use std::{error::Error, time::Duration};

use salp::{
    Address, FromTerm, Inbox, Message, Term,
    gen_server::{From, Request, parse},
};

/// `{:after, ms, answer}`
#[derive(FromTerm)]
pub enum Call {
    /// Answer, but later.
    After(u64, Term),
}

/// Answers when it was asked to, and each caller in its own time.
///
/// # Errors
/// The node has stopped.
pub async fn sleeper(mut inbox: Inbox) -> Result<(), Term> {
    let named = inbox.act(|ctx| ctx.register("sleeper", &ctx.me().clone())).await;
    if named != Ok(true) {
        return Err(Term::atom("no_name"));
    }
    while let Some(message) = inbox.receive().await {
        let Message::Term { term, .. } = message else {
            continue;
        };
        match parse(term) {
            Request::Call { from, request } => answer(&inbox, from, &request).await,
            Request::Cast(word) => assert!(!word.is_atom("panic"), "as you like"),
            Request::Info(term) => {
                if let Some([Term::Pid(pid), word]) = term.as_tuple() {
                    let answer = Term::tuple([word.clone(), inbox.me().clone().into()]);
                    let _ = inbox.send(Address::Pid(pid.clone()), answer).await;
                }
            }
        }
    }
    Ok(())
}

async fn answer(inbox: &Inbox, from: From, request: &Term) {
    let (wait, answer) = match Call::from_term(request) {
        Ok(Call::After(ms, answer)) => (Duration::from_millis(ms), answer),
        Err(mismatch) => (Duration::ZERO, mismatch.to_string().into()),
    };
    let replier = inbox.replier();
    tokio::spawn(async move {
        tokio::time::sleep(wait).await;
        // A caller that is gone, or a node, needs no answer.
        let _ = replier.reply(from, answer).await;
    });
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let node = salp::Node::builder()
        .name("rust@127.0.0.1")
        .cookie("example")
        .start()
        .await?;
    node.spawn_async(sleeper).await?;
    println!("{} listens", node.name());
    node.ended().await;
    Ok(())
}
