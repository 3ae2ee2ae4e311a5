//! Capabilities by which speakers tell who they are, for people alone: the names of the router
//! (draft-walton-bgp-hostname-capability) and the software it runs (draft-abraitis-bgp-version-capability).
//!
//! Texts are UTF-8 with a length of one octet before each. One that is not well-formed is no error: such a
//! capability stays as bytes, like an unknown one.

use nom::combinator::{all_consuming, map_res};
use nom::multi::length_data;
use nom::number::complete::be_u8;
use nom::{IResult, Parser};

/// Most octets of a text that we send; both drafts stop at 64.
const MOST_OCTETS: usize = 64;

/// What a speaker says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fqdn {
    /// The name of the host.
    pub host: String,
    /// Its domain; may be empty.
    pub domain: String,
}

impl Fqdn {
    /// The names of a whole one: what is before the first dot, and what is behind it.
    pub fn new(name: &str) -> Self {
        let (host, domain) = name.split_once('.').unwrap_or((name, ""));
        Self { host: host.to_owned(), domain: domain.to_owned() }
    }

    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        let (_, (host, domain)) = all_consuming((text, text)).parse(value).ok()?;
        Some(Self { host: host.to_owned(), domain: domain.to_owned() })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_text(out, &self.host);
        put_text(out, &self.domain);
    }
}

impl std::fmt::Display for Fqdn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.host.escape_debug())?;
        if self.domain.is_empty() { Ok(()) } else { write!(f, ".{}", self.domain.escape_debug()) }
    }
}

/// Reads the value of a software version.
pub(super) fn decode_version(value: &[u8]) -> Option<String> {
    let (_, version) = all_consuming(text).parse(value).ok()?;
    Some(version.to_owned())
}

/// Appends a text behind its length; one that is too long is cut off at a character.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    let text = &text[..text.floor_char_boundary(MOST_OCTETS)];
    out.push(text.len() as u8);
    out.extend_from_slice(text.as_bytes());
}

fn text(input: &[u8]) -> IResult<&[u8], &str> {
    map_res(length_data(be_u8), std::str::from_utf8).parse(input)
}
