//! The journal of an update group: which prefixes changed, and how far each peer has read.
//!
//! The journal is a list of entry ids in the order of their changes. An entry has one place in it that
//! counts; when it changes again after somebody has read that place, it gets a new one at the end and
//! the old one goes stale. A peer is a reader with a position: a slow one just stays behind, and when it
//! reads on, each prefix comes once, as it is then. Stale places are squeezed out when they outnumber
//! the others, so that the journal stays within a small multiple of the prefixes, however slow a peer
//! and however long.
//!
//! For each entry it is remembered who may have it (the *holders*), so that nothing is withdrawn that was
//! never announced, and the peer that a route came from loses what it had from another one:
//! - nobody has it; or everybody may have it but the peer whose route was announced last; or anybody.
//! - The statement holds for the readers that have passed the entry's place. An entry that gets a new
//!   place before all of them have passed the old one falls back to "anybody": that costs a withdrawal too
//!   many, never one too few.
//! - `front` is the end of what some reader has read. Places behind it are read for the first time: there
//!   the statement is exact and is brought up to date. Places before it are read again by a slower peer,
//!   which has to assume "anybody".
//!
//! Where path identifiers are negotiated (RFC 7911), [`SentPaths`] takes the place of the holders.
//!
//! A new reader walks the table first, and starts to read at `front`: what changed since then, or has not
//! been read by anybody, is left to the journal.
//!
//! A reader that is owed the end of something (End-of-RIB, or that of a refresh) drops what it was not told
//! by then. So the end moves on when an entry that is ahead of the reader gets a new place, and waits for
//! entries that nothing can be said of before the forwarding plane has answered.

use std::collections::VecDeque;

use bytes::Bytes;
use foldhash::fast::RandomState;
use hashbrown::HashSet;

use super::sent::SentPaths;

/// The entry has no place.
const NOWHERE: u32 = u32::MAX;
/// Nobody has the entry.
pub(crate) const NOBODY: u16 = u16::MAX;
/// Anybody may have the entry.
pub(crate) const ANYBODY: u16 = u16::MAX - 1;
/// Stale places that are always tolerated.
const SLACK: usize = 1024;
/// Encoded chunks that are kept for peers that come by later.
const CHUNKS: usize = 4;

/// A walk over the whole table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Walk {
    pub(crate) next: u32,
    pub(crate) end: u32,
}

/// A peer.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    pub(crate) peer: u16,
    /// Everything before has been read.
    pub(crate) position: u32,
    pub(crate) walk: Option<Walk>,
    /// End-of-RIB is due once the walk is over and this position is reached.
    pub(crate) end_of_rib: Option<u32>,
    /// The walk, or what it left to the journal, answers a request for everything.
    pub(crate) refresh: Option<Refresh>,
    /// Whatever was read from here on found the reader with all that had been sent before: its walk had ended.
    settled_from: u32,
}

/// How far the answer to a request for everything is (RFC 2918).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refresh {
    /// In the walk.
    Walking,
    /// What the walk left to the journal ends here.
    Until(u32),
}

/// Whom a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Audience {
    All,
    Except(u16),
    Only(u16),
}

impl Audience {
    pub(crate) fn includes(self, peer: u16) -> bool {
        match self {
            Self::All => true,
            Self::Except(other) => other != peer,
            Self::Only(only) => only == peer,
        }
    }
}

/// What a chunk was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Span {
    /// Places of the journal, from this one.
    Log(u32),
    /// A walk from this entry, by a reader at this position.
    Walk(u32, u32),
}

/// Encoded messages for everybody at the same place.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    pub(crate) span: Span,
    /// Where reading goes on.
    pub(crate) next: u32,
    pub(crate) pieces: Vec<(Audience, Bytes)>,
}

/// See the head of this file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal {
    log: VecDeque<u32>,
    /// Position of the first place in the log.
    base: u32,
    front: u32,
    /// Entries that have a place.
    live: usize,
    /// By entry.
    places: Vec<u32>,
    /// By entry: [`NOBODY`], [`ANYBODY`], or everybody except this peer.
    holders: Vec<u16>,
    readers: Vec<Reader>,
    /// Nothing ever goes out: nothing is recorded, and End-of-RIB is all that a peer gets.
    silent: bool,
    /// The group chooses among all paths of an entry, and so hears of each that changes.
    pub(crate) chooses: bool,
    chunks: VecDeque<Chunk>,
    /// Where several paths of a prefix are sent.
    pub(crate) sent: Option<SentPaths>,
    /// Entries that nothing was said of, as they wait for the forwarding plane, while a reader is owed an end.
    waiting: HashSet<u32, RandomState>,
    /// No reader is owed an end beyond this position.
    owed: u32,
    /// Routes that no message could carry.
    pub(crate) unsendable: u64,
}

impl Journal {
    /// An empty journal; `silent` when nothing can ever go out, `paths` when several of a prefix may, `chooses` when
    /// the group chooses for itself.
    pub(crate) fn new(silent: bool, paths: bool, chooses: bool) -> Self {
        Self { silent, chooses, sent: (paths && !silent).then(SentPaths::default), ..Self::default() }
    }

    /// Whether paths other than the best one matter to the group.
    pub(crate) fn hears_of_paths(&self) -> bool {
        self.sent.is_some() || self.chooses
    }

    /// One past the last place.
    pub(crate) fn end(&self) -> u32 {
        self.base + self.log.len() as u32
    }

    pub(crate) fn front(&self) -> u32 {
        self.front
    }

    /// An entry changed.
    #[inline]
    pub(crate) fn record(&mut self, id: u32) {
        if self.silent {
            return;
        }
        let index = id as usize;
        if self.places.len() <= index {
            self.places.resize(index + 1, NOWHERE);
            self.holders.resize(index + 1, NOBODY);
        }
        match self.places[index] {
            NOWHERE => self.live += 1,
            // Nobody has read this place yet: whoever does finds the entry as it is then.
            place if place >= self.front => return,
            // It would be gone if all had read it.
            place => {
                self.doubt(id);
                if place < self.owed {
                    self.postpone(|reader| place >= reader.position);
                }
            }
        }
        if !self.waiting.is_empty() && self.waiting.remove(&id) {
            self.postpone(|_| true);
        }
        self.places[index] = self.end();
        self.log.push_back(id);
        if self.log.len() > 2 * self.live + SLACK || self.base > u32::MAX / 2 {
            self.compact();
        }
    }

    /// The next place is to be read by these readers before the end that they are owed.
    fn postpone(&mut self, whose: impl Fn(&Reader) -> bool) {
        self.owed = self.end() + 1;
        for reader in self.readers.iter_mut().filter(|reader| whose(reader)) {
            reader.end_of_rib = reader.end_of_rib.map(|_| self.owed);
            if let Some(Refresh::Until(due)) = &mut reader.refresh {
                *due = self.owed;
            }
        }
    }

    /// An entry waits for the forwarding plane, and is recorded again when that has answered: until then nobody
    /// gets to an end.
    pub(crate) fn wait_for(&mut self, id: u32) {
        if self.readers.iter().any(|reader| reader.end_of_rib.is_some() || reader.refresh.is_some()) {
            self.waiting.insert(id);
        }
    }

    /// Readers differ in what they have of an entry.
    pub(crate) fn doubt(&mut self, id: u32) {
        match &mut self.sent {
            Some(sent) => sent.doubt(id),
            None => self.set_holder(id, ANYBODY),
        }
    }

    /// From which position on all readers have what was sent before; `None` while one is walking.
    pub(crate) fn settled_from(&self) -> Option<u32> {
        let mut readers = self.readers.iter();
        readers.try_fold(0, |from, reader| reader.walk.is_none().then_some(reader.settled_from.max(from)))
    }

    /// Squeezes stale places out and counts positions from zero again.
    fn compact(&mut self) {
        let mut kept_before = Vec::with_capacity(self.log.len() + 1);
        let mut log = VecDeque::with_capacity(self.live);
        for (offset, &id) in self.log.iter().enumerate() {
            kept_before.push(log.len() as u32);
            let place = &mut self.places[id as usize];
            if *place == self.base + offset as u32 {
                log.push_back(id);
            }
        }
        kept_before.push(log.len() as u32);
        for (offset, &id) in log.iter().enumerate() {
            self.places[id as usize] = offset as u32;
        }
        let base = self.base;
        let moved = |position: u32| kept_before[(position - base) as usize];
        for reader in &mut self.readers {
            reader.position = moved(reader.position);
            reader.end_of_rib = reader.end_of_rib.map(|due| moved(due.max(base)));
            reader.settled_from = moved(reader.settled_from.max(base));
            if let Some(Refresh::Until(due)) = &mut reader.refresh {
                *due = moved((*due).max(base));
            }
        }
        self.front = moved(self.front);
        self.owed = log.len() as u32;
        self.base = 0;
        self.log = log;
        self.chunks.clear();
    }

    /// A peer joins, to walk over the entries before `end` and then read on.
    pub(crate) fn join(&mut self, peer: u16, end: u32) {
        // Without readers nothing has been read, nor does anybody hold anything.
        self.chunks.clear();
        let due = self.end();
        self.owed = self.owed.max(due);
        let end = if self.silent { 0 } else { end };
        self.readers.push(Reader {
            peer,
            position: self.front.max(self.base),
            walk: Some(Walk { next: 0, end }),
            end_of_rib: Some(due),
            refresh: None,
            settled_from: due,
        });
    }

    /// A peer leaves. Appends the entries whose places all readers have passed now.
    pub(crate) fn leave(&mut self, peer: u16, passed: &mut Vec<u32>) {
        self.readers.retain(|reader| reader.peer != peer);
        self.trim(passed);
    }

    /// The routes of the group are made in another way from now on; `silent` when nothing can go out.
    pub(crate) fn reconfigured(&mut self, silent: bool) {
        self.chunks.clear();
        self.silent &= silent;
        // Whoever has read these places saw other routes there than who reads them from now on.
        for position in self.base..self.front {
            if let Some(id) = self.at(position) {
                self.doubt(id);
            }
        }
        if let Some(sent) = &mut self.sent {
            sent.doubt_all();
        }
    }

    /// A copy that goes on with those readers only.
    pub(crate) fn split(&self, stays: impl Fn(u16) -> bool) -> Self {
        let mut copy = self.clone();
        copy.chunks.clear();
        copy.readers.retain(|reader| stays(reader.peer));
        // What they have passed is settled here; the original tells when it is for everybody.
        copy.trim(&mut Vec::new());
        copy
    }

    /// Starts a walk for a peer that asked for everything again.
    pub(crate) fn walk_again(&mut self, peer: u16, end: u32) -> bool {
        let end = if self.silent { 0 } else { end };
        // They leave out what all readers had when they were made, or what waited for the forwarding plane while
        // nobody was owed an end; this one wants everything.
        self.chunks.clear();
        self.readers
            .iter_mut()
            .find(|reader| reader.peer == peer)
            .map(|reader| {
                reader.walk = Some(Walk { next: 0, end });
                reader.refresh = Some(Refresh::Walking);
            })
            .is_some()
    }

    pub(crate) fn reader(&self, peer: u16) -> Option<&Reader> {
        self.readers.iter().find(|reader| reader.peer == peer)
    }

    pub(crate) fn readers(&self) -> &[Reader] {
        &self.readers
    }

    /// Whether a peer has anything to read.
    pub(crate) fn is_behind(&self, reader: &Reader) -> bool {
        let owed = reader.end_of_rib.is_some() || reader.refresh.is_some();
        reader.walk.is_some() || reader.position < self.end() || (owed && self.waiting.is_empty())
    }

    /// Whether a chunk made earlier serves a reader.
    pub(crate) fn chunk_for(&self, reader: &Reader) -> Option<&Chunk> {
        self.chunks.iter().find(|chunk| match (chunk.span, reader.walk) {
            (Span::Log(from), None) => from == reader.position,
            // What the walk left to the journal must be ahead of the reader; and the table may have been
            // empty for the other one.
            (Span::Walk(from, position), Some(walk)) => {
                from == walk.next && chunk.next > from && position >= reader.position
            }
            _ => false,
        })
    }

    /// Keeps a chunk when there is somebody to share it with.
    pub(crate) fn keep(&mut self, chunk: &Chunk) {
        if self.readers.len() > 1 {
            if self.chunks.len() == CHUNKS {
                self.chunks.pop_front();
            }
            self.chunks.push_back(chunk.clone());
        }
    }

    /// A reader has read a chunk. Appends the entries whose places all readers have passed now.
    pub(crate) fn advance(&mut self, peer: u16, span: Span, next: u32, passed: &mut Vec<u32>) {
        let end = self.end();
        let Some(reader) = self.readers.iter_mut().find(|reader| reader.peer == peer) else { return };
        match span {
            Span::Log(_) => {
                reader.position = next;
                self.front = self.front.max(next);
                self.trim(passed);
            }
            Span::Walk(..) => {
                reader.walk = reader.walk.map(|walk| Walk { next, ..walk }).filter(|walk| next < walk.end);
                if reader.walk.is_none() {
                    reader.settled_from = end;
                    // What changed during the walk was left to the journal.
                    reader.end_of_rib = reader.end_of_rib.map(|due| due.max(end));
                    reader.refresh = reader.refresh.map(|_| Refresh::Until(end));
                    self.owed = self.owed.max(end);
                }
            }
        }
    }

    /// Whether End-of-RIB is due for a peer; it is from then on not any more.
    pub(crate) fn take_end_of_rib(&mut self, peer: u16) -> bool {
        let Some(reader) = self.readers.iter_mut().find(|reader| reader.peer == peer) else { return false };
        let due = reader.walk.is_none()
            && self.waiting.is_empty()
            && reader.end_of_rib.is_some_and(|due| reader.position >= due);
        if due {
            reader.end_of_rib = None;
        }
        due
    }

    /// Whether a peer has got everything again that it asked for; said once.
    pub(crate) fn take_end_of_refresh(&mut self, peer: u16) -> bool {
        let Some(reader) = self.readers.iter_mut().find(|reader| reader.peer == peer) else { return false };
        let due = self.waiting.is_empty()
            && matches!(reader.refresh, Some(Refresh::Until(due)) if reader.position >= due);
        if due {
            reader.refresh = None;
        }
        due
    }

    /// Drops places that all readers have passed.
    fn trim(&mut self, passed: &mut Vec<u32>) {
        let least = self.readers.iter().map(|reader| reader.position).min().unwrap_or(self.end());
        while self.base < least {
            let Some(id) = self.log.pop_front() else { break };
            let place = &mut self.places[id as usize];
            if *place == self.base {
                *place = NOWHERE;
                self.live -= 1;
                passed.push(id);
                if let Some(sent) = &mut self.sent {
                    sent.passed(id);
                }
            }
            self.base += 1;
        }
        self.front = self.front.max(self.base);
        self.chunks.retain(|chunk| !matches!(chunk.span, Span::Log(from) if from < least));
    }

    /// The entry at a position, unless its place there is stale.
    #[inline]
    pub(crate) fn at(&self, position: u32) -> Option<u32> {
        let id = *self.log.get((position - self.base) as usize)?;
        (self.places[id as usize] == position).then_some(id)
    }

    /// Whether an entry will be read from the journal by a reader at this position.
    #[inline]
    pub(crate) fn is_ahead(&self, id: u32, position: u32) -> bool {
        self.places.get(id as usize).is_some_and(|&place| place != NOWHERE && place >= position)
    }

    /// Whether everybody has read the last change of an entry.
    #[inline]
    pub(crate) fn is_settled(&self, id: u32) -> bool {
        self.places.get(id as usize).is_none_or(|&place| place == NOWHERE)
    }

    /// Who may have an entry.
    #[inline]
    pub(crate) fn holder(&self, id: u32) -> u16 {
        self.holders.get(id as usize).copied().unwrap_or(NOBODY)
    }

    /// Whether a peer that is the only reader has an entry.
    pub(crate) fn is_held(&self, id: u32, reader: u16) -> bool {
        if let Some(sent) = &self.sent {
            return sent.holds(id, reader);
        }
        let holder = self.holder(id);
        holder != NOBODY && holder != reader
    }

    pub(crate) fn set_holder(&mut self, id: u32, holder: u16) {
        let index = id as usize;
        if self.holders.len() <= index {
            self.places.resize(index + 1, NOWHERE);
            self.holders.resize(index + 1, NOBODY);
        }
        self.holders[index] = holder;
    }

    /// Bytes held, encoded chunks aside.
    pub(crate) fn bytes(&self) -> usize {
        (self.log.capacity() + self.places.capacity()) * size_of::<u32>()
            + self.holders.capacity() * size_of::<u16>()
            + self.sent.as_ref().map_or(0, SentPaths::bytes)
    }

    /// Places, stale ones too.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.log.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads everything of the journal as a peer; the entries in order.
    fn read(journal: &mut Journal, peer: u16) -> Vec<u32> {
        let mut seen = Vec::new();
        let from = journal.reader(peer).unwrap().position;
        seen.extend((from..journal.end()).filter_map(|position| journal.at(position)));
        let end = journal.end();
        journal.advance(peer, Span::Log(from), end, &mut Vec::new());
        seen
    }

    #[test]
    fn what_changes_during_the_first_walk_comes_before_its_end() {
        let mut journal = Journal::new(false, false, false);
        journal.join(1, 10);
        journal.record(5);
        let span = Span::Walk(0, journal.reader(1).unwrap().position);
        journal.advance(1, span, 10, &mut Vec::new());
        assert!(!journal.take_end_of_rib(1));
        assert_eq!(read(&mut journal, 1), [5]);
        assert!(journal.take_end_of_rib(1));
    }

    #[test]
    fn a_slow_reader_gets_each_entry_once_in_the_order_of_the_last_change() {
        let mut journal = Journal::default();
        journal.join(1, 0);
        journal.join(2, 0);
        journal.record(5);
        journal.record(6);
        journal.record(5);
        assert_eq!(read(&mut journal, 1), [5, 6]);
        journal.record(5);
        assert_eq!(read(&mut journal, 1), [5]);
        assert_eq!(read(&mut journal, 2), [6, 5]);
        assert_eq!(journal.len(), 0);
    }

    #[test]
    fn a_peer_that_never_reads_costs_no_more_than_the_prefixes() {
        let mut journal = Journal::default();
        journal.join(1, 0);
        journal.join(2, 0);
        for round in 0..10_000_u32 {
            journal.record(round % 100);
            read(&mut journal, 1);
            assert!(journal.len() <= 2 * 100 + SLACK + 1);
        }
        let mut seen = read(&mut journal, 2);
        seen.sort_unstable();
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
        assert_eq!(journal.len(), 0);
    }

    #[test]
    fn the_holder_is_forgotten_when_an_entry_moves_away_from_a_reader() {
        let mut journal = Journal::default();
        journal.join(1, 0);
        journal.join(2, 0);
        journal.record(5);
        read(&mut journal, 1);
        journal.set_holder(5, 9);
        journal.record(5);
        assert_eq!(journal.holder(5), ANYBODY);
        read(&mut journal, 1);
        read(&mut journal, 2);
        journal.set_holder(5, 9);
        journal.record(5);
        assert_eq!(journal.holder(5), 9);
    }

    #[test]
    fn entries_are_released_when_the_last_reader_has_passed_or_left() {
        let mut journal = Journal::default();
        journal.join(1, 0);
        journal.join(2, 0);
        journal.record(5);
        read(&mut journal, 1);
        assert!(!journal.is_settled(5));
        let mut passed = Vec::new();
        journal.leave(2, &mut passed);
        assert_eq!(passed, [5]);
        assert!(journal.is_settled(5));
    }
}
