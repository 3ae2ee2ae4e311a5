//! Routing policy: what happens to a route between a peer and the Loc-RIB, in either direction.
//!
//! A [`Policy`] is a list of statements. A [`Statement`] applies to a route when all of its [`Match`]es
//! hold; its [`Modify`]s then change the attributes, the policies it calls run, and its disposition, if it
//! has one, ends the policy. Without one the next statement is tried, seeing what was changed so far. A route
//! that no statement decided meets the policy's default.
//!
//! A [`PolicyChain`] is what a neighbour carries for import or export: its policies run in order,
//! "accept" ends one policy and hands the route on to the next, "accept now" and "reject" end it all. A chain
//! without policies accepts: what RFC 8212 says about an external peer without a policy is for
//! the caller to enforce, who knows the kind of the peer (see [`PolicyChain::is_empty`]).
//!
//! A policy can ask another one ([`Match::Policy`]: would it accept? what it changes is forgotten) or
//! call it ([`Statement::calls`]: what it changes stays; "reject" rejects the route, "accept" comes back to
//! the caller). Policies are built from the called to the caller, so there are no circles.
//!
//! Guarantees: evaluation reads no clock and keeps no state, so that equal inputs give equal
//! outputs; attributes are copied only when a statement really changes them (`Cow`); and a chain says what
//! its outcome depends on beside the attributes ([`PolicyChain::dependence`]), so that its caller may ask once
//! for each attribute set where that is all. Chains compare by content: peers with equal chains can share one
//! update group.

mod action;
mod as_path;
mod asns;
mod community;
mod condition;
mod decision;
mod prefix_list;
mod prefix_table;
mod route;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;

use crate::wire::Attributes;

pub use action::{CommunityEdit, Modify, NextHopAction};
pub use as_path::{AsPathPattern, AsPathPatternError};
pub use asns::{AsnSet, AsnSetError};
pub use community::{
    Administrator, CommunityParseError, CommunityPattern, ExtendedCommunityPattern, LargeCommunityPattern,
    NumberPattern,
};
pub use condition::{Dependence, MAX_CONDITIONS, Match, NeighborSet};
pub use decision::{
    Accepted, DecidedBy, Decision, NextHopChoice, PolicyContext, PolicyNeighbor, RouteType, RpkiState,
};
pub use prefix_list::{PrefixList, PrefixListEntry, PrefixListEntryError};

use route::Route;

/// What a statement or a policy decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Disposition {
    /// The route goes on: to the next policy of the chain, back to the caller, or out of it all.
    Accept,
    /// The route is accepted by the whole chain, and no policy behind this one is asked.
    AcceptNow,
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
    /// For people: shown when the statement decides about a route.
    pub name: Option<String>,
    /// All must hold; none means every route.
    pub matches: Vec<Match>,
    /// Applied in order when all matches hold.
    pub actions: Vec<Modify>,
    /// Run then, in order; the first that rejects the route ends it.
    pub calls: Vec<Arc<Policy>>,
    /// What is decided then; `None` goes on to the next statement.
    pub disposition: Option<Disposition>,
}

/// The policies of one neighbour in one direction, in order. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyChain(Arc<Chain>);

/// The policies, and what follows from them: it is asked for with each set of attributes.
#[derive(Debug, PartialEq, Eq)]
struct Chain {
    policies: Vec<Arc<Policy>>,
    dependence: Dependence,
    accepts_all: bool,
    rejects_all: bool,
}

/// The chain without policies.
impl Default for PolicyChain {
    fn default() -> Self {
        Self::new([])
    }
}

impl PolicyChain {
    /// The chain of these policies.
    pub fn new(policies: impl IntoIterator<Item = Arc<Policy>>) -> Self {
        let policies: Vec<Arc<Policy>> = policies.into_iter().collect();
        // Behind a policy that may accept for all of them, the others have nothing to say.
        let asked = policies.iter().position(|policy| policy.can_accept_now()).unwrap_or(policies.len());
        Self(Arc::new(Chain {
            dependence: policies.iter().fold(Dependence::default(), |sum, policy| sum | policy.dependence()),
            accepts_all: policies.iter().all(|policy| policy.is_accept_all()),
            rejects_all: policies.iter().take(asked + 1).any(|policy| policy.is_reject_all()),
            policies,
        }))
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
        self.0.policies.is_empty()
    }

    /// The policies, in order.
    pub fn policies(&self) -> &[Arc<Policy>] {
        &self.0.policies
    }

    /// What the outcome depends on beside the attributes.
    pub fn dependence(&self) -> Dependence {
        self.0.dependence
    }

    /// Whether two routes with equal attributes and different prefixes, perhaps of different families, can
    /// meet different fates.
    pub fn depends_on_prefix(&self) -> bool {
        let dependence = self.dependence();
        dependence.prefix || dependence.family
    }

    /// Whether the same route can meet different fates with different [`PolicyContext::neighbor`]s: then
    /// neighbours must not share an update group.
    pub fn depends_on_neighbor(&self) -> bool {
        self.dependence().neighbor
    }

    /// Whether every route certainly passes unchanged. A chain without policies lets them.
    pub fn is_accept_all(&self) -> bool {
        self.0.accepts_all
    }

    /// Whether certainly no route passes.
    pub fn is_reject_all(&self) -> bool {
        self.0.rejects_all
    }

    /// Runs the chain over one route.
    pub fn evaluate<'a>(
        &'a self,
        prefix: IpNet,
        attributes: Cow<'a, Attributes>,
        context: &PolicyContext,
    ) -> Decision<'a> {
        let mut route = Route::new(prefix, attributes);
        let mut decided_by = None;
        for policy in &self.0.policies {
            let (outcome, by) = policy.run(&mut route, context);
            decided_by = Some(by);
            match outcome {
                Disposition::Accept => {}
                Disposition::AcceptNow => break,
                Disposition::Reject => return Decision::Reject(by),
            }
        }
        Decision::Accept(route.accepted(decided_by))
    }
}

/// The names of the policies, as the configuration lists them.
impl fmt::Display for PolicyChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, policy) in self.0.policies.iter().enumerate() {
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

    /// What its outcome depends on beside the attributes.
    pub fn dependence(&self) -> Dependence {
        let mut sum = Dependence::default();
        for statement in &self.statements {
            for condition in &statement.matches {
                sum = sum | condition.dependence();
            }
            for action in &statement.actions {
                sum = sum | action.dependence();
            }
            for policy in &statement.calls {
                sum = sum | policy.dependence();
            }
        }
        sum
    }

    /// Whether it certainly accepts every route and changes none.
    pub fn is_accept_all(&self) -> bool {
        self.default != Disposition::Reject
            && self.statements.iter().all(|statement| {
                statement.actions.is_empty()
                    && statement.disposition != Some(Disposition::Reject)
                    && statement.calls.iter().all(|policy| policy.is_accept_all())
            })
    }

    /// Whether it certainly rejects every route.
    pub fn is_reject_all(&self) -> bool {
        self.default == Disposition::Reject
            && self.statements.iter().all(|statement| {
                matches!(statement.disposition, None | Some(Disposition::Reject))
                    && statement.calls.iter().all(|policy| !policy.can_accept_now())
            })
    }

    /// Whether it may accept a route for the whole chain.
    fn can_accept_now(&self) -> bool {
        self.default == Disposition::AcceptNow
            || self.statements.iter().any(|statement| {
                statement.disposition == Some(Disposition::AcceptNow)
                    || statement.calls.iter().any(|policy| policy.can_accept_now())
            })
    }

    /// Its statements and those of the policies that it calls, at any depth, each with its policy.
    /// Policies that it only asks are left out: what they change is forgotten.
    pub fn effective_statements(&self) -> Vec<(&Policy, &Statement)> {
        let mut all = Vec::new();
        self.add_effective_statements(&mut all);
        all
    }

    fn add_effective_statements<'a>(&'a self, all: &mut Vec<(&'a Self, &'a Statement)>) {
        for statement in &self.statements {
            all.push((self, statement));
            for policy in &statement.calls {
                policy.add_effective_statements(all);
            }
        }
    }

    /// Whether it is the policy of this name, or calls or asks it, at any depth.
    pub fn involves(&self, name: &str) -> bool {
        self.name == name
            || self.statements.iter().any(|statement| {
                statement.calls.iter().any(|policy| policy.involves(name))
                    || statement.matches.iter().any(|condition| condition.involves(name))
            })
    }

    /// What the policy decides, and by which statement.
    fn run<'a>(&'a self, route: &mut Route<'_>, context: &PolicyContext) -> (Disposition, DecidedBy<'a>) {
        for (index, statement) in self.statements.iter().enumerate() {
            if !statement.matches.iter().all(|condition| route.satisfies(condition, context)) {
                continue;
            }
            for action in &statement.actions {
                route.apply(action, context);
            }
            for policy in &statement.calls {
                let (outcome, by) = policy.run(route, context);
                if outcome != Disposition::Accept {
                    return (outcome, by);
                }
            }
            if let Some(disposition) = statement.disposition {
                return (disposition, DecidedBy { policy: self, statement: Some(index) });
            }
        }
        (self.default, DecidedBy { policy: self, statement: None })
    }
}
