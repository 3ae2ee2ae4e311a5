//! What can be wrong with a configuration, and where.
//!
//! Every error displays as `PLACE: KEY: WHAT IS WRONG; expected WHAT`. The place is `FILE:LINE` with
//! the line of the offending key, the name of the environment variable when an override is wrong,
//! or the file alone when it cannot be read. Keys are written as paths, `neighbor.hold-time`; of
//! several `[[neighbor]]` the line tells which.

use std::fmt;
use std::sync::Arc;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A line of the file, counted from 1.
    Line {
        /// The path of the file, as it was given.
        file: Arc<str>,
        /// The line.
        line: usize,
    },
    /// The file as a whole.
    File {
        /// The path of the file, as it was given.
        file: Arc<str>,
    },
    /// An override from the environment.
    Variable {
        /// The name of the variable.
        name: String,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { file, line } => write!(f, "{file}:{line}"),
            Self::File { file } => f.write_str(file),
            Self::Variable { name } => f.write_str(name),
        }
    }
}

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfError {
    /// Where it is.
    pub place: Place,
    /// The path of the key, or empty when the whole file is meant.
    pub key: String,
    /// What is wrong, and what was expected.
    pub reason: String,
}

/// Something that is allowed but probably not meant. Displays as an error does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Where it is.
    pub place: Place,
    /// The path of the key.
    pub key: String,
    /// What happens, and how to say that it is meant.
    pub reason: String,
}

impl fmt::Display for ConfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        message(f, &self.place, &self.key, &self.reason)
    }
}

impl std::error::Error for ConfError {}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        message(f, &self.place, &self.key, &self.reason)
    }
}

fn message(f: &mut fmt::Formatter<'_>, place: &Place, key: &str, reason: &str) -> fmt::Result {
    if key.is_empty() { write!(f, "{place}: {reason}") } else { write!(f, "{place}: {key}: {reason}") }
}
