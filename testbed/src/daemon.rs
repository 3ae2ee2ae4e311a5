//! The daemon under test: started in a namespace, asked through its command line and its metrics.
//!
//! Answers are taken as JSON values by field name, not through the daemon's own types: the names
//! are an interface that tools rely on, and a test that shares the types would not see one change.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::netns::{Namespace, Sandbox, output};
use crate::outgoing::Outgoing;
use crate::process::{Process, wait_until};
use crate::skip;

/// Overrides where the binary is looked for.
const BINARY: &str = "PEREGRINE_BIN";

/// The families as the daemon names them, IPv4 and IPv6.
pub const FAMILIES: [&str; 2] = ["ipv4-unicast", "ipv6-unicast"];

/// How long the daemon may take to load its program and to answer.
const START: Duration = Duration::from_secs(20);

/// The `peregrine` binary: what `PEREGRINE_BIN` says, else the one beside this program, in the
/// same target directory.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(BINARY) {
        return Ok(PathBuf::from(path));
    }
    let own = std::env::current_exe().context("find the path of this program")?;
    own.ancestors()
        .skip(1)
        .take(2)
        .map(|directory| directory.join("peregrine"))
        .find(|path| path.is_file())
        .with_context(|| {
            format!("no peregrine beside {}: run `cargo build` first, or set {BINARY}", own.display())
        })
}

/// Like [`skip::ready`], and the daemon must have been built.
pub fn ready(test: &str, programs: &[&str]) -> bool {
    if !skip::ready(test, programs) {
        return false;
    }
    match binary() {
        Ok(_) => true,
        Err(error) => {
            skip::note(test, &format!("{error:#}"));
            false
        }
    }
}

/// A running daemon. Dropped, it is ended by SIGINT, by which it takes back all that it has made. What it sent is judged
/// then, if that is asked for ([`crate::outgoing::JUDGE`]).
#[derive(Debug)]
pub struct Daemon {
    process: Process,
    outgoing: Option<Outgoing>,
    name: String,
    namespace: Namespace,
    config: PathBuf,
    socket: PathBuf,
}

impl Daemon {
    /// Starts the daemon and waits until its API answers. `[api] socket` is added to the
    /// configuration, which must not have an `[api]` section of its own.
    pub fn start(sandbox: &Sandbox, namespace: &Namespace, config: &str) -> Result<Self> {
        Self::start_as(sandbox, namespace, "peregrine", config)
    }

    /// The same of one among several, with files of this name.
    pub fn start_as(sandbox: &Sandbox, namespace: &Namespace, name: &str, config: &str) -> Result<Self> {
        let mut daemon = Self::launch_as(sandbox, namespace, name, config)?;
        daemon.wait_for_answers()?;
        Ok(daemon)
    }

    /// Starts the daemon without waiting: for configurations that it must refuse.
    pub fn launch(sandbox: &Sandbox, namespace: &Namespace, config: &str) -> Result<Self> {
        Self::launch_as(sandbox, namespace, "peregrine", config)
    }

    fn launch_as(sandbox: &Sandbox, namespace: &Namespace, name: &str, config: &str) -> Result<Self> {
        let path = sandbox.directory().join(format!("{name}.toml"));
        let socket = sandbox.directory().join(format!("{name}.sock"));
        write_config(&path, &socket, config)?;
        let outgoing = Outgoing::start_if_asked(sandbox, namespace)?;
        let process = run(sandbox, namespace, name, &path)?;
        let (name, namespace) = (name.to_owned(), namespace.clone());
        Ok(Self { process, outgoing, name, namespace, config: path, socket })
    }

    /// Writes another configuration, for the daemon to reload.
    pub fn rewrite(&self, config: &str) -> Result<()> {
        write_config(&self.config, &self.socket, config)
    }

    /// `peregrine WORDS...`: the exit code, and what was said on standard output and error.
    pub fn command(&self, words: &[&str]) -> Result<(i32, String)> {
        let mut command = Command::new(binary()?);
        let said = command.arg("--socket").arg(&self.socket).args(words).output().context("run peregrine")?;
        let text = [said.stdout, said.stderr].concat();
        let text = String::from_utf8(text).context("the command line said no UTF-8")?;
        Ok((said.status.code().unwrap_or(-1), text))
    }

    /// `peregrine WORDS...`, which must succeed.
    pub fn run(&self, words: &[&str]) -> Result<String> {
        let (code, text) = self.command(words)?;
        ensure!(code == 0, "peregrine {words:?}: exit code {code}: {text}");
        Ok(text)
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Its log so far.
    pub fn log_text(&self) -> String {
        self.process.log_text()
    }

    /// The configuration file.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// The command line that talks to this daemon, without the subcommand.
    pub fn client(&self) -> Result<String> {
        Ok(format!("{} --socket {}", binary()?.display(), self.socket.display()))
    }

    /// `peregrine show WORDS...`, as an operator sees it.
    pub fn show(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new(binary()?);
        command.arg("--socket").arg(&self.socket).arg("show").args(words);
        output(&mut command)
    }

    /// `peregrine show WORDS... --json`. Long answers come as an object a line: those are returned
    /// as an array.
    pub fn show_json(&self, words: &[&str]) -> Result<Value> {
        let mut all = words.to_vec();
        all.push("--json");
        let text = self.show(&all)?;
        let values: Result<Vec<Value>, _> = serde_json::Deserializer::from_str(&text).into_iter().collect();
        let mut values = values.with_context(|| format!("show {words:?} --json: {text}"))?;
        let whole = values.len() == 1 && (values[0].is_array() || words == ["summary"] || words == ["bfd"]);
        Ok(if whole { values.remove(0) } else { Value::Array(values) })
    }

    /// The state and counts of one neighbour in `show summary`.
    pub fn neighbor(&self, address: &str) -> Result<Value> {
        let summary = self.show_json(&["summary"])?;
        let neighbors = summary["neighbors"].as_array().context("show summary has no neighbors")?;
        let found = neighbors.iter().find(|neighbor| neighbor["address"] == address);
        found.cloned().with_context(|| format!("no neighbor {address} in {summary}"))
    }

    /// Waits until the session with a neighbour is Established.
    pub fn wait_established(&self, address: &str, timeout: Duration) -> Result<()> {
        self.wait_state(address, timeout, true)
    }

    /// Waits until the session with a neighbour is not Established.
    pub fn wait_down(&self, address: &str, timeout: Duration) -> Result<()> {
        self.wait_state(address, timeout, false)
    }

    fn wait_state(&self, address: &str, timeout: Duration, established: bool) -> Result<()> {
        let what = if established { "Established" } else { "not Established" };
        wait_until(&format!("session with {address} {what}"), timeout, || {
            let neighbor = self.neighbor(address)?;
            let state = neighbor["state"].as_str().unwrap_or_default();
            if (state == "Established") == established { Ok(()) } else { Err(anyhow!("{neighbor}")) }
        })
    }

    /// One count (`received`, `accepted`, `best`) of a neighbour in a family.
    pub fn count(&self, address: &str, family: &str, which: &str) -> Result<u64> {
        Ok(self.neighbor(address)?["families"][family][which].as_u64().unwrap_or(0))
    }

    /// Waits until a count of a neighbour has this value.
    pub fn wait_count(
        &self,
        address: &str,
        family: &str,
        which: &str,
        value: u64,
        timeout: Duration,
    ) -> Result<()> {
        wait_until(&format!("{value} {family} routes {which} of {address}"), timeout, || {
            let seen = self.count(address, family, which)?;
            if seen == value { Ok(()) } else { Err(anyhow!("{seen}")) }
        })
    }

    /// The paths of a prefix, best first; none when the prefix is unknown.
    pub fn paths(&self, prefix: &str) -> Result<Vec<Value>> {
        let Ok(routes) = self.show_json(&["routes", prefix]) else { return Ok(Vec::new()) };
        let routes = routes.as_array().cloned().unwrap_or_default();
        let found = routes.iter().find(|route| route["prefix"] == prefix);
        Ok(found.and_then(|route| route["paths"].as_array().cloned()).unwrap_or_default())
    }

    /// Every prefix that the forwarding table holds, with its state (`installed`, ...).
    pub fn fib(&self) -> Result<BTreeMap<String, String>> {
        let routes = self.show_json(&["fib"])?;
        let routes = routes.as_array().context("show fib is no list")?;
        let entry =
            |route: &Value| Some((route["prefix"].as_str()?.to_owned(), route["state"].as_str()?.to_owned()));
        Ok(routes.iter().filter_map(entry).collect())
    }

    /// Waits until a prefix is (or is not) installed in the forwarding table.
    pub fn wait_installed(&self, prefix: &str, installed: bool, timeout: Duration) -> Result<()> {
        let what = if installed { "installed" } else { "gone" };
        wait_until(&format!("{prefix} {what} in the forwarding table"), timeout, || {
            let state = self.fib()?.get(prefix).cloned();
            if (state.as_deref() == Some("installed")) == installed {
                Ok(())
            } else {
                Err(anyhow!("{state:?}"))
            }
        })
    }

    /// Packets by reason of the verdict, as `show counters` has them.
    pub fn verdicts(&self) -> Result<BTreeMap<String, u64>> {
        let rows = self.show_json(&["counters"])?;
        let rows = rows.as_array().context("show counters is no list")?;
        let entry = |row: &Value| Some((row["reason"].as_str()?.to_owned(), row["packets"].as_u64()?));
        Ok(rows.iter().filter_map(entry).collect())
    }

    /// GET on the Unix socket.
    pub fn get(&self, path: &str) -> Result<String> {
        let stream = UnixStream::connect(&self.socket)
            .with_context(|| format!("connect to {}", self.socket.display()))?;
        stream.set_read_timeout(Some(START)).context("read timeout")?;
        http_get(stream, path)
    }

    /// GET on the TCP address, from inside the daemon's namespace.
    pub fn get_tcp(&self, path: &str) -> Result<String> {
        let address = SocketAddr::from(([127, 0, 0, 1], 8179));
        let stream = self.namespace.enter(|| {
            TcpStream::connect_timeout(&address, START).with_context(|| format!("connect to {address}"))
        })?;
        stream.set_read_timeout(Some(START)).context("read timeout")?;
        http_get(stream, path)
    }

    /// The scrape.
    pub fn metrics(&self) -> Result<Metrics> {
        Metrics::parse(&self.get("/metrics")?)
    }

    /// `peregrine clear ADDRESS --soft DIRECTION`, with `in` or `out`.
    pub fn refresh(&self, address: &str, direction: &str) -> Result<()> {
        self.run(&["clear", address, "--soft", direction]).map(drop)
    }

    /// `peregrine clear ADDRESS`.
    pub fn clear(&self, address: &str) -> Result<()> {
        let mut command = Command::new(binary()?);
        command.arg("--socket").arg(&self.socket).args(["clear", address]);
        output(&mut command).map(drop)
    }

    /// `/metrics` says the same as `show summary`.
    pub fn metrics_agree(&self, summary: &Value) -> Result<()> {
        let metrics = self.metrics()?;
        let same = |name: &str, labels: &[(&str, &str)], expected: &Value| -> Result<()> {
            let (seen, expected) = (metrics.sum(name, labels)?, expected.as_f64().context("not a number")?);
            ensure!(
                (seen - expected).abs() < 0.5,
                "{name} {labels:?} is {seen}, show summary says {expected}"
            );
            Ok(())
        };
        for (family, rib) in summary["rib"].as_object().context("no rib in the summary")? {
            same("peregrine_rib_prefixes", &[("family", family)], &rib["prefixes"])?;
            same("peregrine_rib_paths", &[("family", family)], &rib["paths"])?;
        }
        for neighbor in summary["neighbors"].as_array().context("no neighbors in the summary")? {
            let address = neighbor["address"].as_str().context("a neighbor without an address")?;
            for (family, counts) in neighbor["families"].as_object().context("no families")? {
                for which in ["received", "accepted", "best"] {
                    let name = format!("peregrine_session_routes_{which}");
                    same(&name, &[("neighbor", address), ("family", family)], &counts[which])?;
                }
            }
        }
        // Absent in a pure control plane.
        if let Some(families) = summary["fib"]["families"].as_object() {
            for (family, table) in families {
                same("peregrine_fib_routes", &[("family", family)], &table["routes"])?;
                same("peregrine_fib_entries", &[("family", family)], &table["entries"])?;
                same("peregrine_fib_capacity_entries", &[("family", family)], &table["capacity"])?;
                same("peregrine_fib_not_installed_routes", &[("family", family)], &table["not_installed"])?;
            }
        }
        Ok(())
    }

    /// [`Daemon::metrics_agree`], tried again while routes still move.
    pub fn wait_metrics_agree(&self) -> Result<()> {
        wait_until("show summary and /metrics agree", Duration::from_secs(5), || {
            self.metrics_agree(&self.show_json(&["summary"])?)
        })
    }

    /// Ends the daemon for a restart, as its service manager would, and waits for it: packets flow on.
    pub fn terminate(&mut self) -> Result<()> {
        self.end(Signal::SIGTERM)
    }

    /// Ends the daemon for good, as Ctrl-C does, and waits for it: it takes back all that it has made.
    pub fn interrupt(&mut self) -> Result<()> {
        self.end(Signal::SIGINT)
    }

    fn end(&mut self, signal: Signal) -> Result<()> {
        let status = self.process.end(signal, Duration::from_secs(10))?;
        ensure!(status.success(), "the daemon ended with {status}");
        Ok(())
    }

    /// Starts the daemon again, after it has ended in whatever way, and waits until its API answers.
    pub fn restart(&mut self, sandbox: &Sandbox) -> Result<()> {
        ensure!(self.process.exited()?.is_some(), "the daemon still runs");
        self.process = run(sandbox, &self.namespace, &self.name, &self.config)?;
        self.wait_for_answers()
    }

    /// Waits until packets go by this run's own tables, not by those of an earlier one.
    pub fn wait_live(&self, timeout: Duration) -> Result<()> {
        wait_until("packets go by the tables of this run", timeout, || {
            let fib = self.show_json(&["summary"])?["fib"].take();
            if fib["staged"] == false { Ok(()) } else { Err(anyhow!("{fib}")) }
        })
    }

    fn wait_for_answers(&mut self) -> Result<()> {
        wait_until("the daemon answers", START, || {
            self.process.ensure_running()?;
            self.get("/v1/summary")
        })
        .map(drop)
    }
}

fn run(sandbox: &Sandbox, namespace: &Namespace, name: &str, config: &Path) -> Result<Process> {
    let binary = binary()?.display().to_string();
    let config = config.display().to_string();
    let words = [binary.as_str(), "run", "-c", config.as_str()];
    let mut process = Process::spawn(sandbox, namespace, name, &words)?;
    process.say_farewell_by(Signal::SIGINT);
    Ok(process)
}

impl Drop for Daemon {
    /// # Panics
    ///
    /// If tshark finds fault with what the daemon sent, unless the test has failed already.
    fn drop(&mut self) {
        let Some(outgoing) = self.outgoing.take() else { return };
        // One that does not end by itself is killed with the process.
        let _ = self.process.end(Signal::SIGINT, Duration::from_secs(10));
        if let Err(error) = outgoing.judge()
            && !std::thread::panicking()
        {
            panic!("{error:#}");
        }
    }
}

fn write_config(path: &Path, socket: &Path, config: &str) -> Result<()> {
    let api = format!("\n[api]\nsocket = \"{}\"\nlisten = \"127.0.0.1:8179\"\n", socket.display());
    fs::write(path, format!("{config}{api}")).with_context(|| format!("write {}", path.display()))
}

/// One GET by HTTP/1.1 over a fresh connection; the body of a 200.
fn http_get(mut stream: impl std::io::Read + std::io::Write, path: &str) -> Result<String> {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: peregrine\r\nConnection: close\r\n\r\n")
        .context("send the request")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).with_context(|| format!("read the answer to GET {path}"))?;
    let answer = String::from_utf8(answer).context("the answer is not UTF-8")?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no end of the HTTP header")?;
    let body = if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        unchunk(body)?
    } else {
        body.to_owned()
    };
    let status = head.split_whitespace().nth(1).unwrap_or_default();
    ensure!(status == "200", "GET {path}: status {status}: {body}");
    Ok(body)
}

/// Undoes chunked transfer coding (RFC 9112 section 7.1).
fn unchunk(mut rest: &str) -> Result<String> {
    let mut body = String::new();
    loop {
        let (size, after) = rest.split_once("\r\n").context("a chunk without its size")?;
        let size = usize::from_str_radix(size.trim(), 16).with_context(|| format!("chunk size {size}"))?;
        if size == 0 {
            return Ok(body);
        }
        let (chunk, after) = after.split_at_checked(size).context("a chunk that is cut off")?;
        body.push_str(chunk);
        rest = after.strip_prefix("\r\n").context("a chunk without its end")?;
    }
}

/// A scrape in Prometheus' text format.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    samples: Vec<(String, BTreeMap<String, String>, f64)>,
}

impl Metrics {
    /// Reads the text; comments are skipped.
    pub fn parse(text: &str) -> Result<Self> {
        let mut samples = Vec::new();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            samples.push(sample(line).with_context(|| format!("metric line: {line}"))?);
        }
        Ok(Self { samples })
    }

    /// The sum of all samples of a metric whose labels include these; an error if there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Result<f64> {
        let mut found = None;
        for (sample_name, sample_labels, value) in &self.samples {
            let fits = labels.iter().all(|(key, value)| sample_labels.get(*key).is_some_and(|v| v == value));
            if sample_name == name && fits {
                *found.get_or_insert(0.0) += value;
            }
        }
        found.with_context(|| format!("no sample of {name} with {labels:?}"))
    }

    /// The samples of a metric summed by the value of one label, in no particular order.
    pub fn by_label(&self, name: &str, label: &str) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        for (_, labels, value) in self.samples.iter().filter(|(sample_name, ..)| sample_name == name) {
            if let Some(by) = labels.get(label) {
                *sums.entry(by.clone()).or_insert(0.0) += value;
            }
        }
        sums
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether the scrape had no samples.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }
}

fn sample(line: &str) -> Result<(String, BTreeMap<String, String>, f64)> {
    let (left, value) = line.rsplit_once(' ').context("no value")?;
    let value = value.parse().context("value is no number")?;
    let Some((name, labels)) = left.split_once('{') else {
        return Ok((left.to_owned(), BTreeMap::new(), value));
    };
    let mut rest = labels.strip_suffix('}').context("labels are not closed")?;
    let mut out = BTreeMap::new();
    while !rest.is_empty() {
        let (key, after) = rest.split_once("=\"").context("label without a value")?;
        let Some(end) = after.find('"') else { bail!("label value is not closed") };
        out.insert(key.trim_start_matches(',').to_owned(), after[..end].to_owned());
        rest = &after[end + 1..];
    }
    Ok((name.to_owned(), out, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_summed_over_the_labels_left_open() {
        let text =
            "# HELP a b\nup 1\nroutes{family=\"v4\",peer=\"x\"} 2\nroutes{family=\"v4\",peer=\"y\"} 3.5\n";
        let metrics = Metrics::parse(text).unwrap();
        assert_eq!(metrics.len(), 3);
        let close = |name, labels: &[(&str, &str)], value: f64| {
            assert!((metrics.sum(name, labels).unwrap() - value).abs() < 1e-9, "{name} {labels:?}");
        };
        close("up", &[], 1.0);
        close("routes", &[("family", "v4")], 5.5);
        close("routes", &[("peer", "y")], 3.5);
        let by_peer: Vec<String> = metrics.by_label("routes", "peer").into_keys().collect();
        assert_eq!(by_peer, ["x", "y"]);
        assert!(metrics.sum("routes", &[("peer", "z")]).is_err());
        assert!(Metrics::parse("routes{family=\"v4\" 2").is_err());
    }

    #[test]
    fn chunks_are_joined() {
        assert_eq!(unchunk("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n").unwrap(), "abcde");
        assert!(unchunk("5\r\nabc").is_err());
    }
}
