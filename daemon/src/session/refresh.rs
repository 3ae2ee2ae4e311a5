//! Answers to a neighbour that asks for our routes again (RFC 2918), and where they begin and end (RFC 7313).
//!
//! All shards send their part of a family again, each at its own pace; the answer is over when the last one has
//! said so. One answer at a time: a request that comes before the initial routes are out, or while an earlier
//! one is being answered, is answered behind that, so that whoever asks without end gets no more than one
//! answer after the other. With the marks the neighbour takes what we leave out for void, so that the first one
//! goes out before any shard is told, and the second one behind everything that any of them sent.

use bgp::types::Family;
use bgp::wire::RouteRefresh;
use bytes::{Bytes, BytesMut};

/// The answer in one family.
#[derive(Clone, Copy, Debug, Default)]
struct Answer {
    /// Shards that have not come to the end of what is under way: of the initial routes, or of an answer.
    unfinished: usize,
    /// The initial routes are out.
    initial: bool,
    /// It was asked for once more.
    again: bool,
}

/// What is to be done next.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Next {
    /// Marks to be sent, in order.
    pub(super) marks: Vec<Bytes>,
    /// All shards are to send this family again, once the marks are queued.
    pub(super) refresh: Option<Family>,
    /// The initial routes are out: End-of-RIB is due before the marks.
    pub(super) end_of_rib: bool,
}

/// The answers to one neighbour.
#[derive(Debug)]
pub(super) struct Answers {
    shards: usize,
    /// The neighbour reads the marks.
    marked: bool,
    /// By [`Family::index`].
    families: [Answer; Family::ALL.len()],
}

impl Answers {
    /// The initial routes of some shards are under way.
    pub(super) fn new(shards: usize, marked: bool) -> Self {
        let answer = Answer { unfinished: shards, ..Answer::default() };
        Self { shards, marked, families: [answer; Family::ALL.len()] }
    }

    /// The neighbour asks for a family again.
    pub(super) fn request(&mut self, family: Family) -> Next {
        let answer = &mut self.families[family.index()];
        if answer.unfinished > 0 {
            answer.again = true;
            return Next::default();
        }
        let mut next = Next::default();
        self.begin(family, &mut next);
        next
    }

    /// A shard has sent all its initial routes of a family.
    pub(super) fn initial_end(&mut self, family: Family) -> Next {
        let answer = &mut self.families[family.index()];
        if answer.initial {
            return Next::default();
        }
        self.shard_end(family, |next| next.end_of_rib = true)
    }

    /// A shard has sent all its routes of a family again.
    pub(super) fn refresh_end(&mut self, family: Family) -> Next {
        let marked = self.marked;
        self.shard_end(family, |next| next.marks.extend(marked.then(|| mark(family, RouteRefresh::END))))
    }

    fn shard_end(&mut self, family: Family, all_done: impl FnOnce(&mut Next)) -> Next {
        let mut next = Next::default();
        let answer = &mut self.families[family.index()];
        answer.unfinished = answer.unfinished.saturating_sub(1);
        if answer.unfinished == 0 {
            answer.initial = true;
            all_done(&mut next);
            if std::mem::take(&mut answer.again) {
                self.begin(family, &mut next);
            }
        }
        next
    }

    fn begin(&mut self, family: Family, next: &mut Next) {
        self.families[family.index()].unfinished = self.shards;
        next.marks.extend(self.marked.then(|| mark(family, RouteRefresh::BEGIN)));
        next.refresh = Some(family);
    }
}

fn mark(family: Family, subtype: u8) -> Bytes {
    let mut message = BytesMut::new();
    RouteRefresh::new(family, subtype).encode(&mut message);
    message.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: Family = Family::Ipv4Unicast;

    fn marks(next: &Next) -> Vec<u8> {
        next.marks.iter().map(|message| message[21]).collect()
    }

    #[test]
    fn marks_enclose_what_all_shards_send() {
        let mut answers = Answers::new(2, true);
        assert_eq!(answers.initial_end(V4), Next::default());
        assert!(answers.initial_end(V4).end_of_rib);
        let begun = answers.request(V4);
        assert_eq!((marks(&begun), begun.refresh), (vec![RouteRefresh::BEGIN], Some(V4)));
        assert_eq!(answers.refresh_end(V4), Next::default());
        let ended = answers.refresh_end(V4);
        assert_eq!((marks(&ended), ended.refresh), (vec![RouteRefresh::END], None));
    }

    #[test]
    fn requests_that_come_too_early_are_answered_once_and_later() {
        let mut answers = Answers::new(1, true);
        assert_eq!(answers.request(V4), Next::default());
        assert_eq!(answers.request(V4), Next::default());
        let ended = answers.initial_end(V4);
        assert!(ended.end_of_rib, "End-of-RIB comes before the refresh");
        assert_eq!((marks(&ended), ended.refresh), (vec![RouteRefresh::BEGIN], Some(V4)));
        assert_eq!(answers.request(V4), Next::default());
        let ended = answers.refresh_end(V4);
        assert_eq!(marks(&ended), [RouteRefresh::END, RouteRefresh::BEGIN]);
        assert_eq!(ended.refresh, Some(V4));
        assert_eq!(marks(&answers.refresh_end(V4)), [RouteRefresh::END]);
    }

    #[test]
    fn a_neighbor_that_reads_no_marks_gets_none() {
        let mut answers = Answers::new(1, false);
        answers.initial_end(V4);
        let begun = answers.request(V4);
        assert_eq!((begun.marks, begun.refresh), (Vec::new(), Some(V4)));
        assert_eq!(answers.refresh_end(V4), Next::default());
    }
}
