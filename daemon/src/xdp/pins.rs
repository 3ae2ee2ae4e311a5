//! Pins: names in the BPF file system that keep the program on its interfaces without the daemon.
//!
//! ```text
//! <BPF file system>/peregrine/v1/<cookie of the network namespace>/<interface index>-<native or generic>
//! ```
//!
//! What is pinned are the links alone. A link holds its program, which holds its maps, so that packets go on by
//! the tables of the daemon that is no more; and changing the program of a link changes all of that in one step.
//! No later daemon reads those maps, and so their layout is nobody's business but that program's.
//!
//! Who else may write there must not lead us elsewhere: directories count only if they are no links, belong to the
//! daemon's user and nobody else may write into them; and nothing is followed when names are removed.
//!
//! The kernel gives each network namespace a cookie that no other one gets until the machine starts anew. What is
//! pinned for a namespace that has gone would hold its maps for ever: see [`Pins::sweep`].

use std::{
    fs, io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::{DirBuilderExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
};

use nix::unistd::geteuid;

use super::{attach::AttachedMode, bpffs, error::XdpError, sys};

/// What is ours in the BPF file system.
const OURS: &str = "peregrine";
/// How the names below are to be read.
const VERSION: &str = "v1";
/// How deep names are looked for below a namespace's directory, whatever version has made them.
const DEPTH: usize = 4;

/// The pins of one network namespace.
#[derive(Debug)]
pub struct Pins {
    root: bpffs::Directory,
    cookie: String,
}

/// A link that was found.
#[derive(Debug)]
pub(super) struct PinnedLink {
    pub(super) link: OwnedFd,
    /// Never 0: one without its interface is no use.
    pub(super) ifindex: u32,
    /// If its name says so.
    pub(super) mode: Option<AttachedMode>,
    /// Whether [`Pins::pin`] would name it so.
    pub(super) ours: bool,
}

impl Pins {
    /// The pins of the calling thread's network namespace, if there is a BPF file system.
    pub fn find() -> Result<Option<Self>, XdpError> {
        bpffs::find().map(Self::below).transpose()
    }

    /// The same; without a BPF file system one is mounted.
    pub fn find_or_mount() -> Result<Self, XdpError> {
        if let Some(pins) = Self::find()? {
            return Ok(pins);
        }
        let root = bpffs::make().map_err(|error| {
            XdpError::system(format!("mount a BPF file system on {}", bpffs::PLACE), "mount", error)
        })?;
        Self::below(root)
    }

    fn below(root: bpffs::Directory) -> Result<Self, XdpError> {
        let cookie = namespace_cookie()
            .map_err(|error| XdpError::system("name the network namespace", "SO_NETNS_COOKIE", error))?;
        let ours = root.path().join(OURS);
        if ours.symlink_metadata().is_ok() && !is_ours(&ours) {
            let error = io::Error::new(
                io::ErrorKind::PermissionDenied,
                "it is not a directory that belongs to the daemon's user alone: remove it",
            );
            return Err(XdpError::system(format!("use {}/{OURS}", bpffs::PLACE), "lstat", error));
        }
        Ok(Self { root, cookie: cookie.to_string() })
    }

    /// Makes sure that there can be pins.
    pub fn check(&self) -> Result<(), XdpError> {
        let directory = self.directory();
        fs::create_dir_all(&directory).map_err(|error| {
            XdpError::system(format!("make the directory {}", self.place()), "mkdir", error)
        })?;
        // It is made again with the first pin, if there is none of an earlier run in it.
        let _ = fs::remove_dir(&directory);
        Ok(())
    }

    /// Where the pins are, for people.
    pub fn place(&self) -> String {
        format!("{}/{OURS}/{VERSION}/{}", bpffs::PLACE, self.cookie)
    }

    fn directory(&self) -> PathBuf {
        self.root.path().join(OURS).join(VERSION).join(&self.cookie)
    }

    /// The directories of this namespace, of all versions.
    fn directories(&self) -> Vec<PathBuf> {
        let versions = children(&self.root.path().join(OURS));
        let ours = versions.into_iter().filter(|version| is_ours(version));
        ours.map(|version| version.join(&self.cookie)).filter(|path| is_ours(path)).collect()
    }

    /// The links whose interfaces are still there, each interface once.
    pub(super) fn links(&self) -> Vec<PinnedLink> {
        let mut links: Vec<PinnedLink> = Vec::new();
        let ours = self.directory();
        let mut directories = self.directories();
        // What this version has named goes first.
        directories.sort_by_key(|directory| *directory != ours);
        for directory in directories {
            for file in files(&directory) {
                let Some((link, ifindex)) = link(&file).filter(|(_, ifindex)| *ifindex != 0) else {
                    continue;
                };
                // One that went to another namespace has another index there, which may be that of an interface here.
                let moved = index_in(&file).is_some_and(|index| index != ifindex);
                if !moved && links.iter().all(|known| known.ifindex != ifindex) {
                    let mode = mode_in(&file);
                    let ours = mode.is_some_and(|mode| file == self.file(ifindex, mode));
                    links.push(PinnedLink { link, ifindex, mode, ours });
                }
            }
        }
        links
    }

    /// Names a link.
    pub(super) fn pin(&self, link: &OwnedFd, ifindex: u32, mode: AttachedMode) -> Result<(), XdpError> {
        let file = self.file(ifindex, mode);
        let failed = |call| {
            move |error| XdpError::system(format!("pin the program on interface {ifindex}"), call, error)
        };
        let directory = self.directory();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(failed("mkdir"))?;
        if !is_ours(&directory) {
            let error = io::Error::from(io::ErrorKind::PermissionDenied);
            return Err(failed("lstat")(error));
        }
        // An interface of this index that has gone may have left its own.
        self.unpin(ifindex, mode);
        sys::pin(link.as_fd(), &file).map_err(failed("BPF_OBJ_PIN"))
    }

    /// Removes the name of a link.
    pub(super) fn unpin(&self, ifindex: u32, mode: AttachedMode) {
        // What was not there need not go.
        let _ = fs::remove_file(self.file(ifindex, mode));
    }

    fn file(&self, ifindex: u32, mode: AttachedMode) -> PathBuf {
        self.directory().join(format!("{ifindex}-{mode}"))
    }

    /// Removes all names of this namespace but those of these links, which [`Self::pin`] has given.
    pub(super) fn keep_only(&self, kept: &[(u32, AttachedMode)]) {
        let kept: Vec<PathBuf> = kept.iter().map(|&(ifindex, mode)| self.file(ifindex, mode)).collect();
        for directory in self.directories() {
            remove(&directory, &kept);
        }
    }

    /// Takes every program off that is pinned in this namespace, and removes the names. How many programs were on
    /// an interface.
    pub fn detach_all(&self) -> usize {
        let mut detached = 0;
        for PinnedLink { link, .. } in self.links() {
            detached += usize::from(sys::link_detach(link.as_fd()).is_ok());
        }
        self.keep_only(&[]);
        detached
    }

    /// Removes what is pinned for network namespaces that have gone, which shows by all of their interfaces being
    /// gone. How many namespaces those were.
    pub fn sweep(&self) -> usize {
        let mut swept = 0;
        let versions = children(&self.root.path().join(OURS));
        let ours = versions.iter().filter(|version| is_ours(version));
        for namespace in ours.flat_map(|version| children(version)).filter(|path| is_ours(path)) {
            if namespace.file_name().is_some_and(|name| name == self.cookie.as_str()) {
                continue;
            }
            let links: Vec<_> = files(&namespace).iter().filter_map(|file| link(file)).collect();
            // One without any link may be just in the making.
            if !links.is_empty() && links.iter().all(|(_, ifindex)| *ifindex == 0) {
                remove(&namespace, &[]);
                swept += 1;
            }
        }
        swept
    }
}

/// The link behind a name and its interface, if it is a link of XDP.
fn link(file: &Path) -> Option<(OwnedFd, u32)> {
    let link = sys::pinned(file).ok()?;
    let ifindex = sys::link_ifindex(link.as_fd()).ok()??;
    Some((link, ifindex))
}

/// How a link is attached, by its name.
fn mode_in(file: &Path) -> Option<AttachedMode> {
    let (_, mode) = file.file_name()?.to_str()?.split_once('-')?;
    [AttachedMode::Native, AttachedMode::Generic].into_iter().find(|known| known.to_string() == mode)
}

/// The index of an interface that a name begins with.
fn index_in(file: &Path) -> Option<u32> {
    file.file_name()?.to_str()?.split('-').next()?.parse().ok()
}

/// Whether a path is a directory itself, and not a link to one.
fn is_directory(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|there| there.is_dir())
}

/// Whether a path is a directory that nobody but the daemon's user can have put anything into.
fn is_ours(path: &Path) -> bool {
    let alone = |there: fs::Metadata| {
        there.is_dir() && there.uid() == geteuid().as_raw() && there.mode() & 0o022 == 0
    };
    path.symlink_metadata().is_ok_and(alone)
}

/// What is in a directory, if it is one.
fn children(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

/// All files below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut level = vec![directory.to_owned()];
    for _ in 0..DEPTH {
        let (deeper, found): (Vec<_>, Vec<_>) =
            level.iter().flat_map(|path| children(path)).partition(|path| is_directory(path));
        files.extend(found);
        level = deeper;
    }
    files.sort();
    files
}

/// Removes a directory and all below it, save these files and what leads to them. What can not be removed is said.
fn remove(directory: &Path, kept: &[PathBuf]) {
    for child in children(directory) {
        if is_directory(&child) {
            remove(&child, kept);
        } else if !kept.contains(&child)
            && let Err(error) = fs::remove_file(&child)
        {
            tracing::warn!(path = %child.display(), %error, "a pin stays behind");
        }
    }
    if !kept.iter().any(|file| file.starts_with(directory))
        && let Err(error) = fs::remove_dir(directory)
    {
        tracing::warn!(path = %directory.display(), %error, "a directory of pins stays behind");
    }
}

/// What the kernel calls the calling thread's network namespace, and no other one until the machine starts anew.
pub fn namespace_cookie() -> io::Result<u64> {
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::DGRAM, None)?;
    sys::namespace_cookie(socket.as_fd())
}

#[cfg(test)]
impl Pins {
    /// The names that there are, below the directory of this namespace.
    pub(crate) fn names(&self) -> Vec<String> {
        let directories = self.directories();
        let names = directories.iter().flat_map(|directory| {
            files(directory)
                .into_iter()
                .filter_map(move |file| Some(file.strip_prefix(directory).ok()?.display().to_string()))
        });
        names.collect()
    }

    /// As if another version had made them.
    pub(crate) fn rename_version(&self, version: &str) {
        let ours = self.root.path().join(OURS);
        fs::create_dir_all(ours.join(version)).unwrap();
        fs::rename(self.directory(), ours.join(version).join(&self.cookie)).unwrap();
    }

    /// The namespaces that something is pinned for, by their cookies.
    pub(crate) fn namespaces(&self) -> Vec<String> {
        let versions = children(&self.root.path().join(OURS));
        let all = versions.iter().flat_map(|version| children(version));
        all.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect()
    }

    /// The cookie of this one.
    pub(crate) fn cookie(&self) -> &str {
        &self.cookie
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn nobody_else_leads_us_elsewhere() {
        let place = std::env::temp_dir().join(format!("peregrine-pins-{}", std::process::id()));
        let victim = place.join("victim");
        fs::create_dir_all(&victim).unwrap();
        fs::write(victim.join("file"), "precious").unwrap();
        let pins =
            |cookie: &str| Pins { root: bpffs::Directory::open(&place).unwrap(), cookie: cookie.to_owned() };
        let directory = place.join(OURS).join(VERSION).join("7");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory).unwrap();
        symlink(&victim, directory.join("x")).unwrap();
        // In place of the directory of a namespace.
        symlink(&victim, directory.with_file_name("8")).unwrap();
        for cookie in ["7", "8"] {
            pins(cookie).keep_only(&[]);
            pins(cookie).sweep();
        }
        assert!(!directory.exists());
        assert_eq!(fs::read_to_string(victim.join("file")).unwrap(), "precious");
        // What anybody may write into is not ours.
        let ours = place.join(OURS);
        assert!(Pins::below(bpffs::Directory::open(&place).unwrap()).is_ok());
        fs::set_permissions(&ours, fs::Permissions::from_mode(0o777)).unwrap();
        let error = Pins::below(bpffs::Directory::open(&place).unwrap()).unwrap_err().to_string();
        assert!(error.contains("/sys/fs/bpf/peregrine") && error.contains("remove it"), "{error}");
        fs::remove_dir_all(&place).unwrap();
    }
}
