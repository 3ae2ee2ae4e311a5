//! Which of several paths is best, and why each of the others is not (RFC 4271 section 9.1.2.2).
//!
//! The decision is a sequence of filters over the candidates, each of which may leave several. It
//! is never a comparison of two: MED counts only between paths of one neighbouring AS, so "better
//! than" is not transitive and sorting by it would make the result depend on the order of arrival.
//! Here it depends on the candidates alone; age is never looked at.
//!
//! The steps, in order: not long-lived stale (RFC 9494 section 4.4), locally originated, `LOCAL_PREF` (9.1.1),
//! AIGP (RFC 7311 section 4.1), AS path length, ORIGIN, MED within
//! each neighbouring AS, external over internal, interior cost, router id (`ORIGINATOR_ID` when there
//! is one, RFC 4456 section 9), `CLUSTER_LIST` length, peer address, path identifier.
//!
//! Paths that equal the best one in all steps before the router id share the traffic when multipath
//! is on, provided that they came through the same AS path, or through one of the same length when
//! `relax` is set. External paths and internal ones never share, so that each kind has a limit of its own.

use std::cmp::Reverse;
use std::fmt;
use std::net::IpAddr;

use serde::Serialize;

use crate::types::{Asn, RouterId};

/// What the decision knows of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Originated by this speaker.
    pub local: bool,
    /// Kept for long after its session was lost (RFC 9494).
    pub long_lived: bool,
    /// The degree of preference.
    pub local_pref: u32,
    /// AIGP and the cost of reaching the next hop, if the path has one; it beats every path that has none.
    pub aigp: Option<u64>,
    /// AS path length, an `AS_SET` counting once.
    pub as_path_length: u32,
    /// The ORIGIN code: 0 IGP, 1 EGP, 2 incomplete.
    pub origin: u8,
    /// The AS that it came through last: the first of the AS path.
    pub neighbour_as: Asn,
    /// `MULTI_EXIT_DISC`, 0 when there is none.
    pub med: u32,
    /// From an external peer.
    pub external: bool,
    /// Cost of reaching the next hop.
    pub interior_cost: u32,
    /// `ORIGINATOR_ID`, or else the router id of the peer.
    pub router_id: RouterId,
    /// Clusters in `CLUSTER_LIST`.
    pub cluster_list_length: u32,
    /// Address of the peer.
    pub peer_address: IpAddr,
    /// The identifier by which the peer tells its paths apart (RFC 7911), 0 when there is none.
    pub path_id: u32,
    /// Equal for equal AS paths.
    pub as_path_hash: u32,
}

/// The options of the decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Compare MED between paths of different neighbouring ASes too.
    pub always_compare_med: bool,
    /// Greatest number of external paths that share the traffic; 1 is none but the best.
    pub multipath_external: usize,
    /// The same of internal ones.
    pub multipath_internal: usize,
    /// Let AS paths of equal length share the traffic even when they differ.
    pub relax: bool,
    /// Share by link bandwidth where all paths have one (draft-ietf-idr-link-bandwidth).
    pub link_bandwidth: bool,
}

impl Rules {
    /// Whether several paths may share the traffic of a prefix.
    pub(crate) fn share(&self) -> bool {
        self.multipath_external.max(self.multipath_internal) > 1
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            always_compare_med: false,
            multipath_external: 1,
            multipath_internal: 1,
            relax: false,
            link_bandwidth: false,
        }
    }
}

/// A step of the decision, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DecisionStep {
    /// There was nothing to decide.
    OnlyPath,
    /// Long-lived stale routes (RFC 9494) come last.
    LongLivedStale,
    /// Routes originated here come first.
    LocallyOriginated,
    /// Greatest `LOCAL_PREF`.
    LocalPref,
    /// Lowest AIGP, with the cost of reaching the next hop; any before none.
    Aigp,
    /// Shortest AS path.
    AsPathLength,
    /// Lowest ORIGIN.
    Origin,
    /// Lowest `MULTI_EXIT_DISC` of its neighbouring AS.
    Med,
    /// External paths before internal ones.
    EbgpOverIbgp,
    /// Lowest cost to the next hop.
    InteriorCost,
    /// Lowest router id.
    RouterId,
    /// Shortest `CLUSTER_LIST`.
    ClusterListLength,
    /// Lowest address of the peer.
    PeerAddress,
    /// Lowest path identifier, of several paths of one peer.
    PathIdentifier,
}

impl DecisionStep {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OnlyPath => "only path",
            Self::LongLivedStale => "not long-lived stale",
            Self::LocallyOriginated => "locally originated",
            Self::LocalPref => "local preference",
            Self::Aigp => "AIGP",
            Self::AsPathLength => "AS path length",
            Self::Origin => "origin",
            Self::Med => "MED",
            Self::EbgpOverIbgp => "external over internal",
            Self::InteriorCost => "interior cost",
            Self::RouterId => "router id",
            Self::ClusterListLength => "cluster list length",
            Self::PeerAddress => "peer address",
            Self::PathIdentifier => "path identifier",
        }
    }
}

impl fmt::Display for DecisionStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The outcome of a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranked {
    /// Index of the best candidate.
    pub best: usize,
    /// Indexes of the candidates that carry traffic: the best one first, then in order of preference.
    pub multipath: Vec<usize>,
    /// For each candidate the step at which it lost; `None` for the best.
    pub lost_at: Vec<Option<DecisionStep>>,
    /// The step that was needed to tell the best from the last of the others.
    pub decided_by: DecisionStep,
}

/// Decides among candidates; `None` when there are none.
pub fn decide(candidates: &[Candidate], rules: &Rules) -> Option<Ranked> {
    let mut filters = Filters::default();
    let best = filters.run(candidates, rules)?;
    let multipath = filters.multipath(candidates, rules, best);
    let decided_by = filters.lost_at.iter().flatten().max().copied().unwrap_or(DecisionStep::OnlyPath);
    Some(Ranked { best, multipath, lost_at: filters.lost_at, decided_by })
}

/// The working memory of a decision, to be used again for the next one.
#[derive(Debug, Default)]
pub(crate) struct Filters {
    lost_at: Vec<Option<DecisionStep>>,
    /// Indexes of the candidates still in.
    alive: Vec<usize>,
}

impl Filters {
    /// The index of the best candidate.
    pub(crate) fn run(&mut self, candidates: &[Candidate], rules: &Rules) -> Option<usize> {
        self.lost_at.clear();
        self.lost_at.resize(candidates.len(), None);
        self.alive.clear();
        self.alive.extend(0..candidates.len());

        self.keep_least(candidates, DecisionStep::LongLivedStale, |c| c.long_lived);
        self.keep_least(candidates, DecisionStep::LocallyOriginated, |c| !c.local);
        self.keep_least(candidates, DecisionStep::LocalPref, |c| Reverse(c.local_pref));
        self.keep_least(candidates, DecisionStep::Aigp, |c| (c.aigp.is_none(), c.aigp));
        self.keep_least(candidates, DecisionStep::AsPathLength, |c| c.as_path_length);
        self.keep_least(candidates, DecisionStep::Origin, |c| c.origin);
        if rules.always_compare_med {
            self.keep_least(candidates, DecisionStep::Med, |c| c.med);
        } else {
            self.keep_least_med_of_each_neighbour(candidates);
        }
        self.keep_least(candidates, DecisionStep::EbgpOverIbgp, |c| !c.external);
        self.keep_least(candidates, DecisionStep::InteriorCost, |c| c.interior_cost);
        self.keep_least(candidates, DecisionStep::RouterId, |c| c.router_id);
        self.keep_least(candidates, DecisionStep::ClusterListLength, |c| c.cluster_list_length);
        self.keep_least(candidates, DecisionStep::PeerAddress, |c| c.peer_address);
        self.keep_least(candidates, DecisionStep::PathIdentifier, |c| c.path_id);

        let best = self.alive.first().copied()?;
        // Only a caller that hands in the same path twice gets here with more than one.
        for &index in &self.alive[1..] {
            self.lost_at[index] = Some(DecisionStep::PathIdentifier);
        }
        Some(best)
    }

    /// The candidates that carry traffic after [`Filters::run`] found `best`, in order of preference.
    pub(crate) fn multipath(&self, candidates: &[Candidate], rules: &Rules, best: usize) -> Vec<usize> {
        let chosen = &candidates[best];
        let most = if chosen.external { rules.multipath_external } else { rules.multipath_internal };
        if most <= 1 {
            return vec![best];
        }
        let equal = |&index: &usize| {
            let candidate = &candidates[index];
            self.lost_at[index].is_none_or(|step| step >= DecisionStep::RouterId)
                && (rules.relax
                    || (candidate.neighbour_as == chosen.neighbour_as
                        && candidate.as_path_hash == chosen.as_path_hash))
        };
        let mut members: Vec<usize> = (0..candidates.len()).filter(equal).collect();
        members.sort_unstable_by_key(|&index| {
            let candidate = &candidates[index];
            let Candidate { router_id, cluster_list_length, peer_address, path_id, .. } = *candidate;
            (index != best, router_id, cluster_list_length, peer_address, path_id)
        });
        members.truncate(most);
        members
    }

    /// One filter: those with the least key stay.
    fn keep_least<T: Ord>(
        &mut self,
        candidates: &[Candidate],
        step: DecisionStep,
        key: impl Fn(&Candidate) -> T,
    ) {
        if self.alive.len() < 2 {
            return;
        }
        let mut keys = self.alive.iter().map(|&index| key(&candidates[index]));
        let Some(mut least) = keys.next() else { return };
        let mut differ = false;
        for key in keys {
            differ |= key != least;
            least = least.min(key);
        }
        // Most steps decide nothing.
        if !differ {
            return;
        }
        let lost_at = &mut self.lost_at;
        self.alive.retain(|&index| {
            let stays = key(&candidates[index]) == least;
            if !stays {
                lost_at[index] = Some(step);
            }
            stays
        });
    }

    /// Step c of RFC 4271 section 9.1.2.2: a path goes when another one still in came through the same
    /// neighbouring AS with a lower MED.
    fn keep_least_med_of_each_neighbour(&mut self, candidates: &[Candidate]) {
        if self.alive.len() < 2 {
            return;
        }
        let lost_at = &mut self.lost_at;
        let beaten = |index: usize| {
            let candidate = &candidates[index];
            self.alive.iter().any(|&other| {
                let other = &candidates[other];
                other.neighbour_as == candidate.neighbour_as && other.med < candidate.med
            })
        };
        for &index in self.alive.iter().filter(|&&index| beaten(index)) {
            lost_at[index] = Some(DecisionStep::Med);
        }
        self.alive.retain(|&index| lost_at[index].is_none());
    }
}
