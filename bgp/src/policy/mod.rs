//! Routing policy: what happens to a route between a peer and the Loc-RIB, in either direction.
//!
//! A [`Policy`] is a list of statements. A [`Statement`] applies to a route when all of its
//! [`Match`]es hold; its [`Modify`]s then change the attributes, and its disposition, if it has
//! one, ends the policy. Without one the next statement is tried, seeing what was changed so far.
//! A route that no statement decided meets the policy's default.
//!
//! A [`PolicyChain`] is what a neighbour carries for import or export: its policies run in order,
//! "accept" ends one policy and hands the route on to the next, "reject" ends it all. A chain
//! without policies accepts: what RFC 8212 says about an external peer without a policy is for
//! the caller to enforce, who knows the kind of the peer (see [`PolicyChain::is_empty`]).
//!
//! Guarantees: evaluation reads no clock and keeps no state, so that equal inputs give equal
//! outputs; attributes are copied only when a statement really changes them (`Cow`); and a
//! chain whose [`PolicyChain::depends_on_prefix`] is false gives one answer for all prefixes
//! that share their attributes, so that its caller may ask once for each attribute set.
//! Chains compare by content: peers with equal chains can share one update group.

mod as_path;
mod community;
mod prefix_list;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;

use crate::types::Asn;
use crate::wire::{Attributes, Community, ExtendedCommunity, LargeCommunity};

pub use as_path::{AsPathPattern, AsPathPatternError};
pub use community::{
    Administrator, CommunityParseError, CommunityPattern, ExtendedCommunityPattern, LargeCommunityPattern,
    NumberPattern,
};
pub use prefix_list::{PrefixList, PrefixListEntry, PrefixListEntryError};

/// What a statement or a policy decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Disposition {
    /// The route goes on: to the next policy of the chain, or out of it.
    Accept,
    /// The route ends here.
    Reject,
}

/// A named list of statements with a default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The name by which neighbours refer to it.
    pub name: String,
    /// Tried in order.
    pub statements: Vec<Statement>,
    /// What happens to a route that no statement decided.
    pub default: Disposition,
}

/// One rule of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Statement {
    /// For people: shown when the statement rejects a route.
    pub name: Option<String>,
    /// All must hold; none means every route.
    pub matches: Vec<Match>,
    /// Applied in order when all matches hold.
    pub actions: Vec<Modify>,
    /// What is decided then; `None` goes on to the next statement.
    pub disposition: Option<Disposition>,
}

/// A condition on a route. Each holds when any one of its values matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// The prefix is in one of the lists.
    Prefix(Vec<Arc<PrefixList>>),
    /// The AS path, written as text, matches one of the expressions.
    AsPath(Vec<AsPathPattern>),
    /// One community of the route matches one of the patterns.
    Community(Vec<CommunityPattern>),
    /// One large community of the route matches one of the patterns.
    LargeCommunity(Vec<LargeCommunityPattern>),
    /// One extended community of the route matches one of the patterns.
    ExtendedCommunity(Vec<ExtendedCommunityPattern>),
}

/// A change to the attributes of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Modify {
    /// Set `LOCAL_PREF`.
    LocalPref(u32),
    /// Set or, with `None`, remove `MULTI_EXIT_DISC`.
    Med(Option<u32>),
    /// Change the communities (RFC 1997).
    Communities(CommunityEdit<Community, CommunityPattern>),
    /// Change the large communities (RFC 8092).
    LargeCommunities(CommunityEdit<LargeCommunity, LargeCommunityPattern>),
    /// Change the extended communities (RFC 4360).
    ExtendedCommunities(CommunityEdit<ExtendedCommunity, ExtendedCommunityPattern>),
    /// Put an AS number in front of the AS path, several times.
    Prepend {
        /// The AS number; `None` is our own.
        asn: Option<Asn>,
        /// How many times.
        count: u8,
    },
}

/// A change to one kind of communities. `T` is the community, `P` its pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommunityEdit<T, P> {
    /// Add those that are not there yet, behind the others.
    Add(Vec<T>),
    /// Remove all that match one of the patterns.
    Remove(Vec<P>),
    /// Replace all; an empty list removes the attribute.
    Set(Vec<T>),
}

/// What policies know besides the route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PolicyContext {
    /// Our AS number towards the peer, for [`Modify::Prepend`] without a number.
    pub local_asn: Asn,
}

/// The outcome of a chain for one route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision<'a> {
    /// Accepted with these attributes: borrowed when the policy changed nothing.
    Accept(Cow<'a, Attributes>),
    /// Rejected, and by what.
    Reject(Rejection<'a>),
}

/// Where a chain rejected a route. Displays as `policy "x", rule 2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejection<'a> {
    /// The policy that rejected.
    pub policy: &'a Policy,
    /// The index of its statement; `None`: the policy's default.
    pub statement: Option<usize>,
}

/// The policies of one neighbour in one direction, in order. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PolicyChain(Arc<[Arc<Policy>]>);

impl PolicyChain {
    /// The chain of these policies.
    pub fn new(policies: impl IntoIterator<Item = Arc<Policy>>) -> Self {
        Self(policies.into_iter().collect())
    }

    /// The chain of the built-in policy `all`.
    pub fn all() -> Self {
        Self::new([Arc::new(Policy::all())])
    }

    /// The chain of the built-in policy `none`.
    pub fn none() -> Self {
        Self::new([Arc::new(Policy::none())])
    }

    /// Whether there is no policy at all, which for an external peer means that nothing passes
    /// (RFC 8212).
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The policies, in order.
    pub fn policies(&self) -> &[Arc<Policy>] {
        &self.0
    }

    /// Whether two routes with equal attributes and different prefixes can meet different fates.
    pub fn depends_on_prefix(&self) -> bool {
        self.0.iter().any(|policy| policy.depends_on_prefix())
    }

    /// Whether every route passes unchanged. A chain without policies does.
    pub fn is_accept_all(&self) -> bool {
        self.0.iter().all(|policy| policy.is_accept_all())
    }

    /// Whether no route passes.
    pub fn is_reject_all(&self) -> bool {
        self.0.iter().any(|policy| policy.is_reject_all())
    }

    /// Runs the chain over one route.
    pub fn evaluate<'a>(
        &'a self,
        prefix: IpNet,
        attributes: Cow<'a, Attributes>,
        context: &PolicyContext,
    ) -> Decision<'a> {
        let mut route = Route { prefix, attributes, as_path_text: None };
        for policy in self.0.iter() {
            if let (Disposition::Reject, statement) = policy.run(&mut route, *context) {
                return Decision::Reject(Rejection { policy, statement });
            }
        }
        Decision::Accept(route.attributes)
    }
}

/// The names of the policies, as the configuration lists them.
impl fmt::Display for PolicyChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, policy) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{}", policy.name)?;
        }
        Ok(())
    }
}

impl Policy {
    /// The name of the built-in policy that accepts everything.
    pub const ALL: &'static str = "all";
    /// The name of the built-in policy that rejects everything.
    pub const NONE: &'static str = "none";

    /// The built-in policy that accepts everything unchanged.
    pub fn all() -> Self {
        Self { name: Self::ALL.to_owned(), statements: Vec::new(), default: Disposition::Accept }
    }

    /// The built-in policy that rejects everything.
    pub fn none() -> Self {
        Self { name: Self::NONE.to_owned(), statements: Vec::new(), default: Disposition::Reject }
    }

    /// Whether a statement looks at the prefix.
    pub fn depends_on_prefix(&self) -> bool {
        self.statements.iter().flat_map(|s| &s.matches).any(|m| matches!(m, Match::Prefix(_)))
    }

    /// Whether it certainly accepts every route and changes none.
    pub fn is_accept_all(&self) -> bool {
        self.default == Disposition::Accept
            && self
                .statements
                .iter()
                .all(|s| s.actions.is_empty() && s.disposition != Some(Disposition::Reject))
    }

    /// Whether it certainly rejects every route.
    pub fn is_reject_all(&self) -> bool {
        self.default == Disposition::Reject
            && self.statements.iter().all(|s| s.disposition != Some(Disposition::Accept))
    }

    /// What the policy decides, and by which statement (`None`: by default).
    fn run(&self, route: &mut Route<'_>, context: PolicyContext) -> (Disposition, Option<usize>) {
        for (index, statement) in self.statements.iter().enumerate() {
            if !statement.matches.iter().all(|condition| route.satisfies(condition)) {
                continue;
            }
            for action in &statement.actions {
                route.apply(action, context);
            }
            if let Some(disposition) = statement.disposition {
                return (disposition, Some(index));
            }
        }
        (self.default, None)
    }
}

impl fmt::Display for Rejection<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "policy \"{}\", ", self.policy.name)?;
        let Some(index) = self.statement else { return f.write_str("by default") };
        write!(f, "rule {}", index + 1)?;
        match self.policy.statements.get(index).and_then(|statement| statement.name.as_deref()) {
            Some(name) => write!(f, " ({name})"),
            None => Ok(()),
        }
    }
}

/// A route on its way through a chain.
struct Route<'a> {
    prefix: IpNet,
    attributes: Cow<'a, Attributes>,
    /// The AS path as text, once an expression has asked for it.
    as_path_text: Option<String>,
}

impl Route<'_> {
    fn satisfies(&mut self, condition: &Match) -> bool {
        match condition {
            Match::Prefix(lists) => lists.iter().any(|list| list.contains(self.prefix)),
            Match::AsPath(patterns) => {
                let path = &self.attributes.as_path;
                patterns.iter().any(|pattern| pattern.matches_cached(path, &mut self.as_path_text))
            }
            Match::Community(patterns) => {
                any(patterns, &self.attributes.communities, CommunityPattern::matches)
            }
            Match::LargeCommunity(patterns) => {
                any(patterns, &self.attributes.large_communities, LargeCommunityPattern::matches)
            }
            Match::ExtendedCommunity(patterns) => {
                any(patterns, &self.attributes.extended_communities, ExtendedCommunityPattern::matches)
            }
        }
    }

    /// Applies one change; attributes that already are as wanted are not copied.
    fn apply(&mut self, action: &Modify, context: PolicyContext) {
        let attributes = &mut self.attributes;
        match action {
            Modify::LocalPref(value) => {
                if attributes.local_pref != Some(*value) {
                    attributes.to_mut().local_pref = Some(*value);
                }
            }
            Modify::Med(value) => {
                if attributes.med != *value {
                    attributes.to_mut().med = *value;
                }
            }
            Modify::Communities(edit) => {
                if let Some(new) = edit.apply(&attributes.communities, CommunityPattern::matches) {
                    attributes.to_mut().communities = new;
                }
            }
            Modify::LargeCommunities(edit) => {
                if let Some(new) = edit.apply(&attributes.large_communities, LargeCommunityPattern::matches) {
                    attributes.to_mut().large_communities = new;
                }
            }
            Modify::ExtendedCommunities(edit) => {
                let old = &attributes.extended_communities;
                if let Some(new) = edit.apply(old, ExtendedCommunityPattern::matches) {
                    attributes.to_mut().extended_communities = new;
                }
            }
            Modify::Prepend { asn, count } => {
                if *count > 0 {
                    let asn = asn.unwrap_or(context.local_asn);
                    attributes.to_mut().as_path.prepend(asn, usize::from(*count));
                    self.as_path_text = None;
                }
            }
        }
    }
}

/// Whether any value matches any pattern.
fn any<T: Copy, P>(patterns: &[P], values: &[T], matches: impl Fn(&P, T) -> bool) -> bool {
    values.iter().any(|&value| patterns.iter().any(|pattern| matches(pattern, value)))
}

impl<T: Copy + PartialEq, P> CommunityEdit<T, P> {
    /// The new list, or `None` when the edit changes nothing.
    fn apply(&self, current: &[T], matches: impl Fn(&P, T) -> bool) -> Option<Vec<T>> {
        match self {
            Self::Add(values) => {
                let mut missing = values.iter().filter(|value| !current.contains(value)).peekable();
                missing.peek()?;
                let mut new = current.to_vec();
                for &value in missing {
                    if !new.contains(&value) {
                        new.push(value);
                    }
                }
                Some(new)
            }
            Self::Remove(patterns) => {
                let goes = |&value: &T| patterns.iter().any(|pattern| matches(pattern, value));
                current.iter().any(goes).then(|| current.iter().copied().filter(|v| !goes(v)).collect())
            }
            Self::Set(values) => (current != values.as_slice()).then(|| values.clone()),
        }
    }
}
