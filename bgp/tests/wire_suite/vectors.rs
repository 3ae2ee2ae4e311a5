//! Messages that other speakers sent or expect, where a folder of them is at hand.
//!
//! `PEREGRINE_TEST_DATA` names a folder whose `bgp-messages/*.tsv` have lines of `hex, source, status,
//! note`. Without it the tests say that they were skipped. Two things are checked beside not panicking:
//! captured messages of real speakers (`pcap-*`) are read without an error, and where the note is an
//! `ExaBGP` command for a unicast route, the message announces that route.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use bgp::types::FamilySet;
use bgp::wire::{Attributes, DecodeContext, Message, ProtocolError, decode, frame_len};
use ipnet::IpNet;

use crate::support::*;

const CONTEXT: DecodeContext = DecodeContext {
    as4: true,
    families: FamilySet::ALL,
    extended: true,
    add_path: FamilySet::EMPTY,
    extended_next_hop: false,
    ebgp: false,
};

struct Vector {
    octets: Vec<u8>,
    source: String,
    sound: bool,
    note: String,
}

/// The vectors by file, or nothing and a word about it.
fn vectors() -> Vec<(PathBuf, Vec<Vector>)> {
    let Some(data) = std::env::var_os("PEREGRINE_TEST_DATA") else {
        println!("skipped: PEREGRINE_TEST_DATA names no folder of test data");
        return Vec::new();
    };
    let folder = Path::new(&data).join("bgp-messages");
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("a folder entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "tsv"));
    files.sort();
    assert!(!files.is_empty(), "{} has no .tsv", folder.display());
    files
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("a readable file");
            let lines = text.lines().enumerate().map(|(index, line)| {
                let mut columns = line.split('\t').chain(std::iter::repeat(""));
                let mut next = || columns.next().unwrap_or_default().to_owned();
                let (octets, source, status, note) = (hex(&next()), next(), next(), next());
                let source = format!("line {}, {source}", index + 1);
                Vector { octets, source, sound: status == "ok", note }
            });
            let vectors = lines.collect();
            (path, vectors)
        })
        .collect()
}

/// The messages in some octets: captures of other protocols have them inside.
fn messages(octets: &[u8]) -> impl Iterator<Item = &[u8]> {
    let starts = octets.windows(16).enumerate().filter(|(_, marker)| *marker == [0xff; 16]);
    let starts = starts.map(|(start, _)| start).filter(|start| *start == 0 || octets[start - 1] != 0xff);
    starts.map(|start| &octets[start..])
}

fn decode_first(octets: &[u8], ctx: DecodeContext) -> Result<Message<'_>, ProtocolError> {
    let length = frame_len(octets, ctx.max_message())?.unwrap_or(octets.len());
    decode(&octets[..length.min(octets.len())], &ctx)
}

/// What an UPDATE does with AS numbers of two octets and of four: captures do not say which they have.
fn effects(octets: &[u8]) -> impl Iterator<Item = Effect> {
    [true, false].into_iter().filter_map(move |as4| {
        let ctx = DecodeContext { as4, ..CONTEXT };
        match decode_first(octets, ctx) {
            Ok(Message::Update(update)) => effect(update.frame(), ctx).ok(),
            _ => None,
        }
    })
}

#[test]
fn messages_of_other_speakers_are_read() {
    for (path, vectors) in vectors() {
        let captured = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("pcap-"));
        let mut tally = BTreeMap::<&str, usize>::new();
        for vector in vectors {
            for octets in messages(&vector.octets) {
                let what = match decode_first(octets, CONTEXT) {
                    Ok(Message::Update(_)) => {
                        match effects(octets).map(|effect| effect.errors).min_by_key(Vec::len) {
                            Some(errors) if errors.is_empty() => "UPDATE",
                            errors => {
                                println!("{}: {errors:?}", vector.source);
                                "UPDATE, treated as withdraw"
                            }
                        }
                    }
                    Ok(message) => message.name(),
                    Err(error) => {
                        println!("{}: {error}", vector.source);
                        assert!(!(captured && vector.sound), "{}", vector.source);
                        "error"
                    }
                };
                *tally.entry(what).or_default() += 1;
            }
        }
        println!("{}: {tally:?}", path.display());
    }
}

#[test]
fn exabgp_announces_what_its_command_says() {
    let vectors = vectors();
    let Some((_, vectors)) = vectors.iter().find(|(path, _)| path.ends_with("exabgp.tsv")) else {
        println!("skipped: no exabgp.tsv");
        return;
    };
    let (mut checked, mut wrong) = (0, Vec::new());
    for vector in vectors.iter().filter(|vector| vector.sound) {
        let Some(command) = Command::parse(&vector.note) else { continue };
        let holds = effects(&vector.octets).any(|effect| {
            effect.announced.iter().any(|(prefix, attributes)| command.describes(*prefix, attributes))
        });
        checked += 1;
        if !holds {
            let effects: Vec<_> = effects(&vector.octets).collect();
            wrong.push(format!("{}: {}: {effects:?}", vector.source, vector.note));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{checked} commands of {} lines", vectors.len());
    assert!(checked > 50, "only {checked} commands were understood");
}

/// `announce route PREFIX next-hop ADDRESS KEY VALUE ...`
struct Command<'a> {
    prefix: IpNet,
    keys: Vec<(&'a str, Vec<&'a str>)>,
}

impl<'a> Command<'a> {
    /// `None` for commands about anything but a unicast route with the attributes known here.
    fn parse(note: &'a str) -> Option<Self> {
        let rest = ["announce route ", "announce ipv4 unicast ", "announce ipv6 unicast "]
            .iter()
            .find_map(|start| note.strip_prefix(start))?;
        let mut words = rest.split_whitespace();
        let prefix = words.next()?.parse::<IpNet>().ok()?;
        let mut keys: Vec<(&str, Vec<&str>)> = Vec::new();
        while let Some(key) = words.next() {
            let mut values = vec![words.next()?];
            if values[0].starts_with('[') {
                while !values.last()?.ends_with(']') {
                    values.push(words.next()?);
                }
            }
            let values =
                values.iter().map(|value| value.trim_matches(['[', ']'])).filter(|value| !value.is_empty());
            keys.push((key, values.collect()));
        }
        // Next hops that are no host's address, or of the other family, are rightly not taken.
        let next_hop = keys.iter().find(|(key, _)| *key == "next-hop")?.1.first()?.parse().ok()?;
        let usable = match next_hop {
            IpAddr::V4(addr) => !addr.is_unspecified() && !addr.is_broadcast(),
            IpAddr::V6(addr) => !addr.is_unspecified(),
        };
        let usable = usable && next_hop.is_ipv4() == prefix.addr().is_ipv4();
        let known =
            ["next-hop", "origin", "local-preference", "med", "community", "large-community", "as-path"];
        (usable && keys.iter().all(|(key, _)| known.contains(key))).then_some(Self { prefix, keys })
    }

    fn describes(&self, prefix: IpNet, attributes: &Attributes) -> bool {
        let show = |number: Option<u32>| number.map(|number| number.to_string()).into_iter().collect();
        self.prefix == prefix
            && self.keys.iter().all(|(key, values)| {
                let have: Vec<String> = match *key {
                    "next-hop" => vec![attributes.next_hop.addr.to_string()],
                    "origin" => vec![attributes.origin.to_string()],
                    "local-preference" => show(attributes.local_pref),
                    "med" => show(attributes.med),
                    "community" => attributes
                        .communities
                        .iter()
                        .map(|community| format!("{}:{}", community.asn(), community.value()))
                        .collect(),
                    "large-community" => {
                        attributes.large_communities.iter().map(ToString::to_string).collect()
                    }
                    _ => attributes.as_path.asns().map(|asn| asn.to_string()).collect(),
                };
                have == *values
            })
    }
}
