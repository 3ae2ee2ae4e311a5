//! A BPF map with its key and value types: the safe face of the calls in `sys`.

use std::{
    marker::PhantomData,
    os::fd::{AsFd, BorrowedFd},
};

use aya::maps::{Map, MapData};
use fib_abi::{Counter, Plain, PortCounters};

use super::{
    error::XdpError,
    sys::{self, Stopped},
};

/// A map from `K` to `V`.
#[derive(Debug)]
pub(super) struct Table<K, V> {
    data: MapData,
    name: &'static str,
    types: PhantomData<fn(K) -> V>,
}

impl<K: Plain, V: Plain> Table<K, V> {
    /// Takes the map with this name out of the loaded object.
    pub(super) fn take(object: &mut aya::Ebpf, name: &'static str) -> Result<Self, XdpError> {
        let map = object.take_map(name).ok_or_else(|| XdpError::Object(format!("it has no map {name}")))?;
        let (Map::Array(data)
        | Map::HashMap(data)
        | Map::LpmTrie(data)
        | Map::PerCpuArray(data)
        | Map::ArrayOfMaps(data)
        | Map::DevMapHash(data)) = map
        else {
            return Err(XdpError::Object(format!("map {name} is of an unexpected type")));
        };
        let info = data.info().map_err(|error| XdpError::Object(format!("map {name}: {error}")))?;
        let sizes = (info.key_size() as usize, info.value_size() as usize);
        if sizes != (size_of::<K>(), size_of::<V>()) {
            return Err(XdpError::Object(format!("map {name} has elements of {sizes:?} bytes")));
        }
        Ok(Self { data, name, types: PhantomData })
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.data.fd().as_fd()
    }

    pub(super) fn update(&self, key: &K, value: &V) -> Result<(), XdpError> {
        sys::map_update(self.fd(), key, value).map_err(|error| {
            XdpError::system(format!("write to map {}", self.name), "BPF_MAP_UPDATE_ELEM", error)
        })
    }

    /// Removes an element; that it is gone already is no failure.
    pub(super) fn remove(&self, key: &K) -> Result<(), XdpError> {
        match sys::map_delete(self.fd(), key) {
            Err(error) if error.raw_os_error() != Some(libc::ENOENT) => {
                Err(XdpError::system(format!("remove from map {}", self.name), "BPF_MAP_DELETE_ELEM", error))
            }
            _ => Ok(()),
        }
    }

    /// Adds or replaces elements in order; reports each that fails with its index, and goes on.
    pub(super) fn update_all(&self, keys: &[K], values: &[V], failed: &mut dyn FnMut(usize, XdpError)) {
        in_batches(
            keys.len(),
            failed,
            |from| sys::map_update_batch(self.fd(), &keys[from..], &values[from..]),
            |index| self.update(&keys[index], &values[index]),
        );
    }

    /// Removes elements in order; reports each that fails with its index, and goes on.
    pub(super) fn remove_all(&self, keys: &[K], failed: &mut dyn FnMut(usize, XdpError)) {
        in_batches(
            keys.len(),
            failed,
            |from| sys::map_delete_batch(self.fd(), &keys[from..]),
            |index| self.remove(&keys[index]),
        );
    }

    /// Up to `limit` elements after `cursor`, appended to `elements`; the cursor to go on from, or
    /// `None` at the end.
    pub(super) fn read(
        &self,
        cursor: Option<K>,
        limit: usize,
        elements: &mut Vec<(K, V)>,
    ) -> Result<Option<K>, XdpError>
    where
        K: Default,
        V: Default,
    {
        let mut keys = vec![K::default(); limit];
        let mut values = vec![V::default(); limit];
        let (count, next) =
            sys::map_lookup_batch(self.fd(), cursor, &mut keys, &mut values).map_err(|error| {
                XdpError::system(format!("read map {}", self.name), "BPF_MAP_LOOKUP_BATCH", error)
            })?;
        elements.extend(keys.into_iter().zip(values).take(count));
        Ok(next)
    }

    /// The element with this key; in an LPM trie the one with the longest matching prefix.
    pub(super) fn lookup(&self, key: &K) -> Result<Option<V>, XdpError>
    where
        V: Default,
    {
        let mut value = [V::default()];
        match sys::map_lookup(self.fd(), key, &mut value) {
            Ok(()) => Ok(Some(value[0])),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) => {
                Err(XdpError::system(format!("read map {}", self.name), "BPF_MAP_LOOKUP_ELEM", error))
            }
        }
    }
}

/// Does `length` elements by batches where a batch goes through; the element that stops one is
/// done alone, which gives its own error, or succeeds if only the batch was the trouble.
fn in_batches(
    length: usize,
    failed: &mut dyn FnMut(usize, XdpError),
    batch: impl Fn(usize) -> Result<(), Stopped>,
    single: impl Fn(usize) -> Result<(), XdpError>,
) {
    let mut next = 0;
    let mut batches = true;
    while next < length {
        if batches {
            match batch(next) {
                Ok(()) => return,
                Err(Stopped { done, error }) => {
                    next += done;
                    // Commands that the kernel lacks, for any map or for this type.
                    batches = !matches!(
                        error.raw_os_error(),
                        Some(libc::EINVAL | libc::EOPNOTSUPP | sys::ENOTSUPP)
                    );
                }
            }
        }
        if let Err(error) = single(next) {
            failed(next, error);
        }
        next += 1;
    }
}

/// Counters that can be added up over CPUs.
pub(super) trait Sum: Plain + Default {
    fn add(&mut self, other: &Self);
}

impl Sum for Counter {
    fn add(&mut self, other: &Self) {
        self.packets = self.packets.wrapping_add(other.packets);
        self.bytes = self.bytes.wrapping_add(other.bytes);
    }
}

impl Sum for PortCounters {
    fn add(&mut self, other: &Self) {
        self.received.add(&other.received);
        self.sent.add(&other.sent);
        self.passed.add(&other.passed);
        self.dropped.add(&other.dropped);
    }
}

/// A per-CPU array of counters.
#[derive(Debug)]
pub(super) struct Counters<V> {
    table: Table<u32, V>,
    /// Possible CPUs: the kernel returns a value for each, online or not.
    cpus: usize,
}

impl<V: Sum> Counters<V> {
    pub(super) fn take(object: &mut aya::Ebpf, name: &'static str) -> Result<Self, XdpError> {
        // The kernel pads the value of each CPU to a multiple of 8 bytes.
        const { assert!(size_of::<V>().is_multiple_of(8)) };
        let cpus = aya::util::nr_cpus()
            .map_err(|(path, error)| XdpError::system(format!("count the CPUs in {path}"), "read", error))?;
        Ok(Self { table: Table::take(object, name)?, cpus })
    }

    /// The sum over all CPUs; zero for an index that the map does not have.
    pub(super) fn sum(&self, index: u32) -> V {
        let mut values = vec![V::default(); self.cpus];
        if let Err(error) = sys::map_lookup(self.table.fd(), &index, &mut values)
            && error.raw_os_error() != Some(libc::ENOENT)
        {
            tracing::error!(map = self.table.name, index, %error, "cannot read counters");
        }
        values.iter().fold(V::default(), |mut sum, value| {
            sum.add(value);
            sum
        })
    }

    /// Sets the counters of an index back to zero on all CPUs.
    pub(super) fn reset(&self, index: u32) -> Result<(), XdpError> {
        let zeroes = vec![V::default(); self.cpus];
        sys::map_update_all_cpus(self.table.fd(), &index, &zeroes).map_err(|error| {
            XdpError::system(
                format!("reset counters in map {}", self.table.name),
                "BPF_MAP_UPDATE_ELEM",
                error,
            )
        })
    }
}
