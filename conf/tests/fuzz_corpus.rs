//! Configurations of the fuzzers' corpus, and the examples cut short anywhere: taken or refused with
//! the place, never a crash.

#[path = "../../bgp/fuzz/src/config.rs"]
mod config;

const CORPUS: &str = include_str!("../../bgp/fuzz/corpus.tsv");

#[test]
fn the_corpus_goes_through_its_target() {
    for line in CORPUS.lines().filter(|line| line.starts_with("config\t")) {
        let hex = line.split('\t').nth(1).expect("three fields");
        let octet = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal digits");
        let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(octet).collect();
        config::run(&bytes);
    }
}

#[test]
fn an_example_cut_short_anywhere_is_taken_or_refused() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");
    for entry in std::fs::read_dir(folder).expect("the examples") {
        let path = entry.expect("an example").path();
        if path.extension().is_none_or(|ending| ending != "toml") {
            continue;
        }
        let text = std::fs::read(&path).expect("an example");
        for length in (0..=text.len()).step_by(37) {
            config::run(&text[..length]);
        }
    }
}
