//! Prefix lists from files: plain lines, and the JSON of `bgpq4 -j`.
//!
//! A file whose first character is `{` is JSON, `{"NAME": [{"prefix": "192.0.2.0/24", "exact": true}, {"prefix":
//! "198.51.100.0/22", "greater-equal": 23, "less-equal": 24}]}`; all its names count. Any other has one entry a
//! line, `192.0.2.0/24 ge 25 le 28`, with `#` before comments. A relative path starts at the folder of the
//! configuration file.

use std::fmt;
use std::path::Path as FilePath;

use bgp::policy::PrefixListEntry;
use ipnet::IpNet;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use crate::error::Place;
use crate::reader::Report;
use crate::source::Path;

/// After so many errors the rest of a file is likely to be no list of prefixes.
const MAX_ERRORS: usize = 10;

/// The entries of a file that the key at `path` names; those that are wrong are reported and left out.
pub(super) fn read(report: &Report<'_>, path: &Path, file: &str) -> Vec<PrefixListEntry> {
    let found = report.folder().join(file);
    let bytes = match std::fs::read(&found) {
        Ok(bytes) => bytes,
        Err(error) => {
            let found = found.display();
            report.error(path, format!("\"{found}\" cannot be read: {error}; expected a file of prefixes"));
            return Vec::new();
        }
    };
    let mut reader = Reader { report, file: found.display().to_string(), errors: 0 };
    let entries = match std::str::from_utf8(&bytes) {
        Ok(text) if text.trim_start().starts_with('{') => reader.json(text),
        Ok(text) => reader.lines(text),
        Err(error) => {
            let start = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            let line = 1 + start.matches('\n').count();
            reader.error(Some(line), "", "not UTF-8; expected text");
            Vec::new()
        }
    };
    reader.finish();
    entries
}

/// One object of the JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct JsonEntry {
    prefix: String,
    exact: Option<bool>,
    greater_equal: Option<u64>,
    less_equal: Option<u64>,
}

/// The lists of the JSON, by name. A map would keep only the last of two with the same name.
struct JsonLists(Vec<(String, Vec<JsonEntry>)>);

struct Reader<'r, 's> {
    report: &'r Report<'s>,
    file: String,
    errors: usize,
}

impl Reader<'_, '_> {
    fn lines(&mut self, text: &str) -> Vec<PrefixListEntry> {
        let mut entries = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let entry = line.split('#').next().unwrap_or_default().trim();
            if entry.is_empty() {
                continue;
            }
            match entry.parse() {
                Ok(entry) => entries.push(entry),
                Err(error) => self.error(Some(index + 1), "", error),
            }
        }
        entries
    }

    fn json(&mut self, text: &str) -> Vec<PrefixListEntry> {
        let lists: JsonLists = match serde_json::from_str(text) {
            Ok(lists) => lists,
            Err(error) => {
                let whole = error.to_string();
                let reason = whole.split(" at line ").next().unwrap_or_default();
                let expected = "expected the JSON of \"bgpq4 -j\"";
                self.error(Some(error.line()), "", format!("{reason}; {expected}"));
                return Vec::new();
            }
        };
        let mut entries = Vec::new();
        for (name, objects) in lists.0 {
            for (index, object) in objects.iter().enumerate() {
                match object.entry() {
                    Ok(entry) => entries.push(entry),
                    Err(reason) => self.error(None, &format!("{name}[{index}]"), reason),
                }
            }
        }
        entries
    }

    fn error(&mut self, line: Option<usize>, key: &str, reason: impl fmt::Display) {
        self.errors += 1;
        if self.errors <= MAX_ERRORS {
            self.report.error_in(self.place(line), key, reason);
        }
    }

    fn finish(&self) {
        if let Some(more) = self.errors.checked_sub(MAX_ERRORS).filter(|more| *more > 0) {
            let reason = format!("{more} more entries are wrong; expected a list of prefixes");
            self.report.error_in(self.place(None), "", reason);
        }
    }

    fn place(&self, line: Option<usize>) -> Place {
        let file = self.file.as_str().into();
        match line {
            Some(line) => Place::Line { file, line },
            None => Place::File { file },
        }
    }
}

impl JsonEntry {
    fn entry(&self) -> Result<PrefixListEntry, String> {
        let prefix: IpNet = self
            .prefix
            .parse()
            .map_err(|_| format!("prefix: \"{}\" is invalid; expected a prefix", self.prefix))?;
        let bound = |key, value: Option<u64>| {
            let bound = value.map(u8::try_from).transpose();
            bound.map_err(|_| format!("{key}: out of range; expected a prefix length"))
        };
        let ge = bound("greater-equal", self.greater_equal)?;
        let le = bound("less-equal", self.less_equal)?;
        let ranges = ge.is_some() || le.is_some();
        match self.exact {
            Some(true) if ranges => Err("exact is true beside a range; expected one of them".to_owned()),
            Some(false) if !ranges => {
                Err("exact is false without a range; expected greater-equal or less-equal".to_owned())
            }
            _ => PrefixListEntry::new(prefix, ge, le).map_err(|error| error.to_string()),
        }
    }
}

impl<'de> Deserialize<'de> for JsonLists {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ListsVisitor)
    }
}

struct ListsVisitor;

impl<'de> Visitor<'de> for ListsVisitor {
    type Value = JsonLists;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of lists")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<JsonLists, A::Error> {
        let mut lists = Vec::new();
        while let Some(list) = map.next_entry()? {
            lists.push(list);
        }
        Ok(JsonLists(lists))
    }
}

/// Whether a path can name a file.
pub(super) fn is_file_name(text: &str) -> bool {
    !text.is_empty() && FilePath::new(text).file_name().is_some()
}
