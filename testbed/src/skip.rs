//! What a machine lacks for a test, said instead of failing.
//!
//! A skipped test prints `SKIPPED name: reason` past the test harness's capture, so that
//! `scripts/test` can count it: a skipped test must never look like one that passed.

use std::io::Write as _;
use std::path::PathBuf;

use nix::unistd::Uid;

/// True when the caller is root and has these programs; otherwise says what is missing.
pub fn ready(test: &str, programs: &[&str]) -> bool {
    if !Uid::effective().is_root() {
        note(test, "needs root for network namespaces");
        return false;
    }
    let missing: Vec<&str> = programs.iter().copied().filter(|program| !installed(&[program])).collect();
    if !missing.is_empty() {
        note(test, &format!("not installed: {} (scripts/setup --peers installs them)", missing.join(", ")));
        return false;
    }
    true
}

/// Says that a test was skipped and why.
pub fn note(test: &str, reason: &str) {
    // The print macros are captured in tests that pass; a plain write is not.
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {reason}");
}

/// Whether all of these programs are there.
pub fn installed(programs: &[&str]) -> bool {
    programs.iter().all(|program| find(program).is_some())
}

/// The path of a program: itself when it is a path, else looked up like a shell would, in the
/// places for system programs too.
pub fn find(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|path| path.exists());
    }
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/sbin", "/usr/bin", "/sbin", "/bin"])
        .map(|directory| PathBuf::from(directory).join(program))
        .find(|candidate| candidate.is_file())
}
