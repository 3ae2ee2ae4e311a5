//! Storage for the paths of prefixes that have more than one: blocks in one flat vector.
//!
//! A block is named by the offset of its first path and holds one of a few capacities; freed blocks
//! are chained per capacity through their first path and handed out again before the vector grows,
//! so that churn needs no new memory. There is no box and no allocation for a prefix.

use super::path::Path;

/// Capacities of blocks, ascending. The last holds as many paths as an entry can count.
const CAPACITIES: [u32; 28] = [
    2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144,
    8192, 16_384, 32_768, 49_152, 65_536,
];
/// Ends a chain of free blocks.
const END: u32 = u32::MAX;

/// The arena.
#[derive(Debug)]
pub(crate) struct Blocks {
    paths: Vec<Path>,
    /// First free block of each class.
    free: [u32; CAPACITIES.len()],
}

impl Blocks {
    pub(crate) fn new() -> Self {
        Self { paths: Vec::new(), free: [END; CAPACITIES.len()] }
    }

    /// The class of the smallest block for so many paths.
    pub(crate) fn class(count: usize) -> u8 {
        CAPACITIES.partition_point(|&capacity| (capacity as usize) < count) as u8
    }

    /// Paths that a block of the class holds.
    pub(crate) fn capacity(class: u8) -> usize {
        CAPACITIES[usize::from(class)] as usize
    }

    /// A block of the class; its paths are what they were.
    pub(crate) fn allocate(&mut self, class: u8) -> u32 {
        let head = &mut self.free[usize::from(class)];
        if *head != END {
            let block = *head;
            *head = self.paths[block as usize].attr;
            return block;
        }
        let block = self.paths.len() as u32;
        self.paths.resize(self.paths.len() + Self::capacity(class), Path::default());
        block
    }

    /// Gives a block back.
    pub(crate) fn release(&mut self, block: u32, class: u8) {
        let head = &mut self.free[usize::from(class)];
        self.paths[block as usize].attr = *head;
        *head = block;
    }

    #[inline]
    pub(crate) fn paths(&self, block: u32, count: usize) -> &[Path] {
        &self.paths[block as usize..block as usize + count]
    }

    #[inline]
    pub(crate) fn paths_mut(&mut self, block: u32, count: usize) -> &mut [Path] {
        &mut self.paths[block as usize..block as usize + count]
    }

    /// Something of a block, to have it in the cache.
    #[inline]
    pub(crate) fn peek(&self, block: u32) -> u32 {
        self.paths.get(block as usize).map_or(0, |path| path.attr)
    }

    /// Copies `count` paths from one block to another.
    pub(crate) fn copy(&mut self, from: u32, to: u32, count: usize) {
        self.paths.copy_within(from as usize..from as usize + count, to as usize);
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.paths.capacity() * size_of::<Path>()
    }
}
