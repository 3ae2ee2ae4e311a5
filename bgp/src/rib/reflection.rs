//! Route reflection (RFC 4456): which internal routes go on to which internal peers, and what is put on
//! them so that none comes round in a circle.
//!
//! A route from a client goes to all internal peers, one from another internal peer to clients only
//! (section 6). On its way it gets the router id of the peer that it came from as `ORIGINATOR_ID`, where it
//! has none, and the clusters that it passes in front of its `CLUSTER_LIST` (section 8): that of the client
//! it comes from, and that of the client it goes to when that is another one. So a router may serve
//! several clusters, and each of them is passed once.

use std::net::Ipv4Addr;

use crate::types::RouterId;
use crate::wire::Attributes;

/// What an internal peer is to a route reflector. The default is a peer like any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reflection {
    /// The peer is a client of ours.
    pub client: bool,
    /// The cluster of such a client.
    pub cluster_id: Ipv4Addr,
    /// Pass routes on between clients of its cluster. Not needed where they have sessions among themselves.
    pub between_clients: bool,
}

impl Default for Reflection {
    fn default() -> Self {
        Self { client: false, cluster_id: Ipv4Addr::UNSPECIFIED, between_clients: true }
    }
}

impl Reflection {
    /// A client of this cluster.
    pub fn client(cluster_id: Ipv4Addr) -> Self {
        Self { client: true, cluster_id, between_clients: true }
    }

    /// Whether a route of the internal peer `source` goes to this one.
    pub(crate) fn takes_from(self, source: Self) -> bool {
        match (source.client, self.client) {
            (false, false) => false,
            (true, true) => self.between_clients || self.cluster_id != source.cluster_id,
            (true, false) | (false, true) => true,
        }
    }

    /// Marks a route of the internal peer `source`, whose router id this is, on its way to this one.
    pub(crate) fn mark(self, source: Self, router_id: RouterId, route: &mut Attributes) {
        route.originator_id.get_or_insert(router_id);
        let passed = source.client.then_some(source.cluster_id);
        let entered = self.client.then_some(self.cluster_id).filter(|cluster| passed != Some(*cluster));
        route.cluster_list.splice(..0, entered.into_iter().chain(passed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, last)
    }

    #[test]
    fn clients_hear_everybody_and_are_heard_by_everybody() {
        let (other, client) = (Reflection::default(), Reflection::client(cluster(1)));
        assert!(!other.takes_from(other));
        assert!(other.takes_from(client) && client.takes_from(other) && client.takes_from(client));
        let apart = Reflection { between_clients: false, ..client };
        assert!(!apart.takes_from(apart) && apart.takes_from(other) && other.takes_from(apart));
        let elsewhere = Reflection { between_clients: false, ..Reflection::client(cluster(2)) };
        assert!(apart.takes_from(elsewhere), "clients of two clusters are not in one mesh");
    }

    #[test]
    fn each_cluster_is_passed_once_and_the_first_originator_stays() {
        let id = RouterId(cluster(9));
        let (other, one, two) =
            (Reflection::default(), Reflection::client(cluster(1)), Reflection::client(cluster(2)));
        for (source, to, clusters) in [
            (one, other, vec![cluster(1)]),
            (other, one, vec![cluster(1)]),
            (one, one, vec![cluster(1)]),
            (one, two, vec![cluster(2), cluster(1)]),
        ] {
            let mut route = Attributes::default();
            to.mark(source, id, &mut route);
            assert_eq!((route.originator_id, &route.cluster_list), (Some(id), &clusters));
            to.mark(source, RouterId(cluster(8)), &mut route);
            assert_eq!(route.originator_id, Some(id));
            assert_eq!(route.cluster_list, [clusters.clone(), clusters].concat());
        }
    }
}
