//! The audit: the tables are read back and compared with what is meant.
//!
//! Nobody but this daemon should write them. Yet an operator with `bpftool`, another program or a bug can,
//! and then packets go astray while every `show` says that all is well. So all of them are read once in a
//! configurable time, in slices of some hundred microseconds between the work that there is. What differs is
//! counted, shown (`show fib diff`) and written anew. A trie is also searched for entries that nobody meant.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use fib::{AuditAt, EngineKind, Family, Meant, Run, TableEdit};
use fib_abi::direct::NODE;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use tracing::{error, info, warn};

use super::forwarder::Forwarder;
use super::plane::Plane;
use crate::xdp::XdpError;

/// Differences that are remembered.
const RECENT: usize = 100;
/// Entries of a trie that are read at a time.
const ENTRIES: usize = 256;
/// The thread is not woken more often than this.
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);

/// The maps by what is counted for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditedMap {
    /// `ROUTES_V4` and `ROUTES_V6`.
    Trie,
    /// `DIRECT_V4` and `DIRECT_V6`.
    Direct,
    /// `SETS`.
    Sets,
    /// `MEMBERS`.
    Members,
    /// `NEXT_HOPS`.
    NextHops,
    /// `ADJACENCIES`.
    Adjacencies,
}

impl AuditedMap {
    /// All of them, by number.
    pub const ALL: [Self; 6] =
        [Self::Trie, Self::Direct, Self::Sets, Self::Members, Self::NextHops, Self::Adjacencies];

    /// As in the label of metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trie => "lpm-trie",
            Self::Direct => "direct",
            Self::Sets => "sets",
            Self::Members => "members",
            Self::NextHops => "next-hops",
            Self::Adjacencies => "adjacencies",
        }
    }

    fn of(edit: &TableEdit) -> Self {
        match edit {
            TableEdit::Adjacency { .. } => Self::Adjacencies,
            TableEdit::NextHop { .. } => Self::NextHops,
            TableEdit::Member { .. } => Self::Members,
            TableEdit::Set { .. } => Self::Sets,
            TableEdit::Insert { .. } | TableEdit::Remove { .. } => Self::Trie,
            TableEdit::Fill { .. } | TableEdit::Grow { .. } | TableEdit::Serve { .. } => Self::Direct,
        }
    }
}

/// Something in a map that was not as meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    /// When it was found.
    pub at: SystemTime,
    /// In which map.
    pub map: AuditedMap,
    /// Where: a prefix, or an index.
    pub place: String,
    /// What should have been there.
    pub meant: String,
    /// What was there.
    pub found: String,
    /// Whether it has been written anew.
    pub repaired: bool,
}

/// What the audit has found since the start.
#[derive(Clone, Debug, Default)]
pub struct AuditStats {
    /// Time for all maps; `None`: there is no audit.
    pub interval: Option<Duration>,
    /// How often all maps have been gone through.
    pub passes: u64,
    /// When that was done last.
    pub last_pass: Option<SystemTime>,
    /// Elements and words compared in that pass.
    pub compared: u64,
    /// Differences by [`AuditedMap`], and how many of them have been repaired.
    pub drift: [u64; AuditedMap::ALL.len()],
    /// Likewise, those that have been repaired.
    pub repairs: [u64; AuditedMap::ALL.len()],
    /// The last ones, the newest at the end.
    pub recent: VecDeque<Drift>,
}

/// Where the audit is.
#[derive(Debug, Default)]
pub(super) struct Audit {
    pub(super) stats: Arc<AuditStats>,
    /// When the next slices are due, and how many.
    due: Option<Instant>,
    at: AuditAt,
    /// Of the trie that is being searched for entries that nobody meant, the last one read.
    search: Option<(Family, Option<IpNet>)>,
    /// An entry that nobody meant, and that the search goes on from: it is removed when that is done. Without it
    /// the kernel would start over.
    held: Option<(IpNet, u32)>,
    meant: Meant,
    words: Vec<u32>,
    /// Of this pass: when it began, the slices that are done, elements and words compared, differences.
    began: Option<Instant>,
    done: u32,
    compared: u64,
    differed: u64,
}

impl Audit {
    /// When [`Forwarder::audit`] wants to be called.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }
}

/// A difference, and the edit that makes it good.
struct Difference {
    place: String,
    meant: String,
    found: String,
    edit: TableEdit,
}

impl<P: Plane> Forwarder<P> {
    /// Has all maps compared once in this time; `None` ends it.
    pub(super) fn audit_every(&mut self, interval: Option<Duration>) {
        Arc::make_mut(&mut self.audit.stats).interval = interval;
        self.audit.due = interval.map(|_| Instant::now());
    }

    /// Does the slices that are due. What is meant must be in the maps, as far as it could be written.
    pub(super) fn audit(&mut self) {
        let Some(interval) = self.audit.stats.interval else { return };
        if self.audit.due.is_none_or(|due| due > Instant::now()) {
            return;
        }
        let slices = self.slices();
        let pause = interval / slices;
        // What the time that has gone by asks for: work and late alarms take their part of it. Who is behind goes on at
        // twice the pace, not at once, since other work waits meanwhile.
        let elapsed = self.audit.began.get_or_insert_with(Instant::now).elapsed().min(interval);
        let share = elapsed.as_nanos() * u128::from(slices) / interval.as_nanos().max(1);
        let wanted = share as u32 + 1;
        let pace = SHORTEST_PAUSE.as_nanos().div_ceil(pause.as_nanos().max(1)).min(1000) as u32;
        let at_once = wanted.saturating_sub(self.audit.done).clamp(1, 2 * pace);
        for _ in 0..at_once {
            self.audit.done += 1;
            if !self.audit_slice() {
                self.end_pass();
                break;
            }
        }
        self.audit.due = Some(Instant::now() + pause.max(SHORTEST_PAUSE));
    }

    /// About how many slices a pass has. Tries are gone through twice, also for entries that nobody meant.
    fn slices(&self) -> u32 {
        let stats = self.fib.stats();
        let tries = [stats.ipv4, stats.ipv6].into_iter().filter(|table| table.engine == EngineKind::LpmTrie);
        let searched: usize = tries.map(|table| 1 + table.entries / ENTRIES).sum();
        u32::try_from(self.fib.audit_slices() + searched).unwrap_or(u32::MAX).max(1)
    }

    /// The next slice; false when there is none.
    fn audit_slice(&mut self) -> bool {
        if let Some((family, after)) = self.audit.search {
            self.audit.search = self.search_trie(family, after);
            return self.audit.search.is_some();
        }
        let mut meant = std::mem::take(&mut self.audit.meant);
        let next = self.fib.audit(self.audit.at, &mut meant);
        self.audit.compared += meant.len() as u64;
        let mut found = Vec::new();
        for edit in &meant.edits {
            match self.plane.read_back(edit) {
                Ok(there) if there.as_ref() == Some(edit) => {}
                Ok(there) => found.push(Difference {
                    place: place(edit),
                    meant: value(edit),
                    found: there.as_ref().map_or_else(|| "nothing".to_owned(), value),
                    edit: *edit,
                }),
                Err(error) => self.cannot_read(&error),
            }
        }
        for run in &meant.runs {
            self.compare(run, meant.values(run), &mut found);
        }
        self.audit.meant = meant;
        self.repair(found);
        match next {
            Some(next) => self.audit.at = next,
            None => self.audit.search = self.next_search(None),
        }
        next.is_some() || self.audit.search.is_some()
    }

    /// Compares words of a direct table.
    fn compare(&mut self, run: &Run, values: &[u32], found: &mut Vec<Difference>) {
        let mut words = std::mem::take(&mut self.audit.words);
        words.clear();
        words.resize(values.len(), 0);
        match self.plane.words(run.family, run.first, &mut words) {
            Ok(()) if words == values => {}
            Ok(()) => {
                let pairs = (0..).zip(values.iter().zip(&words));
                found.extend(pairs.filter(|(_, (meant, there))| meant != there).map(
                    |(index, (&meant, &there))| Difference {
                        place: word_place(run, values.len(), index),
                        meant: word(meant),
                        found: word(there),
                        edit: TableEdit::Fill {
                            family: run.family,
                            first: run.first + index,
                            count: 1,
                            value: meant,
                        },
                    },
                ));
            }
            Err(error) => self.cannot_read(&error),
        }
        self.audit.words = words;
    }

    /// The next trie that packets are looked up in, after that of a family.
    fn next_search(&self, after: Option<Family>) -> Option<(Family, Option<IpNet>)> {
        let stats = self.fib.stats();
        let engines = [stats.ipv4.engine, stats.ipv6.engine];
        let mut tries =
            Family::ALL.into_iter().filter(|family| engines[*family as usize] == EngineKind::LpmTrie);
        tries.find(|family| after.is_none_or(|after| *family > after)).map(|family| (family, None))
    }

    /// Reads some entries of a trie; where to go on.
    fn search_trie(&mut self, family: Family, after: Option<IpNet>) -> Option<(Family, Option<IpNet>)> {
        let (mut entries, next) = match self.plane.entries_page(family, after, ENTRIES) {
            Ok(page) => page,
            Err(error) => {
                self.cannot_read(&error);
                (Vec::new(), None)
            }
        };
        entries.extend(self.audit.held.take());
        entries.retain(|(prefix, _)| !self.fib.may_have_entry(*prefix));
        if let Some(last) = entries.iter().position(|(prefix, _)| Some(*prefix) == next) {
            self.audit.held = Some(entries.swap_remove(last));
        }
        let strangers: Vec<Difference> = entries
            .into_iter()
            .map(|(prefix, set)| Difference {
                place: prefix.to_string(),
                meant: "nothing".to_owned(),
                found: format!("set {set}"),
                edit: TableEdit::Remove { prefix },
            })
            .collect();
        self.repair(strangers);
        match next {
            Some(next) => Some((family, Some(next))),
            None => self.next_search(Some(family)),
        }
    }

    /// Writes what differs anew, counts and remembers it.
    fn repair(&mut self, found: Vec<Difference>) {
        if found.is_empty() {
            return;
        }
        let edits: Vec<TableEdit> = found.iter().map(|found| found.edit).collect();
        let failures = self.plane.apply(&edits);
        if self.audit.differed == 0 {
            let first = &found[0];
            let map = AuditedMap::of(&first.edit).as_str();
            warn!(
                map,
                place = first.place,
                meant = first.meant,
                found = first.found,
                "forwarding tables differ from what was meant; they are written anew"
            );
        }
        if let Some((_, error)) = failures.first() {
            error!(failed = failures.len(), %error, "drift of the forwarding tables could not be repaired");
        }
        self.audit.differed += found.len() as u64;
        let at = SystemTime::now();
        let stats = Arc::make_mut(&mut self.audit.stats);
        for (index, Difference { place, meant, found, edit }) in found.into_iter().enumerate() {
            let map = AuditedMap::of(&edit);
            let repaired = !failures.iter().any(|(failed, _)| *failed == index);
            stats.drift[map as usize] += 1;
            stats.repairs[map as usize] += u64::from(repaired);
            if stats.recent.len() >= RECENT {
                stats.recent.pop_front();
            }
            stats.recent.push_back(Drift { at, map, place, meant, found, repaired });
        }
    }

    fn end_pass(&mut self) {
        let audit = &mut self.audit;
        (audit.began, audit.done) = (None, 0);
        let stats = Arc::make_mut(&mut audit.stats);
        stats.passes += 1;
        stats.last_pass = Some(SystemTime::now());
        stats.compared = std::mem::take(&mut audit.compared);
        audit.at = AuditAt::default();
        let differed = std::mem::take(&mut audit.differed);
        if differed > 0 {
            info!(differed, compared = stats.compared, "an audit of the forwarding tables found differences");
        }
    }

    fn cannot_read(&self, error: &XdpError) {
        // One line a pass is enough.
        if self.audit.compared == 0 {
            warn!(%error, "forwarding tables cannot be read back");
        }
    }
}

/// Where an element is.
fn place(edit: &TableEdit) -> String {
    match edit {
        TableEdit::Adjacency { index, .. }
        | TableEdit::NextHop { index, .. }
        | TableEdit::Set { index, .. }
        | TableEdit::Member { slot: index, .. } => index.to_string(),
        TableEdit::Insert { prefix, .. } | TableEdit::Remove { prefix } => prefix.to_string(),
        TableEdit::Fill { family, .. } | TableEdit::Grow { family } | TableEdit::Serve { family } => {
            format!("{family:?}")
        }
    }
}

/// What an element holds.
fn value(edit: &TableEdit) -> String {
    match edit {
        TableEdit::Adjacency { value, .. } => format!("{value:x?}"),
        TableEdit::NextHop { value, .. } => {
            format!("kind {}, adjacency {}, MTU {}", value.kind, value.adjacency, value.mtu)
        }
        TableEdit::Set { value, .. } => format!("{} slots from {}", value.slots, value.base),
        TableEdit::Member { next_hop, .. } => format!("next hop {next_hop}"),
        TableEdit::Insert { set, .. } => format!("set {set}"),
        TableEdit::Fill { value, .. } => word(*value),
        TableEdit::Remove { .. } | TableEdit::Grow { .. } | TableEdit::Serve { .. } => "nothing".to_owned(),
    }
}

/// What a word of a direct table says.
fn word(value: u32) -> String {
    match value {
        0 => "no route".to_owned(),
        node if node & NODE != 0 => format!("node {}", node & !NODE),
        set => format!("set {set}"),
    }
}

/// The addresses that a word of a run stands for.
fn word_place(run: &Run, words: usize, index: u32) -> String {
    if words == 1 {
        return format!("{} by default", run.addresses);
    }
    let len = run.addresses.prefix_len() + words.ilog2() as u8;
    let prefix = match run.addresses.network() {
        IpAddr::V4(first) => {
            let offset = index.checked_shl(u32::from(32 - len)).unwrap_or(0);
            Ipv4Net::new((first.to_bits() | offset).into(), len).map(IpNet::V4)
        }
        IpAddr::V6(first) => {
            let offset = u128::from(index).checked_shl(u32::from(128 - len)).unwrap_or(0);
            Ipv6Net::new((first.to_bits() | offset).into(), len).map(IpNet::V6)
        }
    };
    prefix.map_or_else(|_| run.addresses.to_string(), |prefix| prefix.to_string())
}
