//! "Did you mean": the known name that is nearest to an unknown one.

/// The nearest of `known` by edit distance, if it is near enough to be what was meant.
pub(crate) fn nearest<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let normal = name.to_lowercase().replace('_', "-");
    let limit = (normal.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|candidate| (distance(&normal, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance with swaps of neighbours counted as one (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, &x) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(above.len());
        row.push(i + 1);
        for (j, &y) in b.iter().enumerate() {
            let mut best = (above[j] + usize::from(x != y)).min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && x == b[j - 1] && a[i - 1] == y {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 5] = ["asn", "hold-time", "passive", "import", "export"];

    #[test]
    fn a_slip_of_the_fingers_finds_its_key() {
        for (typed, meant) in [
            ("hold-tme", "hold-time"),
            ("hold_time", "hold-time"),
            ("HoldTime", "hold-time"),
            ("asm", "asn"),
            ("ans", "asn"),
            ("pasive", "passive"),
            ("imports", "import"),
        ] {
            assert_eq!(nearest(typed, KEYS), Some(meant), "{typed}");
        }
    }

    #[test]
    fn a_different_word_finds_nothing() {
        for typed in ["x", "weight", "neighbours", ""] {
            assert_eq!(nearest(typed, KEYS), None, "{typed}");
        }
    }
}
