//! `AS_PATH`, kept as the wire writes it with AS numbers of four octets.
//!
//! A segment is `type, count, count * AS number` (RFC 4271 section 4.3, RFC 5065 section 3). One byte
//! string is the smallest form there is, hashes and compares fast, and goes out again as it is. Every
//! path in memory is well-formed: known segment types, no empty segment, no AS 0 (RFC 7607), nothing
//! left over; [`AsPath::decode`] refuses everything else (RFC 7606 section 7.2).

use std::fmt;
use std::str::FromStr;

use super::error::Reason;
use crate::types::Asn;

/// Most AS numbers of one segment.
const SEGMENT_MAX: usize = 255;

/// What a segment's AS numbers mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SegmentKind {
    /// Unordered: the ASes of an aggregate.
    Set = 1,
    /// Ordered: the ASes that the route went through.
    Sequence = 2,
    /// Ordered, members of the local confederation (RFC 5065).
    ConfedSequence = 3,
    /// Unordered, members of the local confederation.
    ConfedSet = 4,
}

impl SegmentKind {
    fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            1 => Self::Set,
            2 => Self::Sequence,
            3 => Self::ConfedSequence,
            4 => Self::ConfedSet,
            _ => return None,
        })
    }

    /// Whether the segment belongs to a confederation.
    pub fn is_confed(self) -> bool {
        matches!(self, Self::ConfedSequence | Self::ConfedSet)
    }
}

/// One segment of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    kind: SegmentKind,
    bytes: &'a [u8],
}

impl<'a> Segment<'a> {
    /// What the AS numbers mean.
    pub fn kind(self) -> SegmentKind {
        self.kind
    }

    /// The AS numbers, at least one.
    pub fn asns(self) -> Asns<'a> {
        Asns { bytes: self.bytes }
    }

    /// How much the segment counts in [`AsPath::length`].
    fn length(self) -> usize {
        match self.kind {
            SegmentKind::Sequence => self.bytes.len() / 4,
            SegmentKind::Set => 1,
            SegmentKind::ConfedSequence | SegmentKind::ConfedSet => 0,
        }
    }
}

/// The AS numbers of a segment.
#[derive(Clone, Debug)]
pub struct Asns<'a> {
    bytes: &'a [u8],
}

impl Iterator for Asns<'_> {
    type Item = Asn;

    fn next(&mut self) -> Option<Asn> {
        let (asn, rest) = self.bytes.split_first_chunk()?;
        self.bytes = rest;
        Some(Asn(u32::from_be_bytes(*asn)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let count = self.bytes.len() / 4;
        (count, Some(count))
    }
}

impl DoubleEndedIterator for Asns<'_> {
    fn next_back(&mut self) -> Option<Asn> {
        let (rest, asn) = self.bytes.split_last_chunk()?;
        self.bytes = rest;
        Some(Asn(u32::from_be_bytes(*asn)))
    }
}

impl ExactSizeIterator for Asns<'_> {}

/// The segments of a path.
#[derive(Clone, Debug)]
pub struct Segments<'a> {
    bytes: &'a [u8],
}

impl<'a> Iterator for Segments<'a> {
    type Item = Segment<'a>;

    fn next(&mut self) -> Option<Segment<'a>> {
        let [kind, count, rest @ ..] = self.bytes else { return None };
        let (bytes, rest) = rest.split_at_checked(usize::from(*count) * 4)?;
        self.bytes = rest;
        Some(Segment { kind: SegmentKind::from_u8(*kind)?, bytes })
    }
}

/// A path of AS numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AsPath {
    bytes: Vec<u8>,
}

impl AsPath {
    /// The empty path of a route from the own AS.
    pub const fn new() -> Self {
        Self { bytes: Vec::new() }
    }

    /// A path of one sequence, split where it is longer than a segment can be. AS 0 is left out.
    pub fn sequence(asns: impl IntoIterator<Item = Asn>) -> Self {
        let mut path = Self::new();
        path.push(SegmentKind::Sequence, asns);
        path
    }

    /// Appends AS numbers as one segment, or several where one is too short. AS 0 is left out, and
    /// no AS numbers make no segment.
    pub fn push(&mut self, kind: SegmentKind, asns: impl IntoIterator<Item = Asn>) {
        let mut asns = asns.into_iter().filter(|asn| asn.0 != 0).peekable();
        while asns.peek().is_some() {
            let at = self.bytes.len() + 1;
            self.bytes.extend([kind as u8, 0]);
            for asn in asns.by_ref().take(SEGMENT_MAX) {
                self.bytes.extend(asn.0.to_be_bytes());
            }
            self.bytes[at] = ((self.bytes.len() - at - 1) / 4) as u8;
        }
    }

    /// Reads an `AS_PATH` with AS numbers of four octets, or of two.
    pub(super) fn decode(value: &[u8], as4: bool) -> Result<Self, Reason> {
        let width = if as4 { 4 } else { 2 };
        let mut bytes = Vec::with_capacity(if as4 { value.len() } else { value.len() * 2 });
        let mut rest = value;
        while let [kind, count, tail @ ..] = rest {
            SegmentKind::from_u8(*kind).ok_or(Reason::SegmentType)?;
            let (asns, tail) = tail
                .split_at_checked(usize::from(*count) * width)
                .filter(|(asns, _)| !asns.is_empty())
                .ok_or(Reason::Segment)?;
            if asns.chunks_exact(width).any(|asn| asn.iter().all(|octet| *octet == 0)) {
                return Err(Reason::AsZero);
            }
            bytes.extend([*kind, *count]);
            if as4 {
                bytes.extend_from_slice(asns);
            } else {
                bytes.extend(asns.chunks_exact(width).flat_map(|asn| [0, 0, asn[0], asn[1]]));
            }
            rest = tail;
        }
        // A single octet left over is the "underrun" of RFC 7606 section 7.2.
        if rest.is_empty() { Ok(Self { bytes }) } else { Err(Reason::Segment) }
    }

    /// Appends the path with AS numbers of four octets, or of two with `AS_TRANS` for those beyond.
    pub(super) fn encode(&self, as4: bool, out: &mut Vec<u8>) {
        if as4 {
            out.extend_from_slice(&self.bytes);
            return;
        }
        for segment in self.segments() {
            out.extend([segment.kind as u8, segment.asns().len() as u8]);
            for asn in segment.asns() {
                out.extend(asn.two_octet().to_be_bytes());
            }
        }
    }

    /// The path as `AS4_PATH` carries it, without confederation segments (RFC 6793 section 4.2.2);
    /// `None` when every AS number fits in two octets.
    pub(super) fn as4_path(&self) -> Option<Vec<u8>> {
        let path = self.without_confederations();
        let wide = path.asns().any(|asn| u16::try_from(asn.0).is_err());
        wide.then_some(path.bytes)
    }

    /// Puts an `AS4_PATH` in place of the part of this two-octet path that it covers (RFC 6793
    /// section 4.2.3). One longer than this path is ignored.
    pub(super) fn merge_as4(&mut self, as4_path: &Self) {
        let Some(mut lead) = self.length().checked_sub(as4_path.length()) else { return };
        let mut merged = Self::new();
        for segment in self.segments() {
            // A confederation segment stays if it leads or follows a segment that stays.
            if segment.kind.is_confed() {
                merged.push(segment.kind, segment.asns());
                continue;
            }
            if lead == 0 {
                break;
            }
            let take = match segment.kind {
                SegmentKind::Sequence => lead.min(segment.asns().len()),
                _ => segment.asns().len(),
            };
            merged.push(segment.kind, segment.asns().take(take));
            lead -= segment.length().min(lead);
            if take < segment.asns().len() {
                break;
            }
        }
        // Two sequences that meet are one, unless that would overflow the segment.
        let mut rest = as4_path.segments();
        if let Some(first) = as4_path.segments().next()
            && merged.try_extend_last(first)
        {
            rest.next();
        }
        merged.bytes.extend_from_slice(rest.bytes);
        *self = merged;
    }

    /// The path with each AS number replaced, or taken out where there is nothing in its place; segments left
    /// empty vanish.
    #[must_use]
    pub fn filter_map(&self, mut change: impl FnMut(Asn) -> Option<Asn>) -> Self {
        let mut path = Self::new();
        for segment in self.segments() {
            path.push(segment.kind, segment.asns().filter_map(&mut change));
        }
        path
    }

    /// The path without its confederation segments, as it leaves a confederation (RFC 5065 section 4.1).
    #[must_use]
    pub fn without_confederations(&self) -> Self {
        let mut path = Self::new();
        for segment in self.segments().filter(|segment| !segment.kind.is_confed()) {
            path.push(segment.kind, segment.asns());
        }
        path
    }

    /// Adds a sequence to the sequence of its kind that ends this path, if there is one and there is room.
    fn try_extend_last(&mut self, segment: Segment<'_>) -> bool {
        let Some(last) = self.segments().last() else { return false };
        let count = last.asns().len() + segment.asns().len();
        let ordered = matches!(last.kind, SegmentKind::Sequence | SegmentKind::ConfedSequence);
        if !ordered || segment.kind != last.kind || count > SEGMENT_MAX {
            return false;
        }
        let at = self.bytes.len() - last.bytes.len() - 1;
        self.bytes[at] = count as u8;
        self.bytes.extend_from_slice(segment.bytes);
        true
    }

    /// The segments, nearest AS first.
    pub fn segments(&self) -> Segments<'_> {
        Segments { bytes: &self.bytes }
    }

    /// Every AS number in the path, nearest first, those of sets and confederations too.
    pub fn asns(&self) -> impl Iterator<Item = Asn> + '_ {
        self.segments().flat_map(Segment::asns)
    }

    /// The length that best path compares (RFC 4271 section 9.1.2.2): a set counts 1, confederation
    /// segments nothing (RFC 5065 section 5.3).
    pub fn length(&self) -> usize {
        self.segments().map(Segment::length).sum()
    }

    /// Whether the path has no segments.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The neighbouring AS: the first of the leading sequence, confederation segments aside; `None`
    /// for an empty path or one that leads with a set.
    pub fn first_asn(&self) -> Option<Asn> {
        let segment = self.segments().find(|segment| !segment.kind.is_confed())?;
        (segment.kind == SegmentKind::Sequence).then(|| segment.asns().next())?
    }

    /// The AS that originated the route: the last of the final segment, if that is a sequence (RFC
    /// 6811 section 2).
    pub fn origin_asn(&self) -> Option<Asn> {
        let segment = self.segments().last()?;
        (segment.kind == SegmentKind::Sequence).then(|| segment.asns().next_back())?
    }

    /// Whether the AS is anywhere in the path.
    pub fn contains(&self, asn: Asn) -> bool {
        self.asns().any(|other| other == asn)
    }

    /// How often the path went through the AS or the confederation that it is a member of, if any: a
    /// member is looked for in confederation segments, a confederation outside of them (RFC 5065 section 4).
    pub fn times_through(&self, asn: Asn, confederation: Option<Asn>) -> usize {
        let Some(identifier) = confederation else { return self.count(asn) };
        let ours = |segment: Segment<'_>| {
            let ours = if segment.kind.is_confed() { asn } else { identifier };
            segment.asns().filter(|other| *other == ours).count()
        };
        self.segments().map(ours).sum()
    }

    /// The member AS that the path comes from: the first of a leading confederation sequence.
    pub fn first_member(&self) -> Option<Asn> {
        let segment = self.segments().next()?;
        (segment.kind == SegmentKind::ConfedSequence).then(|| segment.asns().next())?
    }

    /// How often the AS is in the path.
    pub fn count(&self, asn: Asn) -> usize {
        self.asns().filter(|other| *other == asn).count()
    }

    /// Puts an AS number before the path, `times` times (RFC 4271 section 5.1.2). AS 0 is not put.
    pub fn prepend(&mut self, asn: Asn, times: usize) {
        self.prepend_to(SegmentKind::Sequence, asn, times);
    }

    /// Puts the number of a member AS before the path, as it goes to another member of the confederation (RFC
    /// 5065 section 4.1). AS 0 is not put.
    pub fn prepend_confed(&mut self, member: Asn) {
        self.prepend_to(SegmentKind::ConfedSequence, member, 1);
    }

    fn prepend_to(&mut self, kind: SegmentKind, asn: Asn, times: usize) {
        if asn.0 == 0 || times == 0 {
            return;
        }
        let mut path = Self::new();
        path.push(kind, std::iter::repeat_n(asn, times));
        let mut rest = self.segments();
        if let Some(first) = self.segments().next()
            && path.try_extend_last(first)
        {
            rest.next();
        }
        path.bytes.extend_from_slice(rest.bytes);
        *self = path;
    }
}

impl FromIterator<Asn> for AsPath {
    fn from_iter<I: IntoIterator<Item = Asn>>(asns: I) -> Self {
        Self::sequence(asns)
    }
}

impl fmt::Display for AsPath {
    /// `65001 65002 {1,2}`; confederations as `(65001 65002)` and `[1,2]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, segment) in self.segments().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            let (open, between, close) = match segment.kind {
                SegmentKind::Sequence => ("", " ", ""),
                SegmentKind::Set => ("{", ",", "}"),
                SegmentKind::ConfedSequence => ("(", " ", ")"),
                SegmentKind::ConfedSet => ("[", ",", "]"),
            };
            f.write_str(open)?;
            for (index, asn) in segment.asns().enumerate() {
                if index > 0 {
                    f.write_str(between)?;
                }
                asn.fmt(f)?;
            }
            f.write_str(close)?;
        }
        Ok(())
    }
}

/// The text is not a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an AS path (AS numbers such as `65001 65002`, sets as `{{1,2}}`)")]
pub struct ParseAsPathError(String);

impl FromStr for AsPath {
    type Err = ParseAsPathError;

    /// Reads sequences and sets, as [`AsPath`] displays them.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseAsPathError(text.to_owned());
        let number = |word: &str| word.trim().parse::<Asn>().ok().filter(|asn| asn.0 != 0).ok_or_else(error);
        let mut path = Self::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            if let Some(set) = rest.strip_prefix('{') {
                let (set, tail) = set.split_once('}').ok_or_else(error)?;
                path.push(SegmentKind::Set, set.split(',').map(number).collect::<Result<Vec<_>, _>>()?);
                rest = tail.trim_start();
            } else {
                let (words, tail) = rest.split_at(rest.find('{').unwrap_or(rest.len()));
                let asns = words.split_whitespace().map(number).collect::<Result<Vec<_>, _>>()?;
                path.push(SegmentKind::Sequence, asns);
                rest = tail;
            }
        }
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> AsPath {
        text.parse().unwrap()
    }

    #[test]
    fn text_and_bytes_say_the_same() {
        let path = path("65001 70000 {1,2} 3");
        assert_eq!(path.to_string(), "65001 70000 {1,2} 3");
        let mut bytes = Vec::new();
        path.encode(true, &mut bytes);
        assert_eq!(
            bytes,
            [2, 2, 0, 0, 0xfd, 0xe9, 0, 1, 0x11, 0x70, 1, 2, 0, 0, 0, 1, 0, 0, 0, 2, 2, 1, 0, 0, 0, 3]
        );
        assert_eq!(AsPath::decode(&bytes, true), Ok(path));
        for bad in ["{1", "1 x", "{}", "0", "1 {0}", "-1"] {
            assert!(bad.parse::<AsPath>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_confederation_is_entered_and_left_without_a_trace() {
        let mut inside = path("65001 1");
        for member in [64_512, 64_513] {
            inside.prepend_confed(Asn(member));
        }
        assert_eq!(inside.to_string(), "(64513 64512) 65001 1");
        assert_eq!((inside.first_member(), inside.first_asn()), (Some(Asn(64_513)), Some(Asn(65_001))));
        assert_eq!(inside.length(), 2);
        let confederation = Some(Asn(65_000));
        let through = |path: &AsPath, asn, confederation| path.times_through(Asn(asn), confederation);
        assert_eq!([64_512, 64_514].map(|asn| through(&inside, asn, confederation)), [1, 0]);
        // A member's number means something else outside of the confederation.
        assert_eq!(through(&inside, 65_001, confederation), 0);
        assert_eq!((through(&inside, 64_514, Some(Asn(65_001))), through(&inside, 65_001, None)), (1, 1));
        assert_eq!(inside.without_confederations(), path("65001 1"));
        inside.prepend(Asn(7), 1);
        assert_eq!((inside.to_string().as_str(), inside.first_member()), ("7 (64513 64512) 65001 1", None));
    }

    #[test]
    fn a_set_counts_one_and_a_confederation_nothing() {
        let mut path = AsPath::new();
        path.push(SegmentKind::ConfedSequence, [Asn(1), Asn(2)]);
        path.push(SegmentKind::Sequence, [Asn(3), Asn(4)]);
        path.push(SegmentKind::Set, [Asn(5), Asn(6)]);
        assert_eq!(path.length(), 3);
        assert_eq!(path.first_asn(), Some(Asn(3)));
        assert_eq!(path.origin_asn(), None);
        assert_eq!(path.to_string(), "(1 2) 3 4 {5,6}");
        assert!(path.contains(Asn(1)) && path.contains(Asn(6)) && !path.contains(Asn(7)));
    }

    #[test]
    fn prepending_joins_the_leading_sequence_until_it_is_full() {
        let mut path = path("2 3");
        path.prepend(Asn(1), 2);
        assert_eq!(path.to_string(), "1 1 2 3");
        assert_eq!(path.segments().count(), 1);
        assert_eq!(path.count(Asn(1)), 2);
        path.prepend(Asn(9), 252);
        assert_eq!(path.segments().count(), 2);
        assert_eq!(path.length(), 256);
        path.prepend(Asn(0), 1);
        assert_eq!(path.length(), 256);

        let mut set = "{5,6}".parse::<AsPath>().unwrap();
        set.prepend(Asn(1), 1);
        assert_eq!(set.to_string(), "1 {5,6}");
        let mut long = AsPath::new();
        long.prepend(Asn(7), 600);
        assert_eq!((long.length(), long.segments().count()), (600, 3));
    }

    #[test]
    fn malformed_segments_are_refused() {
        for (bytes, reason) in [
            (&[2, 0][..], Reason::Segment),
            (&[2, 2, 0, 0, 0, 1], Reason::Segment),
            (&[2, 1, 0, 0, 0, 1, 2], Reason::Segment),
            (&[5, 1, 0, 0, 0, 1], Reason::SegmentType),
            (&[0, 1, 0, 0, 0, 1], Reason::SegmentType),
            (&[2, 1, 0, 0, 0, 0], Reason::AsZero),
        ] {
            assert_eq!(AsPath::decode(bytes, true), Err(reason), "{bytes:?}");
        }
    }

    #[test]
    fn an_old_speaker_sees_as_trans_and_the_new_path_beside_it() {
        let path = path("65001 70000 80000");
        let (mut old, new) = (Vec::new(), path.as4_path().unwrap());
        path.encode(false, &mut old);
        assert_eq!(old, [2, 3, 0xfd, 0xe9, 0x5b, 0xa0, 0x5b, 0xa0]);
        let mut merged = AsPath::decode(&old, false).unwrap();
        merged.merge_as4(&AsPath::decode(&new, true).unwrap());
        assert_eq!(merged, path);
        assert_eq!(self::path("65001 65002").as4_path(), None);
    }

    #[test]
    fn as4_path_replaces_the_tail_that_it_covers() {
        for (old, new, merged) in [
            ("1 2 23456 23456", "70000 80000", "1 2 70000 80000"),
            ("1 23456", "1 2 70000", "1 23456"),
            ("1 {2,3} 23456", "70000", "1 {2,3} 70000"),
            ("1 {2,3} 23456", "{4,5} 70000", "1 {4,5} 70000"),
            ("23456", "70000", "70000"),
        ] {
            let mut have = path(old);
            have.merge_as4(&path(new));
            assert_eq!(have.to_string(), merged);
        }
    }

    #[test]
    fn as4_path_keeps_a_leading_confederation() {
        let mut have = AsPath::new();
        have.push(SegmentKind::ConfedSequence, [Asn(64_512)]);
        have.push(SegmentKind::Sequence, [Asn(1), Asn::TRANS]);
        have.merge_as4(&path("70000"));
        assert_eq!(have.to_string(), "(64512) 1 70000");
    }
}
