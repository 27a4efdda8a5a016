//! Every operation in every form, and control terms that are not signals.

use super::*;
use crate::etf::Atom;
use alloc::{vec, vec::Vec};
use proptest::prelude::*;

fn pid(id: u32) -> Pid {
    Pid {
        node: Atom::new("a@h"),
        id,
        serial: 0,
        creation: 5,
    }
}

fn reference() -> Ref {
    Ref {
        node: Atom::new("a@h"),
        creation: 5,
        len: 3,
        words: [1, 2, 3, 0, 0],
    }
}

fn name() -> Atom {
    Atom::new("srv")
}

/// `{op, fields…}`.
fn control(op: i64, fields: &[Term]) -> Vec<Term> {
    [&[Term::Int(op)], fields].concat()
}

fn p(id: u32) -> Term {
    Term::Pid(pid(id))
}

fn token() -> Term {
    Term::from((1, 2))
}

/// One of each kind of signal.
fn signals() -> Vec<Signal> {
    let message = Term::from((name(), 1));
    let reason = Term::atom("kill_it");
    let send = |to, priority| Signal::Send {
        from: Some(pid(1)),
        to,
        priority,
        message: message.clone(),
    };
    let exit2 = |to, priority| Signal::Exit2 {
        from: pid(1),
        to,
        priority,
        reason: reason.clone(),
    };
    let reply = |link, monitor, outcome| Signal::SpawnReply {
        request: reference(),
        to: pid(1),
        link,
        monitor,
        outcome,
    };
    vec![
        Signal::Link {
            from: pid(1),
            to: pid(2),
        },
        send(Target::Pid(pid(2)), false),
        send(Target::Name(name()), false),
        send(Target::Alias(reference()), false),
        send(Target::Pid(pid(2)), true),
        send(Target::Name(name()), true),
        send(Target::Alias(reference()), true),
        Signal::Exit {
            from: pid(1),
            to: pid(2),
            reason: reason.clone(),
        },
        exit2(Target::Pid(pid(2)), false),
        exit2(Target::Pid(pid(2)), true),
        exit2(Target::Alias(reference()), true),
        Signal::GroupLeader {
            leader: pid(1),
            to: pid(2),
        },
        Signal::Monitor {
            from: pid(1),
            to: Monitored::Pid(pid(2)),
            reference: reference(),
        },
        Signal::Monitor {
            from: pid(1),
            to: Monitored::Name(name()),
            reference: reference(),
        },
        Signal::Demonitor {
            from: pid(1),
            to: Monitored::Name(name()),
            reference: reference(),
        },
        Signal::Down {
            from: Monitored::Name(name()),
            to: pid(2),
            reference: reference(),
            reason: reason.clone(),
        },
        Signal::SpawnRequest {
            request: reference(),
            from: pid(1),
            group_leader: pid(2),
            module: Atom::new("erpc"),
            function: Atom::new("execute_call"),
            arity: 4,
            options: vec![Term::atom("monitor")],
            arguments: Term::list([1, 2, 3]),
        },
        reply(false, true, Ok(pid(2))),
        reply(true, false, Ok(pid(2))),
        reply(false, false, Err(Atom::new("notsup"))),
        Signal::UnlinkId {
            id: u64::MAX,
            from: pid(1),
            to: pid(2),
        },
        Signal::UnlinkIdAck {
            id: 1,
            from: pid(1),
            to: pid(2),
        },
    ]
}

/// Whether only the newest form can express this signal.
fn needs_altact(signal: &Signal) -> bool {
    matches!(
        signal,
        Signal::Send { priority: true, .. }
            | Signal::Exit2 { priority: true, .. }
            | Signal::Exit2 {
                to: Target::Name(_) | Target::Alias(_),
                ..
            }
    )
}

#[test]
fn signals_come_back_in_whatever_form_they_were_sent() {
    let old = Flags::MANDATORY_26;
    let otp_25 = Flags::VISIBLE.without(Flags::ALTACT_SIG);
    for signal in signals() {
        for flags in [
            Flags::VISIBLE,
            otp_25,
            old | Flags::SEND_SENDER,
            old | Flags::EXIT_PAYLOAD,
        ] {
            if needs_altact(&signal) && !flags.contains(Flags::ALTACT_SIG) {
                continue;
            }
            let (control, message) = encoded(&signal, flags);
            let mut expected = signal.clone();
            if let Signal::Send {
                from,
                to: Target::Pid(_),
                ..
            } = &mut expected
                && !flags.contains(Flags::SEND_SENDER)
            {
                *from = None;
            }
            assert_eq!(Signal::decode(&control, message.cloned()), Ok(expected), "{control:?}");
        }
    }
}

/// The elements of the control term of a signal, and the message behind it.
fn encoded(signal: &Signal, flags: Flags) -> (Vec<Term>, Option<&Term>) {
    let mut bytes = Vec::new();
    let message = signal.encode(flags, &mut bytes);
    let Ok(Term::Tuple(items)) = etf::decode_bare(&bytes.into(), &mut 0) else {
        panic!("a control term is a tuple: {signal:?}");
    };
    (items, message)
}

/// The control term of a signal, and whether a message follows it.
fn form(signal: &Signal, flags: Flags) -> (Vec<Term>, bool) {
    let (control, message) = encoded(signal, flags);
    (control, message.is_some())
}

#[test]
fn the_form_follows_the_flags() {
    let (newest, old) = (Flags::VISIBLE, Flags::MANDATORY_26);
    let reason = Term::atom("kill_it");
    let cases = [
        (1, (22, true), (2, true)),
        (2, (6, true), (6, true)),
        (3, (37, true), (33, true)),
        (4, (37, true), (2, true)),
        (7, (24, true), (3, false)),
        (8, (26, true), (8, false)),
        (9, (37, true), (8, false)),
        (15, (28, true), (21, false)),
    ];
    for (index, new_form, old_form) in cases {
        let signal = &signals()[index];
        for (flags, (op, behind)) in [(newest, new_form), (old, old_form)] {
            let (control, message) = form(signal, flags);
            assert_eq!(control[0], Term::Int(op), "{signal:?}");
            assert_eq!(message, behind, "{signal:?}");
        }
    }
    let exit = Signal::Exit {
        from: pid(1),
        to: pid(2),
        reason: reason.clone(),
    };
    assert_eq!(form(&exit, newest).0, control(24, &[p(1), p(2)]));
    assert_eq!(form(&exit, old).0, control(3, &[p(1), p(2), reason]));
    let by_name = &signals()[2];
    let unused = Term::atom("");
    assert_eq!(form(by_name, newest).0, control(6, &[p(1), unused, Term::Atom(name())]));
}

#[test]
fn the_bits_of_op_37() {
    let alias = Term::Ref(reference());
    for (index, bits) in [(3, 4), (4, 1), (5, 9), (6, 5), (9, 17), (10, 21)] {
        let (control, _) = form(&signals()[index], Flags::VISIBLE);
        assert_eq!(control[1], Term::Int(bits), "{:?}", signals()[index]);
    }
    let x = || Some(Term::Int(7));
    let with_token = control(37, &[Term::Int(6), p(1), alias.clone(), token()]);
    assert!(matches!(Signal::decode(&with_token, x()), Ok(Signal::Send { .. })));
    for (bits, fields) in [(4, vec![alias.clone(), token()]), (6, vec![alias.clone()])] {
        let fields = [vec![Term::Int(bits), p(1)], fields].concat();
        assert_eq!(
            Signal::decode(&control(37, &fields), x()),
            Err(SignalError::Operation(37))
        );
    }
    for bits in [0, 8, 12] {
        let mismatch = control(37, &[Term::Int(bits), p(1), alias.clone()]);
        assert_eq!(Signal::decode(&mismatch, x()), Err(SignalError::Field(37)));
    }
}

#[test]
fn tokens_are_dropped() {
    let unused = Term::atom("");
    let (srv, reason) = (Term::Atom(name()), Term::atom("r"));
    let (r, mfa) = (Term::Ref(reference()), Term::from((name(), name(), 1)));
    let spawn = [r.clone(), p(1), p(2), mfa, Term::NIL];
    let reply = [r.clone(), p(1), Term::Int(3), p(2)];
    let x = Some(Term::NIL);
    for (plain, traced, fields, message) in [
        (2, 12, &[unused.clone(), p(2)][..], x.clone()),
        (6, 16, &[p(1), unused, srv], x.clone()),
        (22, 23, &[p(1), p(2)], x.clone()),
        (24, 25, &[p(1), p(2)], x.clone()),
        (26, 27, &[p(1), p(2)], x.clone()),
        (29, 30, &spawn, x.clone()),
        (31, 32, &reply, None),
        (33, 34, &[p(1), r], x),
    ] {
        let with = [fields, &[token()]].concat();
        let without = Signal::decode(&control(plain, fields), message.clone());
        assert!(without.is_ok(), "{plain}");
        assert_eq!(Signal::decode(&control(traced, &with), message), without, "{traced}");
    }
    // With the reason inside, the token stands before it.
    for (plain, traced) in [(3, 13), (8, 18)] {
        let without = Signal::decode(&control(plain, &[p(1), p(2), reason.clone()]), None);
        assert!(without.is_ok());
        let with = control(traced, &[p(1), p(2), token(), reason.clone()]);
        assert_eq!(Signal::decode(&with, None), without);
    }
}

#[test]
fn other_terms_are_refused() {
    for (term, error) in [
        (vec![], SignalError::Shape),
        (vec![Term::Atom(name())], SignalError::Shape),
        (control(4, &[p(1), p(2)]), SignalError::Operation(4)),
        (control(5, &[]), SignalError::Operation(5)),
        (control(99, &[p(1), p(2)]), SignalError::Operation(99)),
        (control(1, &[p(1)]), SignalError::Operation(1)),
        (control(1, &[p(1), p(2), p(3)]), SignalError::Operation(1)),
        (control(1, &[p(1), Term::Atom(name())]), SignalError::Field(1)),
        (control(35, &[Term::Int(0), p(1), p(2)]), SignalError::Field(35)),
        (control(35, &[Term::Int(-1), p(1), p(2)]), SignalError::Field(35)),
        (control(22, &[p(1), p(2)]), SignalError::Operation(22)),
    ] {
        assert_eq!(Signal::decode(&term, None), Err(error), "{term:?}");
    }
    let link = control(1, &[p(1), p(2)]);
    assert_eq!(Signal::decode(&link, Some(Term::NIL)), Err(SignalError::Operation(1)));
}

/// Each field of each operation is checked: a value of another type is refused.
#[test]
fn every_field_is_checked() {
    for signal in signals() {
        for flags in [Flags::VISIBLE, Flags::MANDATORY_26] {
            let (control, message) = encoded(&signal, flags);
            let message = message.cloned();
            for index in 1..control.len() {
                let mut items = control.to_vec();
                let op = items[0].as_int().unwrap();
                // Unused fields and reasons may be anything.
                let free = matches!((op, index), (2, 1) | (6, 2) | (3 | 8, 3) | (21, 4));
                items[index] = Term::Float(0.5);
                let result = Signal::decode(&items, message.clone());
                assert_eq!(result.is_ok(), free, "field {index} of {op}");
            }
        }
    }
    let spawn = &signals()[16];
    let (control, _) = encoded(spawn, Flags::VISIBLE);
    let no_list = Signal::decode(&control, Some(Term::Int(1)));
    assert_eq!(no_list, Err(SignalError::Field(29)));
}

fn any_field() -> impl Strategy<Value = Term> {
    prop_oneof![
        (0_u32..3).prop_map(p),
        Just(Term::Ref(reference())),
        Just(Term::Atom(name())),
        (-1_i64..40).prop_map(Term::Int),
        Just(Term::from((name(), name(), 300))),
        Just(Term::from((name(), name(), 3))),
        Just(Term::list([1, 2, 3])),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// What decodes at all has the same meaning when it is encoded again.
    #[test]
    fn whatever_decodes_is_kept(
        op in 0_i64..40,
        fields in prop::collection::vec(any_field(), 0..7),
        message in prop::option::of(any_field()),
    ) {
        if let Ok(signal) = Signal::decode(&control(op, &fields), message) {
            let (control, message) = encoded(&signal, Flags::VISIBLE);
            prop_assert_eq!(Signal::decode(&control, message.cloned()), Ok(signal));
        }
    }
}
