//! Changes of one group into messages: gathered, grouped by attributes, evaluated once for each
//! attribute set, packed.
//!
//! A chunk serves every peer of the group that stands at the same place, so each run of messages says
//! whom it is for: a route goes to all but the peer that it came from, and that peer gets a withdrawal
//! instead when it may have the prefix from somebody else. Withdrawals come first in a chunk. A
//! prefix is in a chunk once, so their order against announcements does not matter to it.

use bytes::BytesMut;
use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use smallvec::SmallVec;

use crate::types::PeerId;
use crate::wire::{Attributes, PathNlri, UpdateEncoder, encode_withdraw};

use super::super::core::{Core, Plane};
use super::super::key::Bits;
use super::super::limits::PrefixGauge;
use super::super::path::Path;
use super::super::table::pending;
use super::journal::{ANYBODY, Audience, Chunk, Journal, NOBODY, Reader, Span};
use super::rules::GroupConfig;
use super::sent::{Known, path_id};

/// Octets of a message that are neither prefixes nor attributes of the route.
const MESSAGE_OVERHEAD: usize = 40;

/// A best route to be announced, perhaps.
#[derive(Clone, Copy)]
struct Route {
    audience: Audience,
    peer: u16,
    attr: u32,
    id: u32,
    /// The identifier to send it with, where there are any.
    path_id: u32,
    /// Who may have the prefix.
    holder: u16,
    reading: Reading,
}

/// How an entry was come by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// First of all readers: who has the prefix is exact, and is kept so.
    First,
    /// Behind another reader.
    Again,
    /// In a walk: the reader has nothing yet, or asked for everything again.
    Walk,
}

/// Collects what a chunk is made of.
struct Gathering<'a, K> {
    config: &'a GroupConfig,
    plane: &'a Plane<K>,
    journal: &'a mut Journal,
    core: &'a Core,
    /// For whom, when the group chooses for itself.
    client: u16,
    /// Whether peer and attributes of a path pass a policy that does not ask for the prefix.
    passing: HashMap<(u16, u32), bool, RandomState>,
    routes: Vec<Route>,
    /// For whom, entry, path identifier.
    withdrawals: Vec<(Audience, u32, u32)>,
    /// Attribute sets seen, to guess the size.
    seen: HashSet<u32, RandomState>,
    size: usize,
    /// How many prefixes the reader may be told; it is the only one of its group then.
    limit: Option<(&'a PrefixGauge, u16)>,
    /// The entry of the default route and its attributes, where it is announced whatever the RIB has.
    default: Option<(u32, u32)>,
}

/// Makes the chunk that a reader needs next, of about `max_bytes` octets.
pub(crate) fn make_chunk<K: Bits>(
    core: &Core,
    plane: &Plane<K>,
    config: &GroupConfig,
    journal: &mut Journal,
    reader: &Reader,
    max_bytes: usize,
) -> Chunk {
    let mut gathering = Gathering {
        config,
        plane,
        journal,
        core,
        client: reader.peer,
        passing: HashMap::default(),
        routes: Vec::new(),
        withdrawals: Vec::new(),
        seen: HashSet::default(),
        size: 0,
        limit: config.limits[K::FAMILY.index()].as_deref().map(|gauge| (gauge, reader.peer)),
        default: plane.default_route.filter(|_| config.rules.default_originate.is_some()),
    };
    let (span, next) = gathering.gather(reader, max_bytes);
    let pieces = gathering.encode(config);
    Chunk { span, next, pieces }
}

impl<K: Bits> Gathering<'_, K> {
    fn gather(&mut self, reader: &Reader, max_bytes: usize) -> (Span, u32) {
        let settled_from = self.journal.settled_from();
        // Prefixes that turn out not to be for anybody must not make a chunk endless.
        let mut steps = max_bytes.max(1024);
        if let Some(walk) = reader.walk {
            let mut next = walk.next;
            while let Some(id) = self.plane.table.next_live(next).filter(|&id| id < walk.end) {
                if self.size >= max_bytes || steps == 0 {
                    return (Span::Walk(walk.next, reader.position), next);
                }
                if !self.journal.is_ahead(id, reader.position) {
                    self.add(id, Reading::Walk, false);
                }
                next = id + 1;
                steps -= 1;
            }
            return (Span::Walk(walk.next, reader.position), walk.end);
        }
        let (mut position, front) = (reader.position, self.journal.front());
        while position < self.journal.end() && self.size < max_bytes && steps > 0 {
            if let Some(id) = self.journal.at(position) {
                let settled = settled_from.is_some_and(|from| position >= from);
                self.add(id, if position < front { Reading::Again } else { Reading::First }, settled);
            }
            position += 1;
            steps -= 1;
        }
        (Span::Log(reader.position), position)
    }

    /// Adds what is to be said of an entry. `settled`: all readers have what was said of it before.
    fn add(&mut self, id: u32, reading: Reading, settled: bool) {
        let table = &self.plane.table;
        let paths = self.journal.sent.is_some();
        if self.plane.is_held_back(self.core, id) {
            // It gets a new place when the forwarding plane has answered. Who read the present place
            // earlier saw more than who reads it now, or than who walked past it or does so now.
            if reading == Reading::Again || (paths && !settled) {
                self.journal.doubt(id);
            }
            self.journal.wait_for(id);
            return;
        }
        if paths {
            return self.add_paths(id, reading, settled);
        }
        let holder = match reading {
            Reading::First => self.journal.holder(id),
            Reading::Again => ANYBODY,
            Reading::Walk => NOBODY,
        };
        self.size += 1 + usize::from(table.prefix(id).1.div_ceil(8));
        if let Some(attr) = self.default.and_then(|(default, attr)| (default == id).then_some(attr)) {
            let (audience, peer, path_id) = (Audience::All, PeerId::LOCAL.0, 0);
            self.routes.push(Route { audience, peer, attr, id, path_id, holder, reading });
            return;
        }
        let (bits, length) = table.prefix(id);
        let held_back = table.is_pending(id, pending::NOT_INSTALLED) || self.core.is_suppressed(bits, length);
        match self.chosen(id).filter(|_| !held_back) {
            Some(best) => self.route(id, best, 0, holder, reading),
            None => self.withdraw(id, holder, reading),
        }
    }

    /// Adds a route to be announced, unless export says otherwise.
    fn route(&mut self, id: u32, path: Path, path_id: u32, holder: u16, reading: Reading) {
        let Path { peer, attr, .. } = path;
        if self.seen.insert(attr) {
            self.size += MESSAGE_OVERHEAD + self.core.attrs.key_length(attr);
        }
        let audience = self.all_but(peer);
        self.routes.push(Route { audience, peer, attr, id, path_id, holder, reading });
    }

    fn all_but(&self, peer: u16) -> Audience {
        self.journal.reader(peer).map_or(Audience::All, |_| Audience::Except(peer))
    }

    /// The same where several paths of a prefix are sent: those that are not as all readers have them, and
    /// the withdrawal of those that somebody may have and nobody should.
    fn add_paths(&mut self, id: u32, reading: Reading, settled: bool) {
        let paths = self.plane.chosen_for(self.core, self.config, None, id);
        for &path in &paths {
            let unchanged = settled
                && reading == Reading::First
                && self.journal.sent.as_ref().is_some_and(|sent| sent.is_exact(id, path));
            if !unchanged {
                self.size += 5 + usize::from(self.plane.table.prefix(id).1.div_ceil(8));
                self.route(id, path, path_id(path), NOBODY, reading);
            }
        }
        let held = self.is_held(id);
        let Some(sent) = self.journal.sent.as_mut().filter(|_| reading != Reading::Walk) else { return };
        let over: SmallVec<[u32; 4]> = sent
            .of(id)
            .iter()
            .map(|sent| sent.path_id)
            .filter(|sent| !paths.iter().any(|path| path_id(*path) == *sent))
            .collect();
        self.size += over.len() * (5 + usize::from(self.plane.table.prefix(id).1.div_ceil(8)));
        for path_id in over {
            self.withdrawals.push((Audience::All, id, path_id));
            if reading == Reading::First {
                sent.withdrawn(id, path_id);
            }
        }
        self.release_unless_held(id, held);
    }

    /// Whether the only reader of a group with a limit has an entry.
    fn is_held(&self, id: u32) -> bool {
        self.limit.is_some_and(|(_, reader)| self.journal.is_held(id, reader))
    }

    /// Where several paths of a prefix are sent, and the reader had the entry: it counts as long as it has one.
    fn release_unless_held(&mut self, id: u32, held: bool) {
        if let Some((gauge, _)) = self.limit.filter(|_| held && !self.is_held(id)) {
            gauge.release(1);
        }
    }

    /// The path that the group is sent.
    fn chosen(&mut self, id: u32) -> Option<Path> {
        let Self { plane, core, config, passing, .. } = self;
        if !config.route_server {
            return plane.table.best(id);
        }
        plane.best_for_client(core, self.client, id, |path| {
            if config.export.depends_on_prefix() {
                return plane.passes(core, config, path, id);
            }
            *passing.entry((path.peer, path.attr)).or_insert_with(|| plane.passes(core, config, path, id))
        })
    }

    /// There is no route for the group.
    fn withdraw(&mut self, id: u32, holder: u16, reading: Reading) {
        match holder {
            NOBODY => {}
            ANYBODY => self.withdrawals.push((Audience::All, id, 0)),
            peer => self.withdrawals.push((Audience::Except(peer), id, 0)),
        }
        if reading == Reading::First {
            if let Some((gauge, reader)) = self.limit
                && self.journal.is_held(id, reader)
            {
                gauge.release(1);
            }
            self.journal.set_holder(id, NOBODY);
        }
    }

    /// There is a route for the group.
    fn announced(&mut self, route: &Route) {
        let Route { id, path_id, peer, attr, reading, .. } = *route;
        if let Some(sent) = &mut self.journal.sent {
            let before = sent.of(id).iter().find(|sent| sent.path_id == path_id);
            // An identifier that another peer's path had: that is not what this peer is to keep.
            let certain = reading == Reading::First
                && before.is_none_or(|before| before.known == Known::Exact && before.peer == peer);
            if let (Audience::Except(source), false) = (route.audience, certain || reading == Reading::Walk) {
                self.withdrawals.push((Audience::Only(source), id, path_id));
            }
            if reading != Reading::Again {
                sent.announced(id, path_id, (peer, attr), reading == Reading::First);
            }
            return;
        }
        if let (Audience::Except(source), holder) = (route.audience, route.holder)
            && holder != NOBODY
            && holder != source
        {
            self.withdrawals.push((Audience::Only(source), route.id, 0));
        }
        match route.reading {
            Reading::First => self.journal.set_holder(route.id, route.peer),
            Reading::Again => {}
            Reading::Walk => {
                let known = self.journal.holder(route.id);
                let holder = if known == NOBODY || known == route.peer { route.peer } else { ANYBODY };
                self.journal.set_holder(route.id, holder);
            }
        }
    }

    fn encode(mut self, config: &GroupConfig) -> Vec<(Audience, bytes::Bytes)> {
        let mut routes = std::mem::take(&mut self.routes);
        // Stable: prefixes of one attribute set stay in the order of the journal.
        routes.sort_by_key(|route| (route.audience, route.peer, route.attr));
        let mut announcements = Pieces::default();
        for run in routes.chunk_by(|a, b| (a.peer, a.attr) == (b.peer, b.attr)) {
            self.encode_run(config, run, &mut announcements);
        }
        let mut pieces = Pieces::default();
        let mut withdrawals = std::mem::take(&mut self.withdrawals);
        withdrawals.sort_by_key(|(audience, ..)| *audience);
        for run in withdrawals.chunk_by(|a, b| a.0 == b.0) {
            let prefixes = run.iter().map(|&(_, id, path_id)| self.nlri(id, path_id));
            encode_withdraw(pieces.for_audience(run[0].0), K::FAMILY, prefixes, &config.encode);
        }
        let mut pieces = pieces.finish();
        pieces.extend(announcements.finish());
        pieces
    }

    fn net(&self, id: u32) -> ipnet::IpNet {
        let (bits, length) = self.plane.table.prefix(id);
        bits.net(length)
    }

    fn nlri(&self, id: u32, path_id: u32) -> PathNlri {
        PathNlri { prefix: self.net(id), path_id }
    }

    /// A path does not go out by the export rules.
    fn kept_back(&mut self, route: &Route) {
        let Route { id, path_id, reading, .. } = *route;
        let held = self.is_held(id);
        let Some(sent) = &mut self.journal.sent else { return self.withdraw(id, route.holder, reading) };
        if reading != Reading::Walk && sent.of(id).iter().any(|sent| sent.path_id == path_id) {
            self.withdrawals.push((Audience::All, id, path_id));
            if reading == Reading::First {
                sent.withdrawn(id, path_id);
            }
        }
        self.release_unless_held(id, held);
    }

    /// Announces the prefixes of one attribute set.
    fn encode_run(&mut self, config: &GroupConfig, run: &[Route], pieces: &mut Pieces) {
        let Some(first) = run.first() else { return };
        let source = self.core.source(Path { peer: first.peer, attr: first.attr, ..Path::default() });
        let Some(attributes) = self.core.attrs.attributes(first.attr) else { return };
        if !config.export.depends_on_prefix() {
            let exported = config.exported(source, &attributes, self.net(first.id));
            return self.encode_equal(config, run, exported.as_ref(), pieces);
        }
        let mut rest = run;
        while let Some(head) = rest.first() {
            let exported = config.exported(source, &attributes, self.net(head.id));
            let equal = rest
                .iter()
                .skip(1)
                .take_while(|route| config.exported(source, &attributes, self.net(route.id)) == exported)
                .count();
            let (now, later) = rest.split_at(equal + 1);
            self.encode_equal(config, now, exported.as_ref(), pieces);
            rest = later;
        }
    }

    /// Those of the routes that the reader may be told: the ones that it has, and new ones up to the limit. The
    /// others are treated as gone.
    fn within_limit(&mut self, run: &[Route]) -> Vec<Route> {
        let Some((gauge, reader)) = self.limit else { return run.to_vec() };
        let mut within = Vec::with_capacity(run.len());
        for route in run {
            // Several paths of a prefix count as one.
            let has = self.journal.is_held(route.id, reader)
                || within.last().is_some_and(|last: &Route| last.id == route.id);
            let gets = route.audience.includes(reader);
            if has && !gets && self.journal.sent.is_none() {
                gauge.release(1);
            }
            if gets && !has && !gauge.admit() {
                self.kept_back(route);
            } else {
                within.push(*route);
            }
        }
        within
    }

    /// Announces prefixes whose attributes are equal on the way out, or treats them as gone.
    fn encode_equal(
        &mut self,
        config: &GroupConfig,
        run: &[Route],
        exported: Option<&Attributes>,
        pieces: &mut Pieces,
    ) {
        let encoder = exported.map(|attributes| UpdateEncoder::new(K::FAMILY, attributes, &config.encode));
        if let Some(Ok(encoder)) = encoder {
            let within;
            let run = if self.limit.is_some() {
                within = self.within_limit(run);
                &within
            } else {
                run
            };
            let Some(first) = run.first() else { return };
            for route in run {
                self.announced(route);
            }
            let prefixes = run.iter().map(|route| self.nlri(route.id, route.path_id));
            encoder.announce(pieces.for_audience(first.audience), prefixes);
        } else {
            // Attributes that do not fit into a message, or a next hop of the wrong family.
            if encoder.is_some() {
                self.journal.unsendable += run.len() as u64;
            }
            for route in run {
                self.kept_back(route);
            }
        }
    }
}

/// Messages, those for the same audience in one piece.
#[derive(Default)]
struct Pieces {
    done: Vec<(Audience, bytes::Bytes)>,
    open: Option<(Audience, BytesMut)>,
}

impl Pieces {
    fn for_audience(&mut self, audience: Audience) -> &mut BytesMut {
        if self.open.as_ref().is_some_and(|(open, _)| *open != audience) {
            self.close();
        }
        &mut self.open.get_or_insert_with(|| (audience, BytesMut::new())).1
    }

    fn close(&mut self) {
        if let Some((audience, bytes)) = self.open.take()
            && !bytes.is_empty()
        {
            self.done.push((audience, bytes.freeze()));
        }
    }

    fn finish(mut self) -> Vec<(Audience, bytes::Bytes)> {
        self.close();
        self.done
    }
}
