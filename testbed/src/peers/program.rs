//! What the drivers share: a program that is started, waited for, killed and started again.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::netns::{Namespace, Sandbox};
use crate::process::{Process, wait_until};

/// A router's program, running or not.
#[derive(Debug)]
pub struct Program {
    name: String,
    namespace: Namespace,
    words: Vec<String>,
    process: Option<Process>,
}

impl Program {
    /// A program that does not run yet: `words` are its path and arguments.
    pub fn new(namespace: &Namespace, name: &str, words: &[&str]) -> Self {
        let words = words.iter().copied().map(str::to_owned).collect();
        Self { name: name.to_owned(), namespace: namespace.clone(), words, process: None }
    }

    /// Starts it and waits until it answers.
    pub fn launch<T>(
        &mut self,
        sandbox: &Sandbox,
        timeout: Duration,
        answer: impl FnMut() -> Result<T>,
    ) -> Result<()> {
        self.launch_with(sandbox, timeout, &[], answer)
    }

    /// The same with more arguments, for this once.
    pub fn launch_with<T>(
        &mut self,
        sandbox: &Sandbox,
        timeout: Duration,
        more: &[&str],
        mut answer: impl FnMut() -> Result<T>,
    ) -> Result<()> {
        ensure!(self.process.is_none(), "{} runs already", self.name);
        let words: Vec<&str> = self.words.iter().map(String::as_str).chain(more.iter().copied()).collect();
        let mut process = Process::spawn(sandbox, &self.namespace, &self.name, &words)?;
        wait_until(&format!("{} answers", self.name), timeout, || {
            process.ensure_running()?;
            answer()
        })?;
        self.process = Some(process);
        Ok(())
    }

    /// Ends it without a farewell to its peers.
    pub fn kill_9(&mut self) -> Result<()> {
        self.process.take().with_context(|| format!("{} does not run", self.name))?.kill_9()
    }

    /// Its name, which is that of its log too.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The log so far.
    pub fn log_text(&self) -> String {
        self.process.as_ref().map(Process::log_text).unwrap_or_default()
    }

    /// The process, while it runs.
    pub fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }
}
