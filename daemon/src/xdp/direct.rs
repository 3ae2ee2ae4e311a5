//! A direct table: an array of words that this process writes through shared memory.
//!
//! The program looks a family's packets up in the table that lies in the family's slot, and in the LPM
//! trie while the slot is empty. So a table is made and filled at leisure; putting it into its slot is what
//! moves the packets over, and returns when none of them uses the trie any more.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    ptr::NonNull,
    sync::atomic::{AtomicU32, Ordering},
};

use fib_abi::direct::Layout;

use super::{
    error::XdpError,
    sys::{self, Mapping},
    table::Table,
};

/// The only index of a slot, and of a table's map.
const ONLY: u32 = 0;

/// The slot of one family, and its table once there is one.
#[derive(Debug)]
pub(super) struct Slot {
    programs: Table<u32, u32>,
    name: &'static str,
    layout: Layout,
    table: Option<Direct>,
}

#[derive(Debug)]
struct Direct {
    map: OwnedFd,
    memory: Mapping,
    served: bool,
}

impl Slot {
    /// Takes the slot with this name out of the loaded object.
    pub(super) fn take(object: &mut aya::Ebpf, name: &'static str, layout: Layout) -> Result<Self, XdpError> {
        Ok(Self { programs: Table::take(object, name)?, name, layout, table: None })
    }

    /// Makes an empty table, unless there is one. Packets do not use it yet.
    pub(super) fn open(&mut self) -> Result<(), XdpError> {
        if self.table.is_some() {
            return Ok(());
        }
        let bytes = self.layout.bytes();
        let action = || format!("make the table {} of {} MiB", self.name, bytes >> 20);
        let map = sys::create_mappable_array(bytes)
            .map_err(|error| XdpError::system(action(), "BPF_MAP_CREATE", error))?;
        let memory =
            Mapping::new(map.as_fd(), bytes).map_err(|error| XdpError::system(action(), "mmap", error))?;
        self.table = Some(Direct { map, memory, served: false });
        Ok(())
    }

    /// Has packets looked up in the table, and returns when none is looked up in the trie any more.
    pub(super) fn serve(&mut self) -> Result<(), XdpError> {
        let Some(table) = &mut self.table else { return Err(self.no_table("use")) };
        let map = table.map.as_raw_fd().unsigned_abs();
        self.programs.update(&ONLY, &map)?;
        table.served = true;
        Ok(())
    }

    /// Whether packets are looked up in the table.
    pub(super) fn is_served(&self) -> bool {
        self.table.as_ref().is_some_and(|table| table.served)
    }

    /// Writes `count` words from `first` on, in ascending order, each with one store.
    pub(super) fn fill(&self, first: u32, count: u32, value: u32) -> Result<(), XdpError> {
        let Some(table) = &self.table else { return Err(self.no_table("write")) };
        let (first, count) = (first as usize, count as usize);
        let words = table.memory.words().get(first..first + count).ok_or_else(|| {
            XdpError::system(
                format!("write words {first} to {} of {}", first + count, self.name),
                "mmap",
                io::Error::from_raw_os_error(libc::E2BIG),
            )
        })?;
        for word in words {
            // A program that sees this word also sees what was written before it.
            word.store(value, Ordering::Release);
        }
        Ok(())
    }

    /// The set that the table names for an address, by the program's own code.
    pub(super) fn lookup(&self, lookup: impl FnOnce(&dyn Fn(u32) -> u32) -> u32) -> Option<u32> {
        let words = self.table.as_ref()?.memory.words();
        let set = lookup(&|word| words[word as usize].load(Ordering::Acquire));
        (set != 0).then_some(set)
    }

    fn no_table(&self, action: &str) -> XdpError {
        let error = io::Error::from_raw_os_error(libc::ENOENT);
        XdpError::system(format!("{action} the table {}, which has not been made", self.name), "mmap", error)
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
