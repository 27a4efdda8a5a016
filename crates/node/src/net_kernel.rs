//! The process registered as `net_kernel`: answers `net_adm:ping/1`, which sends it `{is_auth, Node}`. Other requests
//! of BEAM nodes get no answer, as the manual allows.

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
        // Any process may link to it, but no other process's end may end it.
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
