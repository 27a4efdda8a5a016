//! Stand-in.
use std::sync::Arc;
use store::{ask::Status, quorum::Level};
use wire::request::Batch;
#[derive(Debug)]
pub struct Gone;
#[derive(Clone, Debug)]
pub struct Handle(tokio::sync::broadcast::Sender<node::Event>);
impl Handle {
    pub async fn ask(&self, _k: u16, _l: Option<Level>, _b: Batch) -> Result<Batch, Gone> { Err(Gone) }
    pub async fn status(&self) -> Result<Arc<Status>, Gone> { Err(Gone) }
    pub fn add(&self, _: &str) {}
    pub fn forget(&self, _: &str) {}
    pub fn leave(&self) {}
    pub fn leave_other(&self, _: &str) {}
    pub fn events(&self) -> tokio::sync::broadcast::Receiver<node::Event> { self.0.subscribe() }
}
