//! What processes cost, read from `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::resource::{UsageWho, getrusage};

/// The unit of times in `/proc`: `USER_HZ` is 100 on every architecture that Linux shows to
/// programs today (`man 5 proc`).
const TICK: Duration = Duration::from_millis(10);

/// Costs of a set of processes together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// User and system time of all threads since their start.
    pub cpu: Duration,
    /// Resident memory in bytes.
    pub resident: u64,
    /// The most that has been resident, in bytes.
    pub peak: u64,
}

/// Sums up processes that run.
pub fn of(pids: &[i32]) -> Result<Usage> {
    let mut sum = Usage::default();
    for pid in pids {
        sum.cpu += cpu(*pid)?;
        let status = read(&format!("/proc/{pid}/status"))?;
        sum.resident += kib(&status, "VmRSS:")?;
        sum.peak += kib(&status, "VmHWM:")?;
    }
    Ok(sum)
}

/// User and system time of processes together.
pub fn cpu_of(pids: &[i32]) -> Result<Duration> {
    pids.iter().map(|pid| cpu(*pid)).sum()
}

/// User and system time of the threads of a process that run now, by name.
pub fn cpu_by_thread(pid: i32) -> Result<BTreeMap<String, Duration>> {
    let directory = format!("/proc/{pid}/task");
    let mut threads = BTreeMap::new();
    for entry in fs::read_dir(&directory).with_context(|| format!("list {directory}"))? {
        // A thread may have ended in the meantime.
        let Ok(stat) = fs::read_to_string(entry.context("a thread")?.path().join("stat")) else { continue };
        let name = stat.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')'));
        let (name, _) = name.context("a thread without a name")?;
        *threads.entry(name.to_owned()).or_default() += times(&stat)?;
    }
    Ok(threads)
}

/// Memory of processes that no file stands behind, in bytes: heaps and stacks.
pub fn anonymous(pids: &[i32]) -> Result<u64> {
    pids.iter().map(|pid| kib(&read(&format!("/proc/{pid}/status"))?, "RssAnon:")).sum()
}

fn cpu(pid: i32) -> Result<Duration> {
    times(&read(&format!("/proc/{pid}/stat"))?)
}

/// User and system time in the `stat` file of a process or thread.
fn times(stat: &str) -> Result<Duration> {
    // The second field is a name in parentheses, which may contain anything.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let times: Vec<u32> =
        fields.skip(11).take(2).map(str::parse).collect::<Result<_, _>>().context("times")?;
    Ok(TICK * times.iter().sum())
}

fn kib(status: &str, name: &str) -> Result<u64> {
    let line =
        status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().with_context(|| name.to_owned())?;
    Ok(kib * 1024)
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {path}"))
}

/// User and system time of this process, all threads.
pub fn own_cpu() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).context("getrusage")?;
    let micros = [usage.user_time(), usage.system_time()]
        .iter()
        .map(|time| time.tv_sec().cast_unsigned() * 1_000_000 + time.tv_usec().cast_unsigned())
        .sum();
    Ok(Duration::from_micros(micros))
}

/// Time that all processors of the machine together have been busy.
pub fn machine_cpu() -> Result<Duration> {
    let stat = read("/proc/stat")?;
    let line = stat.lines().next().context("/proc/stat is empty")?;
    let fields: Vec<u32> = line.split_whitespace().skip(1).map(|word| word.parse().unwrap_or(0)).collect();
    // user nice system idle iowait irq softirq steal guest guest_nice; guest time is in user.
    let busy = fields.iter().take(7).sum::<u32>() - fields.iter().skip(3).take(2).sum::<u32>();
    Ok(TICK * busy)
}

/// Memory of the BPF maps that a process holds, in bytes, by the kernel's account.
pub fn map_bytes(pid: i32) -> Result<u64> {
    // The same map may be open more than once.
    let mut maps = BTreeMap::new();
    let directory = format!("/proc/{pid}/fdinfo");
    for entry in fs::read_dir(&directory).with_context(|| format!("list {directory}"))? {
        // A descriptor may have been closed in the meantime.
        let Ok(info) = fs::read_to_string(entry.context("a descriptor")?.path()) else { continue };
        let field = |name: &str| {
            let value = info.lines().find_map(|line| line.strip_prefix(name))?;
            value.trim().parse::<u64>().ok()
        };
        if let (Some(map), Some(bytes)) = (field("map_id:"), field("memlock:")) {
            maps.insert(map, bytes);
        }
    }
    Ok(maps.values().sum())
}
