//! The lab's report on the terminal: one line a step, with a tick and a figure.
//!
//! A step that fails prints what was expected; the caller then prints the logs. Colour only on a
//! terminal.

use std::io::{IsTerminal as _, Write as _};
use std::time::Instant;

use anyhow::Result;

/// Prints steps as they are done.
#[derive(Debug)]
pub struct Story {
    start: Instant,
    colour: bool,
    steps: u32,
}

impl Story {
    /// Opens with a title.
    pub fn begin(title: &str) -> Self {
        let story = Self { start: Instant::now(), colour: std::io::stdout().is_terminal(), steps: 0 };
        story.line(&story.paint("1", title));
        story
    }

    /// A heading between steps.
    pub fn chapter(&self, title: &str) {
        self.line("");
        self.line(&self.paint("1", title));
    }

    /// Does one step; what it returns is the figure that is printed behind it.
    pub fn step(&mut self, what: &str, work: impl FnOnce() -> Result<String>) -> Result<()> {
        self.make(what, || Ok(((), work()?)))
    }

    /// Does one step that yields something, beside its figure.
    pub fn make<T>(&mut self, what: &str, work: impl FnOnce() -> Result<(T, String)>) -> Result<T> {
        match work() {
            Ok((value, figure)) => {
                self.steps += 1;
                let dots = ".".repeat(64_usize.saturating_sub(what.chars().count()));
                self.line(&format!("  {} {what} {} {figure}", self.paint("32", "✓"), self.paint("2", &dots)));
                Ok(value)
            }
            Err(error) => {
                self.line(&format!("  {} {what}", self.paint("31", "✗")));
                Err(error.context(what.to_owned()))
            }
        }
    }

    /// Output of a program, indented under the step it belongs to.
    pub fn quote(&self, text: &str) {
        for line in text.lines() {
            self.line(&format!("      {}", self.paint("2", line)));
        }
    }

    /// The closing line.
    pub fn end(&self, what: &str) {
        self.line("");
        let seconds = self.start.elapsed().as_secs_f64();
        let text = format!("{what}: {} steps in {seconds:.0} s", self.steps);
        self.line(&self.paint("1;32", &text));
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    #[expect(clippy::unused_self, reason = "the story is the only one that writes to the terminal")]
    fn line(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        // A closed pipe (`scripts/lab | head`) is no reason to stop half-way.
        let _ = writeln!(out, "{text}");
        let _ = out.flush();
    }
}
