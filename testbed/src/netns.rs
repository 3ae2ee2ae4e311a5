//! Network namespaces: a set of them with its links, addresses and processes, cleared as a whole.
//!
//! A [`Sandbox`] is named; its namespaces are `pg-SANDBOX-ROLE` and its files lie in
//! `/tmp/peregrine-testbed/SANDBOX`. A lock on that directory keeps two runs of the same sandbox
//! apart, and what a crashed run left behind is cleared before the next one starts. Processes are
//! ended by their ids, and only those found inside our own namespaces.
//!
//! Offloads follow what XDP on veth needs: a device that receives redirected frames must poll by
//! NAPI (`gro on` does that), and senders must finish checksums and segmentation themselves
//! (`tx off`), because XDP passes on the bytes that it is given.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use ipnet::IpNet;
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Where sandboxes keep their configuration, logs and captures.
const ROOT: &str = "/tmp/peregrine-testbed";
/// Prefix of the namespaces of every sandbox.
const PREFIX: &str = "pg-";

/// A named set of namespaces. Dropped, it ends their processes and deletes them.
#[derive(Debug)]
pub struct Sandbox {
    name: String,
    directory: PathBuf,
    keep: bool,
    _lock: File,
}

impl Sandbox {
    /// An empty sandbox; leftovers of an earlier one of that name are cleared away, and a running
    /// one is waited for.
    pub fn new(name: &str) -> Result<Self> {
        let directory = Path::new(ROOT).join(name);
        fs::create_dir_all(ROOT).with_context(|| format!("create {ROOT}"))?;
        let lock_path = Path::new(ROOT).join(format!("{name}.lock"));
        let lock = File::create(&lock_path).with_context(|| format!("create {}", lock_path.display()))?;
        lock.lock().with_context(|| format!("lock {}", lock_path.display()))?;
        clear(name)?;
        fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
        Ok(Self { name: name.to_owned(), directory, keep: false, _lock: lock })
    }

    /// Where this sandbox keeps its files.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Leaves namespaces and processes alone when dropped.
    pub fn keep(&mut self) {
        self.keep = true;
    }

    /// Whether [`Sandbox::keep`] was asked for: processes then outlive the testbed.
    pub fn is_kept(&self) -> bool {
        self.keep
    }

    /// Creates the namespace `role`, with its loopback up.
    pub fn namespace(&self, role: &str) -> Result<Namespace> {
        let name = format!("{PREFIX}{}-{role}", self.name);
        ip(&["netns", "add", &name])?;
        let namespace = Namespace { name };
        namespace.ip(&["link", "set", "dev", "lo", "up"])?;
        Ok(namespace)
    }

    /// A veth pair between two namespaces, both ends up.
    pub fn link(&self, left: (&Namespace, &str), right: (&Namespace, &str)) -> Result<()> {
        let (left_ns, left_dev) = left;
        let (right_ns, right_dev) = right;
        ip(&[
            "link",
            "add",
            "name",
            left_dev,
            "netns",
            &left_ns.name,
            "type",
            "veth",
            "peer",
            "name",
            right_dev,
            "netns",
            &right_ns.name,
        ])?;
        left_ns.ip(&["link", "set", "dev", left_dev, "up"])?;
        right_ns.ip(&["link", "set", "dev", right_dev, "up"])
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if !self.keep
            && let Err(error) = remove_namespaces(&self.name)
        {
            eprintln!("sandbox {}: {error:#}", self.name);
        }
    }
}

/// Ends every process in the sandbox's namespaces, deletes them and the sandbox's files.
pub fn clear(name: &str) -> Result<()> {
    remove_namespaces(name)?;
    let directory = Path::new(ROOT).join(name);
    match fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}

/// The namespaces of a sandbox that exist now.
pub fn namespaces_of(name: &str) -> Result<Vec<String>> {
    let prefix = format!("{PREFIX}{name}-");
    let listing = ip(&["netns", "list"])?;
    Ok(listing
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|namespace| namespace.strip_prefix(&prefix).is_some_and(|role| !role.contains('-')))
        .map(str::to_owned)
        .collect())
}

fn remove_namespaces(name: &str) -> Result<()> {
    let namespaces = namespaces_of(name)?;
    for namespace in &namespaces {
        end_processes(namespace)?;
    }
    for namespace in &namespaces {
        let_forwarding_go(namespace)?;
        ip(&["netns", "delete", namespace])?;
    }
    Ok(())
}

/// Takes back what a daemon has left that was killed, or ended so that packets flow on: programs whose maps would stay
/// in the kernel when the namespace has gone.
fn let_forwarding_go(namespace: &str) -> Result<()> {
    let links = ip(&["-n", namespace, "link", "show"])?;
    // The line of an interface with a program, and that of the program.
    if !links.contains("prog/xdp") {
        return Ok(());
    }
    let socket = Path::new(ROOT).join("no-such-socket");
    let binary = crate::daemon::binary()?;
    let mut detach = Command::new("ip");
    detach.args(["netns", "exec", namespace]).arg(binary).arg("--socket").arg(socket).arg("detach");
    output(&mut detach).map(drop)
}

/// SIGTERM, then SIGKILL after two seconds, to what still runs in a namespace of ours.
fn end_processes(namespace: &str) -> Result<()> {
    for (signal, patience) in [(Signal::SIGTERM, 2000), (Signal::SIGKILL, 2000)] {
        let start = Instant::now();
        let mut signalled = Vec::new();
        loop {
            let running = pids(namespace)?;
            if running.is_empty() {
                return Ok(());
            }
            for pid in running {
                if !signalled.contains(&pid) {
                    signalled.push(pid);
                    // It may have ended by itself in the meantime.
                    let _ = kill(Pid::from_raw(pid), signal);
                }
            }
            if start.elapsed() > Duration::from_millis(patience) {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    bail!("processes in namespace {namespace} do not end: {:?}", pids(namespace)?)
}

fn pids(namespace: &str) -> Result<Vec<i32>> {
    let own = std::process::id().cast_signed();
    let listing = ip(&["netns", "pids", namespace])?;
    // A killed child stays listed until its parent has waited for it; it needs no more signals.
    let zombie = |pid: i32| {
        fs::read_to_string(format!("/proc/{pid}/stat"))
            .is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')))
    };
    Ok(listing
        .lines()
        .filter_map(|line| line.trim().parse().ok())
        .filter(|&pid| pid != own && !zombie(pid))
        .collect())
}

/// Runs `ip` with these arguments in the caller's namespace and returns what it printed.
pub fn ip(arguments: &[&str]) -> Result<String> {
    output(Command::new("ip").args(arguments))
}

/// Runs a command to its end; what it wrote to stderr is the error if it fails.
pub fn output(command: &mut Command) -> Result<String> {
    let shown = shown(command);
    let done = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run `{shown}`"))?;
    let stdout = String::from_utf8_lossy(&done.stdout).into_owned();
    if done.status.success() {
        return Ok(stdout);
    }
    let stderr = String::from_utf8_lossy(&done.stderr);
    let said = if stderr.trim().is_empty() { stdout.trim().to_owned() } else { stderr.trim().to_owned() };
    Err(anyhow!("`{shown}` failed ({}): {said}", done.status))
}

/// Runs a command to its end with this on its standard input.
fn input(command: &mut Command, text: &str) -> Result<()> {
    let shown = shown(command);
    let mut child = command
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run `{shown}`"))?;
    child
        .stdin
        .take()
        .context("no standard input")?
        .write_all(text.as_bytes())
        .context("write to a command")?;
    let done = child.wait_with_output().with_context(|| format!("wait for `{shown}`"))?;
    ensure!(done.status.success(), "`{shown}` failed: {}", String::from_utf8_lossy(&done.stderr).trim());
    Ok(())
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// One network namespace.
#[derive(Clone, Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// The name that `ip netns exec` takes.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `ip -n NAMESPACE ...`, for its effect.
    pub fn ip(&self, arguments: &[&str]) -> Result<()> {
        self.ip_output(arguments).map(drop)
    }

    /// `ip -n NAMESPACE ...`, for what it prints.
    pub fn ip_output(&self, arguments: &[&str]) -> Result<String> {
        output(Command::new("ip").args(["-n", &self.name]).args(arguments))
    }

    /// A command that will run inside; the caller adds arguments and runs it.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Runs a command inside to its end and returns what it printed.
    pub fn run(&self, words: &[&str]) -> Result<String> {
        let (program, arguments) = words.split_first().context("an empty command")?;
        output(self.command(program).args(arguments))
    }

    /// Adds an address, usable at once (without duplicate address detection).
    pub fn address(&self, device: &str, address: &str) -> Result<()> {
        let net: IpNet = address.parse().with_context(|| format!("address {address}"))?;
        let mut arguments = vec!["address", "add", address, "dev", device];
        if net.addr().is_ipv6() {
            arguments.push("nodad");
        }
        self.ip(&arguments)
    }

    /// Adds many addresses at once, usable at once.
    pub fn addresses(&self, device: &str, addresses: &[IpNet]) -> Result<()> {
        for (family, ipv6) in [("-4", false), ("-6", true)] {
            let of_family = addresses.iter().filter(|net| net.addr().is_ipv6() == ipv6);
            let nodad = if ipv6 { " nodad" } else { "" };
            let batch: String =
                of_family.map(|net| format!("address add {net} dev {device}{nodad}\n")).collect();
            input(Command::new("ip").args([family, "-n", &self.name, "-batch", "-"]), &batch)?;
        }
        Ok(())
    }

    /// Adds a route to the main table.
    pub fn route(&self, prefix: &str, via: &str) -> Result<()> {
        let via: IpAddr = via.parse().with_context(|| format!("gateway {via}"))?;
        let family = if via.is_ipv6() { "-6" } else { "-4" };
        self.ip(&[family, "route", "add", prefix, "via", &via.to_string()])
    }

    /// Prepares a device to exchange packets with an XDP program on the other end (see the head
    /// of this file).
    pub fn offloads_for_xdp(&self, device: &str) -> Result<()> {
        self.run(&["ethtool", "-K", device, "tx", "off", "gro", "on"]).map(drop)
    }

    /// Turns kernel forwarding on in both families.
    pub fn forwarding(&self) -> Result<()> {
        self.run(&["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]).map(drop)
    }

    /// Runs a closure on a thread of its own that has moved into this namespace. Sockets opened
    /// there belong to the namespace for good and may be returned.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let path = format!("/run/netns/{}", self.name);
        std::thread::scope(|scope| {
            let handle = scope.spawn(move || {
                let file = File::open(&path).with_context(|| format!("open {path}"))?;
                setns(&file, CloneFlags::CLONE_NEWNET).with_context(|| format!("enter {path}"))?;
                work()
            });
            handle.join().map_err(|_| anyhow!("the thread inside namespace {} panicked", self.name))?
        })
    }

    /// The processes that run inside.
    pub fn pids(&self) -> Result<Vec<i32>> {
        pids(&self.name)
    }

    /// The MAC address of a device.
    pub fn mac(&self, device: &str) -> Result<String> {
        let listing = self.ip_output(&["-o", "link", "show", "dev", device])?;
        let mut words = listing.split_whitespace().skip_while(|word| *word != "link/ether");
        words.nth(1).map(str::to_owned).with_context(|| format!("no MAC address in: {listing}"))
    }
}

/// The last `lines` lines of a file, for error messages; empty when it cannot be read.
pub fn tail(path: &Path, lines: usize) -> String {
    let mut text = String::new();
    let read = File::open(path).and_then(|mut file| file.read_to_string(&mut text));
    if read.is_err() {
        return String::new();
    }
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
