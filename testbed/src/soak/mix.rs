//! Which UPDATE comes next in steady churn, and what a receiver must hold after it.
//!
//! Real churn is a few prefixes that change again and again: one of [`BUSY_ONE_IN`] takes part here, in
//! both families. Of their changes, three in ten are another path, three in ten other communities or
//! another MED, two in ten a withdrawal, and as many the return of what was withdrawn a while ago. Each is
//! an UPDATE of its own. The attributes are drawn from a bounded set, so that a router's memory has a
//! size to settle at.

use std::collections::{BTreeMap, VecDeque};

use anyhow::{Result, ensure};
use ipnet::IpNet;

use crate::load::neighbors::Neighbor;
use crate::random::Random;
use crate::soak::mirror::{Mirror, fingerprint};
use crate::speaker::{self, PathAttributes};
use crate::table::{Announcer, Table};

/// One prefix of so many changes.
pub const BUSY_ONE_IN: usize = 20;
/// Paths that a feeder changes between, for each origin.
const PATHS: u64 = 8;
/// Values of MED and of the community that changes, none included.
const VALUES: u64 = 8;
/// One of so many busy routes may be withdrawn at a time.
const GONE_ONE_IN: usize = 20;
/// The community that changes, in its upper half.
const COMMUNITY: u32 = 65_000 << 16;
/// Communities that policies of the router add, on import and on export.
pub const TAGS: [u32; 2] = [65_001 << 16 | 1, 65_001 << 16 | 2];

/// What a feeder says of a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    variant: u32,
    med: u8,
    community: u8,
    announced: bool,
}

/// What kinds of UPDATEs there have been.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Another path.
    pub path: u64,
    /// Another community.
    pub community: u64,
    /// Another MED.
    pub med: u64,
    /// Withdrawn.
    pub withdrawn: u64,
    /// Announced again.
    pub returned: u64,
}

impl Changes {
    /// UPDATEs altogether.
    pub fn total(&self) -> u64 {
        self.path + self.community + self.med + self.withdrawn + self.returned
    }
}

/// Everything that the feeders announce at the moment.
#[derive(Debug)]
pub struct Mix<'a> {
    table: &'a Table,
    announcers: Vec<Announcer>,
    /// By feeder and place in the table.
    states: Vec<Vec<State>>,
    /// Places of the prefixes that change.
    busy: Vec<usize>,
    /// Withdrawn ones, feeder and place, the oldest first.
    gone: VecDeque<(usize, usize)>,
    random: Random,
    changes: Changes,
    /// Which of [`TAGS`] the router adds.
    tags: [bool; 2],
}

impl<'a> Mix<'a> {
    /// Feeders that announce nothing yet.
    pub fn new(table: &'a Table, feeders: &[Neighbor], seed: u64) -> Self {
        let mut random = Random::new(seed);
        let announcers: Vec<Announcer> =
            feeders.iter().zip(1..).map(|(feeder, number)| feeder.announcer(number)).collect();
        let states = announcers.iter().map(|announcer| {
            let state = |variant| State { variant, med: 0, community: 0, announced: false };
            table.variants(announcer.seed).into_iter().map(state).collect()
        });
        let busy = (0..table.routes.len()).filter(|_| random.index(BUSY_ONE_IN) == 0).collect();
        let (states, gone, changes) = (states.collect(), VecDeque::new(), Changes::default());
        Self { table, announcers, states, busy, gone, random, changes, tags: [false; 2] }
    }

    /// The router is to add one of [`TAGS`] from now on, or no more.
    pub fn toggle_tag(&mut self, index: usize) {
        self.tags[index] = !self.tags[index];
    }

    /// Which of [`TAGS`] the router is to add.
    pub fn tags(&self) -> [bool; 2] {
        self.tags
    }

    /// A feeder begins a session: it announces the whole table.
    pub fn announce_all(&mut self, feeder: usize) {
        self.states[feeder].iter_mut().for_each(|state| state.announced = true);
    }

    /// A feeder has withdrawn all it had.
    pub fn withdraw_all(&mut self, feeder: usize) {
        self.states[feeder].iter_mut().for_each(|state| state.announced = false);
    }

    /// A feeder takes another path to each of its prefixes.
    pub fn change_all(&mut self, feeder: usize) {
        self.states[feeder].iter_mut().for_each(|state| state.variant = (state.variant + 1) % PATHS as u32);
    }

    /// All that a feeder announces, as UPDATEs that share attributes where they can, and End-of-RIB.
    pub fn encode(&self, feeder: usize) -> Vec<u8> {
        let mut groups: BTreeMap<(u32, State, bool), Vec<IpNet>> = BTreeMap::new();
        for (route, state) in self.table.routes.iter().zip(&self.states[feeder]) {
            if state.announced {
                let key = (route.origin, *state, route.prefix.addr().is_ipv6());
                groups.entry(key).or_default().push(route.prefix);
            }
        }
        let mut out = Vec::with_capacity(16 * self.table.routes.len());
        for ((origin, state, ipv6), prefixes) in groups {
            let attributes = attributes(&self.announcers[feeder], origin, state, ipv6);
            speaker::announce(&mut out, &attributes, &prefixes);
        }
        out.extend(speaker::end_of_rib(false));
        out.extend(speaker::end_of_rib(true));
        out
    }

    /// Makes the next UPDATE and appends it to what its feeder is to say.
    pub fn step(&mut self, out: &mut [Vec<u8>]) {
        let room = self.busy.len() * self.states.len() / GONE_ONE_IN + 1;
        let roll = self.random.below(10);
        // What was withdrawn returns in its turn, unless a new session has brought it back before.
        if roll < 2 && self.gone.len() > room / 2 {
            while let Some((feeder, place)) = self.gone.pop_front() {
                if !self.states[feeder][place].announced {
                    return self.announce(feeder, place, out);
                }
            }
        }
        let feeder = self.random.index(self.states.len());
        let Some(&place) = self.busy.get(self.random.index(self.busy.len())) else { return };
        let value = self.random.below(VALUES - 1) as u8 + 1;
        let state = &mut self.states[feeder][place];
        if !state.announced {
            return self.announce(feeder, place, out);
        }
        match roll {
            2 | 3 if self.gone.len() < room => {
                state.announced = false;
                self.gone.push_back((feeder, place));
                self.changes.withdrawn += 1;
                return speaker::withdraw(&mut out[feeder], &[self.table.routes[place].prefix]);
            }
            4 | 5 => {
                state.community = (state.community + value) % VALUES as u8;
                self.changes.community += 1;
            }
            6 => {
                state.med = (state.med + value) % VALUES as u8;
                self.changes.med += 1;
            }
            _ => {
                let step = 1 + u32::from(value - 1) % (PATHS as u32 - 1);
                state.variant = (state.variant + step) % PATHS as u32;
                self.changes.path += 1;
            }
        }
        self.say(feeder, place, out);
    }

    fn announce(&mut self, feeder: usize, place: usize, out: &mut [Vec<u8>]) {
        self.states[feeder][place].announced = true;
        self.changes.returned += 1;
        self.say(feeder, place, out);
    }

    fn say(&self, feeder: usize, place: usize, out: &mut [Vec<u8>]) {
        let route = self.table.routes[place];
        let state = self.states[feeder][place];
        let attributes =
            attributes(&self.announcers[feeder], route.origin, state, route.prefix.addr().is_ipv6());
        speaker::announce(&mut out[feeder], &attributes, &[route.prefix]);
    }

    /// How many steps of which kind there have been.
    pub fn changes(&self) -> Changes {
        self.changes
    }

    /// Routes that each feeder announces, IPv4 and IPv6.
    pub fn routes(&self, feeder: usize) -> [u64; 2] {
        self.count(|place| self.states[feeder][place].announced)
    }

    /// Prefixes that somebody announces, IPv4 and IPv6.
    pub fn prefixes(&self) -> [u64; 2] {
        self.count(|place| self.states.iter().any(|states| states[place].announced))
    }

    fn count(&self, announced: impl Fn(usize) -> bool) -> [u64; 2] {
        let mut counts = [0; 2];
        for (place, route) in self.table.routes.iter().enumerate() {
            if announced(place) {
                counts[usize::from(route.prefix.addr().is_ipv6())] += 1;
            }
        }
        counts
    }

    /// A receiver holds exactly the prefixes that somebody announces, each by the path of a feeder that has
    /// the shortest `AS_PATH` and, among those, the lowest ORIGIN (RFC 4271 section 9.1.2.2 a and b).
    pub fn check(&self, mirror: &Mirror) -> Result<()> {
        let (mut wrong, mut examples) = ([0_u64; 3], Vec::new());
        for (place, route) in self.table.routes.iter().enumerate() {
            let held = mirror.held()[place];
            let mut best: Option<(usize, u8)> = None;
            let mut marks = Vec::new();
            for (announcer, states) in self.announcers.iter().zip(&self.states) {
                if !states[place].announced {
                    continue;
                }
                let ipv6 = route.prefix.addr().is_ipv6();
                let mut attributes = attributes(announcer, route.origin, states[place], ipv6);
                let tags = TAGS.into_iter().zip(self.tags).filter(|(_, added)| *added);
                attributes.communities.extend(tags.map(|(tag, _)| tag));
                let rank = (attributes.as_path.len(), attributes.origin);
                if best.is_none_or(|best| rank < best) {
                    marks.clear();
                    best = Some(rank);
                }
                if best == Some(rank) {
                    marks.push(fingerprint(&attributes.as_path, &attributes.communities));
                }
            }
            let what = match (marks.is_empty(), held == 0) {
                (true, true) => continue,
                (false, true) => 0,
                (true, false) => 1,
                (false, false) if marks.contains(&held) => continue,
                (false, false) => 2,
            };
            wrong[what] += 1;
            if examples.len() < 5 {
                examples.push(format!("{} {}", ["lacks", "has too much:", "has wrong:"][what], route.prefix));
            }
        }
        let foreign = mirror.foreign().len();
        ensure!(
            wrong == [0; 3] && foreign == 0,
            "the receiver lacks {} prefixes, has {} too many and {} by a wrong path, and {foreign} that nobody \
             announced: {}",
            wrong[0],
            wrong[1],
            wrong[2],
            examples.join(", ")
        );
        Ok(())
    }
}

fn attributes(announcer: &Announcer, origin: u32, state: State, ipv6: bool) -> PathAttributes {
    let mut attributes = announcer.attributes(origin, state.variant, ipv6);
    attributes.med = (state.med > 0).then(|| 10 * u32::from(state.med));
    if state.community > 0 {
        attributes.communities.push(COMMUNITY | u32::from(state.community));
        attributes.communities.sort_unstable();
    }
    attributes
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::load::neighbors::Neighbors;
    use crate::soak::mirror::places;
    use crate::speaker::Received;

    /// What a receiver of one feeder alone is told by a router that passes everything on.
    fn apply(mirror: &mut Mirror, mut bytes: &[u8]) -> u64 {
        let mut updates = 0;
        while let Some(frame) = speaker::frame(bytes).expect("a frame") {
            if let Received::Update(mut update) = speaker::parse(frame).expect("a message") {
                assert!(update.as_path.is_empty() == update.announced.is_empty());
                update.as_path.insert(0, 1);
                mirror.apply(&update, Instant::now());
                updates += 1;
            }
            bytes = &bytes[frame.len()..];
        }
        updates
    }

    #[test]
    fn what_is_said_adds_up_to_what_is_expected() {
        let table = Table::generate(3000, 600, 1);
        let neighbors = Neighbors::new(1, &table).expect("neighbors");
        let mut mix = Mix::new(&table, &neighbors.feeders, 7);
        let mut mirror = Mirror::new(&places(table.routes.iter().map(|route| route.prefix)));
        mix.check(&mirror).expect("nothing announced, nothing held");
        mix.announce_all(0);
        assert!(mix.check(&mirror).is_err());
        apply(&mut mirror, &mix.encode(0));
        mix.check(&mirror).expect("everything");
        assert_eq!((mix.routes(0), mix.prefixes()), ([3000, 600], [3000, 600]));

        let mut out = [Vec::new()];
        for _ in 0..5000 {
            mix.step(&mut out);
        }
        assert!(mix.check(&mirror).is_err(), "nothing of it has been told yet");
        assert_eq!(apply(&mut mirror, &out[0]), 5000, "each change is an UPDATE of its own");
        mix.check(&mirror).expect("everything again");
        let changes = mix.changes();
        assert_eq!(changes.total(), 5000);
        assert!(changes.withdrawn > 100 && changes.returned > 100 && changes.path > 500, "{changes:?}");
        assert!(changes.community > 500 && changes.med > 100, "{changes:?}");
        assert_eq!(mirror.len() as u64, mix.prefixes().iter().sum::<u64>());
        assert!(mirror.len() < 3600);

        // A session that starts afresh from here says the same.
        let mut fresh = Mirror::new(&places(table.routes.iter().map(|route| route.prefix)));
        apply(&mut fresh, &mix.encode(0));
        mix.check(&fresh).expect("the same");
        mix.withdraw_all(0);
        assert!(mix.check(&fresh).is_err());
        apply(&mut fresh, &table.encode_withdrawals());
        mix.check(&fresh).expect("nothing");
    }

    #[test]
    fn the_longer_path_is_wrong() {
        let table = Table::generate(500, 0, 1);
        let neighbors = Neighbors::new(2, &table).expect("neighbors");
        let mut mix = Mix::new(&table, &neighbors.feeders, 7);
        let mut mirror = Mirror::new(&places(table.routes.iter().map(|route| route.prefix)));
        mix.announce_all(0);
        apply(&mut mirror, &mix.encode(0));
        mix.check(&mirror).expect("the only feeder's");
        // Of some prefixes the second feeder has the better path.
        mix.announce_all(1);
        let error = mix.check(&mirror).expect_err("paths are wrong").to_string();
        assert!(
            error.contains("lacks 0 prefixes, has 0 too many") && error.contains("has wrong:"),
            "{error}"
        );
    }
}
