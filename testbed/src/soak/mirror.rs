//! What a receiver holds, kept up to date with every UPDATE that it is sent.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Instant;

use ipnet::IpNet;

use crate::speaker::Update;

/// Where each prefix has its place in [`Mirror`]s.
pub type Places = Arc<HashMap<IpNet, usize>>;

/// Numbers the prefixes in this order.
pub fn places(prefixes: impl Iterator<Item = IpNet>) -> Places {
    Arc::new(prefixes.enumerate().map(|(place, prefix)| (prefix, place)).collect())
}

/// What a route's attributes come to, as far as they are passed on unchanged: the path before the router
/// put itself in front, and the communities. Never 0.
pub fn fingerprint(as_path: &[u32], communities: &[u32]) -> u64 {
    let mut hasher = DefaultHasher::new();
    as_path.hash(&mut hasher);
    if communities.is_sorted() {
        communities.hash(&mut hasher);
    } else {
        let mut sorted = communities.to_vec();
        sorted.sort_unstable();
        sorted.hash(&mut hasher);
    }
    hasher.finish() | 1
}

/// What has been counted since the last [`Mirror::forget`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Heard {
    /// UPDATEs with routes.
    pub updates: u64,
    /// Routes announced in them.
    pub announced: u64,
    /// Routes withdrawn in them.
    pub withdrawn: u64,
    /// When the last of them came.
    pub last: Option<Instant>,
}

/// One receiver's table.
#[derive(Clone, Debug)]
pub struct Mirror {
    places: Places,
    /// Fingerprints by place; 0 for no route.
    held: Vec<u64>,
    /// How many routes there are.
    count: usize,
    /// Prefixes without a place.
    foreign: HashSet<IpNet>,
    heard: Heard,
}

impl Mirror {
    /// An empty one.
    pub fn new(places: &Places) -> Self {
        let held = vec![0; places.len()];
        Self { places: Arc::clone(places), held, count: 0, foreign: HashSet::new(), heard: Heard::default() }
    }

    /// Takes an UPDATE in.
    pub fn apply(&mut self, update: &Update, now: Instant) {
        if update.announced.is_empty() && update.withdrawn.is_empty() {
            return;
        }
        self.heard.updates += 1;
        self.heard.announced += update.announced.len() as u64;
        self.heard.withdrawn += update.withdrawn.len() as u64;
        self.heard.last = Some(now);
        for prefix in &update.withdrawn {
            self.set(*prefix, 0);
        }
        if !update.announced.is_empty() {
            let path = update.as_path.get(1..).unwrap_or_default();
            let mark = fingerprint(path, &update.communities);
            for prefix in &update.announced {
                self.set(*prefix, mark);
            }
        }
    }

    fn set(&mut self, prefix: IpNet, mark: u64) {
        if let Some(&place) = self.places.get(&prefix) {
            let before = std::mem::replace(&mut self.held[place], mark);
            self.count = self.count + usize::from(mark != 0) - usize::from(before != 0);
        } else if mark == 0 {
            self.foreign.remove(&prefix);
        } else {
            self.foreign.insert(prefix);
        }
    }

    /// How many routes there are.
    pub fn len(&self) -> usize {
        self.count + self.foreign.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fingerprints by place; 0 for no route.
    pub fn held(&self) -> &[u64] {
        &self.held
    }

    /// Prefixes that should not be there at all.
    pub fn foreign(&self) -> &HashSet<IpNet> {
        &self.foreign
    }

    /// What has been heard.
    pub fn heard(&self) -> Heard {
        self.heard
    }

    /// Begins to count anew; the routes stay.
    pub fn forget(&mut self) {
        self.heard = Heard::default();
    }

    /// A new session begins without routes.
    pub fn clear(&mut self) {
        self.held.fill(0);
        self.count = 0;
        self.foreign.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_holds_what_was_announced_last() {
        let nets: Vec<IpNet> =
            ["192.0.2.0/24", "2001:db8::/48"].iter().map(|net| net.parse().expect("a prefix")).collect();
        let mut mirror = Mirror::new(&places(nets.iter().copied()));
        let update = |announced: &[IpNet], withdrawn: &[IpNet], path: &[u32]| Update {
            announced: announced.to_vec(),
            withdrawn: withdrawn.to_vec(),
            as_path: path.to_vec(),
            communities: vec![2, 1],
            ..Update::default()
        };
        let now = Instant::now();
        mirror.apply(&update(&nets, &[], &[9, 1]), now);
        mirror.apply(&update(&nets[..1], &[], &[9, 1, 2]), now);
        assert_eq!(mirror.held(), [fingerprint(&[1, 2], &[1, 2]), fingerprint(&[1], &[1, 2])]);
        mirror.apply(&update(&["198.51.100.0/24".parse().expect("a prefix")], &nets[..1], &[9, 1]), now);
        assert_eq!((mirror.len(), mirror.foreign().len(), mirror.held()[0]), (2, 1, 0));
        let heard = mirror.heard();
        assert_eq!((heard.updates, heard.announced, heard.withdrawn), (3, 4, 1));
    }
}
