//! Path attributes, interned by their bytes before anybody reads them.
//!
//! An attribute set is named by an [`AttrId`]; equal keys (see [`crate::wire::Update::attribute_key`])
//! have equal ids, so that thousands of routes share one parse and one copy. What the decision needs
//! is kept beside the key as a [`Summary`]; everything else is read from the key again when
//! somebody asks, which is rare.
//!
//! Ids are counted: each path holds its two, and whoever interns holds one until it releases it. Ids
//! and key bytes of sets that nobody holds are reused, so that churn needs no new memory.

use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv4Addr};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use serde::Serialize;

use crate::types::{Asn, RouterId};
use crate::wire::{AttributeError, Attributes, Community, NextHop, Origin, parse_attributes};

use super::next_hops::NextHops;
use super::path::{LONG_LIVED_RANK, rank};
use super::shares::has_bandwidth;

/// The name of an attribute set within one RIB. Valid as long as some path has it: an id from a
/// [`super::BestChange`] only until the RIB is changed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct AttrId(pub u32);

/// Who we are, for the loop checks that depend on nothing but the attributes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    pub(crate) asn: Asn,
    pub(crate) confederation: Option<Asn>,
    pub(crate) router_id: RouterId,
    pub(crate) cluster_id: Ipv4Addr,
}

/// What decisions need of an attribute set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Summary {
    pub(crate) local_pref: u32,
    pub(crate) med: u32,
    /// First AS of the AS path, 0 when there is none.
    pub(crate) first_as: u32,
    /// `ORIGINATOR_ID`, 0 when there is none.
    pub(crate) originator: u32,
    pub(crate) next_hop: u32,
    pub(crate) rank: u32,
    pub(crate) as_path_hash: u32,
    pub(crate) as_path_length: u16,
    /// Clusters in `CLUSTER_LIST`, and [`Summary::BANDWIDTH`].
    clusters: u8,
    /// ORIGIN in the two lowest bits, and the constants.
    bits: u8,
}

impl Summary {
    const OWN_AS: u8 = 1 << 2;
    /// `ORIGINATOR_ID` is ours, or our cluster is in `CLUSTER_LIST`.
    const OWN_REFLECTION: u8 = 1 << 3;
    const MARKED: u8 = 1 << 4;
    const DISCARDED: u8 = 1 << 5;
    const AIGP: u8 = 1 << 6;
    const ONLY_TO_CUSTOMER: u8 = 1 << 7;
    /// In the top bit of `clusters`.
    const BANDWIDTH: u8 = 1 << 7;

    /// How long `CLUSTER_LIST` is, up to 127.
    pub(crate) fn cluster_list_length(&self) -> u8 {
        self.clusters & !Self::BANDWIDTH
    }

    pub(crate) fn origin(&self) -> u8 {
        self.bits & 0b11
    }

    pub(crate) fn has_own_as(&self) -> bool {
        self.bits & Self::OWN_AS != 0
    }

    /// Whether our router id is its originator, or in its cluster list.
    pub(crate) fn has_own_reflection(&self) -> bool {
        self.bits & Self::OWN_REFLECTION != 0
    }

    /// Whether the set has an AIGP (RFC 7311).
    pub(crate) fn has_aigp(&self) -> bool {
        self.bits & Self::AIGP != 0
    }

    /// Whether the set has an "Only to Customer" (RFC 9234).
    pub(crate) fn has_otc(&self) -> bool {
        self.bits & Self::ONLY_TO_CUSTOMER != 0
    }

    /// Whether the route is a long-lived stale one (RFC 9494).
    pub(crate) fn is_long_lived(&self) -> bool {
        self.rank == LONG_LIVED_RANK
    }

    /// Whether one of the communities is an order that import may have to follow: `GRACEFUL_SHUTDOWN` or
    /// `BLACKHOLE`.
    pub(crate) fn is_marked(&self) -> bool {
        self.bits & Self::MARKED != 0
    }

    /// Whether it has a link bandwidth community.
    pub(crate) fn has_bandwidth(&self) -> bool {
        self.clusters & Self::BANDWIDTH != 0
    }

    /// Whether attributes were discarded from the set (RFC 7606).
    pub(crate) fn has_discarded(&self) -> bool {
        self.bits & Self::DISCARDED != 0
    }
}

/// An interned set. Free ones have no users, and the next free one as their key.
#[derive(Debug)]
struct Slot {
    /// The key: where it begins, in units of [`UNIT`], and its length in bytes.
    key: u32,
    length: u32,
    users: u32,
    /// Of the key, so that growing the index does not read the keys again.
    hash: u32,
    summary: Summary,
}

/// See [`Summary::is_marked`].
const ORDERS: [Community; 2] = [Community::GRACEFUL_SHUTDOWN, Community::BLACKHOLE];

/// The default `LOCAL_PREF` of routes that carry none.
pub const DEFAULT_LOCAL_PREF: u32 = 100;

/// All attribute sets of a RIB, and the next hops that they name.
#[derive(Debug)]
pub(crate) struct AttributeStore {
    index: HashTable<u32>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    keys: Keys,
    hasher: RandomState,
    identity: Identity,
    pub(crate) next_hops: NextHops,
}

impl AttributeStore {
    pub(crate) fn new(identity: Identity) -> Self {
        Self {
            index: HashTable::new(),
            slots: Vec::new(),
            free: Vec::new(),
            keys: Keys::default(),
            hasher: RandomState::default(),
            identity,
            next_hops: NextHops::default(),
        }
    }

    /// The id of a key; the caller is one more user of it. A key that was not known is parsed: the
    /// routes of a malformed one are to be withdrawn (RFC 7606); that attributes were merely discarded
    /// from it is marked in its summary.
    pub(crate) fn intern(&mut self, key: &[u8]) -> Result<u32, AttributeError> {
        let hash = self.hasher.hash_one(key) as u32;
        if let Some(id) = self.find(hash, key) {
            return Ok(id);
        }
        let (attributes, discarded) = parse_attributes(key)?;
        let id = self.insert(hash, key, &attributes);
        if !discarded.is_empty() {
            self.slots[id as usize].summary.bits |= Summary::DISCARDED;
        }
        Ok(id)
    }

    /// The id of attributes made here; the caller is one more user of it.
    pub(crate) fn intern_attributes(&mut self, attributes: &Attributes) -> u32 {
        let key = attributes.to_key();
        let hash = self.hasher.hash_one(key.as_slice()) as u32;
        self.find(hash, &key).unwrap_or_else(|| self.insert(hash, &key, attributes))
    }

    #[inline]
    fn find(&mut self, hash: u32, key: &[u8]) -> Option<u32> {
        let (slots, keys) = (&self.slots, &self.keys);
        let matches = |&id: &u32| {
            let slot = &slots[id as usize];
            slot.hash == hash && keys.bytes(slot.key, slot.length) == key
        };
        let id = self.index.find(spread(hash), matches).copied()?;
        self.slots[id as usize].users += 1;
        Some(id)
    }

    fn insert(&mut self, hash: u32, key: &[u8], attributes: &Attributes) -> u32 {
        let summary = self.summarize(attributes);
        let slot = Slot { key: self.keys.store(key), length: key.len() as u32, users: 1, hash, summary };
        let id = if let Some(id) = self.free.pop() {
            self.slots[id as usize] = slot;
            id
        } else {
            self.slots.push(slot);
            (self.slots.len() - 1) as u32
        };
        let slots = &self.slots;
        self.index.insert_unique(spread(hash), id, |&id| spread(slots[id as usize].hash));
        id
    }

    /// Whether `ORIGINATOR_ID` is ours.
    pub(crate) fn is_own_originator(&self, attributes: &Attributes) -> bool {
        attributes.originator_id == Some(self.identity.router_id)
    }

    fn summarize(&mut self, attributes: &Attributes) -> Summary {
        let path = &attributes.as_path;
        let local_pref = attributes.local_pref.unwrap_or(DEFAULT_LOCAL_PREF);
        let origin = origin_code(attributes.origin);
        let length = path.length();
        let mut bits = origin;
        for (holds, bit) in [
            (path.times_through(self.identity.asn, self.identity.confederation) > 0, Summary::OWN_AS),
            (self.is_own_originator(attributes), Summary::OWN_REFLECTION),
            (attributes.cluster_list.contains(&self.identity.cluster_id), Summary::OWN_REFLECTION),
            (attributes.aigp.is_some(), Summary::AIGP),
            (attributes.otc.is_some(), Summary::ONLY_TO_CUSTOMER),
            (attributes.communities.iter().any(|community| ORDERS.contains(community)), Summary::MARKED),
        ] {
            bits |= if holds { bit } else { 0 };
        }
        let clusters = attributes.cluster_list.len().min(usize::from(!Summary::BANDWIDTH)) as u8;
        Summary {
            local_pref,
            med: attributes.med.unwrap_or(0),
            first_as: path.first_asn().map_or(0, |asn| asn.0),
            originator: attributes.originator_id.map_or(0, |id| id.0.to_bits()),
            next_hop: self.next_hops.retain(attributes.next_hop.addr),
            rank: if attributes.communities.contains(&Community::LLGR_STALE) {
                LONG_LIVED_RANK
            } else {
                rank(local_pref, attributes.aigp.is_some(), length as u32, origin)
            },
            as_path_hash: self.hasher.hash_one(path) as u32,
            as_path_length: u16::try_from(length).unwrap_or(u16::MAX),
            clusters: clusters
                | if has_bandwidth(&attributes.extended_communities) { Summary::BANDWIDTH } else { 0 },
            bits,
        }
    }

    /// The router's own cluster.
    pub(crate) fn cluster_id(&self) -> Ipv4Addr {
        self.identity.cluster_id
    }

    #[inline]
    pub(crate) fn summary(&self, id: u32) -> &Summary {
        &self.slots[id as usize].summary
    }

    /// One more user.
    #[inline]
    pub(crate) fn retain(&mut self, id: u32) {
        self.slots[id as usize].users += 1;
    }

    /// One user less; without users the set is forgotten.
    #[inline]
    pub(crate) fn release(&mut self, id: u32) {
        let slot = &mut self.slots[id as usize];
        slot.users -= 1;
        if slot.users == 0 {
            self.forget(id);
        }
    }

    fn forget(&mut self, id: u32) {
        let slot = &self.slots[id as usize];
        if let Ok(found) = self.index.find_entry(spread(slot.hash), |&other| other == id) {
            found.remove();
        }
        self.keys.release(slot.key, slot.length);
        self.next_hops.release(slot.summary.next_hop);
        self.free.push(id);
    }

    /// The attributes, read from the key. `None` for an id that is not in use.
    pub(crate) fn attributes(&self, id: u32) -> Option<Attributes> {
        let slot = self.slots.get(id as usize).filter(|slot| slot.users > 0)?;
        let key = self.keys.bytes(slot.key, slot.length);
        if self.next_hops.addr(slot.summary.next_hop).is_some() {
            return parse_attributes(key).ok().map(|(attributes, _)| attributes);
        }
        parse_without_next_hop(key)
    }

    /// Bytes of the key of a set.
    pub(crate) fn key_length(&self, id: u32) -> usize {
        self.slots[id as usize].length as usize
    }

    /// Sets in use.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>()
            + self.free.capacity() * size_of::<u32>()
            + self.keys.bytes.capacity()
            + self.index.allocation_size()
    }
}

/// The code of an ORIGIN (RFC 4271 section 4.3).
pub(crate) fn origin_code(origin: Origin) -> u8 {
    match origin {
        Origin::Igp => 0,
        Origin::Egp => 1,
        Origin::Incomplete => 2,
    }
}

/// Routes originated here have the unspecified address as next hop, which the parser rightly refuses
/// from a peer. It is lent an address of the documentation range.
fn parse_without_next_hop(key: &[u8]) -> Option<Attributes> {
    let mut key = key.to_vec();
    let length = usize::from(*key.get(1)?);
    let unspecified: IpAddr = match length {
        4 => Ipv4Addr::UNSPECIFIED.into(),
        _ => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let lent: &[u8] = match length {
        4 => &[192, 0, 2, 1],
        _ => &[0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    };
    key.get_mut(2..2 + lent.len())?.copy_from_slice(lent);
    let (mut attributes, _) = parse_attributes(&key).ok()?;
    attributes.next_hop = NextHop { addr: unspecified, link_local: None };
    Some(attributes)
}

/// Spreads a short hash over the word that the index looks at both ends of.
#[inline]
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Granularity of key storage, in bytes.
const UNIT: usize = 8;
/// Up to so many units a key has a class of its own size; longer ones are rounded up to powers of two.
const EXACT: usize = 128;

/// The bytes of all keys in one vector, freed ones chained by size.
#[derive(Debug, Default)]
struct Keys {
    bytes: Vec<u8>,
    /// Offsets of free blocks, by class.
    free: Vec<Vec<u32>>,
}

impl Keys {
    /// Class of a length, and the units that its blocks have.
    fn class(length: usize) -> (usize, usize) {
        let units = length.div_ceil(UNIT).max(1);
        if units <= EXACT {
            return (units, units);
        }
        let rounded = units.next_power_of_two();
        (EXACT + rounded.trailing_zeros() as usize, rounded)
    }

    fn store(&mut self, key: &[u8]) -> u32 {
        let (class, units) = Self::class(key.len());
        if let Some(offset) = self.free.get_mut(class).and_then(Vec::pop) {
            let start = offset as usize * UNIT;
            self.bytes[start..start + key.len()].copy_from_slice(key);
            return offset;
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(key);
        self.bytes.resize(start + units * UNIT, 0);
        (start / UNIT) as u32
    }

    #[inline]
    fn bytes(&self, offset: u32, length: u32) -> &[u8] {
        let start = offset as usize * UNIT;
        &self.bytes[start..start + length as usize]
    }

    fn release(&mut self, offset: u32, length: u32) {
        let (class, _) = Self::class(length as usize);
        if self.free.len() <= class {
            self.free.resize_with(class + 1, Vec::new);
        }
        self.free[class].push(offset);
    }
}
