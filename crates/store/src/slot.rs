//! From a key to its slot and its shard.
//!
//! The slot is that of Redis Cluster, so that cluster-aware clients know where a key is: CRC16 of the key, or of its
//! hash tag, modulo 16,384. A shard is a range of neighbouring slots. So a table of shards is a table of slot ranges,
//! which `CLUSTER SLOTS` shows.
//!
//! Invariants:
//! - Both functions are pure, and the same on every node and in every version, since they decide where data is.
//! - Every slot belongs to exactly one shard, and all shards have the same number of slots.
//!
//! Source: *Redis cluster specification*, key distribution model and appendix A; CRC-16/XMODEM
//! (polynomial 0x1021, initial value 0, nothing reflected).

/// How many slots there are.
pub const SLOTS: u16 = 16_384;

/// The slot of `key`, below [`SLOTS`]. Keys with the same non-empty [hash tag](hash_tag) share a
/// slot.
pub fn slot(key: &[u8]) -> u16 {
    crc16(hash_tag(key)) % SLOTS
}

/// The shard of `slot` if the slots are divided into `shards`, a power of two from 1 to [`SLOTS`].
pub fn shard(slot: u16, shards: u16) -> u16 {
    debug_assert!(slot < SLOTS, "a slot is below {SLOTS}");
    debug_assert!(
        is_shard_count(shards),
        "the number of shards is a power of two from 1 to {SLOTS}"
    );
    slot >> (SLOTS.trailing_zeros() - shards.trailing_zeros())
}

/// Whether the slots can be divided evenly into this many shards.
pub const fn is_shard_count(shards: u16) -> bool {
    shards.is_power_of_two() && shards <= SLOTS
}

/// The part of `key` that is hashed: the text between its first `{` and the first `}` behind that. The whole key if
/// either is missing, or if there is no text between them.
pub fn hash_tag(key: &[u8]) -> &[u8] {
    let Some(open) = memchr::memchr(b'{', key) else {
        return key;
    };
    let behind = &key[open + 1..];
    match memchr::memchr(b'}', behind) {
        None | Some(0) => key,
        Some(close) => &behind[..close],
    }
}

/// CRC-16/XMODEM of `bytes`, eight at a time (*slicing-by-8*, Kounavis and Berry, ISCC 2005).
pub fn crc16(bytes: &[u8]) -> u16 {
    let (eights, rest) = bytes.as_chunks::<8>();
    let crc = eights.iter().fold(0u16, |crc, eight| {
        let [high, low] = crc.to_be_bytes();
        let [a, b, c, d, e, f, g, h] = eight.map(usize::from);
        let (a, b) = (a ^ usize::from(high), b ^ usize::from(low));
        let [t0, t1, t2, t3, t4, t5, t6, t7] = &TABLES;
        t7[a] ^ t6[b] ^ t5[c] ^ t4[d] ^ t3[e] ^ t2[f] ^ t1[g] ^ t0[h]
    });
    rest.iter().fold(crc, |crc, byte| {
        (crc << 8) ^ TABLES[0][usize::from((crc >> 8) as u8 ^ byte)]
    })
}

/// The CRC of each byte value, with 0 to 7 zero bytes behind it.
static TABLES: [[u16; 256]; 8] = tables();

const fn tables() -> [[u16; 256]; 8] {
    let mut tables = [table(); 8];
    let mut behind = 1;
    while behind < 8 {
        let mut byte = 0;
        while byte < 256 {
            let crc = tables[behind - 1][byte];
            tables[behind][byte] = (crc << 8) ^ tables[0][(crc >> 8) as usize];
            byte += 1;
        }
        behind += 1;
    }
    tables
}

const fn table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    #[test]
    fn the_check_value_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        assert_eq!(crc16(b""), 0);
    }

    /// Slots as `CLUSTER KEYSLOT` of a Redis server reports them.
    #[test]
    fn slots_agree_with_redis() {
        for (key, expected) in [
            ("foo", 12_182),
            ("bar", 5_061),
            ("hello", 866),
            ("somekey", 11_058),
            ("foo{hash_tag}", 2_515),
            ("bar{hash_tag}", 2_515),
            ("123456789", 12_739),
        ] {
            assert_eq!(slot(key.as_bytes()), expected, "{key}");
        }
    }

    /// The examples of the Redis cluster specification, and edge cases.
    #[test]
    fn hash_tags() {
        for (key, tag) in [
            ("{user1000}.following", "user1000"),
            ("foo{}{bar}", "foo{}{bar}"),
            ("foo{{bar}}zap", "{bar"),
            ("foo{bar}{zap}", "bar"),
            ("", ""),
            ("{", "{"),
            ("}{", "}{"),
            ("}{a}", "a"),
            ("{a", "{a"),
        ] {
            assert_eq!(hash_tag(key.as_bytes()), tag.as_bytes(), "{key}");
        }
    }

    #[test]
    fn shards_divide_the_slots_into_equal_ranges() {
        for shards in (0..=14).map(|bits| 1 << bits) {
            let runs: Vec<u16> = (0..SLOTS).map(|slot| shard(slot, shards)).collect();
            assert!(runs.is_sorted());
            for run in runs.chunk_by(|a, b| a == b) {
                assert_eq!(run.len(), usize::from(SLOTS / shards), "{shards} shards");
            }
            assert_eq!(runs.last(), Some(&(shards - 1)));
        }
    }

    #[test]
    fn only_powers_of_two_divide_the_slots() {
        for refused in [0, 3, 1_000, 16_383, 32_768] {
            assert!(!is_shard_count(refused), "{refused}");
        }
    }

    /// CRC-16 computed directly from its definition, bit by bit.
    fn crc16_by_bits(bytes: &[u8]) -> u16 {
        let mut crc = 0u16;
        for bit in bytes
            .iter()
            .flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1 == 1))
        {
            let out = (crc >> 15 == 1) != bit;
            crc = (crc << 1) ^ if out { 0x1021 } else { 0 };
        }
        crc
    }

    proptest! {
        #[test]
        fn the_table_agrees_with_the_definition(bytes: Vec<u8>) {
            prop_assert_eq!(crc16(&bytes), crc16_by_bits(&bytes));
        }

        #[test]
        fn every_key_has_a_slot(key: Vec<u8>) {
            prop_assert!(slot(&key) < SLOTS);
        }

        #[test]
        fn a_tag_keeps_keys_together(tag in "[^{}]+", a in "[^{}]*", b in "[^{}]*") {
            for key in [std::format!("{{{tag}}}{a}"), std::format!("{b}{{{tag}}}")] {
                prop_assert_eq!(slot(key.as_bytes()), slot(tag.as_bytes()));
            }
        }
    }
}
