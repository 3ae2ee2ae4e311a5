//! Which path of a prefix a peer is sent.
//!
//! The best one, to everybody but the peer that it came from. A client of a route server (RFC 7947) gets the
//! best of those that its export policy lets through and that are not its own: were it sent only what is
//! best for all, a path refused to it would hide every other one from it (section 2.3). It is chosen from the
//! few paths of the prefix whenever one of them changes, as if the client had a table of its own, which it
//! does not.

use super::super::core::{Core, Plane};
use super::super::decision::decide;
use super::super::key::Bits;
use super::super::path::Path;
use super::rules::GroupConfig;

impl<K: Bits> Plane<K> {
    /// The best of the paths of an entry that are not a client's own and pass.
    pub(crate) fn best_for_client(
        &self,
        core: &Core,
        client: u16,
        id: u32,
        mut passes: impl FnMut(Path) -> bool,
    ) -> Option<Path> {
        let paths = self.table.paths(id).iter().copied();
        let open: Vec<Path> = paths
            .filter(|path| path.peer != client && path.eligible())
            .filter(|path| passes(*path))
            .collect();
        let candidates: Vec<_> = open.iter().map(|path| core.candidate(*path)).collect();
        let ranked = decide(&candidates, &core.rules)?;
        open.get(ranked.best).copied()
    }

    /// Whether a path goes out to a group.
    pub(crate) fn passes(&self, core: &Core, config: &GroupConfig, path: Path, id: u32) -> bool {
        let (bits, length) = self.table.prefix(id);
        core.attrs
            .attributes(path.attr)
            .is_some_and(|route| config.exported(core.source(path), &route, bits.net(length)).is_some())
    }
}
