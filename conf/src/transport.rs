//! How a neighbour is reached: the keys of `[[neighbor]]` that are about packets and sockets.
//!
//! Passwords are secrets: no error, no `Debug` and no difference of configurations shows one.

use std::fmt;
use std::net::IpAddr;

use figment::value::Value;

use crate::reader::{Read, Table, number, number_or, text};

/// A key of TCP's MD5 signatures (RFC 2385): 1 to 80 octets, which the kernel takes. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Most octets that the kernel takes (`TCP_MD5SIG_MAXKEYLEN`).
    pub const MOST_OCTETS: usize = 80;

    fn new(text: &str) -> Read<Self> {
        match text.len() {
            0 => Err("it is empty; expected 1 to 80 octets, or no such key".to_owned()),
            1..=Self::MOST_OCTETS => Ok(Self(text.to_owned())),
            octets => Err(format!("it has {octets} octets; expected 1 to 80")),
        }
    }

    /// The octets that both ends sign with.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(hidden)")
    }
}

impl fmt::Display for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("hidden")
    }
}

/// What the keys say.
pub(crate) struct Transport {
    pub(crate) local_address: Option<IpAddr>,
    pub(crate) multihop: Option<u8>,
    pub(crate) ttl_security: Option<u8>,
    pub(crate) password: Option<Password>,
}

/// `ttl-security` as written.
enum TtlSecurity {
    /// `true`: as many hops as `multihop` says, else one.
    Usual,
    Off,
    Hops(u8),
}

/// Reads the keys.
pub(crate) fn transport(
    table: &mut Table<'_, '_>,
    local_address: impl Fn(&Value) -> Read<IpAddr>,
) -> Transport {
    let local_address = table.optional("local-address", local_address);
    let multihop = table.optional("multihop", hops);
    let path = table.key("ttl-security");
    let ttl_security = match table.optional("ttl-security", ttl_security) {
        None | Some(TtlSecurity::Off) => None,
        Some(TtlSecurity::Usual) => Some(multihop.unwrap_or(1)),
        Some(TtlSecurity::Hops(hops)) => {
            if let Some(multihop) = multihop.filter(|multihop| *multihop != hops) {
                let reason = format!("{hops} hops, but multihop says {multihop}; expected true, or the same");
                table.report().error(&path, reason);
            }
            Some(hops)
        }
    };
    Transport { local_address, multihop, ttl_security, password: password(table) }
}

fn hops(value: &Value) -> Read<u8> {
    number(value, 1..=u8::MAX.into(), " (hops)").map(|hops| hops as u8)
}

fn ttl_security(value: &Value) -> Read<TtlSecurity> {
    match value {
        Value::Bool(_, true) => Ok(TtlSecurity::Usual),
        Value::Bool(_, false) => Ok(TtlSecurity::Off),
        other => {
            let expected = "true, false, or the distance of the neighbor, from 1 to 254 hops";
            number_or(other, 1..=254, expected).map(|hops| TtlSecurity::Hops(hops as u8))
        }
    }
}

/// `password`, or the first line of `password-file`.
fn password(table: &mut Table<'_, '_>) -> Option<Password> {
    let written = table.optional("password", |value| match value {
        Value::String(_, text) => Password::new(text),
        // The value itself is not for the terminal.
        _ => Err("it is not a string; expected 1 to 80 octets in quotes".to_owned()),
    });
    let path = table.key("password-file");
    let had_password = written.is_some();
    let report = table.report();
    let Some(file) = table.optional("password-file", |value| text(value, "the path of a file")) else {
        return written;
    };
    if had_password {
        report.error(&path, "there is a password too; expected one of the two");
        return written;
    }
    let place = report.folder().join(&file);
    let read = std::fs::read_to_string(&place)
        .map_err(|error| format!("{} cannot be read: {error}", place.display()))
        .and_then(|text| {
            Password::new(text.lines().next().unwrap_or_default())
                .map_err(|reason| format!("the first line of {}: {reason}", place.display()))
        });
    read.map_err(|reason| report.error(&path, reason)).ok()
}
