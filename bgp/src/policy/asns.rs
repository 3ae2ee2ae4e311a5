//! Sets of AS numbers: `64511`, `64512-65534`.

use std::str::FromStr;

use crate::types::Asn;

use super::community::NumberPattern;

/// A set of AS numbers. Compiled into disjoint ranges in order, so that a look costs a binary search.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct AsnSet(Vec<NumberPattern>);

/// Why a text is no AS number or range of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AsnSetError {
    /// Neither a number nor a range.
    #[error("\"{0}\" is not an AS number; expected a number such as 64511 or a range \"64512-65534\"")]
    Syntax(String),
    /// A range whose end comes before its start.
    #[error("the range \"{0}\" is empty; expected the smaller number first")]
    EmptyRange(String),
}

impl AsnSet {
    /// The set of these ranges.
    pub fn new(ranges: impl IntoIterator<Item = NumberPattern>) -> Self {
        let mut ranges: Vec<NumberPattern> = ranges.into_iter().collect();
        ranges.sort_unstable_by_key(|range| (range.first, range.last));
        let mut merged: Vec<NumberPattern> = Vec::with_capacity(ranges.len());
        for range in ranges {
            match merged.last_mut() {
                Some(last) if range.first <= last.last.saturating_add(1) => {
                    last.last = last.last.max(range.last);
                }
                _ => merged.push(range),
            }
        }
        Self(merged)
    }

    /// Its ranges: disjoint, in order.
    pub fn ranges(&self) -> &[NumberPattern] {
        &self.0
    }

    /// Whether there is no number in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the number is in it.
    pub fn contains(&self, asn: Asn) -> bool {
        let index = self.0.partition_point(|range| range.last < asn.0);
        self.0.get(index).is_some_and(|range| range.matches(asn.0))
    }

    /// Reads a number or a range, either with or without `AS` in front.
    pub fn parse_range(text: &str) -> Result<NumberPattern, AsnSetError> {
        let number = |text: &str| {
            Asn::from_str(text.trim())
                .map(|asn| asn.0)
                .map_err(|_| AsnSetError::Syntax(text.trim().to_owned()))
        };
        let range = match text.split_once('-') {
            None => NumberPattern::exactly(number(text)?),
            Some((first, last)) => {
                let whole = |_| AsnSetError::Syntax(text.to_owned());
                NumberPattern { first: number(first).map_err(whole)?, last: number(last).map_err(whole)? }
            }
        };
        if range.first > range.last {
            return Err(AsnSetError::EmptyRange(text.to_owned()));
        }
        Ok(range)
    }
}
