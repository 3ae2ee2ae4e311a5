//! Templates for neighbours: `[[group]]`.
//!
//! A group has a name and keys of a neighbour; whoever names it in `group` has its keys too, save those that
//! stand in the neighbour itself. A group may take up another one in the same way. A key is taken as a whole:
//! a list or a table replaces the group's, nothing is added up.
//!
//! Which keys there are is the business of [`neighbor::keys`] alone: a group inherits and is read as values
//! with their places, so that what is wrong in a group is said of the group's line, once.

use bgp::policy::Policy;
use figment::value::Value;

use crate::named::Named;
use crate::neighbor;
use crate::policy::name;
use crate::reader::{Report, Table, text};
use crate::source::Path;

/// The key that names a group.
const KEY: &str = "group";

/// Keys with their values and where they are written.
pub(crate) type Keys = Vec<(String, Path, Value)>;

/// The groups of a configuration.
pub(crate) struct Groups(Named<Keys>);

impl Groups {
    /// Reads and checks them all.
    pub(crate) fn read(root: &mut Table<'_, '_>, policies: &Named<Policy>) -> Self {
        let mut groups = Self(Named::new("group"));
        let mut waiting = Vec::new();
        for mut table in root.tables("group") {
            let name = name(&mut table, &groups.0).map(|(path, name)| {
                groups.0.add(path, name.clone(), Keys::new());
                name
            });
            waiting.push((name, table));
        }
        // Each behind the one that it takes up.
        while !waiting.is_empty() {
            let names: Vec<Option<String>> = waiting.iter().map(|(name, _)| name.clone()).collect();
            let is_ready = |table: &Table<'_, '_>| match table.peek(KEY) {
                Some(Value::String(_, parent)) => !names.iter().flatten().any(|name| name == parent),
                _ => true,
            };
            let (ready, later): (Vec<_>, Vec<_>) =
                waiting.into_iter().partition(|(_, table)| is_ready(table));
            if ready.is_empty() {
                circle(&later);
                break;
            }
            for (name, table) in ready {
                groups.group(name, table, policies);
            }
            waiting = later;
        }
        groups
    }

    fn group(&mut self, name: Option<String>, mut table: Table<'_, '_>, policies: &Named<Policy>) {
        self.inherit(&mut table);
        let mut keys = table.unread();
        table.optional("asn", neighbor::peer_asn);
        neighbor::keys(&mut table, policies, None, |_| None);
        keys.retain(|(key, ..)| table.knows(key));
        table.finish(&[]);
        if let Some(name) = name {
            self.0.set(&name, keys);
        }
    }

    /// Gives a table the keys of the group that it names; the group's name.
    pub(crate) fn inherit(&self, table: &mut Table<'_, '_>) -> Option<String> {
        let (name, keys) = table.optional(KEY, |value| {
            let name = text(value, "the name of a group")?;
            let keys = self.0.resolve(&name, &[])?;
            Ok((name, keys))
        })?;
        table.inherit(&keys);
        Some(name)
    }

    /// Warns of those that nobody names.
    pub(crate) fn warn_unused(&self, report: &Report<'_>) {
        for path in self.0.unused() {
            report.warn(path, "no neighbor names this group");
        }
    }
}

fn circle(tables: &[(Option<String>, Table<'_, '_>)]) {
    for (_, table) in tables {
        let reason = "groups take each other up in a circle; expected none that leads back to itself";
        table.report().error(&table.key(KEY), reason);
    }
}
