//! Random policies over random routes, evaluated twice: by the crate, and by an interpreter of plain texts
//! and lists that shares no code with it.
//!
//! The interpreter keeps communities as text, a path as lists of numbers, and looks at every statement, every
//! pattern and every entry in turn. Policies ask and call those made before them.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails its test by panicking")]

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use bgp::policy::{
    AsPathPattern, AsnSet, CommunityEdit, Decision, Disposition, Match, Modify, NeighborSet, NextHopAction,
    NextHopChoice, NumberPattern, Policy, PolicyChain, PolicyContext, PolicyNeighbor, PrefixList, RouteType,
    RpkiState, Statement,
};
use bgp::types::{Asn, Family};
use bgp::wire::{AsPath, Attributes, Origin, SegmentKind};
use ipnet::IpNet;
use proptest::prelude::*;

const OWN: u32 = 65000;

/// A condition, as plain values.
#[derive(Debug, Clone)]
enum Cond {
    Prefix(Vec<&'static str>),
    Ipv6,
    NextHop(&'static str),
    Neighbor(&'static str, u32),
    From(&'static str, u32),
    Type(RouteType),
    Rpki(RpkiState),
    Contains(u32, u32),
    First(u32, u32),
    Last(u32, u32),
    Length(u32, u32),
    Unique(u32, u32),
    /// A kind of community, and patterns of it.
    Community(usize, Vec<&'static str>),
    Count(usize, u32, u32),
    Origin(u8),
    Med(u32, u32),
    HasMed,
    LocalPref(u32, u32),
    /// A path of just these numbers, as an expression.
    Exactly(u32, u32),
    Asks(usize),
    Any(Vec<Vec<Cond>>),
    Not(Vec<Cond>),
}

/// A change, as plain values.
#[derive(Debug, Clone)]
enum Act {
    Origin(u8),
    LocalPref(u32),
    LocalPrefBy(i64),
    Med(Option<u32>),
    MedBy(i64),
    Weight(u32),
    NextHop(&'static str),
    Peer,
    Own,
    Unchanged,
    /// A kind of community, what is done, and to which.
    Community(usize, Edit, Vec<&'static str>),
    Remove(u32, u32),
    Prepend(Option<u32>, u8),
    PrependFirst(u8),
    PrependAll(Vec<u32>),
}

#[derive(Debug, Clone, Copy)]
enum Edit {
    Set,
    Add,
    Remove,
    Keep,
}

#[derive(Debug, Clone)]
struct Rule {
    conds: Vec<Cond>,
    acts: Vec<Act>,
    calls: Vec<usize>,
    end: Option<Disposition>,
}

#[derive(Debug, Clone)]
struct Spec {
    rules: Vec<Rule>,
    default: Disposition,
}

/// A route, as plain values. Segments of the path are `(` a sequence, `{` a set, `[` a confederation.
#[derive(Debug, Clone, PartialEq)]
struct Plain {
    net: IpNet,
    path: Vec<(char, Vec<u32>)>,
    origin: u8,
    next_hop: String,
    med: Option<u32>,
    pref: Option<u32>,
    communities: [Vec<String>; 3],
    choice: NextHopChoice,
    weight: Option<u32>,
}

// --- the interpreter ---

fn verdict(specs: &[Spec], index: usize, route: &mut Plain, context: &PolicyContext) -> Disposition {
    for rule in &specs[index].rules {
        if !rule.conds.iter().all(|cond| holds(specs, cond, route, context)) {
            continue;
        }
        for act in &rule.acts {
            change(act, route, context);
        }
        for call in &rule.calls {
            match verdict(specs, *call, route, context) {
                Disposition::Accept => {}
                other => return other,
            }
        }
        if let Some(end) = rule.end {
            return end;
        }
    }
    specs[index].default
}

fn within(number: u32, from: u32, to: u32) -> bool {
    from <= number && number <= to
}

/// `10.0.0.0/8 ge 9 le 16`, by its definition.
fn entry_accepts(entry: &str, net: IpNet) -> bool {
    let words: Vec<&str> = entry.split(' ').collect();
    let own: IpNet = words[0].parse().unwrap();
    let bound = |name| words.iter().position(|w| *w == name).map(|at| words[at + 1].parse::<u8>().unwrap());
    let (least, most) = match (bound("ge"), bound("le")) {
        (None, None) => (own.prefix_len(), own.prefix_len()),
        (ge, le) => (ge.unwrap_or(own.prefix_len()), le.unwrap_or(own.max_prefix_len())),
    };
    own.contains(&net) && net.prefix_len() >= least && net.prefix_len() <= most
}

fn neighbor_is(neighbor: Option<PolicyNeighbor>, address: &str, asn: u32) -> bool {
    let net: IpNet = address.parse().unwrap();
    neighbor.is_some_and(|neighbor| net.contains(&neighbor.address) || neighbor.asn.0 == asn)
}

/// Field by field; a field of a pattern is a number, `*` or `1-9`.
fn community_matches(pattern: &str, community: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    let community = if community == "no-export" { "65535:65281" } else { community };
    let (pattern, community) = (pattern.split(':'), community.split(':'));
    pattern.zip(community).all(|(pattern, field)| match (pattern, pattern.split_once('-')) {
        ("*", _) => true,
        (_, Some((from, to))) => {
            field.parse().is_ok_and(|number: u32| within(number, from.parse().unwrap(), to.parse().unwrap()))
        }
        _ => pattern == field,
    })
}

fn first(path: &[(char, Vec<u32>)]) -> Option<u32> {
    let (kind, asns) = path.iter().find(|(kind, _)| *kind != '[')?;
    (*kind == '(').then(|| asns[0])
}

fn length(path: &[(char, Vec<u32>)], unique: bool) -> u32 {
    let mut seen = Vec::new();
    let mut length = 0;
    for (kind, asns) in path {
        match kind {
            '(' => {
                for asn in asns {
                    if !unique || !seen.contains(asn) {
                        seen.push(*asn);
                        length += 1;
                    }
                }
            }
            '{' => length += 1,
            _ => {}
        }
    }
    length
}

fn holds(specs: &[Spec], cond: &Cond, route: &Plain, context: &PolicyContext) -> bool {
    match cond {
        Cond::Prefix(entries) => entries.iter().any(|entry| entry_accepts(entry, route.net)),
        Cond::Ipv6 => route.net.to_string().contains(':'),
        Cond::NextHop(net) => {
            net.parse::<IpNet>().unwrap().contains(&route.next_hop.parse::<IpAddr>().unwrap())
        }
        Cond::Neighbor(address, asn) => neighbor_is(context.neighbor, address, *asn),
        Cond::From(address, asn) => neighbor_is(context.from, address, *asn),
        Cond::Type(kind) => context.route_type == *kind,
        Cond::Rpki(state) => context.rpki == *state,
        Cond::Contains(from, to) => {
            route.path.iter().any(|(_, asns)| asns.iter().any(|asn| within(*asn, *from, *to)))
        }
        Cond::First(from, to) => first(&route.path).is_some_and(|asn| within(asn, *from, *to)),
        Cond::Last(from, to) => match route.path.last() {
            Some(('(', asns)) => within(asns[asns.len() - 1], *from, *to),
            _ => false,
        },
        Cond::Length(from, to) => within(length(&route.path, false), *from, *to),
        Cond::Unique(from, to) => within(length(&route.path, true), *from, *to),
        Cond::Community(kind, patterns) => route.communities[*kind]
            .iter()
            .any(|community| patterns.iter().any(|pattern| community_matches(pattern, community))),
        Cond::Count(kind, from, to) => within(route.communities[*kind].len() as u32, *from, *to),
        Cond::Origin(origin) => route.origin == *origin,
        Cond::Med(from, to) => within(route.med.unwrap_or(0), *from, *to),
        Cond::HasMed => route.med.is_some(),
        Cond::LocalPref(from, to) => within(route.pref.unwrap_or(100), *from, *to),
        Cond::Exactly(a, b) => {
            let all: Vec<u32> = route.path.iter().flat_map(|(_, asns)| asns.clone()).collect();
            route.path.iter().all(|(kind, _)| *kind == '(') && all == [*a, *b]
        }
        Cond::Asks(index) => verdict(specs, *index, &mut route.clone(), context) != Disposition::Reject,
        Cond::Any(groups) => {
            groups.iter().any(|group| group.iter().all(|cond| holds(specs, cond, route, context)))
        }
        Cond::Not(conds) => conds.iter().any(|cond| !holds(specs, cond, route, context)),
    }
}

fn plus(value: u32, by: i64) -> u32 {
    let sum = i128::from(value) + i128::from(by);
    if sum < 0 { 0 } else { sum.try_into().unwrap_or(u32::MAX) }
}

fn put_in_front(path: &mut Vec<(char, Vec<u32>)>, asn: u32) {
    match path.first_mut() {
        Some(('(', asns)) => asns.insert(0, asn),
        _ => path.insert(0, ('(', vec![asn])),
    }
}

fn change(act: &Act, route: &mut Plain, context: &PolicyContext) {
    let own_family = |address: &str| address.contains(':') == route.net.to_string().contains(':');
    match act {
        Act::Origin(origin) => route.origin = *origin,
        Act::LocalPref(value) => route.pref = Some(*value),
        Act::LocalPrefBy(by) => route.pref = Some(plus(route.pref.unwrap_or(100), *by)),
        Act::Med(value) => route.med = *value,
        Act::MedBy(by) => route.med = Some(plus(route.med.unwrap_or(0), *by)),
        Act::Weight(weight) => route.weight = Some(*weight),
        Act::NextHop(address) if own_family(address) => {
            route.next_hop = String::from(*address);
            route.choice = NextHopChoice::AsInAttributes;
        }
        Act::NextHop(_) => {}
        Act::Peer => {
            if let Some(neighbor) = context.neighbor
                && own_family(&neighbor.address.to_string())
            {
                route.next_hop = neighbor.address.to_string();
                route.choice = NextHopChoice::AsInAttributes;
            }
        }
        Act::Own => route.choice = NextHopChoice::Own,
        Act::Unchanged => route.choice = NextHopChoice::AsInAttributes,
        Act::Community(kind, edit, texts) => {
            let list = &mut route.communities[*kind];
            let named = |c: &String| texts.iter().any(|pattern| community_matches(pattern, c));
            match edit {
                Edit::Set => *list = texts.iter().map(|text| (*text).to_owned()).collect(),
                Edit::Add => {
                    for text in texts {
                        if !list.iter().any(|c| c == text) {
                            list.push((*text).to_owned());
                        }
                    }
                }
                Edit::Remove => list.retain(|c| !named(c)),
                Edit::Keep => list.retain(named),
            }
        }
        Act::Remove(from, to) => {
            for (_, asns) in &mut route.path {
                asns.retain(|asn| !within(*asn, *from, *to));
            }
            route.path.retain(|(_, asns)| !asns.is_empty());
        }
        Act::Prepend(asn, count) => {
            (0..*count).for_each(|_| put_in_front(&mut route.path, asn.unwrap_or(OWN)));
        }
        Act::PrependFirst(count) => {
            if let Some(asn) = first(&route.path) {
                (0..*count).for_each(|_| put_in_front(&mut route.path, asn));
            }
        }
        Act::PrependAll(asns) => asns.iter().rev().for_each(|asn| put_in_front(&mut route.path, *asn)),
    }
}

// --- from plain values to the crate's ---

fn list(entries: &[&str]) -> Arc<PrefixList> {
    Arc::new(PrefixList::new("", entries.iter().map(|entry| entry.parse().unwrap()).collect()))
}

fn asns(first: u32, last: u32) -> AsnSet {
    AsnSet::new([NumberPattern { first, last }])
}

fn texts<T: std::str::FromStr<Err: std::fmt::Debug>>(texts: &[&str]) -> Vec<T> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn origin(number: u8) -> Origin {
    [Origin::Igp, Origin::Egp, Origin::Incomplete][usize::from(number)]
}

fn condition(cond: &Cond, made: &[Arc<Policy>]) -> Match {
    let group = |conds: &[Cond]| conds.iter().map(|cond| condition(cond, made)).collect();
    let neighbor =
        |address: &str, asn: u32| NeighborSet { addresses: vec![list(&[address])], asns: asns(asn, asn) };
    let range = |first, last| NumberPattern { first, last };
    match cond {
        Cond::Prefix(entries) => Match::Prefix(vec![list(&entries[..1]), list(&entries[1..])]),
        Cond::Ipv6 => Match::Family(Family::Ipv6Unicast.into()),
        Cond::NextHop(net) => Match::NextHop(vec![list(&[net])]),
        Cond::Neighbor(address, asn) => Match::Neighbor(neighbor(address, *asn)),
        Cond::From(address, asn) => Match::From(neighbor(address, *asn)),
        Cond::Type(kind) => Match::RouteType(vec![*kind]),
        Cond::Rpki(state) => Match::Rpki(vec![*state]),
        Cond::Contains(from, to) => Match::AsPathContains(asns(*from, *to)),
        Cond::First(from, to) => Match::AsPathFirst(asns(*from, *to)),
        Cond::Last(from, to) => Match::AsPathOrigin(asns(*from, *to)),
        Cond::Length(from, to) => Match::AsPathLength(range(*from, *to)),
        Cond::Unique(from, to) => Match::AsPathUniqueLength(range(*from, *to)),
        Cond::Community(0, patterns) => Match::Community(texts(patterns)),
        Cond::Community(1, patterns) => Match::LargeCommunity(texts(patterns)),
        Cond::Community(_, patterns) => Match::ExtendedCommunity(texts(patterns)),
        Cond::Count(0, from, to) => Match::CommunityCount(range(*from, *to)),
        Cond::Count(1, from, to) => Match::LargeCommunityCount(range(*from, *to)),
        Cond::Count(_, from, to) => Match::ExtendedCommunityCount(range(*from, *to)),
        Cond::Origin(number) => Match::Origin(vec![origin(*number)]),
        Cond::Med(from, to) => Match::Med(range(*from, *to)),
        Cond::HasMed => Match::HasMed,
        Cond::LocalPref(from, to) => Match::LocalPref(range(*from, *to)),
        Cond::Exactly(a, b) => Match::AsPath(vec![AsPathPattern::new(&format!("^{a} {b}$")).unwrap()]),
        Cond::Asks(index) => Match::Policy(made[*index].clone()),
        Cond::Any(groups) => Match::Any(groups.iter().map(|conds| group(conds)).collect()),
        Cond::Not(conds) => Match::Not(group(conds)),
    }
}

fn edit<T, P>(edit: Edit, words: &[&str]) -> CommunityEdit<T, P>
where
    T: std::str::FromStr<Err: std::fmt::Debug>,
    P: std::str::FromStr<Err: std::fmt::Debug>,
{
    match edit {
        Edit::Set => CommunityEdit::Set(texts(words)),
        Edit::Add => CommunityEdit::Add(texts(words)),
        Edit::Remove => CommunityEdit::Remove(texts(words)),
        Edit::Keep => CommunityEdit::Keep(texts(words)),
    }
}

fn action(act: &Act) -> Modify {
    match act {
        Act::Origin(number) => Modify::Origin(origin(*number)),
        Act::LocalPref(value) => Modify::LocalPref(*value),
        Act::LocalPrefBy(by) => Modify::LocalPrefBy(*by),
        Act::Med(value) => Modify::Med(*value),
        Act::MedBy(by) => Modify::MedBy(*by),
        Act::Weight(weight) => Modify::Weight(*weight),
        Act::NextHop(address) => Modify::NextHop(NextHopAction::Address(address.parse().unwrap())),
        Act::Peer => Modify::NextHop(NextHopAction::PeerAddress),
        Act::Own => Modify::NextHop(NextHopAction::Own),
        Act::Unchanged => Modify::NextHop(NextHopAction::Unchanged),
        Act::Community(0, how, words) => Modify::Communities(edit(*how, words)),
        Act::Community(1, how, words) => Modify::LargeCommunities(edit(*how, words)),
        Act::Community(_, how, words) => Modify::ExtendedCommunities(edit(*how, words)),
        Act::Remove(from, to) => Modify::RemoveAsns(asns(*from, *to)),
        Act::Prepend(asn, count) => Modify::Prepend { asn: asn.map(Asn), count: *count },
        Act::PrependFirst(count) => Modify::PrependFirst { count: *count },
        Act::PrependAll(asns) => Modify::PrependAsns(asns.iter().copied().map(Asn).collect()),
    }
}

fn policies(specs: &[Spec]) -> Vec<Arc<Policy>> {
    let mut made: Vec<Arc<Policy>> = Vec::new();
    for (index, spec) in specs.iter().enumerate() {
        let statements = spec
            .rules
            .iter()
            .map(|rule| Statement {
                name: None,
                matches: rule.conds.iter().map(|cond| condition(cond, &made)).collect(),
                actions: rule.acts.iter().map(action).collect(),
                calls: rule.calls.iter().map(|call| made[*call].clone()).collect(),
                disposition: rule.end,
            })
            .collect();
        made.push(Arc::new(Policy { name: format!("p{index}"), statements, default: spec.default }));
    }
    made
}

fn attributes(plain: &Plain) -> Attributes {
    let mut as_path = AsPath::new();
    for (kind, asns) in &plain.path {
        let kind = match kind {
            '(' => SegmentKind::Sequence,
            '{' => SegmentKind::Set,
            _ => SegmentKind::ConfedSequence,
        };
        as_path.push(kind, asns.iter().copied().map(Asn));
    }
    let [communities, large, extended] = &plain.communities;
    Attributes {
        origin: origin(plain.origin),
        as_path,
        med: plain.med,
        local_pref: plain.pref,
        communities: communities.iter().map(|text| text.parse().unwrap()).collect(),
        large_communities: large.iter().map(|text| text.parse().unwrap()).collect(),
        extended_communities: extended.iter().map(|text| text.parse().unwrap()).collect(),
        ..Attributes::originated(plain.next_hop.parse::<IpAddr>().unwrap())
    }
}

fn plain(net: IpNet, attributes: &Attributes, choice: NextHopChoice, weight: Option<u32>) -> Plain {
    let segment = |kind| match kind {
        SegmentKind::Sequence => '(',
        SegmentKind::Set => '{',
        _ => '[',
    };
    let segments = attributes.as_path.segments();
    Plain {
        net,
        path: segments.map(|s| (segment(s.kind()), s.asns().map(|asn| asn.0).collect())).collect(),
        origin: attributes.origin as u8,
        next_hop: attributes.next_hop.addr.to_string(),
        med: attributes.med,
        pref: attributes.local_pref,
        communities: [
            attributes.communities.iter().map(ToString::to_string).collect(),
            attributes.large_communities.iter().map(ToString::to_string).collect(),
            attributes.extended_communities.iter().map(ToString::to_string).collect(),
        ],
        choice,
        weight,
    }
}

// --- what is drawn ---

const COMMUNITIES: [&[&str]; 3] = [
    &["1:1", "1:20", "2:1", "2:20", "no-export"],
    &["1:1:1", "1:2:3", "70000:1:20"],
    &["rt:1:1", "ro:1:20", "rt:70000:1", "rt:10.0.0.1:5"],
];
const PATTERNS: [&[&str]; 3] = [
    &["1:1", "1:*", "*:20", "1-2:2-30", "*", "65535:*", "9:9"],
    &["1:1:1", "1:*:*", "*:1-2:2-30", "*", "9:9:9"],
    &["rt:1:1", "rt:*:*", "ro:*:1-30", "rt:1-80000:1", "rt:10.0.0.1:*", "ro:9:9"],
];
const ENTRIES: &[&str] = &[
    "10.0.0.0/8",
    "10.0.0.0/8 le 24",
    "10.0.0.0/8 ge 16",
    "10.1.0.0/16 ge 20 le 24",
    "0.0.0.0/0 le 32",
    "2001:db8::/32 le 48",
    "::/0",
    "::/0 ge 33",
];
const NETS: &[&str] = &["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "192.0.2.0/24", "2001:db8::/32", "::/0"];
const HOSTS: &[&str] = &["192.0.2.1", "192.0.2.9", "2001:db8::1", "2001:db8::9"];
const RANGES: &[&str] = &["192.0.2.0/24", "192.0.2.1/32", "2001:db8::/64", "::/0", "10.0.0.0/8"];

fn pick(from: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    prop::sample::select(from)
}

fn some(
    from: &'static [&'static str],
    count: std::ops::Range<usize>,
) -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(pick(from), count)
}

/// Two numbers, the smaller first.
fn pair(of: std::ops::Range<u32>) -> impl Strategy<Value = (u32, u32)> {
    (of.clone(), of).prop_map(|(a, b)| (a.min(b), a.max(b)))
}

fn kinds() -> impl Strategy<Value = RouteType> {
    prop::sample::select(vec![RouteType::Ebgp, RouteType::Ibgp, RouteType::Local])
}

fn states() -> impl Strategy<Value = RpkiState> {
    use RpkiState::{Invalid, NotFound, Unknown, Valid};
    prop::sample::select(vec![Valid, Invalid, NotFound, Unknown])
}

fn dispositions() -> impl Strategy<Value = Disposition> {
    use Disposition::{Accept, AcceptNow, Reject};
    prop::sample::select(vec![Accept, Accept, AcceptNow, Reject])
}

/// A condition that may ask the policies before this one.
fn any_cond(below: usize) -> BoxedStrategy<Cond> {
    let leaf = prop_oneof![
        some(ENTRIES, 1..3).prop_map(Cond::Prefix),
        Just(Cond::Ipv6),
        pick(RANGES).prop_map(Cond::NextHop),
        (pick(RANGES), 1..4_u32).prop_map(|(net, asn)| Cond::Neighbor(net, asn)),
        (pick(RANGES), 1..4_u32).prop_map(|(net, asn)| Cond::From(net, asn)),
        kinds().prop_map(Cond::Type),
        states().prop_map(Cond::Rpki),
        pair(1..5).prop_map(|(a, b)| Cond::Contains(a, b)),
        pair(1..5).prop_map(|(a, b)| Cond::First(a, b)),
        pair(1..5).prop_map(|(a, b)| Cond::Last(a, b)),
        pair(0..6).prop_map(|(a, b)| Cond::Length(a, b)),
        pair(0..6).prop_map(|(a, b)| Cond::Unique(a, b)),
        (1..4_u32, 1..4_u32).prop_map(|(a, b)| Cond::Exactly(a, b)),
        (0..3_usize).prop_flat_map(|k| some(PATTERNS[k], 1..3).prop_map(move |p| Cond::Community(k, p))),
        (0..3_usize, pair(0..4)).prop_map(|(k, (a, b))| Cond::Count(k, a, b)),
        (0..3_u8).prop_map(Cond::Origin),
        pair(0..4).prop_map(|(a, b)| Cond::Med(a, b)),
        Just(Cond::HasMed),
        pair(98..103).prop_map(|(a, b)| Cond::LocalPref(a, b)),
    ];
    let leaf = if below == 0 {
        leaf.boxed()
    } else {
        prop_oneof![8 => leaf, 1 => (0..below).prop_map(Cond::Asks)].boxed()
    };
    leaf.prop_recursive(2, 8, 3, |inner| {
        let group = prop::collection::vec(inner, 0..3);
        prop_oneof![
            prop::collection::vec(group.clone(), 0..3).prop_map(Cond::Any),
            group.prop_map(Cond::Not),
        ]
    })
    .boxed()
}

fn any_act() -> impl Strategy<Value = Act> {
    let edit = (0..3_usize).prop_flat_map(|kind| {
        // Twice the same in one order is not what the interpreter is about.
        let texts = prop::sample::subsequence(COMMUNITIES[kind], 0..=COMMUNITIES[kind].len());
        prop_oneof![
            texts.clone().prop_map(move |texts| Act::Community(kind, Edit::Set, texts)),
            texts.prop_map(move |texts| Act::Community(kind, Edit::Add, texts)),
            some(PATTERNS[kind], 1..3).prop_map(move |texts| Act::Community(kind, Edit::Remove, texts)),
            some(PATTERNS[kind], 1..3).prop_map(move |texts| Act::Community(kind, Edit::Keep, texts)),
        ]
    });
    let by = prop_oneof![-3..4_i64, Just(i64::from(u32::MAX)), Just(-i64::from(u32::MAX))];
    prop_oneof![
        (0..3_u8).prop_map(Act::Origin),
        (98..103_u32).prop_map(Act::LocalPref),
        by.clone().prop_map(Act::LocalPrefBy),
        prop::option::of(0..4_u32).prop_map(Act::Med),
        by.prop_map(Act::MedBy),
        (0..3_u32).prop_map(Act::Weight),
        pick(HOSTS).prop_map(Act::NextHop),
        Just(Act::Peer),
        Just(Act::Own),
        Just(Act::Unchanged),
        edit,
        pair(1..5).prop_map(|(a, b)| Act::Remove(a, b)),
        (prop::option::of(1..4_u32), 0..3_u8).prop_map(|(asn, count)| Act::Prepend(asn, count)),
        (0..3_u8).prop_map(Act::PrependFirst),
        prop::collection::vec(1..4_u32, 0..3).prop_map(Act::PrependAll),
    ]
}

fn any_spec(below: usize) -> impl Strategy<Value = Spec> {
    let calls = if below == 0 {
        Just(Vec::new()).boxed()
    } else {
        prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(0..below, 1..3)].boxed()
    };
    let conds = prop::collection::vec(any_cond(below), 0..3);
    let acts = prop::collection::vec(any_act(), 0..4);
    let rule = (conds, acts, calls, prop::option::of(dispositions()))
        .prop_map(|(conds, acts, calls, end)| Rule { conds, acts, calls, end });
    (prop::collection::vec(rule, 0..4), dispositions()).prop_map(|(rules, default)| Spec { rules, default })
}

fn any_route() -> impl Strategy<Value = Plain> {
    let segment = (prop::sample::select(vec!['(', '(', '{', '[']), prop::collection::vec(1..4_u32, 1..4));
    // Two sequences in a row would become one when something is put in front.
    let path = prop::collection::vec(segment, 0..4).prop_map(|mut path| {
        path.dedup_by(|a, b| a.0 == b.0);
        path
    });
    let communities = COMMUNITIES.map(|all| {
        prop::sample::subsequence(all, 0..=all.len())
            .prop_map(|texts| texts.into_iter().map(str::to_owned).collect::<Vec<_>>())
    });
    let numbers = (prop::option::of(0..4_u32), prop::option::of(98..103_u32), 0..3_u8);
    (pick(NETS), pick(HOSTS), path, numbers, communities).prop_map(
        |(net, next_hop, path, (med, pref, origin), communities)| Plain {
            net: net.parse().unwrap(),
            path,
            origin,
            next_hop: next_hop.to_owned(),
            med,
            pref,
            communities,
            choice: NextHopChoice::Usual,
            weight: None,
        },
    )
}

fn any_context() -> impl Strategy<Value = PolicyContext> {
    let neighbor =
        || {
            prop::option::of((pick(HOSTS), 1..4_u32).prop_map(|(address, asn)| PolicyNeighbor {
                address: address.parse().unwrap(),
                asn: Asn(asn),
            }))
        };
    (neighbor(), neighbor(), kinds(), states()).prop_map(|(neighbor, from, route_type, rpki)| PolicyContext {
        local_asn: Asn(OWN),
        neighbor,
        from,
        route_type,
        rpki,
        present: 0,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn a_chain_decides_as_the_interpreter_does(
        specs in (any_spec(0), any_spec(1), any_spec(2), any_spec(3)).prop_map(|(a, b, c, d)| [a, b, c, d]),
        order in prop::collection::vec(0..4_usize, 0..4),
        route in any_route(),
        context in any_context(),
    ) {
        let made = policies(&specs);
        let chain = PolicyChain::new(order.iter().map(|index| made[*index].clone()));
        let run = |route: &Plain, context: &PolicyContext| {
            let attributes = attributes(route);
            match chain.evaluate(route.net, Cow::Borrowed(&attributes), context) {
                Decision::Accept(out) => Some(plain(route.net, &out.attributes, out.next_hop, out.weight)),
                Decision::Reject(_) => None,
            }
        };
        let interpreted = |route: &Plain, context: &PolicyContext| {
            let mut route = route.clone();
            for index in &order {
                match verdict(&specs, *index, &mut route, context) {
                    Disposition::Accept => {}
                    Disposition::AcceptNow => break,
                    Disposition::Reject => return None,
                }
            }
            Some(route)
        };
        let found = run(&route, &context);
        prop_assert_eq!(&found, &interpreted(&route, &context));

        // What the chain says of itself.
        if chain.is_accept_all() {
            prop_assert_eq!(found.as_ref(), Some(&route));
        }
        if chain.is_reject_all() {
            prop_assert_eq!(&found, &None);
        }
        let dependence = chain.dependence();
        for net in NETS {
            let net: IpNet = net.parse().unwrap();
            let other_family = net.addr().is_ipv4() != route.net.addr().is_ipv4();
            if dependence.prefix || (dependence.family && other_family) {
                continue;
            }
            let moved = run(&Plain { net, ..route.clone() }, &context);
            prop_assert_eq!(moved, found.clone().map(|found| Plain { net, ..found }));
        }
        if !dependence.neighbor {
            prop_assert_eq!(&run(&route, &PolicyContext { neighbor: None, ..context }), &found);
        }
        if !dependence.from {
            prop_assert_eq!(&run(&route, &PolicyContext { from: None, ..context }), &found);
        }
    }
}
