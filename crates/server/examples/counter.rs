//! A counter in Rust that `iex` calls.
//!
//! ```text
//! $ cargo run -p salp --example counter
//! counter@127.0.0.1 counts
//!
//! $ iex --name me@127.0.0.1 --cookie example --hidden
//! iex> counter = {:counter, :"counter@127.0.0.1"}
//! iex> GenServer.call(counter, {:add, 5})
//! {:ok, 5}
//! iex> GenServer.cast(counter, :reset)
//! :ok
//! iex> GenServer.call(counter, :get)
//! {:ok, 0}
//! iex> GenServer.call(counter, {:add, "five"})
//! {:error, "add.0: expected a signed integer of 64 bits, found a binary"}
//! iex> :sys.get_state(counter)   # {:ok, 0} before OTP 26.1
//! 0
//! iex> GenServer.stop(counter)
//! :ok
//! ```

use std::error::Error;

use salp::{Context, From, FromTerm, GenServer, Next, Payload, Reply, Term, ToTerm};

/// What a counter is asked.
#[derive(FromTerm)]
pub enum Request {
    /// `{:add, n}`
    Add(i64),
    /// `:get`
    Get,
    /// `:reset`
    Reset,
}

/// Counts.
#[derive(Default)]
pub struct Counter {
    value: i64,
}

impl Counter {
    fn ask(&mut self, request: &Term) -> Result<i64, String> {
        match Request::from_term(request).map_err(|mismatch| mismatch.to_string())? {
            Request::Add(count) => {
                self.value = self.value.checked_add(count).ok_or("too much")?;
            }
            Request::Get => {}
            Request::Reset => self.value = 0,
        }
        Ok(self.value)
    }
}

impl GenServer<Payload> for Counter {
    fn handle_call(&mut self, _: &mut Context<'_>, request: Term, _: &From) -> Reply {
        Reply::now(self.ask(&request).to_term())
    }

    fn handle_cast(&mut self, _: &mut Context<'_>, request: Term) -> Next {
        // A cast has no answer, not even that it was not understood.
        let _ = self.ask(&request);
        Next::Wait
    }

    fn state(&self) -> Option<Term> {
        Some(self.value.into())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let node = salp::Node::builder()
        .name("counter@127.0.0.1")
        .cookie("example")
        .start()
        .await?;
    node.start_server(Some("counter"), Counter::default()).await?;
    println!("{} counts", node.name());
    node.ended().await;
    Ok(())
}
