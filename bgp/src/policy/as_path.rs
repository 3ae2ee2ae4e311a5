//! AS-path expressions in the style of Cisco and FRR: `^65001_`, `_174$`, `^$`, `_(701|702)_`.
//!
//! An expression is a regular expression over the path as text, `65001 174 {64500,64501}`. It
//! matches anywhere unless anchored by `^` and `$`. `_` stands for whatever delimits an AS number:
//! the start, the end, a space, a comma, or a brace or parenthesis of sets and confederations.
//! So `_174_` finds AS 174, where `174` alone also finds AS 1174. One delimiter serves one `_`: two
//! neighbours are `_174_3356_`.
//!
//! The rest is the syntax of the crate `regex`, which for the operators that such expressions use
//! is POSIX's, runs in linear time, and has no back references. Characters that no AS path
//! contains are refused, as they can only be mistakes.
//!
//! Most expressions in real policies name a single AS number. Those are held against the numbers of
//! the path themselves, without writing it out; a test proves both ways equal.

use std::fmt;
use std::fmt::Write as _;

use regex::bytes::{Regex, RegexBuilder};

use crate::types::Asn;
use crate::wire::{AsPath, SegmentKind};

/// What `_` means. FRR has the same but for the brackets of confederation sets.
const DELIMITER: &str = r"(?:^|[,{}()\[\] ]|$)";

/// Characters that an expression may contain outside of brackets and behind no backslash.
const ALLOWED: &str = "0123456789 ,.^$*+?|(){}-";

/// The compiled form of one expression may not take more than this many bytes.
const SIZE_LIMIT: usize = 1 << 20;

/// A compiled AS-path expression. Two are equal when their texts are.
#[derive(Clone)]
pub struct AsPathPattern {
    source: String,
    matcher: Matcher,
}

/// Why an expression does not compile. Each names the expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("AS-path expression \"{pattern}\" is invalid: {reason}")]
pub struct AsPathPatternError {
    /// The expression as written.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: String,
}

#[derive(Clone)]
enum Matcher {
    /// `^$`
    Empty,
    /// `_N_`
    Contains(Asn),
    /// `^N_`
    StartsWith(Asn),
    /// `_N$`
    EndsWith(Asn),
    /// Everything else.
    Text(Regex),
}

impl AsPathPattern {
    /// Compiles an expression.
    pub fn new(pattern: &str) -> Result<Self, AsPathPatternError> {
        // Compiled in any case, so that what is valid does not depend on the shortcuts.
        let regex =
            compile(pattern).map_err(|reason| AsPathPatternError { pattern: pattern.to_owned(), reason })?;
        let matcher = shortcut(pattern).unwrap_or(Matcher::Text(regex));
        Ok(Self { source: pattern.to_owned(), matcher })
    }

    /// The expression as written.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// Whether the path matches.
    pub fn matches(&self, path: &AsPath) -> bool {
        self.matches_cached(path, &mut None)
    }

    /// The same for several expressions over one path: `text` is the path written out, once one
    /// of them has needed it.
    pub(super) fn matches_cached(&self, path: &AsPath, text: &mut Option<String>) -> bool {
        match &self.matcher {
            Matcher::Empty => path.segments().next().is_none(),
            Matcher::Contains(asn) => path.contains(*asn),
            Matcher::StartsWith(asn) => path
                .segments()
                .next()
                .is_some_and(|s| s.kind() == SegmentKind::Sequence && s.asns().next() == Some(*asn)),
            Matcher::EndsWith(asn) => path
                .segments()
                .last()
                .is_some_and(|s| s.kind() == SegmentKind::Sequence && s.asns().next_back() == Some(*asn)),
            Matcher::Text(regex) => {
                let text = text.get_or_insert_with(|| {
                    let mut text = String::with_capacity(64);
                    // Writing to a String cannot fail.
                    let _ = write!(text, "{path}");
                    text
                });
                regex.is_match(text.as_bytes())
            }
        }
    }
}

impl std::str::FromStr for AsPathPattern {
    type Err = AsPathPatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl PartialEq for AsPathPattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for AsPathPattern {}

impl fmt::Display for AsPathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

impl fmt::Debug for AsPathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AsPathPattern").field(&self.source).finish()
    }
}

fn compile(pattern: &str) -> Result<Regex, String> {
    let mut builder = RegexBuilder::new(&translate(pattern)?);
    builder.unicode(false).size_limit(SIZE_LIMIT).build().map_err(|error| {
        if let regex::Error::CompiledTooBig(_) = error {
            return "it is too large once compiled".to_owned();
        }
        // The message draws the translated expression over several lines; its last one says why.
        let message = error.to_string();
        let last = message.lines().last().unwrap_or_default();
        let reason = last.strip_prefix("error: ").unwrap_or(last);
        let hint =
            if reason.contains("counted repetition") { "; a brace itself is written \"\\{\"" } else { "" };
        format!("{reason}{hint}")
    })
}

/// Rewrites `_` and refuses what cannot be meant.
fn translate(pattern: &str) -> Result<String, String> {
    if pattern.is_empty() {
        return Err("it is empty; \".*\" matches every path, \"^$\" the empty one".to_owned());
    }
    let mut out = String::with_capacity(pattern.len() + 32);
    let mut chars = pattern.chars();
    // Nesting of brackets: [[:digit:]] is two deep.
    let mut brackets = 0_u32;
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(escaped) => out.extend(['\\', escaped]),
                None => return Err("it ends in a lone backslash".to_owned()),
            },
            '[' => {
                brackets += 1;
                out.push(c);
            }
            ']' => {
                brackets = brackets.saturating_sub(1);
                out.push(c);
            }
            '_' if brackets > 0 => {
                return Err("\"_\" has no meaning inside brackets; expected \"(_|...)\"".to_owned());
            }
            '_' => out.push_str(DELIMITER),
            _ if brackets > 0 || ALLOWED.contains(c) => out.push(c),
            _ => return Err(format!("\"{c}\" never occurs in an AS path")),
        }
    }
    Ok(out)
}

/// The matcher for expressions that name one AS number, or none.
fn shortcut(pattern: &str) -> Option<Matcher> {
    if pattern == "^$" {
        return Some(Matcher::Empty);
    }
    let first = pattern.chars().next()?;
    let last = pattern.chars().next_back()?;
    let digits = pattern.get(1..pattern.len().checked_sub(1)?)?;
    // With a leading zero, the text would never match a number.
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) || digits.starts_with('0') {
        return None;
    }
    let asn = Asn(digits.parse().ok()?);
    match (first, last) {
        ('_', '_') => Some(Matcher::Contains(asn)),
        ('^', '_') => Some(Matcher::StartsWith(asn)),
        ('_', '$') => Some(Matcher::EndsWith(asn)),
        _ => None,
    }
}
