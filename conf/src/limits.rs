//! How many prefixes a neighbour may announce or be told: `max-prefixes`, `max-accepted-prefixes`,
//! `max-prefixes-out`.

use std::fmt;
use std::time::Duration;

use bgp::types::Family;

use crate::reader::{Table, choice, number, shape};

/// What happens when there is one prefix too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitAction {
    /// The session ends with a Cease and stays down until an operator resets it.
    Shutdown,
    /// The session ends and comes back after this time.
    Restart(Duration),
    /// The prefix is taken; the log says so.
    Warn,
    /// The prefix is left out, and the session goes on.
    DropExcess,
}

/// A limit on the prefixes of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrefixLimit {
    /// Most prefixes.
    pub limit: u32,
    /// Percentage of it at which the log warns.
    pub warning: u32,
    /// What happens beyond it.
    pub action: LimitAction,
}

impl PrefixLimit {
    /// Percentage at which the log warns unless told otherwise.
    pub const DEFAULT_WARNING: u32 = 75;
    /// The pause before a session that ended comes back, unless told otherwise.
    pub const DEFAULT_RESTART: Duration = Duration::from_mins(5);

    /// How many prefixes the log warns at.
    pub fn warning_count(&self) -> u32 {
        (u64::from(self.limit) * u64::from(self.warning)).div_ceil(100) as u32
    }
}

/// As a configuration would say it.
impl fmt::Display for PrefixLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, warning at {}%)", self.limit, self.action, self.warning)
    }
}

impl fmt::Display for LimitAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shutdown => f.write_str("shutdown"),
            Self::Restart(after) => write!(f, "restart after {}s", after.as_secs()),
            Self::Warn => f.write_str("warn"),
            Self::DropExcess => f.write_str("drop-excess"),
        }
    }
}

/// By [`Family::index`].
pub type FamilyLimits = [Option<PrefixLimit>; Family::ALL.len()];

/// The limits of a neighbour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PrefixLimits {
    /// On what it announces, before policy.
    pub received: FamilyLimits,
    /// On what import policy accepts.
    pub accepted: FamilyLimits,
    /// On what it is told; always [`LimitAction::DropExcess`].
    pub advertised: FamilyLimits,
}

impl PrefixLimits {
    /// Whether prefixes come in under these limits that were left out under others: the neighbour has to send them
    /// again.
    pub fn let_in_more_than(&self, others: &Self) -> bool {
        let more = |(old, new): (&Option<PrefixLimit>, &Option<PrefixLimit>)| match (old, new) {
            (Some(old), Some(new)) if old.action == LimitAction::DropExcess => {
                new.limit > old.limit || new.action == LimitAction::Warn
            }
            (Some(old), None) => old.action == LimitAction::DropExcess,
            _ => false,
        };
        others.received.iter().zip(&self.received).any(more)
    }
}

/// Whether there may be more prefixes than the second limits leave in: only a new session leaves them out.
pub(crate) fn may_have_excess(old: &FamilyLimits, new: &FamilyLimits) -> bool {
    old.iter().zip(new).any(|(old, new)| match new {
        Some(new) if new.action == LimitAction::DropExcess => {
            !old.is_some_and(|old| old.action != LimitAction::Warn && old.limit <= new.limit)
        }
        _ => false,
    })
}

/// Reads the keys of a neighbour.
pub(crate) fn limits(table: &mut Table<'_, '_>) -> PrefixLimits {
    PrefixLimits {
        received: family_limits(table, "max-prefixes", true),
        accepted: family_limits(table, "max-accepted-prefixes", true),
        advertised: family_limits(table, "max-prefixes-out", false),
    }
}

/// The limits of one direction; `acts`: there is a choice of what happens beyond them.
fn family_limits(table: &mut Table<'_, '_>, key: &'static str, acts: bool) -> FamilyLimits {
    if !table.has_table(key) {
        let number = |value: &_| -> Result<(), String> {
            Err(format!("{}; expected limits by family, {{ ipv4-unicast = 100 }}", shape(value)))
        };
        table.optional(key, number);
        return FamilyLimits::default();
    }
    let Some(mut families) = table.table(key) else { return FamilyLimits::default() };
    let limits = Family::ALL.map(|family| family_limit(&mut families, family.as_str(), acts));
    families.finish(&[]);
    limits
}

/// A number, or a table with more to say.
fn family_limit(families: &mut Table<'_, '_>, family: &'static str, acts: bool) -> Option<PrefixLimit> {
    const ACTIONS: &[(&str, LimitAction)] = &[
        ("shutdown", LimitAction::Shutdown),
        ("restart", LimitAction::Restart(PrefixLimit::DEFAULT_RESTART)),
        ("warn", LimitAction::Warn),
        ("drop-excess", LimitAction::DropExcess),
    ];
    let default = if acts { LimitAction::Shutdown } else { LimitAction::DropExcess };
    let most = |value: &_| number(value, 1..=u32::MAX, " (prefixes)");
    if !families.has_table(family) {
        let limit = families.optional(family, most)?;
        return Some(PrefixLimit { limit, warning: PrefixLimit::DEFAULT_WARNING, action: default });
    }
    let mut table = families.table(family)?;
    let limit = table.required("limit", "the most prefixes", most);
    let warning = table.optional("warning", |value| number(value, 1..=100, " (percent)"));
    let mut action = default;
    if acts {
        let chosen = table.optional("action", |value| choice(value, ACTIONS));
        let path = table.key("restart-after");
        let after = table.optional("restart-after", |value| number(value, 1..=86_400, " (seconds)"));
        action = chosen.unwrap_or(default);
        match (after, &mut action) {
            (None, _) => {}
            (Some(seconds), LimitAction::Restart(pause)) => *pause = Duration::from_secs(seconds.into()),
            (Some(_), _) => {
                table.report().error(&path, "nothing restarts; expected action = \"restart\" beside it");
            }
        }
    }
    table.finish(&[]);
    Some(PrefixLimit { limit: limit?, warning: warning.unwrap_or(PrefixLimit::DEFAULT_WARNING), action })
}

/// Limits in a line.
pub(crate) fn written(limits: &FamilyLimits) -> String {
    let each = Family::ALL.into_iter().zip(limits);
    let each = each.filter_map(|(family, limit)| Some(format!("{family} {}", (*limit)?)));
    let each: Vec<_> = each.collect();
    if each.is_empty() { "none".to_owned() } else { each.join(", ") }
}
