//! `local-asn` of `[[neighbor]]`: the AS number that we are of towards one neighbour.
//!
//! Alone it does as elsewhere by default: our paths go out with it in front of the router's own AS number, and it
//! is put in front of the neighbour's paths. Both can be turned off.

use bgp::types::Asn;
use figment::value::Value;

use crate::config::Router;
use crate::reader::{Read, Table, boolean};
use crate::sections::asn;

/// What the key says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalAsn {
    /// The AS number of our OPEN, and the first one in the paths that we announce.
    pub asn: Asn,
    /// Leave the neighbour's paths as they are.
    pub no_prepend: bool,
    /// Announce it in place of the router's AS number, not in front of it.
    pub replace_as: bool,
}

impl std::fmt::Display for LocalAsn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.asn)?;
        f.write_str(if self.no_prepend { " no-prepend" } else { "" })?;
        f.write_str(if self.replace_as { " replace-as" } else { "" })
    }
}

/// Reads the key: an AS number, or a table.
pub(crate) fn local_asn(table: &mut Table<'_, '_>, router: Option<&Router>) -> Option<LocalAsn> {
    let path = table.key("local-asn");
    let local = read(table)?;
    if router.is_some_and(|router| router.asn == local.asn) {
        let reason = format!("{} is router.asn; expected another AS number, or no such key", local.asn);
        table.report().error(&path, reason);
    }
    Some(local)
}

fn read(table: &mut Table<'_, '_>) -> Option<LocalAsn> {
    if table.has_table("local-asn") {
        let mut table = table.table("local-asn")?;
        let asn = table.required("asn", "the AS number that the neighbor is to see", asn);
        let no_prepend = table.optional("no-prepend", boolean).unwrap_or(false);
        let replace_as = table.optional("replace-as", boolean).unwrap_or(false);
        table.finish(&[]);
        return Some(LocalAsn { asn: asn?, no_prepend, replace_as });
    }
    table.optional("local-asn", number)
}

fn number(value: &Value) -> Read<LocalAsn> {
    asn(value).map(|asn| LocalAsn { asn, no_prepend: false, replace_as: false })
}
