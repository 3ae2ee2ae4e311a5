//! Text that users write and read: what is understood is written as it was meant.
//!
//! Input: the text; its octets are also shown as communities, which must be understood.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use bgp::policy::{AsPathPattern, CommunityPattern, ExtendedCommunityPattern, LargeCommunityPattern};
use bgp::types::Asn;
use bgp::wire::{AsPath, Community, ExtendedCommunity, LargeCommunity};

pub(crate) fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    again::<AsPath>(&text);
    again::<Asn>(&text);
    again::<Community>(&text);
    again::<ExtendedCommunity>(&text);
    again::<LargeCommunity>(&text);
    again::<bgp::policy::PrefixListEntry>(&text);
    let _ = text.parse::<CommunityPattern>();
    let _ = text.parse::<ExtendedCommunityPattern>();
    let _ = text.parse::<LargeCommunityPattern>();
    let _ = text.parse::<AsPathPattern>();
    if let Some(octets) = data.first_chunk() {
        shown(&Community(u32::from_be_bytes(*octets)));
    }
    if let Some(octets) = data.first_chunk() {
        shown(&ExtendedCommunity(*octets));
    }
}

fn again<T: FromStr + Display + PartialEq + Debug>(text: &str)
where
    T::Err: Display,
{
    match text.parse::<T>() {
        Ok(value) => shown(&value),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn shown<T: FromStr + Display + PartialEq + Debug>(value: &T) {
    let text = value.to_string();
    assert_eq!(text.parse::<T>().ok().as_ref(), Some(value), "{text}");
}
