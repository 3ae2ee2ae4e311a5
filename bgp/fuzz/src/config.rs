//! A configuration: it is taken, or there are errors that say where; never a crash.
//!
//! Input: the text. What names files is left alone: the machine's are none of the fuzzer's business.

pub(crate) fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if text.contains("file") {
        return;
    }
    match conf::parse("fuzz.toml", &text, []) {
        Ok(config) => {
            let changes = conf::diff(&config, &config);
            assert!(changes.is_empty(), "a configuration differs from itself: {changes:?}");
        }
        Err(errors) => {
            assert!(!errors.is_empty());
            for error in errors {
                assert!(error.to_string().starts_with("fuzz.toml"), "an error without its place: {error}");
            }
        }
    }
}
