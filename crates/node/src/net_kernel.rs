//! The process registered as `net_kernel`: answers `net_adm:ping/1`, which asks
//! `{is_auth, Node}` of it. What else BEAM nodes ask here gets no answer, as the manual has it.
//!
//! It asks the same of peers that are silent for long ([`Core::ask_for_life`]).

use crate::{
    context::Context,
    gen_server::{Request, call_term, parse},
    message::{Address, Message, Payload, Process},
    scheduler::Core,
};
use wire::etf::{Atom, Term};

pub(crate) const NAME: &str = "net_kernel";

#[derive(Debug)]
pub(crate) struct NetKernel;

impl<P: Payload> Process<P> for NetKernel {
    fn start(&mut self, ctx: &mut Context<'_, P>) {
        // Anybody may link to it; nobody's end is its own.
        ctx.trap_exit(true);
    }

    fn handle(&mut self, ctx: &mut Context<'_, P>, message: Message<P>) {
        let Message::Term { term, .. } = message else {
            return;
        };
        let Request::Call { from, request } = parse(term) else {
            return;
        };
        if let Some([verb, Term::Atom(_)]) = request.as_tuple()
            && verb.is_atom("is_auth")
        {
            ctx.reply(&from, Term::atom("yes"));
        }
    }
}

impl<P: Payload> Core<P> {
    /// Asks a peer for a sign of life. One that is well and has a longer tick time than ours would be silent for longer
    /// than we wait: a BEAM ticks every 15 s unless told otherwise. The answer is nobody's; that something came counts.
    pub(crate) fn ask_for_life(&mut self, node: &Atom) {
        self.last_reference += 1;
        let tag = self.reference(self.last_reference);
        let is_auth = (Term::atom("is_auth"), self.config.name.clone());
        let request = call_term(self.pid(self.net_kernel), &tag, is_auth.into());
        let name = Atom::new(NAME);
        let node = node.clone();
        let to = Address::Remote { node, name };
        self.send(self.net_kernel, &to, request, false);
    }
}
