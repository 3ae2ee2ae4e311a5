//! Where configuration comes from: the TOML file and the environment, merged by figment.
//!
//! The file is parsed once, by `toml_edit`, which remembers where each key stands; figment gets its
//! values through [`FileValues`]. So a value's key path leads back to its line, also inside
//! `[[neighbor]]` and arrays over several lines.
//!
//! Environment variables override the scalar sections `[router]`, `[fib]`, `[api]` and
//! `[decision]`: two underscores separate section and key, one stands for the hyphen in a key, case
//! does not matter. `PEREGRINE_ROUTER__ROUTER_ID=10.0.0.1` sets `router.router-id`. Values are
//! TOML, but strings need no quotes: `64500`, `true`, `[eth0, eth1]`, `auto`. Variables without two
//! underscores are not ours, save for near misses such as `PEREGRINE_ROUTER_ASN`.

use std::fmt;
use std::sync::Arc;

use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use toml_edit::{Document, Item, TableLike};

use crate::error::{ConfError, Place};

/// What every variable starts with.
const PREFIX: &str = "PEREGRINE_";
/// Between section and key.
const SEPARATOR: &str = "__";
/// The sections that can be overridden.
const SECTIONS: [&str; 4] = ["router", "fib", "api", "decision"];

/// The path of a key. Displays without indexes: `policy.rule.set`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Path(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

impl Path {
    pub(crate) fn key(&self, key: &str) -> Self {
        self.with(Step::Key(key.to_owned()))
    }

    pub(crate) fn index(&self, index: usize) -> Self {
        self.with(Step::Index(index))
    }

    fn with(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|step| match step {
            Step::Key(key) => Some(key.as_str()),
            Step::Index(_) => None,
        })
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, key) in self.keys().enumerate() {
            write!(f, "{}{key}", if index == 0 { "" } else { "." })?;
        }
        Ok(())
    }
}

/// Sections of which there may be several.
const LISTS: [&str; 15] = [
    "aggregate",
    "as-list",
    "as-path-list",
    "community-list",
    "extended-community-list",
    "group",
    "large-community-list",
    "neighbor",
    "neighbor-list",
    "neighbor-range",
    "network",
    "policy",
    "policy.rule",
    "prefix-list",
    "redistribute",
];

/// The parsed file and the overrides.
pub(crate) struct Source {
    file: Arc<str>,
    document: Document<String>,
    overrides: Vec<Override>,
}

struct Override {
    variable: String,
    section: String,
    key: String,
    value: Value,
}

impl Source {
    /// Parses the file's text and picks our variables. What is wrong with those is returned beside
    /// the source; a file that is not TOML is an error.
    pub(crate) fn new(
        file: &str,
        text: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(Self, Vec<ConfError>), Vec<ConfError>> {
        let file: Arc<str> = file.into();
        let (overrides, mut errors) = overrides(environment);
        match Document::parse(text.to_owned()) {
            Ok(document) => Ok((Self { file, document, overrides }, errors)),
            Err(error) => {
                let line = line_of(text, error.span().map_or(0, |span| span.start));
                // The parser may explain over several lines.
                let reason = error.message().lines().collect::<Vec<_>>().join(", ");
                let reason = hint(text, line, &reason).unwrap_or(reason);
                let place = Place::Line { file, line };
                errors.insert(
                    0,
                    ConfError { place, key: String::new(), reason: format!("not TOML: {reason}") },
                );
                Err(errors)
            }
        }
    }

    /// The path of the file, as it was given.
    pub(crate) fn file(&self) -> &str {
        &self.file
    }

    /// All values, merged.
    pub(crate) fn values(&self) -> Result<Dict, ConfError> {
        let merged = Figment::new().merge(FileValues(self)).merge(EnvironmentValues(self)).data();
        let mut profiles = merged.map_err(|error| ConfError {
            place: Place::File { file: self.file.clone() },
            key: String::new(),
            reason: error.to_string(),
        })?;
        Ok(profiles.remove(&Profile::Default).unwrap_or_default())
    }

    /// Where the value at this path was written; for one that is missing, its table.
    pub(crate) fn place(&self, path: &Path) -> Place {
        let mut keys = path.keys();
        if let (Some(section), Some(key)) = (keys.next(), keys.next())
            && let Some(found) = self.overrides.iter().find(|o| o.section == section && o.key == key)
        {
            return Place::Variable { name: found.variable.clone() };
        }
        Place::Line { file: self.file.clone(), line: line_of(self.document.raw(), self.offset(path)) }
    }

    /// The error of a file that lacks a section which it must have.
    pub(crate) fn incomplete(&self, section: &str) -> ConfError {
        let place = Place::File { file: self.file.clone() };
        ConfError { place, key: section.to_owned(), reason: "the section is incomplete".to_owned() }
    }

    /// The byte offset of the deepest step of the path that exists.
    fn offset(&self, path: &Path) -> usize {
        let mut offset = 0;
        let mut item = Some(self.document.as_item());
        let mut element: Option<&dyn TableLike> = None;
        for step in &path.0 {
            let span = match step {
                Step::Key(key) => {
                    let table = element.take().or_else(|| item.and_then(Item::as_table_like));
                    let Some((key, value)) = table.and_then(|table| table.get_key_value(key)) else { break };
                    item = Some(value);
                    key.span().or_else(|| value.span())
                }
                Step::Index(index) => {
                    let Some(list) = item.take() else { break };
                    if let Some(tables) = list.as_array_of_tables() {
                        let Some(table) = tables.get(*index) else { break };
                        element = Some(table);
                        table.span()
                    } else {
                        let Some(value) = list.as_array().and_then(|array| array.get(*index)) else { break };
                        element = value.as_inline_table().map(|table| table as &dyn TableLike);
                        value.span()
                    }
                }
            };
            offset = span.map_or(offset, |span| span.start);
        }
        offset
    }
}

/// What is meant by text that the parser has another explanation for.
fn hint(text: &str, line: usize, reason: &str) -> Option<String> {
    let line = text.lines().nth(line - 1)?.trim();
    let section = line.strip_prefix('[').and_then(|rest| rest.split(']').next()).map(str::trim);
    if let Some(section) = section.filter(|_| reason.starts_with("duplicate key")) {
        return Some(if LISTS.contains(&section) {
            format!("[{section}] is there already; each one of several is written [[{section}]]")
        } else {
            format!("[{section}] is there already; put its keys together")
        });
    }
    let (key, value) = line.split_once('=')?;
    let value = value.split('#').next().unwrap_or(value).trim();
    (value.is_empty() && !key.contains('"')).then(|| format!("{} has no value", key.trim()))
}

/// The line of a byte offset, counted from 1.
fn line_of(text: &str, offset: usize) -> usize {
    1 + text.get(..offset).unwrap_or(text).matches('\n').count()
}

fn overrides(environment: impl IntoIterator<Item = (String, String)>) -> (Vec<Override>, Vec<ConfError>) {
    let (mut overrides, mut errors) = (Vec::new(), Vec::new());
    for (variable, value) in environment {
        let Some(name) = variable.strip_prefix(PREFIX) else { continue };
        let name = name.to_ascii_lowercase();
        let mut refuse = |variable: &str, reason: String| {
            let place = Place::Variable { name: variable.to_owned() };
            errors.push(ConfError { place, key: String::new(), reason });
        };
        match name.split_once(SEPARATOR) {
            Some((section, key)) if SECTIONS.contains(&section) => {
                let value = environment_value(value.trim());
                let (section, key) = (section.to_owned(), key.replace('_', "-"));
                overrides.push(Override { variable, section, key, value });
            }
            Some((section, _)) => refuse(
                &variable,
                format!(
                    "no section \"{section}\" can be overridden; expected one of {}",
                    SECTIONS.join(", ")
                ),
            ),
            None => {
                let near =
                    SECTIONS.iter().find_map(|s| name.strip_prefix(s)?.strip_prefix('_').map(|k| (s, k)));
                if let Some((section, key)) = near {
                    let meant = format!("{section}{SEPARATOR}{key}").to_ascii_uppercase();
                    refuse(&variable, format!("one underscore behind the section; expected {PREFIX}{meant}"));
                }
            }
        }
    }
    // The environment has no order of its own; errors should.
    overrides.sort_by(|a, b| a.variable.cmp(&b.variable));
    errors.sort_by_key(ToString::to_string);
    (overrides, errors)
}

/// A TOML value, `[a, b]` with or without quotes, or else the text as it is.
fn environment_value(text: &str) -> Value {
    if let Ok(value) = text.parse::<toml_edit::Value>() {
        return plain_value(&value);
    }
    match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        Some(words) => words.split(',').map(|word| Value::from(word.trim())).collect::<Vec<_>>().into(),
        None => text.into(),
    }
}

/// The file, as figment sees it.
struct FileValues<'s>(&'s Source);

impl Provider for FileValues<'_> {
    fn metadata(&self) -> Metadata {
        Metadata::from("TOML file", std::path::Path::new(&*self.0.file))
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Ok(Map::from([(Profile::Default, dict_of(self.0.document.as_table()))]))
    }
}

/// The overrides, as figment sees them.
struct EnvironmentValues<'s>(&'s Source);

impl Provider for EnvironmentValues<'_> {
    fn metadata(&self) -> Metadata {
        Metadata::named("environment variables")
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        let mut sections: Map<String, Dict> = Map::new();
        for over in &self.0.overrides {
            sections.entry(over.section.clone()).or_default().insert(over.key.clone(), over.value.clone());
        }
        let sections = sections.into_iter().map(|(section, values)| (section, Value::from(values)));
        Ok(Map::from([(Profile::Default, sections.collect())]))
    }
}

fn dict_of(table: &dyn TableLike) -> Dict {
    table.iter().filter_map(|(key, item)| Some((key.to_owned(), value_of(item)?))).collect()
}

fn value_of(item: &Item) -> Option<Value> {
    match item {
        Item::None => None,
        Item::Value(value) => Some(plain_value(value)),
        Item::Table(table) => Some(dict_of(table).into()),
        Item::ArrayOfTables(tables) => {
            Some(tables.iter().map(|table| Value::from(dict_of(table))).collect::<Vec<_>>().into())
        }
    }
}

fn plain_value(value: &toml_edit::Value) -> Value {
    use toml_edit::Value as Toml;
    match value {
        Toml::String(text) => text.value().as_str().into(),
        Toml::Integer(number) => (*number.value()).into(),
        Toml::Float(number) => (*number.value()).into(),
        Toml::Boolean(value) => (*value.value()).into(),
        // No key takes a date: shown as written where it is refused.
        Toml::Datetime(date) => date.value().to_string().into(),
        Toml::Array(array) => array.iter().map(plain_value).collect::<Vec<_>>().into(),
        Toml::InlineTable(table) => dict_of(table).into(),
    }
}
