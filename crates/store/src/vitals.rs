//! What a node tells of itself.

/// The figures of a node: their names as all front ends have them, and what they count.
macro_rules! vitals {
    ($($name:ident $help:literal;)*) => {
        /// What a node tells of itself each second, for `cluster`, `stats`, `/metrics`, `INFO` and the dashboard of any
        /// node.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
        pub struct Vitals {
            $(#[doc = $help] pub $name: u64,)*
        }

        impl Vitals {
            pub(crate) fn fields(&mut self) -> impl Iterator<Item = &mut u64> {
                [$(&mut self.$name),*].into_iter()
            }

            /// Their names, what they count, and their values.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
                [$((stringify!($name), $help, self.$name)),*].into_iter()
            }
        }
    };
}

// In the order in which they travel.
vitals! {
    keys_primary "Live keys of shards it is the primary of.";
    keys_held "Live keys it holds.";
    shards_primary "Shards it is the primary of.";
    shards_replica "Shards placed on it.";
    shards_held "Shards it holds, including those it is handing over.";
    memory_bytes "Bytes of memory allocated by the process.";
    ops_per_second "Requests of its clients per second.";
    moves "Copies it still has to make or to hand over.";
    behind "Shards in which its clock is known to differ from a peer's.";
    is_full "1 if its memory limit is reached: primaries refuse writes that would make it grow.";
}
