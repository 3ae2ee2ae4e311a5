//! Configurations that are refused, and the errors that say so.

use conf::Config;

pub(crate) fn parse(text: &str) -> Result<Config, Vec<String>> {
    conf::parse("p.toml", text, []).map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

/// The errors of a whole file.
pub(crate) fn errors(text: &str) -> Vec<String> {
    match parse(text) {
        Ok(config) => panic!("accepted:\n{text}\n{config:?}"),
        Err(errors) => errors,
    }
}

/// The one error of a file that starts with a valid router section in lines 1 to 3; `body` starts in
/// line 4.
pub(crate) fn error(body: &str) -> String {
    let mut errors = errors(&with_router(body));
    assert_eq!(errors.len(), 1, "{errors:#?}");
    errors.remove(0)
}

pub(crate) fn with_router(body: &str) -> String {
    format!("[router]\nasn = 65000\nrouter-id = \"10.0.0.1\"\n{body}")
}

/// The one error of a neighbour with a valid address and AS in lines 5 and 6; `keys` start in line 7.
pub(crate) fn neighbor(keys: &str) -> String {
    error(&format!("[[neighbor]]\naddress = \"10.0.0.2\"\nasn = 65001\n{keys}\n"))
}

/// The one error of a policy whose rule starts in line 6; `rule` starts in line 7.
pub(crate) fn rule(rule: &str) -> String {
    error(&format!("[[policy]]\nname = \"p\"\n[[policy.rule]]\n{rule}\n"))
}
