//! Reading typed values out of a table, with an error at its line for each that is wrong.
//!
//! A [`Table`] hands out its keys one by one and remembers which it was asked for; whatever is left at
//! [`Table::finish`] is unknown. A value that is wrong is reported and read as absent, and reading
//! goes on: all errors of a file come out at once.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path as FilePath, PathBuf};
use std::str::FromStr;

use figment::value::{Dict, Num, Value};

use crate::error::{ConfError, Place, Warning};
use crate::group::Keys;
use crate::nearest::nearest;
use crate::source::{Path, Source};

/// Collects errors and warnings.
pub(crate) struct Report<'s> {
    source: &'s Source,
    errors: RefCell<Vec<ConfError>>,
    warnings: RefCell<Vec<Warning>>,
}

impl<'s> Report<'s> {
    pub(crate) fn new(source: &'s Source, errors: Vec<ConfError>) -> Self {
        Self { source, errors: RefCell::new(errors), warnings: RefCell::default() }
    }

    /// The folder of the file, where relative paths in it start.
    pub(crate) fn folder(&self) -> PathBuf {
        FilePath::new(self.source.file()).parent().map(FilePath::to_owned).unwrap_or_default()
    }

    /// An error in another file than the configuration itself.
    pub(crate) fn error_in(&self, place: Place, key: &str, reason: impl Display) {
        let (key, reason) = (key.to_owned(), reason.to_string());
        self.errors.borrow_mut().push(ConfError { place, key, reason });
    }

    pub(crate) fn error(&self, path: &Path, reason: impl Display) {
        let (place, key, reason) = (self.source.place(path), path.to_string(), reason.to_string());
        self.errors.borrow_mut().push(ConfError { place, key, reason });
    }

    /// So far; tells whether something that was read was wrong.
    pub(crate) fn error_count(&self) -> usize {
        self.errors.borrow().len()
    }

    pub(crate) fn warn(&self, path: &Path, reason: impl Display) {
        let (place, key, reason) = (self.source.place(path), path.to_string(), reason.to_string());
        self.warnings.borrow_mut().push(Warning { place, key, reason });
    }

    /// Where else a value was written, for errors that speak of two.
    pub(crate) fn elsewhere(&self, path: &Path) -> String {
        match self.source.place(path) {
            Place::Line { line, .. } => format!("line {line}"),
            other => other.to_string(),
        }
    }

    /// The warnings, or the errors if there are any; by line.
    pub(crate) fn finish(self) -> Result<Vec<Warning>, Vec<ConfError>> {
        let (mut errors, mut warnings) = (self.errors.into_inner(), self.warnings.into_inner());
        let file = self.source.file();
        errors.sort_by_cached_key(|error| order(&error.place, file));
        warnings.sort_by_cached_key(|warning| order(&warning.place, file));
        // What is wrong in a group shows in each neighbour that has its keys.
        let (errors, warnings) = (once(errors), once(warnings));
        if errors.is_empty() { Ok(warnings) } else { Err(errors) }
    }
}

/// Those that were not there before.
fn once<T: PartialEq>(all: Vec<T>) -> Vec<T> {
    let mut seen: Vec<T> = Vec::with_capacity(all.len());
    for one in all {
        if !seen.contains(&one) {
            seen.push(one);
        }
    }
    seen
}

/// The lines of the configuration, those of files that it names, the environment; the sort is stable.
fn order(place: &Place, main: &str) -> (bool, String, usize) {
    match place {
        Place::Line { file, line } if **file == *main => (false, String::new(), *line),
        Place::File { file } if **file == *main => (false, String::new(), 0),
        Place::Line { file, line } => (false, file.to_string(), *line),
        Place::File { file } => (false, file.to_string(), usize::MAX),
        Place::Variable { .. } => (true, String::new(), 0),
    }
}

/// A table being read.
pub(crate) struct Table<'r, 's> {
    report: &'r Report<'s>,
    path: Path,
    values: Dict,
    known: Vec<&'static str>,
    /// Where those keys stand that the table has of another one.
    inherited: HashMap<String, Path>,
}

impl<'r, 's> Table<'r, 's> {
    pub(crate) fn new(report: &'r Report<'s>, path: Path, values: Dict) -> Self {
        Self { report, path, values, known: Vec::new(), inherited: HashMap::new() }
    }

    pub(crate) fn report(&self) -> &'r Report<'s> {
        self.report
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn key(&self, key: &str) -> Path {
        self.inherited.get(key).cloned().unwrap_or_else(|| self.path.key(key))
    }

    /// Takes up the keys of another table that this one does not have itself.
    pub(crate) fn inherit(&mut self, keys: &Keys) {
        for (key, path, value) in keys {
            if !self.values.contains_key(key) {
                self.values.insert(key.clone(), value.clone());
                self.inherited.insert(key.clone(), path.clone());
            }
        }
    }

    /// What was not read yet.
    pub(crate) fn unread(&self) -> Keys {
        self.values.iter().map(|(key, value)| (key.clone(), self.key(key), value.clone())).collect()
    }

    /// Whether the key was asked for.
    pub(crate) fn knows(&self, key: &str) -> bool {
        self.known.contains(&key)
    }

    /// Whether the key is there and was not read yet.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// The value of a key that was not read yet, without reading it.
    pub(crate) fn peek(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    /// Whether the key is there, was not read yet, and is a table.
    pub(crate) fn has_table(&self, key: &str) -> bool {
        matches!(self.values.get(key), Some(Value::Dict(..)))
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.values.remove(key)
    }

    /// The value of a key that may be absent.
    pub(crate) fn optional<T>(&mut self, key: &'static str, read: impl Fn(&Value) -> Read<T>) -> Option<T> {
        let value = self.take(key)?;
        self.accept(&self.key(key), read(&value))
    }

    /// The value of a key that must be there.
    pub(crate) fn required<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        read: impl Fn(&Value) -> Read<T>,
    ) -> Option<T> {
        if !self.has(key) {
            self.known.push(key);
            self.report.error(&self.key(key), format!("missing; expected {expected}"));
            return None;
        }
        self.optional(key, read)
    }

    /// The elements of an array, each with its path; a lone value counts as an array of one. Wrong
    /// elements are left out.
    pub(crate) fn list<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&Value) -> Read<T>,
    ) -> Option<Vec<(Path, T)>> {
        let path = self.key(key);
        Some(match self.take(key)? {
            Value::Array(_, values) => values
                .iter()
                .enumerate()
                .map(|(index, value)| (path.index(index), value))
                .filter_map(|(path, value)| self.accept(&path, read(value)).map(|read| (path, read)))
                .collect(),
            single => self.accept(&path, read(&single)).map(|read| (path, read)).into_iter().collect(),
        })
    }

    /// The same for an array that must be there.
    pub(crate) fn required_list<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        read: impl Fn(&Value) -> Read<T>,
    ) -> Option<Vec<(Path, T)>> {
        if !self.has(key) {
            self.report.error(&self.key(key), format!("missing; expected {expected}"));
        }
        self.list(key, read)
    }

    /// A table within this one.
    pub(crate) fn table(&mut self, key: &'static str) -> Option<Table<'r, 's>> {
        let path = self.key(key);
        match self.take(key)? {
            Value::Dict(_, values) => Some(Table::new(self.report, path, values)),
            other => {
                let shape = shape(&other);
                self.report
                    .error(&path, format!("{shape}; expected one table, [{path}] or {key} = {{ ... }}"));
                None
            }
        }
    }

    /// The tables of an array.
    pub(crate) fn tables(&mut self, key: &'static str) -> Vec<Table<'r, 's>> {
        let path = self.key(key);
        let wrong = |path: &Path, value: &Value| {
            let shape = shape(value);
            self.report.error(path, format!("{shape}; expected an array of tables, each headed [[{path}]]"));
        };
        match self.take(key) {
            None => Vec::new(),
            Some(Value::Array(_, values)) => values
                .into_iter()
                .enumerate()
                .filter_map(|(index, value)| {
                    let path = path.index(index);
                    match value {
                        Value::Dict(_, values) => Some(Table::new(self.report, path, values)),
                        other => {
                            wrong(&path, &other);
                            None
                        }
                    }
                })
                .collect(),
            Some(other) => {
                wrong(&path, &other);
                Vec::new()
            }
        }
    }

    /// Reports the keys that nobody asked for. Those in `unsupported` are known to the design of the
    /// configuration, but to no code yet.
    pub(crate) fn finish(self, unsupported: &[&'static str]) {
        for key in self.values.keys() {
            if unsupported.contains(&key.as_str()) {
                self.report.error(&self.key(key), "not supported by this version; expected no such key");
                continue;
            }
            let known = || self.known.iter().copied();
            let reason = match nearest(key, known().chain(unsupported.iter().copied())) {
                Some(near) => format!("unknown key; did you mean \"{near}\"?"),
                None => format!("unknown key; expected one of {}", known().collect::<Vec<_>>().join(", ")),
            };
            self.report.error(&self.key(key), reason);
        }
    }

    fn accept<T>(&self, path: &Path, read: Read<T>) -> Option<T> {
        read.map_err(|reason| self.report.error(path, reason)).ok()
    }
}

/// A value, or what is wrong with it.
pub(crate) type Read<T> = Result<T, String>;

/// A string.
pub(crate) fn text(value: &Value, expected: &str) -> Read<String> {
    match value {
        Value::String(_, text) => Ok(text.clone()),
        // What the environment calls a character.
        Value::Char(_, c) => Ok(c.to_string()),
        other => Err(format!("{}; expected {expected}", shape(other))),
    }
}

/// A string of a certain syntax.
pub(crate) fn parsed<T: FromStr>(value: &Value, expected: &str) -> Read<T> {
    let text = text(value, expected)?;
    text.parse().map_err(|_| format!("\"{text}\" is invalid; expected {expected}"))
}

/// A string whose type says itself what is wrong and what was expected.
pub(crate) fn parsed_or_said<T: FromStr<Err: Display>>(value: &Value, expected: &str) -> Read<T> {
    text(value, expected)?.parse().map_err(|error: T::Err| error.to_string())
}

/// `true` or `false`.
pub(crate) fn boolean(value: &Value) -> Read<bool> {
    match value {
        Value::Bool(_, value) => Ok(*value),
        other => Err(format!("{}; expected true or false", shape(other))),
    }
}

/// A whole number within a range; `unit` is written behind it in errors, or empty.
pub(crate) fn number(value: &Value, range: RangeInclusive<u32>, unit: &str) -> Read<u32> {
    let expected = format!("a number from {} to {}{unit}", range.start(), range.end());
    number_or(value, range, &expected)
}

/// The same where the range is not all there is to say.
pub(crate) fn number_or(value: &Value, range: RangeInclusive<u32>, expected: &str) -> Read<u32> {
    let Value::Num(_, number) = value else { return Err(format!("{}; expected {expected}", shape(value))) };
    let Some(whole) = whole(*number) else { return Err(format!("{}; expected {expected}", shape(value))) };
    u32::try_from(whole)
        .ok()
        .filter(|number| range.contains(number))
        .ok_or_else(|| format!("{whole} is out of range; expected {expected}"))
}

/// One of several words.
pub(crate) fn choice<T: Copy>(value: &Value, choices: &[(&str, T)]) -> Read<T> {
    let words: Vec<String> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
    let expected = match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    };
    let text = text(value, &expected)?;
    match choices.iter().find(|(word, _)| *word == text) {
        Some((_, choice)) => Ok(*choice),
        None => Err(format!("\"{text}\" is unknown; expected {expected}")),
    }
}

/// The number, unless it is a fraction.
fn whole(number: Num) -> Option<i128> {
    number.to_i128().or_else(|| number.to_u128().and_then(|number| i128::try_from(number).ok()))
}

/// What a value is, for errors: `"x" is a string`.
pub(crate) fn shape(value: &Value) -> String {
    match value {
        Value::String(_, text) => format!("\"{text}\" is a string"),
        Value::Char(_, c) => format!("\"{c}\" is a string"),
        Value::Bool(_, value) => format!("{value} is a boolean"),
        Value::Num(_, number) => match whole(*number) {
            Some(number) => format!("{number} is a number"),
            None => format!("{:?} is not a whole number", number.to_f64().unwrap_or(f64::NAN)),
        },
        Value::Empty(..) => "nothing is there".to_owned(),
        Value::Dict(..) => "it is a table".to_owned(),
        Value::Array(..) => "it is an array".to_owned(),
    }
}
