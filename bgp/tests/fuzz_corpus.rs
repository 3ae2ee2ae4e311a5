//! The inputs of `fuzz/corpus.tsv` through the fuzz targets: what was found once stays mended.

#[path = "../fuzz/src/mod.rs"]
mod targets;

/// Target, input as hexadecimal digits, what it is.
const CORPUS: &str = include_str!("../fuzz/corpus.tsv");

fn bytes(hex: &str) -> Vec<u8> {
    let octet = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal digits");
    (0..hex.len()).step_by(2).map(octet).collect()
}

#[test]
fn the_corpus_goes_through_its_targets() {
    let mut runs = 0;
    for line in CORPUS.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [target, hex, what] = fields[..] else { panic!("three fields: {line}") };
        let run = match target {
            "message" => targets::message::run,
            "update" => targets::update::run,
            "session" => targets::session::run,
            "text" => targets::text::run,
            // conf/tests/fuzz_corpus.rs runs these.
            "config" => continue,
            other => panic!("no target {other}: {what}"),
        };
        println!("{target}: {what}");
        // Whole, cut short anywhere, and in every context.
        let input = bytes(hex);
        for length in 0..=input.len() {
            run(&input[..length]);
        }
        for bits in 0..64 {
            run(&[&[bits], &input[1..]].concat());
        }
        runs += 1;
    }
    assert!(runs > 20, "{runs} inputs");
}
