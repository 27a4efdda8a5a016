//! Signals between processes of two nodes, as the control terms of the distribution.
//!
//! One [`Signal`] is a control term and, for some operations, a message behind it. The wire has several forms of the
//! same signal: the exit reason inside the control term or behind it, with or without a sender, with a trace token.
//! Reading accepts every form, since a BEAM uses the old forms for signals that were queued before the connection was
//! up. Writing picks the form for the agreed flags. Trace tokens are dropped.
//!
//! Source: *Distribution Protocol*, ERTS reference manual; op 37 and its bits from `dist.h`.

use super::Flags;
use crate::etf::{self, Atom, Pid, Ref, Term};
use alloc::vec::Vec;
use core::{error, fmt};

/// What a process of one node does to a process of the other.
#[derive(Clone, Debug, PartialEq)]
pub enum Signal {
    /// LINK: tie the two processes together.
    Link {
        /// Process of the sending node.
        from: Pid,
        /// Process of the receiving node.
        to: Pid,
    },
    /// SEND, SEND_SENDER, REG_SEND, ALIAS_SEND, ALTACT_SIG_SEND: a message.
    Send {
        /// The sender; only a message to a pid may lack it.
        from: Option<Pid>,
        /// The receiver.
        to: Target,
        /// Whether it overtakes the messages that wait. It is not sent to peers without [`Flags::ALTACT_SIG`].
        priority: bool,
        /// The message.
        message: Term,
    },
    /// EXIT: a linked process ended.
    Exit {
        /// The process that ended.
        from: Pid,
        /// The process linked with it.
        to: Pid,
        /// Why it ended.
        reason: Term,
    },
    /// EXIT2: `exit(To, Reason)`.
    Exit2 {
        /// The process that called `exit`.
        from: Pid,
        /// The process that is to end. Only peers with [`Flags::ALTACT_SIG`] have other targets than pids.
        to: Target,
        /// Whether it overtakes the messages that wait. It is not sent to peers without [`Flags::ALTACT_SIG`].
        priority: bool,
        /// The exit reason.
        reason: Term,
    },
    /// GROUP_LEADER: `to` gets another group leader.
    GroupLeader {
        /// The group leader.
        leader: Pid,
        /// The process that gets it.
        to: Pid,
    },
    /// MONITOR_P: notify `from` when `to` ends.
    Monitor {
        /// The watcher.
        from: Pid,
        /// The watched.
        to: Monitored,
        /// Names this monitor.
        reference: Ref,
    },
    /// DEMONITOR_P: end the monitor.
    Demonitor {
        /// The watcher.
        from: Pid,
        /// The watched.
        to: Monitored,
        /// The monitor.
        reference: Ref,
    },
    /// MONITOR_P_EXIT: the watched process ended, or never existed.
    Down {
        /// The watched, as the monitor named it.
        from: Monitored,
        /// The watcher.
        to: Pid,
        /// The monitor.
        reference: Ref,
        /// Why it ended, or `noproc`.
        reason: Term,
    },
    /// SPAWN_REQUEST: start a process.
    SpawnRequest {
        /// Names the request, and the monitor if one was asked for.
        request: Ref,
        /// The process that asks.
        from: Pid,
        /// Group leader of the new process.
        group_leader: Pid,
        /// Module of its first function.
        module: Atom,
        /// Its first function.
        function: Atom,
        /// How many arguments that has.
        arity: u8,
        /// Options of the spawn: `monitor`, `link`, …
        options: Vec<Term>,
        /// The arguments: a list.
        arguments: Term,
    },
    /// SPAWN_REPLY: the outcome of a request.
    SpawnReply {
        /// The request.
        request: Ref,
        /// The process that asked.
        to: Pid,
        /// Whether a link was made.
        link: bool,
        /// Whether a monitor was made.
        monitor: bool,
        /// The new process, or why none was started.
        outcome: Result<Pid, Atom>,
    },
    /// UNLINK_ID: remove the link between the two processes.
    UnlinkId {
        /// The number of this removal, at least 1.
        id: u64,
        /// Process of the sending node.
        from: Pid,
        /// Process of the receiving node.
        to: Pid,
    },
    /// UNLINK_ID_ACK: the link was removed.
    UnlinkIdAck {
        /// The number of the removal.
        id: u64,
        /// Process of the sending node.
        from: Pid,
        /// Process of the receiving node.
        to: Pid,
    },
}

/// The receiver of a message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// A process.
    Pid(Pid),
    /// The process that is registered under this name.
    Name(Atom),
    /// The process that holds this alias.
    Alias(Ref),
}

/// What a monitor watches.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Monitored {
    /// A process.
    Pid(Pid),
    /// The process that was registered under this name.
    Name(Atom),
}

/// Why a control term is not a signal. The owner closes the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalError {
    /// Not a tuple that begins with the number of an operation.
    Shape,
    /// An unknown operation, or the wrong number of fields for it, or a message where none belongs, or no message where
    /// one does.
    Operation(i64),
    /// A field of this operation has the wrong type.
    Field(i64),
}

impl fmt::Display for SignalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape => f.write_str("a control term does not begin with an operation"),
            Self::Operation(op) => write!(f, "operation {op} is unknown or has the wrong form"),
            Self::Field(op) => write!(f, "a field of operation {op} has the wrong type"),
        }
    }
}

impl error::Error for SignalError {}

const PRIORITY: i64 = 1;
const TOKEN: i64 = 2;
const ALIAS: i64 = 4;
const NAME: i64 = 8;
const EXIT: i64 = 16;

const SPAWN_LINK: i64 = 1;
const SPAWN_MONITOR: i64 = 2;

impl Signal {
    /// Reads the elements of a control term, and the message behind it, as a signal.
    pub fn decode(control: &[Term], message: Option<Term>) -> Result<Self, SignalError> {
        let [op, fields @ ..] = control else {
            return Err(SignalError::Shape);
        };
        let op = op.as_int().ok_or(SignalError::Shape)?;
        let parse = Fields(op);
        Ok(match (op, fields, message) {
            (1, [from, to], None) => Self::Link {
                from: parse.pid(from)?,
                to: parse.pid(to)?,
            },
            (2, [_, to], Some(message)) | (12, [_, to, _], Some(message)) => {
                Self::sent(None, Target::Pid(parse.pid(to)?), message)
            }
            (3, [from, to, reason], None) | (13, [from, to, _, reason], None) => {
                let reason = reason.clone();
                Self::Exit {
                    from: parse.pid(from)?,
                    to: parse.pid(to)?,
                    reason,
                }
            }
            (24, [from, to], Some(reason)) | (25, [from, to, _], Some(reason)) => Self::Exit {
                from: parse.pid(from)?,
                to: parse.pid(to)?,
                reason,
            },
            (6, [from, _, name], Some(message)) | (16, [from, _, name, _], Some(message)) => {
                let (from, to) = (Some(parse.pid(from)?), Target::Name(parse.atom(name)?));
                Self::sent(from, to, message)
            }
            (7, [leader, to], None) => Self::GroupLeader {
                leader: parse.pid(leader)?,
                to: parse.pid(to)?,
            },
            (8, [from, to, reason], None) | (18, [from, to, _, reason], None) => {
                Self::sent_exit(parse.pid(from)?, parse.pid(to)?, reason.clone())
            }
            (26, [from, to], Some(reason)) | (27, [from, to, _], Some(reason)) => {
                Self::sent_exit(parse.pid(from)?, parse.pid(to)?, reason)
            }
            (19, [from, to, reference], None) => {
                let (from, to) = (parse.pid(from)?, parse.monitored(to)?);
                Self::Monitor {
                    from,
                    to,
                    reference: parse.reference(reference)?,
                }
            }
            (20, [from, to, reference], None) => {
                let (from, to) = (parse.pid(from)?, parse.monitored(to)?);
                Self::Demonitor {
                    from,
                    to,
                    reference: parse.reference(reference)?,
                }
            }
            (21, [from, to, reference, reason], None) => {
                let (from, to) = (parse.monitored(from)?, parse.pid(to)?);
                let reference = parse.reference(reference)?;
                Self::Down {
                    from,
                    to,
                    reference,
                    reason: reason.clone(),
                }
            }
            (28, [from, to, reference], Some(reason)) => {
                let (from, to) = (parse.monitored(from)?, parse.pid(to)?);
                Self::Down {
                    from,
                    to,
                    reference: parse.reference(reference)?,
                    reason,
                }
            }
            (22, [from, to], Some(message)) | (23, [from, to, _], Some(message)) => {
                let (from, to) = (Some(parse.pid(from)?), Target::Pid(parse.pid(to)?));
                Self::sent(from, to, message)
            }
            (29, [request, from, leader, start, options], Some(arguments))
            | (30, [request, from, leader, start, options, _], Some(arguments)) => {
                let (module, function, arity) = parse.function(start)?;
                arguments.as_list().ok_or(parse.error())?;
                Self::SpawnRequest {
                    request: parse.reference(request)?,
                    from: parse.pid(from)?,
                    group_leader: parse.pid(leader)?,
                    module,
                    function,
                    arity,
                    options: options.as_list().ok_or(parse.error())?.to_vec(),
                    arguments,
                }
            }
            (31, [request, to, made, outcome], None) | (32, [request, to, made, outcome, _], None) => {
                let made = made.as_int().ok_or(parse.error())?;
                Self::SpawnReply {
                    request: parse.reference(request)?,
                    to: parse.pid(to)?,
                    link: made & SPAWN_LINK != 0,
                    monitor: made & SPAWN_MONITOR != 0,
                    outcome: match outcome {
                        Term::Atom(refusal) => Err(refusal.clone()),
                        process => Ok(parse.pid(process)?),
                    },
                }
            }
            (33, [from, alias], Some(message)) | (34, [from, alias, _], Some(message)) => {
                let (from, to) = (Some(parse.pid(from)?), Target::Alias(parse.reference(alias)?));
                Self::sent(from, to, message)
            }
            (35, [id, from, to], None) => {
                let id = parse.id(id)?;
                Self::UnlinkId {
                    id,
                    from: parse.pid(from)?,
                    to: parse.pid(to)?,
                }
            }
            (36, [id, from, to], None) => {
                let id = parse.id(id)?;
                Self::UnlinkIdAck {
                    id,
                    from: parse.pid(from)?,
                    to: parse.pid(to)?,
                }
            }
            (37, [bits, from, to, token @ ..], Some(message)) => {
                let bits = bits.as_int().ok_or(parse.error())?;
                if token.len() != usize::from(bits & TOKEN != 0) {
                    return Err(SignalError::Operation(op));
                }
                let (from, to) = (parse.pid(from)?, parse.target(bits, to)?);
                let priority = bits & PRIORITY != 0;
                if bits & EXIT != 0 {
                    Self::Exit2 {
                        from,
                        to,
                        priority,
                        reason: message,
                    }
                } else {
                    Self::Send {
                        from: Some(from),
                        to,
                        priority,
                        message,
                    }
                }
            }
            _ => return Err(SignalError::Operation(op)),
        })
    }

    fn sent(from: Option<Pid>, to: Target, message: Term) -> Self {
        Self::Send {
            from,
            to,
            priority: false,
            message,
        }
    }

    fn sent_exit(from: Pid, to: Pid, reason: Term) -> Self {
        Self::Exit2 {
            from,
            to: Target::Pid(to),
            priority: false,
            reason,
        }
    }

    /// Appends the control term, in the form for the agreed flags. Returns the message to write behind it. No term is
    /// built, since every message of a process to another node passes here.
    pub fn encode(&self, flags: Flags, out: &mut Vec<u8>) -> Option<&Term> {
        match self {
            Self::Link { from, to } => control(1, &[from, to], out),
            Self::Send {
                from,
                to,
                priority,
                message,
            } => {
                send(from.as_ref(), to, *priority, flags, out);
                return Some(message);
            }
            Self::Exit { from, to, reason } => return with_reason((24, 3), &[from, to], reason, flags, out),
            Self::Exit2 {
                from,
                to,
                priority,
                reason,
            } => match to {
                Target::Pid(to) if !(*priority && flags.contains(Flags::ALTACT_SIG)) => {
                    return with_reason((26, 8), &[from, to], reason, flags, out);
                }
                to => {
                    altact(EXIT, from, to, *priority, out);
                    return Some(reason);
                }
            },
            Self::GroupLeader { leader, to } => control(7, &[leader, to], out),
            Self::Monitor { from, to, reference } => control(19, &[from, to, reference], out),
            Self::Demonitor { from, to, reference } => control(20, &[from, to, reference], out),
            Self::Down {
                from,
                to,
                reference,
                reason,
            } => return with_reason((28, 21), &[from, to, reference], reason, flags, out),
            Self::SpawnRequest {
                request,
                from,
                group_leader,
                module,
                function,
                arity,
                options,
                arguments,
            } => {
                let start = Term::from((module.clone(), function.clone(), *arity));
                let options = Term::from(options.clone());
                control(29, &[request, from, group_leader, &start, &options], out);
                return Some(arguments);
            }
            Self::SpawnReply {
                request,
                to,
                link,
                monitor,
                outcome,
            } => {
                let link = if *link { SPAWN_LINK } else { 0 };
                let monitor = if *monitor { SPAWN_MONITOR } else { 0 };
                let outcome: &dyn Field = match outcome {
                    Ok(process) => process,
                    Err(refusal) => refusal,
                };
                control(31, &[request, to, &Term::Int(link | monitor), outcome], out);
            }
            Self::UnlinkId { id, from, to } => control(35, &[&Term::from(*id), from, to], out),
            Self::UnlinkIdAck { id, from, to } => control(36, &[&Term::from(*id), from, to], out),
        }
        None
    }
}

/// A field of a control term.
trait Field {
    fn encode(&self, out: &mut Vec<u8>);
}

impl Field for Pid {
    fn encode(&self, out: &mut Vec<u8>) {
        etf::encode_pid(self, out);
    }
}

impl Field for Ref {
    fn encode(&self, out: &mut Vec<u8>) {
        etf::encode_reference(self, out);
    }
}

impl Field for Atom {
    fn encode(&self, out: &mut Vec<u8>) {
        etf::encode_atom(self, out);
    }
}

impl Field for Term {
    fn encode(&self, out: &mut Vec<u8>) {
        etf::encode_bare(self, out);
    }
}

impl Field for Monitored {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Pid(pid) => pid.encode(out),
            Self::Name(name) => name.encode(out),
        }
    }
}

impl Field for Target {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Pid(pid) => pid.encode(out),
            Self::Name(name) => name.encode(out),
            Self::Alias(alias) => alias.encode(out),
        }
    }
}

/// Appends the control term of an operation.
fn control(op: u8, fields: &[&dyn Field], out: &mut Vec<u8>) {
    etf::encode_tuple_head(1 + fields.len(), out);
    etf::encode_bare(&Term::Int(op.into()), out);
    for field in fields {
        field.encode(out);
    }
}

/// Appends the control term of a message. The empty atom fills unused fields.
fn send(from: Option<&Pid>, to: &Target, priority: bool, flags: Flags, out: &mut Vec<u8>) {
    let has_altact = flags.contains(Flags::ALTACT_SIG);
    let unused = Atom::new("");
    let sender = || from.expect("only a message to a pid may lack its sender");
    match (to, from) {
        (to, Some(from)) if priority && has_altact => altact(0, from, to, priority, out),
        (Target::Alias(_), _) if has_altact => altact(0, sender(), to, priority, out),
        (Target::Alias(alias), _) => control(33, &[sender(), alias], out),
        (Target::Name(name), _) => control(6, &[sender(), &unused, name], out),
        (Target::Pid(to), Some(from)) if flags.contains(Flags::SEND_SENDER) => control(22, &[from, to], out),
        (Target::Pid(to), _) => control(2, &[&unused, to], out),
    }
}

/// Appends ALTACT_SIG_SEND with these bits, and the bits of its target.
fn altact(bits: i64, from: &Pid, to: &Target, priority: bool, out: &mut Vec<u8>) {
    let kind = match to {
        Target::Pid(_) => 0,
        Target::Name(_) => NAME,
        Target::Alias(_) => ALIAS,
    };
    let priority = if priority { PRIORITY } else { 0 };
    control(37, &[&Term::Int(bits | kind | priority), from, to], out);
}

/// Appends the newer operation, which has its reason behind it, or the older one with the reason inside.
fn with_reason<'a, const N: usize>(
    (newer, older): (u8, u8),
    fields: &[&dyn Field; N],
    reason: &'a Term,
    flags: Flags,
    out: &mut Vec<u8>,
) -> Option<&'a Term> {
    if flags.contains(Flags::EXIT_PAYLOAD) {
        control(newer, fields, out);
        return Some(reason);
    }
    let fields: Vec<&dyn Field> = fields.iter().copied().chain([reason as &dyn Field]).collect();
    control(older, &fields, out);
    None
}

/// Reads the fields of one operation.
struct Fields(i64);

impl Fields {
    fn error(&self) -> SignalError {
        SignalError::Field(self.0)
    }
    fn pid(&self, term: &Term) -> Result<Pid, SignalError> {
        term.as_pid().cloned().ok_or(self.error())
    }
    fn atom(&self, term: &Term) -> Result<Atom, SignalError> {
        term.as_atom().cloned().ok_or(self.error())
    }
    fn reference(&self, term: &Term) -> Result<Ref, SignalError> {
        term.as_reference().cloned().ok_or(self.error())
    }
    fn monitored(&self, term: &Term) -> Result<Monitored, SignalError> {
        match term {
            Term::Atom(name) => Ok(Monitored::Name(name.clone())),
            process => Ok(Monitored::Pid(self.pid(process)?)),
        }
    }
    fn target(&self, bits: i64, term: &Term) -> Result<Target, SignalError> {
        match bits & (ALIAS | NAME) {
            0 => Ok(Target::Pid(self.pid(term)?)),
            ALIAS => Ok(Target::Alias(self.reference(term)?)),
            NAME => Ok(Target::Name(self.atom(term)?)),
            _ => Err(self.error()),
        }
    }
    fn function(&self, term: &Term) -> Result<(Atom, Atom, u8), SignalError> {
        let Some([module, function, arity]) = term.as_tuple() else {
            return Err(self.error());
        };
        let arity = arity.as_int().and_then(|arity| u8::try_from(arity).ok());
        Ok((self.atom(module)?, self.atom(function)?, arity.ok_or(self.error())?))
    }
    fn id(&self, term: &Term) -> Result<u64, SignalError> {
        term.as_u64().filter(|id| *id > 0).ok_or(self.error())
    }
}

#[cfg(test)]
mod tests;
