//! The maps read back, for whoever compares them with what should be there.

use fib::{Family, TableEdit};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{DataPlane, RouteKey, XdpError, key_v4, key_v6, route_key_v4, route_key_v6};

/// Entries of a trie, each with its set, and the one to go on after.
pub type EntriesPage = (Vec<(IpNet, u32)>, Option<IpNet>);

impl DataPlane {
    /// The element that an edit would write, as the edit that would leave it as it is; `None` when there is
    /// none. Of a trie's entry that is missing, what the next shorter one says is taken for it. For edits of
    /// direct tables there is [`Self::words`].
    pub fn read_back(&self, edit: &TableEdit) -> Result<Option<TableEdit>, XdpError> {
        Ok(match *edit {
            TableEdit::Adjacency { index, .. } => {
                self.adjacencies.lookup(&index)?.map(|value| TableEdit::Adjacency { index, value })
            }
            TableEdit::NextHop { index, .. } => {
                self.next_hops.lookup(&index)?.map(|value| TableEdit::NextHop { index, value })
            }
            TableEdit::Member { slot, .. } => {
                self.members.lookup(&slot)?.map(|next_hop| TableEdit::Member { slot, next_hop })
            }
            TableEdit::Set { index, .. } => {
                self.sets.lookup(&index)?.map(|value| TableEdit::Set { index, value })
            }
            TableEdit::Insert { prefix, .. } | TableEdit::Remove { prefix } => {
                let set = match prefix {
                    IpNet::V4(net) => self.routes_v4.lookup(&route_key_v4(net))?,
                    IpNet::V6(net) => self.routes_v6.lookup(&route_key_v6(net))?,
                };
                set.map(|set| TableEdit::Insert { prefix, set })
            }
            TableEdit::Fill { .. } | TableEdit::Grow { .. } | TableEdit::Serve { .. } => None,
        })
    }

    /// The words of a family's direct table from `first` on.
    pub fn words(&self, family: Family, first: u32, words: &mut [u32]) -> Result<(), XdpError> {
        self.slots(family).read(first, words)
    }

    /// Up to `limit` entries of a family's trie after one of them, in no particular order, and where to go on.
    pub fn entries_page(
        &self,
        family: Family,
        after: Option<IpNet>,
        limit: usize,
    ) -> Result<EntriesPage, XdpError> {
        match family {
            Family::Ipv4 => {
                let mut entries = Vec::with_capacity(limit);
                let next = self.routes_v4.read(after.and_then(key_v4), limit, &mut entries)?;
                page(entries, next, net_v4)
            }
            Family::Ipv6 => {
                let mut entries = Vec::with_capacity(limit);
                let next = self.routes_v6.read(after.and_then(key_v6), limit, &mut entries)?;
                page(entries, next, net_v6)
            }
        }
    }
}

fn page<K>(
    entries: Vec<(K, u32)>,
    next: Option<K>,
    prefix: impl Fn(K) -> Result<IpNet, XdpError>,
) -> Result<EntriesPage, XdpError> {
    let entries =
        entries.into_iter().map(|(key, set)| Ok((prefix(key)?, set))).collect::<Result<_, XdpError>>()?;
    Ok((entries, next.map(prefix).transpose()?))
}

/// The prefix of a key.
pub(super) fn net_v4(key: RouteKey<[u8; 4]>) -> Result<IpNet, XdpError> {
    let net = Ipv4Net::new(key.address.into(), key.length as u8);
    net.map(IpNet::V4).map_err(|error| XdpError::Object(error.to_string()))
}

/// The prefix of a key.
pub(super) fn net_v6(key: RouteKey<[u8; 16]>) -> Result<IpNet, XdpError> {
    let net = Ipv6Net::new(key.address.into(), key.length as u8);
    net.map(IpNet::V6).map_err(|error| XdpError::Object(error.to_string()))
}
