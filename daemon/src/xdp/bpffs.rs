//! Where pins live: a BPF file system that outlives the daemon.
//!
//! That is the one at `/sys/fs/bpf` as process 1 sees it. In a network namespace of `ip netns exec` `/sys` is
//! another file system, which goes with the command; and process 1 may be out of sight. So the mount namespaces
//! of process 1, of the processes between it and this one, and its own are looked at, outermost first, and where
//! there is none, one is mounted for the outermost that lets us.

use std::{
    fs::File,
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns, unshare},
    sys::statfs::fstatfs,
};

/// Where it is by convention.
pub(super) const PLACE: &str = "/sys/fs/bpf";
/// `BPF_FS_MAGIC`.
const MAGIC: u64 = 0xcafe_4a11;

/// A directory of a file system, by whatever mount namespace it was reached.
#[derive(Debug)]
pub(super) struct Directory(OwnedFd);

impl Directory {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
        let file = File::options().read(true).custom_flags(flags).open(path)?;
        Ok(Self(file.into()))
    }

    /// A path by which this process reaches what is in it.
    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }

    fn is_bpf(&self) -> bool {
        fstatfs(&self.0).is_ok_and(|there| there.filesystem_type().0.cast_unsigned() == MAGIC)
    }
}

/// The BPF file system, if there is one.
pub(super) fn find() -> Option<Directory> {
    ancestors().into_iter().find_map(|pid| Directory::open(&seen_by(pid)).ok().filter(Directory::is_bpf))
}

/// Mounts one, for the outermost process that lets us.
pub(super) fn make() -> io::Result<Directory> {
    let mut last = io::Error::from_raw_os_error(libc::ENOENT);
    for pid in ancestors() {
        match mount_for(pid).and_then(|()| Directory::open(&seen_by(pid))) {
            Ok(directory) if directory.is_bpf() => {
                tracing::info!("a BPF file system has been mounted on {PLACE}, where there was none");
                return Ok(directory);
            }
            Ok(_) => {}
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn seen_by(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/root{PLACE}"))
}

/// Process 1, those between it and this one, and this one.
fn ancestors() -> Vec<u32> {
    let mut pids = vec![std::process::id()];
    while let Some(parent) = pids.last().and_then(|pid| parent(*pid)).filter(|pid| !pids.contains(pid)) {
        pids.push(parent);
    }
    if pids.last() != Some(&1) {
        pids.push(1);
    }
    pids.reverse();
    pids
}

fn parent(pid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    parent.trim().parse().ok().filter(|pid| *pid > 0)
}

/// Mounts one in the mount namespace of a process.
fn mount_for(pid: u32) -> io::Result<()> {
    let bpf = || {
        let nothing: Option<&str> = None;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("bpf"), PLACE, Some("bpf"), flags, Some("mode=0700")).or_else(|_| {
            // Without options, as the oldest kernels want it.
            mount(Some("bpf"), PLACE, Some("bpf"), flags, nothing)
        })
    };
    let theirs = File::open(format!("/proc/{pid}/ns/mnt"))?;
    let ours = std::fs::metadata("/proc/thread-self/ns/mnt")?;
    // One that nobody outside sees would go with this process.
    if pid == std::process::id() && pid != 1 {
        return Err(io::Error::other("no process that leads to this one lets it be mounted"));
    }
    if theirs.metadata()?.ino() == ours.ino() {
        return Ok(bpf()?);
    }
    // A thread shares its root and working directory with the others: one that moves must have its own.
    let thread = std::thread::Builder::new().name("mount".to_owned()).spawn(move || {
        unshare(CloneFlags::CLONE_FS)?;
        setns(&theirs, CloneFlags::CLONE_NEWNS)?;
        bpf()
    })?;
    let done = thread.join().map_err(|_| io::Error::other("the thread that mounts it has failed"))?;
    Ok(done?)
}
