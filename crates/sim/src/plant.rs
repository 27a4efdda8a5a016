//! Planted bugs.
use std::{cell::RefCell, collections::BTreeMap, rc::Rc};
use node::{Context, Message, Process};
use store::{ask::Payload, store::Store};

/// Which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant { HastyAck, ReusedDot }

pub struct Tampered { store: Rc<RefCell<Store>>, plant: Option<Plant> }
impl Tampered {
    pub fn new(store: Rc<RefCell<Store>>, plant: Option<Plant>, _: Rc<RefCell<BTreeMap<String, Rc<RefCell<Store>>>>>) -> Self { Self { store, plant } }
}
impl Process<Payload> for Tampered {
    fn start(&mut self, ctx: &mut Context<'_, Payload>) { self.store.borrow_mut().start(ctx); }
    fn handle(&mut self, ctx: &mut Context<'_, Payload>, message: Message<Payload>) { let _ = self.plant; self.store.borrow_mut().handle(ctx, message); }
}
