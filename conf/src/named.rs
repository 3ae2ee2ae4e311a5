//! Things that have a name and are named elsewhere: lists and policies.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::nearest::nearest;
use crate::source::Path;

/// The things of one kind. Those whose content is wrong are in it too, so that naming one of them
/// is no second error.
pub(crate) struct Named<T> {
    kind: &'static str,
    entries: HashMap<String, Entry<T>>,
}

struct Entry<T> {
    /// Of its key `name`.
    path: Path,
    value: Arc<T>,
    used: Cell<bool>,
}

impl<T> Named<T> {
    /// None yet; `kind` is what errors call them.
    pub(crate) fn new(kind: &'static str) -> Self {
        Self { kind, entries: HashMap::new() }
    }

    pub(crate) fn kind(&self) -> &'static str {
        self.kind
    }

    pub(crate) fn add(&mut self, path: Path, name: String, value: T) {
        self.entries.insert(name, Entry { path, value: Arc::new(value), used: Cell::new(false) });
    }

    /// Gives a thing that was added before its content.
    pub(crate) fn set(&mut self, name: &str, value: T) {
        if let Some(entry) = self.entries.get_mut(name) {
            entry.value = Arc::new(value);
        }
    }

    /// Where this name was given away.
    pub(crate) fn path(&self, name: &str) -> Option<&Path> {
        self.entries.get(name).map(|entry| &entry.path)
    }

    /// The thing of this name, or what to say when there is none.
    pub(crate) fn resolve(&self, name: &str, built_in: &[&str]) -> Result<Arc<T>, String> {
        if let Some(entry) = self.entries.get(name) {
            entry.used.set(true);
            return Ok(entry.value.clone());
        }
        let kind = self.kind;
        // Sorted, so that of two equally near ones it is always the same.
        let mut names: Vec<&str> =
            self.entries.keys().map(String::as_str).chain(built_in.iter().copied()).collect();
        names.sort_unstable();
        if let Some(near) = nearest(name, names) {
            return Err(format!("no {kind} is named \"{name}\"; did you mean \"{near}\"?"));
        }
        let table = kind.replace(' ', "-").to_lowercase();
        let or = if built_in.is_empty() { String::new() } else { format!(" or {}", built_in.join(", ")) };
        Err(format!("no {kind} is named \"{name}\"; expected a [[{table}]] of that name{or}"))
    }

    /// Where those are that nobody asked for.
    pub(crate) fn unused(&self) -> impl Iterator<Item = &Path> {
        self.entries.values().filter(|entry| !entry.used.get()).map(|entry| &entry.path)
    }

    /// The same names for something made of each.
    pub(crate) fn map<U>(self, make: impl Fn(&T) -> U) -> Named<U> {
        let entries = self.entries.into_iter().map(|(name, entry)| {
            let value = Arc::new(make(&entry.value));
            (name, Entry { path: entry.path, value, used: entry.used })
        });
        Named { kind: self.kind, entries: entries.collect() }
    }

    pub(crate) fn into_map(self) -> BTreeMap<String, Arc<T>> {
        self.entries.into_iter().map(|(name, entry)| (name, entry.value)).collect()
    }
}
