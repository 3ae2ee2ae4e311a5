//! The calls of bpf(2) that aya does not offer: batches of map elements, links by ifindex without
//! a netlink fallback and their pins, a map of maps to wait behind, arrays in shared memory, test runs from
//! any thread.
//!
//! Each command takes a prefix of the kernel's `union bpf_attr`; the kernel treats what lies
//! beyond the given size as zero. The structs below are those prefixes.

use std::{
    ffi::CString,
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    os::unix::ffi::OsStrExt as _,
    path::Path,
    ptr::NonNull,
};

use fib_abi::Plain;

const MAP_CREATE: libc::c_long = 0;
const MAP_LOOKUP_ELEM: libc::c_long = 1;
const MAP_UPDATE_ELEM: libc::c_long = 2;
const MAP_DELETE_ELEM: libc::c_long = 3;
const OBJ_PIN: libc::c_long = 6;
const OBJ_GET: libc::c_long = 7;
const PROG_TEST_RUN: libc::c_long = 10;
const MAP_LOOKUP_BATCH: libc::c_long = 24;
const MAP_UPDATE_BATCH: libc::c_long = 26;
const MAP_DELETE_BATCH: libc::c_long = 27;
const LINK_CREATE: libc::c_long = 28;
const LINK_UPDATE: libc::c_long = 29;
const LINK_DETACH: libc::c_long = 34;

const MAP_TYPE_ARRAY: u32 = 2;
const MAP_TYPE_ARRAY_OF_MAPS: u32 = 12;
const ATTACH_XDP: u32 = 37;
/// `BPF_F_MMAPABLE`.
const MAPPABLE: u32 = 1 << 10;

/// `errno` of a batch command on a map type that has none (`ENOTSUPP`, which libc does not name).
pub(super) const ENOTSUPP: i32 = 524;

#[derive(Default)]
#[repr(C)]
struct ElementAttr {
    map: u32,
    _pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[derive(Default)]
#[repr(C)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
}

#[derive(Default)]
#[repr(C)]
struct CreateAttr {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
    inner_map: u32,
}

#[derive(Default)]
#[repr(C)]
struct LinkAttr {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
}

#[derive(Default)]
#[repr(C)]
struct LinkUpdateAttr {
    link: u32,
    program: u32,
    flags: u32,
    old_program: u32,
}

#[derive(Default)]
#[repr(C)]
struct ObjectAttr {
    path: u64,
    object: u32,
    flags: u32,
}

#[derive(Default)]
#[repr(C)]
struct TestRunAttr {
    program: u32,
    result: u32,
    data_in_size: u32,
    data_out_size: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    nanoseconds: u32,
    context_in_size: u32,
    context_out_size: u32,
    context_in: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    _pad: u32,
}

/// A batch that stopped before its end.
#[derive(Debug)]
pub(super) struct Stopped {
    /// Elements done; the one with this index failed.
    pub(super) done: usize,
    /// Why.
    pub(super) error: io::Error,
}

/// # Safety
///
/// `A` is the attribute struct of `command`, and every pointer in it is valid for what the command
/// does with it.
unsafe fn bpf<A>(command: libc::c_long, attr: &mut A) -> io::Result<libc::c_long> {
    // SAFETY: the attribute is writable for its own size; the caller answers for the rest.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<A>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A descriptor as bpf(2) takes it; never negative.
fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().unsigned_abs()
}

fn address<T>(pointer: *const T) -> u64 {
    pointer as u64
}

/// Adds or replaces an element. The map's key and value are of these types.
pub(super) fn map_update<K: Plain, V: Plain>(map: BorrowedFd<'_>, key: &K, value: &V) -> io::Result<()> {
    let mut attr = ElementAttr {
        map: raw(map),
        key: address(std::ptr::from_ref(key)),
        value: address(std::ptr::from_ref(value)),
        ..ElementAttr::default()
    };
    // SAFETY: key and value are readable for their sizes, which are the map's.
    unsafe { bpf(MAP_UPDATE_ELEM, &mut attr) }.map(drop)
}

/// Replaces an element of a per-CPU map, with one value for each possible CPU.
pub(super) fn map_update_all_cpus<K: Plain, V: Plain>(
    map: BorrowedFd<'_>,
    key: &K,
    values: &[V],
) -> io::Result<()> {
    let mut attr = ElementAttr {
        map: raw(map),
        key: address(std::ptr::from_ref(key)),
        value: address(values.as_ptr()),
        ..ElementAttr::default()
    };
    // SAFETY: the key is readable for its size, the values for one value a CPU.
    unsafe { bpf(MAP_UPDATE_ELEM, &mut attr) }.map(drop)
}

/// Removes an element.
pub(super) fn map_delete<K: Plain>(map: BorrowedFd<'_>, key: &K) -> io::Result<()> {
    let mut attr =
        ElementAttr { map: raw(map), key: address(std::ptr::from_ref(key)), ..ElementAttr::default() };
    // SAFETY: the key is readable for its size, which is the map's.
    unsafe { bpf(MAP_DELETE_ELEM, &mut attr) }.map(drop)
}

/// Reads an element into `values`: one value, or one for each possible CPU of a per-CPU map.
pub(super) fn map_lookup<K: Plain, V: Plain>(
    map: BorrowedFd<'_>,
    key: &K,
    values: &mut [V],
) -> io::Result<()> {
    let mut attr = ElementAttr {
        map: raw(map),
        key: address(std::ptr::from_ref(key)),
        value: address(values.as_mut_ptr()),
        ..ElementAttr::default()
    };
    // SAFETY: the key is readable for its size, the values writable for what the map returns;
    // any bytes make a valid `V`.
    unsafe { bpf(MAP_LOOKUP_ELEM, &mut attr) }.map(drop)
}

/// Adds or replaces elements in order, until one fails.
pub(super) fn map_update_batch<K: Plain, V: Plain>(
    map: BorrowedFd<'_>,
    keys: &[K],
    values: &[V],
) -> Result<(), Stopped> {
    assert_eq!(keys.len(), values.len(), "a batch has a value for each key");
    batch(MAP_UPDATE_BATCH, map, keys.len(), address(keys.as_ptr()), address(values.as_ptr()))
}

/// Removes elements in order, until one fails.
pub(super) fn map_delete_batch<K: Plain>(map: BorrowedFd<'_>, keys: &[K]) -> Result<(), Stopped> {
    batch(MAP_DELETE_BATCH, map, keys.len(), address(keys.as_ptr()), 0)
}

fn batch(
    command: libc::c_long,
    map: BorrowedFd<'_>,
    length: usize,
    keys: u64,
    values: u64,
) -> Result<(), Stopped> {
    let mut attr = BatchAttr { map: raw(map), count: length as u32, keys, values, ..BatchAttr::default() };
    // SAFETY: keys and values are slices of `length` elements of the map's sizes (or, for a
    // removal, no values), only read by the kernel.
    match unsafe { bpf(command, &mut attr) } {
        Ok(_) => Ok(()),
        // The kernel writes back how many it did; before it starts, it leaves the count alone or
        // zeroes it.
        Err(error) => {
            let count = attr.count as usize;
            Err(Stopped { done: if count < length { count } else { 0 }, error })
        }
    }
}

/// Reads up to `keys.len()` elements after `cursor` (`None`: from the start). Returns how many,
/// and the cursor for the next call, `None` at the end.
pub(super) fn map_lookup_batch<K: Plain, V: Plain>(
    map: BorrowedFd<'_>,
    cursor: Option<K>,
    keys: &mut [K],
    values: &mut [V],
) -> io::Result<(usize, Option<K>)> {
    assert_eq!(keys.len(), values.len(), "a batch has a value for each key");
    let Some(mut next) = keys.first().copied() else { return Ok((0, cursor)) };
    let mut attr = BatchAttr {
        in_batch: cursor.as_ref().map_or(0, |key| address(std::ptr::from_ref(key))),
        out_batch: address(std::ptr::from_mut(&mut next)),
        keys: address(keys.as_mut_ptr()),
        values: address(values.as_mut_ptr()),
        count: keys.len() as u32,
        map: raw(map),
        ..BatchAttr::default()
    };
    // SAFETY: keys and values are writable for `count` elements, the cursors for one key each (the
    // cursor of the maps read here is a key); any bytes make a valid `K` and `V`.
    match unsafe { bpf(MAP_LOOKUP_BATCH, &mut attr) } {
        Ok(_) => Ok((attr.count as usize, Some(next))),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok((attr.count as usize, None)),
        Err(error) => Err(error),
    }
}

/// Attaches an XDP program to an interface for as long as the returned link is open.
pub(super) fn link_xdp(program: BorrowedFd<'_>, ifindex: u32, flags: u32) -> io::Result<OwnedFd> {
    let mut attr = LinkAttr { program: raw(program), target: ifindex, attach_type: ATTACH_XDP, flags };
    // SAFETY: no pointers in this attribute.
    let fd = unsafe { bpf(LINK_CREATE, &mut attr) }?;
    Ok(owned(fd))
}

/// Has a link run another program from now on. The change is atomic: each packet meets the one or the other.
pub(super) fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = LinkUpdateAttr { link: raw(link), program: raw(program), ..LinkUpdateAttr::default() };
    // SAFETY: no pointers in this attribute.
    unsafe { bpf(LINK_UPDATE, &mut attr) }.map(drop)
}

/// Takes a link's program off its interface, whoever else holds the link.
pub(super) fn link_detach(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = LinkUpdateAttr { link: raw(link), ..LinkUpdateAttr::default() };
    // SAFETY: no pointers in this attribute.
    unsafe { bpf(LINK_DETACH, &mut attr) }.map(drop)
}

/// The interface that a link of XDP is attached to; 0 when that is gone. `None`: it is no link of XDP.
pub(super) fn link_ifindex(link: BorrowedFd<'_>) -> io::Result<Option<u32>> {
    // The same as BPF_OBJ_GET_INFO_BY_FD, which answers maps and programs as well, in other structs.
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", link.as_raw_fd()))?;
    let field = |name| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    Ok(match field("link_type:") {
        Some("xdp") => field("ifindex:").and_then(|index| index.parse().ok()),
        _ => None,
    })
}

/// Gives a link a name in a BPF file system, which holds it.
pub(super) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    let mut attr = ObjectAttr { path: address(path.as_ptr()), object: raw(object), flags: 0 };
    // SAFETY: the path ends with a zero byte.
    unsafe { bpf(OBJ_PIN, &mut attr) }.map(drop)
}

/// The object with this name in a BPF file system.
pub(super) fn pinned(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let mut attr = ObjectAttr { path: address(path.as_ptr()), ..ObjectAttr::default() };
    // SAFETY: the path ends with a zero byte.
    unsafe { bpf(OBJ_GET, &mut attr) }.map(owned)
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

/// Runs an XDP program on a packet; what it returned, the length of the packet afterwards, which lies in
/// `out`, and the mean time of a run in nanoseconds.
pub(super) fn test_run(
    program: BorrowedFd<'_>,
    packet: &[u8],
    out: &mut [u8],
    context: &[u8],
    repeat: u32,
) -> io::Result<(u32, usize, u32)> {
    let mut attr = TestRunAttr {
        program: raw(program),
        data_in_size: packet.len() as u32,
        data_out_size: out.len() as u32,
        data_in: address(packet.as_ptr()),
        data_out: address(out.as_mut_ptr()),
        repeat,
        context_in_size: context.len() as u32,
        context_in: address(context.as_ptr()),
        ..TestRunAttr::default()
    };
    // SAFETY: packet and context are readable, `out` is writable for the sizes given.
    unsafe { bpf(PROG_TEST_RUN, &mut attr) }?;
    Ok((attr.result, attr.data_out_size as usize, attr.nanoseconds))
}

/// What the kernel calls the network namespace of a socket: a number that is given once in a run of the machine.
pub(super) fn namespace_cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut cookie: u64 = 0;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the value is writable for its length.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            std::ptr::from_mut(&mut cookie).cast(),
            &raw mut length,
        )
    };
    if done == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}

/// Whether an interface with this index exists in the caller's network namespace.
pub(super) fn interface_exists(ifindex: u32) -> bool {
    let mut name: [libc::c_char; libc::IF_NAMESIZE] = [0; libc::IF_NAMESIZE];
    // SAFETY: the buffer has the size that the call demands.
    !unsafe { libc::if_indextoname(ifindex, name.as_mut_ptr()) }.is_null()
}

/// Creates an array map with one `u32`.
pub(super) fn create_array() -> io::Result<OwnedFd> {
    create(CreateAttr {
        map_type: MAP_TYPE_ARRAY,
        key_size: 4,
        value_size: 4,
        max_entries: 1,
        ..CreateAttr::default()
    })
}

/// Creates an array map of one element of so many bytes, which can be mapped into memory. Its memory is
/// all zero, and all there from the start. Elements of more than 4 MiB need kernel 6.0.
pub(super) fn create_mappable_array(bytes: usize) -> io::Result<OwnedFd> {
    create(CreateAttr {
        map_type: MAP_TYPE_ARRAY,
        key_size: 4,
        value_size: u32::try_from(bytes).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?,
        max_entries: 1,
        flags: MAPPABLE,
        ..CreateAttr::default()
    })
}

/// Memory that is shared with an array map. It outlives the map's descriptor.
#[derive(Debug)]
pub(super) struct Mapping {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the memory belongs to no thread.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps the first `bytes` of an array map, readable and writable.
    pub(super) fn new(map: BorrowedFd<'_>, bytes: usize) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe {
            libc::mmap(std::ptr::null_mut(), bytes, protection, libc::MAP_SHARED, map.as_raw_fd(), 0)
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
        Ok(Self { start, bytes })
    }

    /// Its first byte.
    pub(super) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// How long it is.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: made by `new` with this length; nobody can have a reference into it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

/// Creates an array of maps with room for one map like `inner`.
pub(super) fn create_array_of_maps(inner: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    create(CreateAttr {
        map_type: MAP_TYPE_ARRAY_OF_MAPS,
        key_size: 4,
        value_size: 4,
        max_entries: 1,
        inner_map: raw(inner),
        ..CreateAttr::default()
    })
}

fn create(mut attr: CreateAttr) -> io::Result<OwnedFd> {
    // SAFETY: no pointers in this attribute.
    let fd = unsafe { bpf(MAP_CREATE, &mut attr) }?;
    Ok(owned(fd))
}

fn owned(fd: libc::c_long) -> OwnedFd {
    let fd = i32::try_from(fd).expect("the kernel returns descriptors as int");
    // SAFETY: just returned by the kernel; nobody else has it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
