//! The `direct` tables: indexed by the address, never searched.
//!
//! A table is a tree of fixed shape in one array of 4-byte words. Its root has a word for each value of
//! the first bits of an address; each node below it a word for each value of the next few:
//!
//! ```text
//! [ root: 2^base words | nodes: 2^stride words each | what a node hides: one word each ]
//! ```
//!
//! There are tables of two sizes, which differ in the number of nodes alone: the root and the nodes of the
//! smaller one are the same words of the larger one, so that a table grows by being copied.
//!
//! A word is 0 (no route ends here), a set id, or [`NODE`] with the index of a node. The routes that
//! end within a level lie spread out over the words of that level: the longest decides. Where routes are
//! longer than that, the word names a node, and what the word would be without them, the value that the
//! node *hides*, stands in the third part. So a route is written into one node only, however many more
//! specific ones there are: at most 2^base or 2^stride words. A lookup takes the last value on
//! its way down.
//!
//! IPv4 is `DIR-24-8` (Gupta, Lin and others, "Routing Lookups in Hardware at Memory Access Speeds",
//! `INFOCOM` 1998). For IPv6 20 bits are followed by steps of four, whose nodes are a cache line each.
//!
//! Guarantees for concurrent lookups: each word changes by one aligned store; a node is complete before
//! a word names it, and is not written anew until a grace period after the last one that did.

/// Marks a word that names a node; the bits below are its index.
pub const NODE: u32 = 1 << 31;

/// How many sizes a family's table can have.
pub const SIZES: usize = 2;

/// The shape of a family's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Bits of an address.
    pub width: u8,
    /// Bits that index the root.
    pub base: u8,
    /// Bits that index each node; `width - base` is a multiple of it.
    pub stride: u8,
    /// Number of nodes, a power of two: what limits the routes that are longer than `base`.
    pub nodes: u32,
}

impl Layout {
    /// A root of 64 MiB, and room for routes longer than /24 in 8,192 different /24: 8 MiB, or 64 MiB for
    /// 65,536. The Internet's table has next to none; these are the router's own neighbours, customers and
    /// blackholes.
    pub const IPV4: [Self; SIZES] = {
        let small = Self { width: 32, base: 24, stride: 8, nodes: 1 << 13 };
        [small, Self { nodes: 1 << 16, ..small }]
    };

    /// A root of 4 MiB and nodes of 17 MiB, or 68 MiB. A table of 265 thousand routes needs 148 thousand
    /// nodes; there are 262,144 or 1,048,576. A root of 16 bits would save 4 MiB and cost one read more of some
    /// eight; one of 24 bits needs 64 MiB.
    pub const IPV6: [Self; SIZES] = {
        let small = Self { width: 128, base: 20, stride: 4, nodes: 1 << 18 };
        [small, Self { nodes: 1 << 20, ..small }]
    };

    /// Levels of words, the root's included.
    #[inline(always)]
    pub const fn levels(self) -> u8 {
        1 + (self.width - self.base) / self.stride
    }

    /// Words of a node.
    #[inline(always)]
    pub const fn node_words(self) -> u32 {
        1 << self.stride
    }

    /// The first word of a node; its index is below [`Self::nodes`].
    #[inline(always)]
    pub const fn node(self, index: u32) -> u32 {
        (1 << self.base) + (index << self.stride)
    }

    /// The word with the value that a node hides.
    #[inline(always)]
    pub const fn hidden(self, index: u32) -> u32 {
        self.same_words() + index
    }

    /// The first word that is not the same in a table of another size.
    #[inline(always)]
    pub const fn same_words(self) -> u32 {
        self.node(self.nodes)
    }

    /// Words of the table.
    #[inline(always)]
    pub const fn words(self) -> u32 {
        self.hidden(self.nodes)
    }

    /// Bytes of the table: a multiple of 8.
    pub const fn bytes(self) -> usize {
        self.words() as usize * size_of::<u32>()
    }

    /// The set that the table names for an address, 0 for none. The address stands left-aligned in
    /// `high` and `low`; `read` reads a word, whose index is below [`Self::words`].
    #[inline(always)]
    pub fn lookup(self, high: u64, low: u64, read: impl Fn(u32) -> u32) -> u32 {
        let mut rest = Rest { high, low };
        let mut found = 0;
        let mut word = read(rest.take(self.base));
        // As many nodes as there are levels below the root; the last one's words name no node.
        let mut level = self.levels();
        while word & NODE != 0 && level > 1 {
            // The mask changes nothing; the verifier wants to see that the index stays inside.
            let index = word & (self.nodes - 1);
            let hidden = read(self.hidden(index));
            if hidden != 0 {
                found = hidden;
            }
            word = read(self.node(index) + rest.take(self.stride));
            level -= 1;
        }
        if word == 0 || word & NODE != 0 { found } else { word }
    }

    /// [`Self::lookup`] of an IPv4 address.
    #[inline(always)]
    pub fn lookup_v4(self, address: [u8; 4], read: impl Fn(u32) -> u32) -> u32 {
        self.lookup(u64::from(u32::from_be_bytes(address)) << 32, 0, read)
    }

    /// [`Self::lookup`] of an IPv6 address.
    #[inline(always)]
    pub fn lookup_v6(self, address: &[u8; 16], read: impl Fn(u32) -> u32) -> u32 {
        let (halves, _) = address.as_chunks::<8>();
        self.lookup(u64::from_be_bytes(halves[0]), u64::from_be_bytes(halves[1]), read)
    }
}

/// The bits of an address that have not been used yet, left-aligned.
struct Rest {
    high: u64,
    low: u64,
}

impl Rest {
    /// Takes the next `bits`, which are 1 to 32.
    #[inline(always)]
    fn take(&mut self, bits: u8) -> u32 {
        let bits = bits as u32;
        let taken = self.high >> (64 - bits);
        self.high = (self.high << bits) | (self.low >> (64 - bits));
        self.low <<= bits;
        taken as u32
    }
}

const _: () = {
    let mut families = [Layout::IPV4, Layout::IPV6].as_slice();
    while let [sizes, rest @ ..] = families {
        let mut sizes = sizes.as_slice();
        while let [layout, larger @ ..] = sizes {
            assert!((layout.width - layout.base) % layout.stride == 0);
            assert!(layout.nodes.is_power_of_two() && layout.nodes < NODE);
            assert!(layout.bytes() % 8 == 0);
            if let [next, ..] = larger {
                assert!(next.nodes > layout.nodes && next.node(0) == layout.node(0));
            }
            sizes = larger;
        }
        families = rest;
    }
};
