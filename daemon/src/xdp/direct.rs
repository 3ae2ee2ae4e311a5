//! A direct table: an array of words that this process writes through shared memory.
//!
//! The program looks a family's packets up in the table that lies in the first of the family's slots, one for
//! each size, that is not empty, and in the LPM trie while all are. So a table is made and filled at leisure;
//! putting it into its slot, and taking a smaller one out of its own, is what moves the packets over, and
//! returns when none of them uses what was there before.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    ptr::NonNull,
    sync::atomic::{AtomicU32, Ordering},
};

use fib_abi::direct::{Layout, SIZES};

use super::{
    error::XdpError,
    sys::{self, Mapping},
    table::Table,
};

/// The only index of a slot, and of a table's map.
const ONLY: u32 = 0;

/// The slots of one family, and its table once there is one.
#[derive(Debug)]
pub(super) struct Slots {
    programs: [Table<u32, u32>; SIZES],
    name: &'static str,
    layouts: [Layout; SIZES],
    /// What is written.
    table: Option<Direct>,
    /// What packets are looked up in, if that is another one.
    served: Option<Direct>,
    /// The next larger one, while it is empty.
    larger: Option<Direct>,
}

#[derive(Debug)]
struct Direct {
    size: usize,
    map: OwnedFd,
    memory: Mapping,
    served: bool,
}

impl Slots {
    /// Takes the slots with these names out of the loaded object.
    pub(super) fn take(
        object: &mut aya::Ebpf,
        names: [&'static str; SIZES],
        layouts: [Layout; SIZES],
    ) -> Result<Self, XdpError> {
        let [small, large] = names;
        let programs = [Table::take(object, small)?, Table::take(object, large)?];
        Ok(Self { programs, name: small, layouts, table: None, served: None, larger: None })
    }

    /// Makes an empty table of the smallest size, unless there is one. Packets do not use it yet.
    pub(super) fn open(&mut self) -> Result<(), XdpError> {
        if self.table.is_none() {
            self.table = Some(self.make(0)?);
        }
        Ok(())
    }

    /// Makes an empty table of the next size, unless there is one, for [`Self::grow`].
    pub(super) fn open_larger(&mut self) -> Result<(), XdpError> {
        let Some(table) = &self.table else { return Err(self.no_table("enlarge")) };
        if self.larger.is_none() {
            self.larger = Some(self.make(table.size + 1)?);
        }
        Ok(())
    }

    fn make(&self, size: usize) -> Result<Direct, XdpError> {
        let Some(layout) = self.layouts.get(size) else { return Err(self.no_table("make a larger size of")) };
        let bytes = layout.bytes();
        let action = || format!("make the table {} of {} MiB", self.name, bytes >> 20);
        let map = sys::create_mappable_array(bytes)
            .map_err(|error| XdpError::system(action(), "BPF_MAP_CREATE", error))?;
        let memory =
            Mapping::new(map.as_fd(), bytes).map_err(|error| XdpError::system(action(), "mmap", error))?;
        Ok(Direct { size, map, memory, served: false })
    }

    /// Copies the table into the larger one that was made, and writes there from now on. Packets use the one
    /// before until [`Self::serve`].
    pub(super) fn grow(&mut self) -> Result<(), XdpError> {
        let (Some(table), Some(larger)) = (self.table.take(), self.larger.take()) else {
            return Err(self.no_table("enlarge"));
        };
        let (from, to) = (self.layouts[table.size], self.layouts[larger.size]);
        let (old, new) = (table.memory.words(), larger.memory.words());
        let (same, hidden) = (from.same_words() as usize, to.same_words() as usize);
        copy(&old[..same], &new[..same]);
        copy(&old[same..], &new[hidden..]);
        if table.served {
            self.served = Some(table);
        }
        self.table = Some(larger);
        Ok(())
    }

    /// Has packets looked up in the table, and returns when none is looked up in the trie or in a smaller one
    /// any more.
    pub(super) fn serve(&mut self) -> Result<(), XdpError> {
        let Some(table) = &mut self.table else { return Err(self.no_table("use")) };
        let map = table.map.as_raw_fd().unsigned_abs();
        self.programs[table.size].update(&ONLY, &map)?;
        // Until it is gone from its slot, a smaller one comes first.
        for smaller in &self.programs[..table.size] {
            smaller.remove(&ONLY)?;
        }
        table.served = true;
        self.served = None;
        Ok(())
    }

    /// Whether packets are looked up in the table.
    pub(super) fn is_served(&self) -> bool {
        self.looked_up().is_some()
    }

    /// The table that packets are looked up in.
    fn looked_up(&self) -> Option<&Direct> {
        self.served.as_ref().or(self.table.as_ref().filter(|table| table.served))
    }

    /// Writes `count` words from `first` on, in ascending order, each with one store.
    pub(super) fn fill(&self, first: u32, count: u32, value: u32) -> Result<(), XdpError> {
        let Some(table) = &self.table else { return Err(self.no_table("write")) };
        for word in self.range(table, first as usize, count as usize)? {
            // A program that sees this word also sees what was written before it.
            word.store(value, Ordering::Release);
        }
        Ok(())
    }

    /// Reads the words from `first` on.
    pub(super) fn read(&self, first: u32, words: &mut [u32]) -> Result<(), XdpError> {
        let Some(table) = &self.table else { return Err(self.no_table("read")) };
        let there = self.range(table, first as usize, words.len())?;
        for (word, there) in words.iter_mut().zip(there) {
            *word = there.load(Ordering::Relaxed);
        }
        Ok(())
    }

    /// Words of a table.
    fn range<'a>(&self, table: &'a Direct, first: usize, count: usize) -> Result<&'a [AtomicU32], XdpError> {
        table.memory.words().get(first..first + count).ok_or_else(|| {
            XdpError::system(
                format!("reach words {first} to {} of {}", first + count, self.name),
                "mmap",
                io::Error::from_raw_os_error(libc::E2BIG),
            )
        })
    }

    /// The set that packets to an address find, by the program's own code.
    pub(super) fn lookup(&self, lookup: impl FnOnce(Layout, &dyn Fn(u32) -> u32) -> u32) -> Option<u32> {
        let table = self.looked_up()?;
        let words = table.memory.words();
        let set = lookup(self.layouts[table.size], &|word| words[word as usize].load(Ordering::Acquire));
        (set != 0).then_some(set)
    }

    fn no_table(&self, action: &str) -> XdpError {
        let error = io::Error::from_raw_os_error(libc::ENOENT);
        XdpError::system(format!("{action} the table {}, which has not been made", self.name), "mmap", error)
    }
}

/// Copies words into memory that is all zero and that nobody else writes or reads yet.
fn copy(from: &[AtomicU32], to: &[AtomicU32]) {
    for (from, to) in from.iter().zip(to) {
        let value = from.load(Ordering::Relaxed);
        if value != 0 {
            to.store(value, Ordering::Relaxed);
        }
    }
}

impl Mapping {
    /// The memory as words that programs may read at any time.
    fn words(&self) -> &[AtomicU32] {
        let first: NonNull<AtomicU32> = self.start().cast();
        // SAFETY: the mapping is page-aligned, as long, readable and writable, and lives as long as
        // `self`; the kernel and this process only load and store it whole words at a time.
        unsafe { std::slice::from_raw_parts(first.as_ptr(), self.bytes() / size_of::<u32>()) }
    }
}
