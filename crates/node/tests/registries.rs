//! Registries: unique and duplicate keys, limits, and that entries end with their processes.
#![allow(clippy::unwrap_used, reason = "tests")]

mod net;

use net::{Net, Scripted, config};
use node::{
    Pid, Term,
    registry::{EntryError, Keys},
};

/// A process that opens a registry, and adds itself under the keys it receives.
fn clerk(keys: Keys) -> Box<Scripted> {
    Box::new(Scripted {
        start: Box::new(move |ctx| assert!(ctx.open_registry("phones", keys, 3))),
        handle: Box::new(|_, _| {}),
    })
}

fn entered(net: &mut Net, key: &'static str, value: i64) -> (Pid, Result<(), EntryError>) {
    let pid = net.adopt("a");
    let result = net.act("a", &pid, |ctx| ctx.enter("phones", Term::atom(key), Term::Int(value)));
    (pid, result)
}

#[test]
fn unique_keys_have_one_process_and_duplicate_keys_many() {
    for keys in [Keys::Unique, Keys::Duplicate] {
        let mut net = Net::new();
        net.start(config("a", &[]), 1, vec![("clerk", clerk(keys))]);
        let (first, result) = entered(&mut net, "k", 1);
        assert_eq!(result, Ok(()));
        let (second, result) = entered(&mut net, "k", 2);
        let expected = match keys {
            Keys::Unique => Err(EntryError::Taken(first.clone())),
            Keys::Duplicate => Ok(()),
        };
        assert_eq!(result, expected);
        let rest = if keys == Keys::Unique { 2 } else { 1 };
        for number in 0..rest {
            assert_eq!(entered(&mut net, ["l", "m"][number], 3).1, Ok(()));
        }
        assert_eq!(entered(&mut net, "n", 4).1, Err(EntryError::Full));
        // When a process ends, its entries are removed and their room is free again.
        net.act("a", &first, |ctx| ctx.exit(Term::atom("normal")));
        let reached = net.act("a", &second, |ctx| {
            ctx.dispatch("phones", &Term::atom("k"), &Term::atom("hello"))
        });
        assert_eq!(reached, usize::from(keys == Keys::Duplicate));
        assert_eq!(entered(&mut net, "n", 4).1, Ok(()));
        let (found, held) = net.act("a", &second, |ctx| {
            (ctx.lookup("phones", &Term::atom("k")), ctx.keys_of("phones", &second))
        });
        if keys == Keys::Duplicate {
            assert_eq!(found, [(second.clone(), Term::Int(2))]);
            assert_eq!(held, [Term::atom("k")]);
        } else {
            assert!(found.is_empty() && held.is_empty());
        }
        net.act("a", &second, |ctx| ctx.withdraw("phones", &Term::atom("k")));
        assert!(
            net.act("a", &second, |ctx| ctx.lookup("phones", &Term::atom("k")))
                .is_empty()
        );
        // When the owner ends, its registry is removed.
        net.act("a", &second, |ctx| {
            let clerk = ctx.whereis("clerk").cloned().unwrap();
            ctx.exit_other(&clerk, Term::atom("kill"));
        });
        net.run_ms(1);
        assert_eq!(entered(&mut net, "k", 1).1, Err(EntryError::NoRegistry));
        assert_eq!(net.act("a", &second, |ctx| ctx.entries("phones")), 0);
    }
}
