//! What a node can do: the capability flags of the handshake.
//!
//! A connection may use the flags that both ends set. A bit without a name here is ignored: it is obsolete, internal to
//! the BEAM, or of a later release. Our own sets leave out [`Flags::DIST_HDR_ATOM_CACHE`] on purpose: an attacker could
//! desynchronise that per-connection table.

use core::{
    fmt,
    ops::{BitAnd, BitOr},
};

/// A set of capabilities.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flags(u64);

macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident = $bits:expr;)*) => {
        impl Flags {
            $($(#[$doc])* pub const $name: Flags = Flags($bits);)*
        }
        const NAMED: &[(Flags, &str)] = &[$((Flags($bits), stringify!($name)),)*];
    };
}

flags! {
    /// The node is visible; a connection is visible if both ends set it.
    PUBLISHED = 0x1;
    /// References of several words.
    EXTENDED_REFERENCES = 0x4;
    /// MONITOR_P and DEMONITOR_P.
    DIST_MONITOR = 0x8;
    /// Funs with a tag of their own.
    FUN_TAGS = 0x10;
    /// Monitors of registered names.
    DIST_MONITOR_NAME = 0x20;
    /// NEW_FUN_EXT.
    NEW_FUN_TAGS = 0x80;
    /// Pids and ports of full width.
    EXTENDED_PIDS_PORTS = 0x100;
    /// `fun M:F/A`.
    EXPORT_PTR_TAG = 0x200;
    /// BIT_BINARY_EXT.
    BIT_BINARIES = 0x400;
    /// NEW_FLOAT_EXT.
    NEW_FLOATS = 0x800;
    /// I/O requests may carry Unicode.
    UNICODE_IO = 0x1000;
    /// Per-connection atom cache.
    DIST_HDR_ATOM_CACHE = 0x2000;
    /// Atoms with lengths of one byte.
    SMALL_ATOM_TAGS = 0x4000;
    /// Atoms in UTF-8.
    UTF8_ATOMS = 0x10000;
    /// MAP_EXT.
    MAP_TAG = 0x20000;
    /// Creations of 32 bits.
    BIG_CREATION = 0x40000;
    /// SEND_SENDER.
    SEND_SENDER = 0x80000;
    /// Labels of trace tokens may be any term.
    BIG_SEQTRACE_LABELS = 0x10_0000;
    /// Exit reasons travel as the message, not inside the control term.
    EXIT_PAYLOAD = 0x40_0000;
    /// Large messages travel in fragments.
    FRAGMENTS = 0x80_0000;
    /// The handshake of this module.
    HANDSHAKE_23 = 0x100_0000;
    /// UNLINK_ID and UNLINK_ID_ACK.
    UNLINK_ID = 0x200_0000;
    /// Stands for all of [`Flags::MANDATORY_25`].
    MANDATORY_25_DIGEST = 0x400_0000;
    /// SPAWN_REQUEST and SPAWN_REPLY.
    SPAWN = 1 << 32;
    /// The peer has no name and asks for one.
    NAME_ME = 1 << 33;
    /// Pids with fields of 32 bits, ports of 64, references of up to 5 words.
    V4_NC = 1 << 34;
    /// ALIAS_SEND.
    ALIAS = 1 << 35;
    /// ALTACT_SIG_SEND.
    ALTACT_SIG = 1 << 37;
}

impl Flags {
    /// What OTP 25 and later nodes must set.
    pub const MANDATORY_25: Flags = Flags(
        Self::EXTENDED_REFERENCES.0
            | Self::FUN_TAGS.0
            | Self::NEW_FUN_TAGS.0
            | Self::EXTENDED_PIDS_PORTS.0
            | Self::EXPORT_PTR_TAG.0
            | Self::BIT_BINARIES.0
            | Self::NEW_FLOATS.0
            | Self::UTF8_ATOMS.0
            | Self::MAP_TAG.0
            | Self::BIG_CREATION.0
            | Self::HANDSHAKE_23.0,
    );
    /// What OTP 26 and later nodes must set. We demand it of every peer; OTP 25 sets these flags too.
    pub const MANDATORY_26: Flags = Flags(Self::MANDATORY_25.0 | Self::V4_NC.0 | Self::UNLINK_ID.0);
    /// The flags we set as a hidden node.
    pub const HIDDEN: Flags = Flags(
        Self::MANDATORY_26.0
            | Self::DIST_MONITOR.0
            | Self::DIST_MONITOR_NAME.0
            | Self::UNICODE_IO.0
            | Self::SMALL_ATOM_TAGS.0
            | Self::SEND_SENDER.0
            | Self::BIG_SEQTRACE_LABELS.0
            | Self::EXIT_PAYLOAD.0
            | Self::FRAGMENTS.0
            | Self::MANDATORY_25_DIGEST.0
            | Self::SPAWN.0
            | Self::ALIAS.0
            | Self::ALTACT_SIG.0,
    );
    /// The flags we set as a visible node.
    pub const VISIBLE: Flags = Flags(Self::HIDDEN.0 | Self::PUBLISHED.0);

    /// The flags of a handshake message. A digest bit sets all the bits that it stands for.
    pub const fn from_bits(bits: u64) -> Self {
        if bits & Self::MANDATORY_25_DIGEST.0 != 0 {
            Self(bits | Self::MANDATORY_25.0)
        } else {
            Self(bits)
        }
    }
    /// The bits as they are sent.
    pub const fn bits(self) -> u64 {
        self.0
    }
    /// Whether every flag of `other` is set.
    pub const fn contains(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }
    /// The flags of `self` without those of `other`.
    #[must_use]
    pub const fn without(self, other: Flags) -> Self {
        Self(self.0 & !other.0)
    }
    /// The mandatory flags that this peer lacks. A connection needs this to be empty.
    pub const fn missing(self) -> Flags {
        Self::MANDATORY_26.without(self)
    }
    /// Whether no flag is set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl BitAnd for Flags {
    type Output = Flags;
    fn bitand(self, other: Flags) -> Flags {
        Flags(self.0 & other.0)
    }
}

impl BitOr for Flags {
    type Output = Flags;
    fn bitor(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

impl fmt::Debug for Flags {
    /// The names of the flags, and the other bits in hexadecimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut set = f.debug_set();
        let mut rest = *self;
        for (flag, name) in NAMED.iter().filter(|(flag, _)| self.contains(*flag)) {
            set.entry(&format_args!("{name}"));
            rest = rest.without(*flag);
        }
        if !rest.is_empty() {
            set.entry(&format_args!("{:#x}", rest.0));
        }
        set.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTP_25: Flags = Flags::from_bits(0xD_07DF_7FBD);
    const OTP_28: Flags = Flags::from_bits(0x2D_07DF_7FBD);

    #[test]
    fn the_sets_have_the_bits_that_peers_know() {
        assert_eq!(Flags::VISIBLE.bits(), 0x2D_07DF_5FBD);
        assert_eq!(Flags::HIDDEN.bits(), 0x2D_07DF_5FBC);
        assert_eq!(Flags::MANDATORY_26.bits(), 0x4_0307_0F94);
    }

    #[test]
    fn peers_are_measured_by_the_mandatory_flags() {
        for peer in [OTP_25, OTP_28, Flags::VISIBLE, Flags::HIDDEN] {
            assert!(peer.missing().is_empty());
        }
        assert_eq!(OTP_25.without(Flags::UNLINK_ID).missing(), Flags::UNLINK_ID);
        assert_eq!(Flags::default().missing(), Flags::MANDATORY_26);
        for bit in (0..64).map(|bit| Flags(1 << bit)) {
            assert_eq!(Flags::VISIBLE.without(bit).missing(), bit & Flags::MANDATORY_26);
        }
    }

    #[test]
    fn the_digest_bit_stands_for_what_otp_25_demands() {
        let terse = Flags::MANDATORY_25_DIGEST | Flags::V4_NC | Flags::UNLINK_ID;
        assert!(Flags::from_bits(terse.bits()).missing().is_empty());
        assert!(!terse.missing().is_empty());
    }

    #[test]
    fn flags_print_by_name() {
        let flags = Flags::PUBLISHED | Flags::ALIAS | Flags(1 << 60);
        assert_eq!(alloc::format!("{flags:?}"), "{PUBLISHED, ALIAS, 0x1000000000000000}");
    }
}
