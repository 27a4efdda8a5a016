//! The process registered as `net_kernel`: answers `net_adm:ping/1`, which asks
//! `{is_auth, Node}` of it. What else BEAM nodes ask here gets no answer, as the manual has it.

use crate::{
    context::Context,
    gen_server::{Request, parse},
    message::{Message, Payload, Process},
};
use wire::etf::Term;

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
