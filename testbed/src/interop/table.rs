//! The results as a file, and the file as a table in the README.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::interop::{Feature, Verdict};

/// Around the table in the README.
const MARKS: [&str; 2] = [
    "<!-- interop: written by scripts/bench interop, from testbed/interop.json -->\n",
    "<!-- /interop -->\n",
];

/// Words by partner and feature.
pub type Results = BTreeMap<String, BTreeMap<String, String>>;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The recorded results.
pub fn recorded() -> Result<Results> {
    let path = path("interop.json");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}

/// Results as the file has them.
pub fn words(verdicts: &[(Feature, Verdict)]) -> BTreeMap<String, String> {
    verdicts.iter().map(|(feature, verdict)| (feature.key().to_owned(), verdict.word().to_owned())).collect()
}

/// Writes the file, and the table into the README; partners that were not tried stay as they were.
pub fn record(fresh: Results) -> Result<()> {
    let mut results = recorded().unwrap_or_default();
    results.extend(fresh);
    let file = path("interop.json");
    let text = serde_json::to_string_pretty(&results).context("results as JSON")?;
    std::fs::write(&file, text + "\n").with_context(|| format!("write {}", file.display()))?;
    let file = path("../README.md");
    let readme = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let written = with_table(&readme, &results)?;
    std::fs::write(&file, written).with_context(|| format!("write {}", file.display()))
}

/// The README with the table of these results.
pub fn with_table(readme: &str, results: &Results) -> Result<String> {
    let (before, rest) = readme.split_once(MARKS[0]).context("the README has no place for the table")?;
    let (_, after) = rest.split_once(MARKS[1]).context("the README's table has no end")?;
    Ok(format!("{before}{}{}{}{after}", MARKS[0], table(results), MARKS[1]))
}

fn table(results: &Results) -> String {
    let mut out = String::from("| |");
    for feature in Feature::ALL {
        out += &format!(" {} |", feature.heading());
    }
    out += "\n|---|";
    out += &"---|".repeat(Feature::ALL.len());
    out.push('\n');
    for (partner, words) in results {
        out += &format!("| {partner} |");
        for feature in Feature::ALL {
            out += match words.get(feature.key()).map(String::as_str) {
                Some("works") => " yes |",
                Some("not offered") => " - |",
                Some(_) => " no |",
                None => " ? |",
            };
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_has_the_table_of_the_recorded_results() {
        let readme = std::fs::read_to_string(path("../README.md")).expect("the README");
        let again = with_table(&readme, &recorded().expect("the results")).expect("a table");
        assert!(readme == again, "the README's table is stale: run scripts/bench interop");
    }
}
