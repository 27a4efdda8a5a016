//! One printer, many nodes: whoever holds the global lock `printer` prints, in Rust or in `iex`.
//!
//! ```text
//! $ cargo run -p salp --example lock ada
//! ada prints
//! ada is done                                         a second later, and again and again
//! $ cargo run -p salp --example lock bob ada          in a second terminal: they take turns
//!
//! $ iex --name eve@127.0.0.1 --cookie example
//! iex> Node.connect(:"ada@127.0.0.1")
//! iex> :global.set_lock({:printer, self()})           nobody prints any more
//! true
//! iex> :global.del_lock({:printer, self()})           they go on
//! ```

use std::{env, error::Error, time::Duration};

use salp::{Inbox, Term, process::Failure};
use tokio::time::sleep;

/// Takes the lock, tells `print` that it has it and that it gives it back, and so on.
///
/// # Errors
/// The node has stopped, or takes no part in `global`.
pub async fn printer(mut inbox: Inbox, turn: Duration, print: impl Fn(&str) + Send) -> Result<(), Failure> {
    loop {
        inbox.lock(Term::atom("printer")).await?;
        print("prints");
        sleep(turn).await;
        print("is done");
        inbox.unlock(Term::atom("printer")).await?;
        // A free lock is tried for at random times, so it stays free as long as it is held.
        sleep(turn).await;
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let name = args.next().ok_or("usage: lock NAME [WHOM_TO_JOIN]")?;
    let mut node = salp::Node::builder()
        .name(&format!("{name}@127.0.0.1"))
        .cookie("example");
    if let Some(other) = args.next() {
        node = node.join([format!("{other}@127.0.0.1")]);
    }
    let node = node.start().await?;
    node.spawn_async(move |inbox| printer(inbox, Duration::from_secs(1), move |what| println!("{name} {what}")))
        .await?;
    node.ended().await;
    Ok(())
}
