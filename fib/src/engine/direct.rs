//! The engine for direct tables ([`fib_abi::direct`]): no compression, no limit but that of nodes.
//!
//! A route is spread over the words of its own level, those of longer routes in the same level
//! excepted, and over nothing else: its cost does not depend on what there is below other levels.
//! A batch is worked on in runs of routes that lie below the first of them. In each run the routes are
//! changed, then the words that they decide, or did, are written once, with their last value.
//!
//! A route longer than the root's bits needs nodes. When only a quarter of them is left, the caller is asked
//! for a larger table; if there is one, the table goes on there ([`TableEdit::Grow`]), with the same words.
//! Where there is none, and the nodes run out, a route is left out
//! (`Status::Full`), as if it did not exist: its addresses follow the next less specific route. Who
//! came first stays; within a batch, who is first in prefix order. Nodes that are no longer
//! needed can be used again after a grace period; left-out routes are then tried again.
//!
//! Writes go through shared memory and cannot fail.

mod audit;

use fib_abi::direct::{Layout, NODE, SIZES};

use super::left_out::LeftOut;
use super::nodes::Nodes;
use super::queue::{Change, Queue};
use super::routes::{Packed, Place, Routes, mark};
use super::writes::Writes;
use super::{Engine, EngineStats, NO_ROUTE, Route};
use crate::address::{Address, Prefix};
use crate::edit::{Status, TableEdit};

/// Changes whose routes are brought into the cache together.
const AHEAD: usize = 16;
/// Routes below a route that are stepped over one by one before the end of their word is looked up.
const STEPS: usize = 8;
/// One node of so many is kept for routes that the router itself needs: its own addresses, neighbours and
/// connected networks. However many long prefixes a neighbour announces, the router stays reachable.
const KEPT: usize = 8;
/// With fewer nodes left than one of so many, a larger table is asked for.
const SPARE: usize = 4;

/// The routes of one family and the direct table made from them.
#[derive(Debug)]
pub(crate) struct Direct<A: Address> {
    /// The size that the table has, its shape, and the nodes that there may be in each size.
    size: usize,
    layout: Layout,
    sizes: [u32; SIZES],
    /// A larger table was asked for in vain in this batch.
    refused: bool,
    /// The table has grown since the last commit.
    grown: bool,
    queue: Queue<A>,
    routes: Routes<A>,
    nodes: Nodes<A>,
    writes: Writes,
    /// Edits that are in order already and come before those of `writes`.
    ready: Vec<TableEdit>,
    left_out: LeftOut<A>,
    commits: u64,
    status: Vec<(Prefix<A>, Status)>,
    /// Routes that are marked as gone.
    going: usize,
    /// Routes that count as not installed by what was told before this engine had them.
    adopted: Vec<Prefix<A>>,
    /// Room for `paint`.
    spans: Vec<Span>,
}

/// Words of a level that a route decides, and those of routes below it.
#[derive(Clone, Copy, Debug)]
struct Span {
    /// The first word behind it.
    end: u32,
    value: u32,
    changed: bool,
}

/// The level whose words decide for routes of a length, the root's being 0.
fn level_of<A: Address>(len: u8) -> u8 {
    let Layout { base, stride, .. } = A::LAYOUTS[0];
    if len <= base { 0 } else { 1 + (len - base - 1) / stride }
}

/// The bits before those that index a level: the length of the prefix that leads to its nodes.
fn start_of<A: Address>(level: u8) -> u8 {
    let Layout { base, stride, .. } = A::LAYOUTS[0];
    if level == 0 { 0 } else { base + (level - 1) * stride }
}

/// The bits up to and with those that index a level.
fn end_of<A: Address>(level: u8) -> u8 {
    let Layout { base, stride, .. } = A::LAYOUTS[0];
    base + level * stride
}

/// Which of a level's words, within the root or its node, stands for an address.
fn word_of<A: Address>(level: u8, bits: A) -> u32 {
    bits.bits(end_of::<A>(level), end_of::<A>(level) - start_of::<A>(level))
}

impl<A: Address> Direct<A> {
    /// An empty table of the smallest size, with at most so many nodes in each size.
    pub(crate) fn new(nodes: [u32; SIZES]) -> Self {
        Self {
            size: 0,
            layout: A::LAYOUTS[0],
            sizes: std::array::from_fn(|size| nodes[size].min(A::LAYOUTS[size].nodes)),
            refused: false,
            grown: false,
            queue: Queue::default(),
            routes: Routes::new(),
            nodes: Nodes::new(nodes[0].min(A::LAYOUTS[0].nodes)),
            writes: Writes::new(A::LAYOUTS[0].levels()),
            ready: Vec::new(),
            left_out: LeftOut::default(),
            commits: 0,
            status: Vec::new(),
            going: 0,
            adopted: Vec::new(),
            spans: Vec::new(),
        }
    }

    /// Queues a route that another engine held, with the status that was told of it.
    pub(crate) fn adopt(&mut self, route: Route<A>, own: bool) {
        self.queue.push(route.prefix, route.set, own);
        if !route.status.is_installed() {
            self.adopted.push(route.prefix);
        }
    }

    /// The first word of the node that a prefix leads to; the root's for the root.
    fn origin(&self, level: u8, bits: A) -> Option<u32> {
        if level == 0 {
            return Some(0);
        }
        let node = self.nodes.find(Prefix::new(bits, start_of::<A>(level)))?;
        Some(self.layout.node(node))
    }

    /// The set of a level's longest live route of at most `longest` bits that covers a prefix; 0 for none.
    fn cover(&self, level: u8, prefix: Prefix<A>, longest: u8, near: Place) -> u32 {
        let route = self.routes.above(prefix, longest, near, Packed::is_live);
        route.filter(|route| level_of::<A>(route.len()) == level).map_or(NO_ROUTE, Packed::set)
    }

    /// The set of a level's longest route that covers a prefix and is on its way out; 0 for none.
    fn leaving(&self, level: u8, prefix: Prefix<A>, near: Place) -> u32 {
        let route = self.routes.above(prefix, prefix.len, near, |route| route.has(mark::GONE));
        route.filter(|route| level_of::<A>(route.len()) == level).map_or(NO_ROUTE, Packed::set)
    }

    /// Carries out changes of which the first covers all others, in prefix order.
    fn carry_out(
        &mut self,
        run: &[Change<A>],
        from: Place,
        released: &mut Vec<u32>,
        grow: &mut dyn FnMut() -> bool,
    ) -> Place {
        if let [change] = run {
            let place = self.set_route(change, from, released, grow);
            if self.routes.at(place).is_some_and(|route| route.has(mark::CHANGED)) {
                self.paint(place);
                self.settle(place);
            }
            return place;
        }
        let mut place = from;
        for change in run {
            place = self.set_route(change, place, released, grow);
        }
        self.finish(run.iter().map(|change| change.prefix), from);
        from
    }

    /// Changes a route, and marks it if the table has to follow.
    fn set_route(
        &mut self,
        change: &Change<A>,
        from: Place,
        released: &mut Vec<u32>,
        grow: &mut dyn FnMut() -> bool,
    ) -> Place {
        let Change { prefix, set, replaced, own } = *change;
        let (place, found) = self.routes.seek(prefix, from);
        if !found {
            if set == NO_ROUTE {
                return place;
            }
            let place = self.routes.insert(place, Packed::new(prefix, set, mark::CHANGED));
            if !self.claim(prefix, place, own, grow) {
                self.leave_out(prefix, place);
            }
            return place;
        }
        let Some(route) = self.routes.at_mut(place) else { return place };
        released.push(route.set());
        match (route.has(mark::LEFT_OUT), set) {
            (true, NO_ROUTE) => {
                self.left_out.remove(prefix);
                self.routes.remove(place);
                return from;
            }
            (false, NO_ROUTE) => {
                route.change(route.set(), mark::CHANGED | mark::GONE);
                self.going += 1;
            }
            (true, _) => {
                route.change(set, mark::LEFT_OUT);
                if replaced {
                    self.status.push((prefix, Status::Full));
                }
            }
            (false, _) if route.set() != set => route.change(set, mark::CHANGED),
            (false, _) => {}
        }
        place
    }

    fn leave_out(&mut self, prefix: Prefix<A>, place: Place) {
        if let Some(route) = self.routes.at_mut(place) {
            route.change(route.set(), mark::LEFT_OUT);
        }
        self.left_out.insert(prefix);
        self.status.push((prefix, Status::Full));
    }

    /// Writes the words of changed routes, which come in prefix order, and takes their marks away.
    fn finish(&mut self, run: impl Iterator<Item = Prefix<A>> + Clone, from: Place) {
        // The routes above the current one, whose words of the same level are written already.
        let mut above: Vec<Prefix<A>> = Vec::new();
        for prefix in run.clone() {
            let (place, found) = self.routes.seek(prefix, from);
            if !found || !self.routes.at(place).is_some_and(|route| route.has(mark::CHANGED)) {
                continue;
            }
            while above.last().is_some_and(|last| !last.covers(prefix)) {
                above.pop();
            }
            let level = level_of::<A>(prefix.len);
            if !above.iter().any(|other| level_of::<A>(other.len) == level) {
                self.paint(place);
            }
            above.push(prefix);
        }
        for prefix in run {
            let (place, found) = self.routes.seek(prefix, from);
            if found {
                self.settle(place);
            }
        }
    }

    /// Takes away the mark of a route, or the route if it is to go.
    fn settle(&mut self, place: Place) {
        let Some(route) = self.routes.at_mut(place) else { return };
        route.unmark(mark::CHANGED);
        if !route.has(mark::GONE) {
            return;
        }
        self.going -= 1;
        let prefix = route.prefix();
        self.routes.remove(place);
        let level = level_of::<A>(prefix.len);
        if level > 0
            && let Some(node) = self.nodes.find(Prefix::new(prefix.bits, start_of::<A>(level)))
        {
            self.nodes.release(node);
        }
    }

    /// Writes the words that the marked route here decides, and those of marked ones of its level below it.
    fn paint(&mut self, place: Place) {
        let Some(route) = self.routes.at(place) else { return };
        let prefix = route.prefix();
        let level = level_of::<A>(prefix.len);
        let Some(origin) = self.origin(level, prefix.bits) else { return };
        let value = match (route.has(mark::GONE), prefix.len.checked_sub(1)) {
            (false, _) => route.set(),
            (true, Some(longest)) => self.cover(level, prefix, longest, place),
            (true, None) => NO_ROUTE,
        };
        let first = word_of(level, prefix.bits);
        let count = 1 << (end_of::<A>(level) - prefix.len);
        let next = self.routes.after(place);
        if self.routes.at(next).is_some_and(|below| prefix.covers(below.prefix())) {
            let span = Span { end: first + count, value, changed: true };
            self.paint_around(prefix, next, origin, first, span);
        } else {
            self.writes.write(level, origin + first, count, value);
        }
    }

    /// [`Self::paint`] for a route with others below it, the first of them at `place`.
    fn paint_around(&mut self, prefix: Prefix<A>, place: Place, origin: u32, first: u32, span: Span) {
        let level = level_of::<A>(prefix.len);
        let end = end_of::<A>(level);
        let mut spans = std::mem::take(&mut self.spans);
        spans.push(span);
        // All words before `done` are written.
        let (mut place, mut done) = (place, first);
        while let Some(&below) = self.routes.at(place) {
            if !prefix.covers(below.prefix()) {
                break;
            }
            place = self.routes.after(place);
            if below.has(mark::LEFT_OUT) {
                continue;
            }
            let word = word_of(level, below.prefix().bits);
            if below.len() <= end {
                done = self.paint_up_to(word, done, level, origin, &mut spans);
                let around = spans.last().map_or(NO_ROUTE, |span| span.value);
                let value = if below.has(mark::GONE) { around } else { below.set() };
                let changed = below.has(mark::CHANGED);
                spans.push(Span { end: word + (1 << (end - below.len())), value, changed });
            } else if word >= done {
                // A node, which hides what the word would be.
                done = self.paint_up_to(word, done, level, origin, &mut spans);
                let cell = Prefix::new(below.prefix().bits, end);
                if let (Some(node), Some(span)) = (self.nodes.find(cell), spans.last()) {
                    if span.changed {
                        self.writes.write(level, self.layout.hidden(node), 1, span.value);
                    }
                    done = word + 1;
                    place = self.behind(cell, place);
                }
            }
        }
        self.paint_up_to(span.end, done, level, origin, &mut spans);
        spans.clear();
        self.spans = spans;
    }

    /// Writes the words from `done` up to `word` and leaves the spans that end there; answers the new `done`.
    fn paint_up_to(&mut self, word: u32, done: u32, level: u8, origin: u32, spans: &mut Vec<Span>) -> u32 {
        let mut done = done;
        while let Some(&Span { end, value, changed }) = spans.last() {
            let until = end.min(word);
            if changed && until > done {
                self.writes.write(level, origin + done, until - done, value);
            }
            done = done.max(until);
            if end > word {
                break;
            }
            spans.pop();
        }
        done
    }

    /// The place of the first route behind a prefix and all below it, at or after `place`.
    fn behind(&self, prefix: Prefix<A>, place: Place) -> Place {
        let mut place = place;
        for _ in 0..STEPS {
            if !self.routes.at(place).is_some_and(|route| prefix.covers(route.prefix())) {
                return place;
            }
            place = self.routes.after(place);
        }
        let last = Prefix { bits: prefix.bits.last(prefix.len), len: A::WIDTH };
        match self.routes.seek(last, place) {
            (place, true) => self.routes.after(place),
            (place, false) => place,
        }
    }

    /// Makes the nodes that lead to a route, and counts it in; false, and nothing is made, if there
    /// are not enough left.
    fn claim(&mut self, prefix: Prefix<A>, near: Place, own: bool, grow: &mut dyn FnMut() -> bool) -> bool {
        let level = level_of::<A>(prefix.len);
        let path = |level: u8| Prefix::new(prefix.bits, start_of::<A>(level));
        let mut there = level;
        let mut node = None;
        while there > 0 {
            node = self.nodes.find(path(there));
            if node.is_some() {
                break;
            }
            there -= 1;
        }
        if level == there {
            if let Some(node) = node {
                self.nodes.retain(node);
            }
            return true;
        }
        let needed = usize::from(level - there);
        if !self.has_spare(needed) {
            self.grow(grow);
        }
        let kept = if own { 0 } else { self.nodes.limit() / KEPT };
        if needed + kept > self.nodes.room() {
            return false;
        }
        // From the route upwards: what is above it is looked up once for all levels.
        let mut above = Some((prefix.len, NO_ROUTE));
        let mut below = None;
        for level in (there + 1..=level).rev() {
            let path = path(level);
            while let Some((len, _)) = above
                && len > path.len
            {
                let route = self.routes.above(prefix, path.len, near, Packed::is_live);
                above = route.map(|route| (route.len(), route.set()));
            }
            let hidden = match above {
                Some((len, set)) if level_of::<A>(len) == level - 1 => set,
                // What the word was until now: its own turn to become 0 comes later.
                _ if self.going > 0 => self.leaving(level - 1, path, near),
                _ => NO_ROUTE,
            };
            let Some((id, fresh)) = self.nodes.make(path) else { return false };
            let layout = self.layout;
            if !fresh {
                self.writes.fresh(layout.node(id), layout.node_words(), 0);
            }
            if !fresh || hidden != NO_ROUTE {
                self.writes.fresh(layout.hidden(id), 1, hidden);
            }
            self.nodes.retain(id);
            self.link(level, layout.node(id), prefix.bits, below.replace(id));
        }
        if let Some(node) = node {
            self.nodes.retain(node);
        }
        let origin = node.map_or(0, |node| self.layout.node(node));
        self.link(there, origin, prefix.bits, below);
        true
    }

    /// Whether so many nodes can be made without coming near the limit.
    fn has_spare(&self, nodes: usize) -> bool {
        nodes + self.nodes.limit() / SPARE <= self.nodes.room()
    }

    /// Goes on in a larger table, if there is one to be had.
    fn grow(&mut self, grow: &mut dyn FnMut() -> bool) {
        let larger = self.sizes.get(self.size + 1).copied().unwrap_or(0);
        if self.refused || larger as usize <= self.nodes.limit() {
            return;
        }
        if !grow() {
            self.refused = true;
            return;
        }
        // What has been written down names words of the table as it was.
        self.writes.emit(A::FAMILY, &mut self.ready);
        self.ready.push(TableEdit::Grow { family: A::FAMILY });
        self.size += 1;
        self.layout = A::LAYOUTS[self.size];
        self.nodes.extend(larger);
        self.grown = true;
    }

    /// Whether the table has grown since this was asked last.
    pub(crate) fn take_grown(&mut self) -> bool {
        std::mem::take(&mut self.grown)
    }

    /// Bytes of the table's map.
    pub(crate) fn map_bytes(&self) -> usize {
        self.layout.bytes()
    }

    /// Lets the word of a level that stands for an address name the node below it.
    fn link(&mut self, level: u8, origin: u32, bits: A, below: Option<u32>) {
        if let Some(below) = below {
            self.writes.write(level, origin + word_of(level, bits), 1, NODE | below);
        }
    }

    /// Takes nodes that nobody needs any more out of the table.
    fn retire_nodes(&mut self) {
        while let Some(path) = self.nodes.retire() {
            let level = level_of::<A>(path.len);
            let value = self.cover(level, path, path.len, Place::default());
            let parent = self.nodes.find(Prefix::new(path.bits, start_of::<A>(level))).filter(|_| level > 0);
            let origin = parent.map_or(0, |parent| self.layout.node(parent));
            self.writes.unlinked(origin + word_of(level, path.bits), value);
            if let Some(parent) = parent {
                self.nodes.release(parent);
            }
        }
    }

    /// Tries left-out routes again if there is room.
    fn retry(&mut self, grow: &mut dyn FnMut() -> bool) {
        let room = self.nodes.room().saturating_sub(self.nodes.limit() / KEPT);
        let due = self.left_out.due(room, self.commits);
        if due.is_empty() {
            return;
        }
        let mut fitted = Vec::new();
        for &prefix in &due {
            let (place, found) = self.routes.seek(prefix, Place::default());
            if found && self.claim(prefix, place, false, grow) {
                if let Some(route) = self.routes.at_mut(place) {
                    route.change(route.set(), mark::CHANGED);
                }
                self.left_out.remove(prefix);
                self.status.push((prefix, Status::Installed));
                fitted.push(prefix);
            }
        }
        self.left_out.tried(&due, !fitted.is_empty(), room, self.commits);
        fitted.sort_unstable();
        self.finish(fitted.iter().copied(), Place::default());
        self.writes.emit(A::FAMILY, &mut self.ready);
    }

    fn view(route: &Packed<A>) -> Route<A> {
        let status = if route.has(mark::LEFT_OUT) { Status::Full } else { Status::Installed };
        Route { prefix: route.prefix(), set: route.set(), status }
    }

    /// The routes that come after a prefix, in prefix order.
    fn after(&self, after: Option<Prefix<A>>) -> impl Iterator<Item = &Packed<A>> {
        let mut place = match after.map(|after| self.routes.seek(after, Place::default())) {
            Some((place, true)) => self.routes.after(place),
            Some((place, false)) => place,
            None => Place::default(),
        };
        std::iter::from_fn(move || {
            let route = self.routes.at(place)?;
            place = self.routes.after(place);
            Some(route)
        })
    }
}

impl<A: Address> Engine<A> for Direct<A> {
    fn queue(&mut self) -> &mut Queue<A> {
        &mut self.queue
    }

    fn apply(&mut self, released: &mut Vec<u32>, grow: &mut dyn FnMut() -> bool) {
        self.refused = false;
        if !self.has_spare(0) {
            self.grow(grow);
        }
        self.retry(grow);
        if self.queue.len() == 0 {
            return;
        }
        let batch = self.queue.take(released);
        let mut from = Place::default();
        let mut warm = 0;
        let mut start = 0;
        while let Some(first) = batch.get(start) {
            let below = batch[start + 1..].iter().take_while(|change| first.prefix.covers(change.prefix));
            let end = start + 1 + below.count();
            if start >= warm && batch.len() > 1 {
                let ahead = &batch[start..batch.len().min(start + AHEAD)];
                self.routes.read_ahead(ahead.iter().map(|change| change.prefix), from);
                warm = start + AHEAD;
            }
            from = self.carry_out(&batch[start..end], from, released, grow);
            start = end;
        }
        self.retire_nodes();
        for prefix in std::mem::take(&mut self.adopted) {
            if let Some(route) = self.routes.find(prefix) {
                self.status.push((prefix, Self::view(route).status));
            }
        }
    }

    fn route(&self, prefix: Prefix<A>) -> Option<Route<A>> {
        match self.queue.find(prefix) {
            Some(change) => change.route(),
            None => self.routes.find(prefix).map(Self::view),
        }
    }

    fn longest_match(&self, address: A) -> Option<Route<A>> {
        let address = Prefix::new(address, A::WIDTH);
        self.routes.above(address, A::WIDTH, Place::default(), |_| true).map(Self::view)
    }

    fn entry_for(&self, address: A) -> Option<(Prefix<A>, u32)> {
        let address = Prefix::new(address, A::WIDTH);
        let route = self.routes.above(address, A::WIDTH, Place::default(), Packed::is_live)?;
        Some((route.prefix(), route.set()))
    }

    fn entry_at(&self, prefix: Prefix<A>) -> Option<u32> {
        self.routes.find(prefix).filter(|route| route.is_live()).map(Packed::set)
    }

    fn has_failed(&self, _: Prefix<A>) -> bool {
        false
    }

    fn routes_after(&self, after: Option<Prefix<A>>, limit: usize, out: &mut Vec<Route<A>>) {
        out.extend(self.after(after).take(limit).map(Self::view));
    }

    fn entries_after(&self, after: Option<Prefix<A>>, limit: usize, out: &mut Vec<(Prefix<A>, u32)>) {
        let live = self.after(after).filter(|route| route.is_live());
        out.extend(live.take(limit).map(|route| (route.prefix(), route.set())));
    }

    fn commit(&mut self, edits: &mut Vec<TableEdit>) {
        self.commits += 1;
        edits.append(&mut self.ready);
        self.writes.emit(A::FAMILY, edits);
    }

    fn write_failed(&mut self, _: Prefix<A>) {}

    fn waiting(&self) -> usize {
        self.nodes.waiting()
    }

    fn grace_elapsed(&mut self) {
        self.nodes.grace_elapsed();
    }

    fn wants_retry(&self) -> bool {
        !self.left_out.is_empty() && self.nodes.room() > self.nodes.limit() / KEPT
    }

    fn may_be_stale(&self) -> bool {
        false
    }

    fn drain_status_changes(&mut self, out: &mut Vec<(Prefix<A>, Status)>) {
        out.append(&mut self.status);
    }

    fn stats(&self) -> EngineStats {
        EngineStats {
            routes: self.routes.len(),
            entries: self.nodes.len(),
            capacity: self.nodes.limit(),
            full: self.left_out.len(),
            write_failed: 0,
            failed_entries: 0,
            memory: self.routes.memory() + self.nodes.memory(),
        }
    }
}
