//! Steady churn on full tables, and the other things that happen to a router in its life.
//!
//! Each phase ends when the daemon is at rest again and the receiver holds exactly what it should
//! ([`Mix::check`]); the daemon's latency histogram is scraped before and after.

use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use serde_json::{Value, json};

use crate::load::usage;
use crate::soak::fit::{self, Line};
use crate::soak::histogram::Histogram;
use crate::soak::hub::PeerIndex;
use crate::soak::mirror::Heard;
use crate::soak::mix::{Changes, Mix};
use crate::soak::scene::{Scene, Setting, Spent};

/// How long one wait for sockets lasts at most in churn, in milliseconds: the pace of the UPDATEs.
const PACE: u8 = 1;
/// Index of the feeder whose session breaks.
const FLAPPING: usize = 0;
/// Families of a session, each refreshed by a message of its own.
const FAMILIES: u64 = 2;

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Phase {
    /// Every feeder announces everything.
    Load,
    /// Changes at a steady rate.
    Churn,
    /// Every feeder is asked to say everything again, and does.
    RefreshIn,
    /// The receiver is told everything again.
    RefreshOut,
    /// The first feeder's session breaks; it comes back and announces everything again.
    Flap,
    /// A reload gives every feeder an import policy that changes every route.
    PolicyIn,
    /// A reload gives the receiver an export policy that changes every route.
    PolicyOut,
    /// Every feeder withdraws everything.
    Withdraw,
}

impl Phase {
    /// Its name in reports.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// How fast, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// UPDATEs in a second, all feeders together.
    pub rate: u32,
    /// How long.
    pub period: Duration,
}

/// One second of churn.
#[derive(Clone, Debug)]
pub struct Second {
    /// When, since the start of the churn.
    pub at: Duration,
    /// UPDATEs sent so far.
    pub sent: u64,
    /// What the receiver has heard so far.
    pub heard: Heard,
    /// Octets that the daemon has not taken off the feeders yet.
    pub pending: usize,
    /// The daemon's resident memory, in bytes.
    pub resident: u64,
    /// Processor time in this second.
    pub spent: Spent,
}

/// What only churn has.
#[derive(Clone, Debug)]
pub struct ChurnReport {
    /// UPDATEs by kind.
    pub changes: Changes,
    /// How long they took to send.
    pub sending: Duration,
    /// The most octets that waited for the daemon to read.
    pub most_pending: usize,
    /// How much the harness was behind its pace at most.
    pub most_late: Duration,
    /// Processor time while they were sent.
    pub spent: Spent,
    /// Resident memory in each second, in bytes.
    pub resident: Vec<u64>,
}

/// One phase.
#[derive(Clone, Debug)]
pub struct PhaseReport {
    /// Which.
    pub phase: Phase,
    /// When the receiver was told the last route.
    pub last: Option<Duration>,
    /// What the receiver heard.
    pub heard: Heard,
    /// Time from UPDATE to forwarding table, of this phase alone.
    pub latency: Histogram,
    /// Processor time until the daemon was at rest.
    pub spent: Spent,
    /// Resident memory at the end, in bytes.
    pub resident: u64,
    /// The most that has been resident since the daemon started, in bytes.
    pub peak: u64,
    /// Of [`Phase::Churn`].
    pub churn: Option<ChurnReport>,
}

/// Plays the phases in this order; `tell` is told each second of churn.
pub fn run(
    setting: Setting<'_>,
    pace: Pace,
    phases: &[Phase],
    mut tell: impl FnMut(&Second) -> Result<()>,
) -> Result<Vec<PhaseReport>> {
    let mut scene = Scene::start(setting, &[])?;
    let mut mix = Mix::new(setting.table, &scene.neighbors.feeders, setting.seed);
    let neighbor = scene.neighbors.receiver;
    let receiver = scene.receiver("the receiver", &neighbor)?;
    scene.settle(&mix, &[receiver])?;
    let mut reports = Vec::new();
    for &phase in phases {
        let report = play(phase, &mut scene, &mut mix, receiver, pace, setting, &mut tell);
        // The reason may be that it has crashed, which says more.
        scene.daemon.process().ensure_running()?;
        reports.push(report.with_context(|| phase.name())?);
    }
    scene.end()?;
    Ok(reports)
}

fn play(
    phase: Phase,
    scene: &mut Scene<'_>,
    mix: &mut Mix<'_>,
    receiver: PeerIndex,
    pace: Pace,
    setting: Setting<'_>,
    tell: &mut dyn FnMut(&Second) -> Result<()>,
) -> Result<PhaseReport> {
    scene.hub.mirror(receiver)?.forget();
    let said: Vec<Vec<u8>> = match phase {
        Phase::Load | Phase::Flap => {
            let feeders = if phase == Phase::Flap { FLAPPING..FLAPPING + 1 } else { 0..scene.feeders.len() };
            feeders.clone().for_each(|feeder| mix.announce_all(feeder));
            feeders.map(|feeder| mix.encode(feeder)).collect()
        }
        Phase::RefreshIn => (0..scene.feeders.len()).map(|feeder| mix.encode(feeder)).collect(),
        Phase::Withdraw => vec![setting.table.encode_withdrawals(); scene.feeders.len()],
        Phase::Churn | Phase::RefreshOut | Phase::PolicyIn | Phase::PolicyOut => Vec::new(),
    };
    let asked: Vec<u64> = scene.feeders.iter().map(|feeder| scene.hub.refreshes(*feeder)).collect();
    let before = scene.update_to_fib()?;
    let start = scene.costs()?;
    let mut churn = None;
    match phase {
        Phase::Load => say(scene, &said)?,
        Phase::Churn => churn = Some(stir(scene, mix, receiver, pace, tell)?),
        Phase::RefreshIn => {
            for feeder in &scene.neighbors.feeders {
                scene.daemon.refresh(&feeder.v4.to_string(), "in")?;
            }
            let feeders = scene.feeders.clone();
            scene.serve_until("every feeder is asked for its routes", |hub| {
                Ok(feeders
                    .iter()
                    .zip(&asked)
                    .all(|(feeder, asked)| hub.refreshes(*feeder) >= asked + FAMILIES))
            })?;
            say(scene, &said)?;
        }
        Phase::RefreshOut => {
            scene.daemon.refresh(&scene.neighbors.receiver.v4.to_string(), "out")?;
            let all: u64 = mix.prefixes().iter().sum();
            scene.serve_until("the receiver is told everything again", |hub| {
                Ok(hub.mirror(receiver)?.heard().announced >= all)
            })?;
        }
        Phase::Flap => {
            scene.hub.close(scene.feeders[FLAPPING])?;
            scene.reconnect(FLAPPING)?;
            say(scene, &said)?;
        }
        Phase::PolicyIn | Phase::PolicyOut => {
            mix.toggle_tag(usize::from(phase == Phase::PolicyOut));
            scene.reload(mix.tags())?;
        }
        Phase::Withdraw => {
            (0..scene.feeders.len()).for_each(|feeder| mix.withdraw_all(feeder));
            say(scene, &said)?;
        }
    }
    scene.settle(mix, &[receiver])?;
    let end = scene.costs()?;
    let latency = scene.update_to_fib()?.since(&before)?;
    let heard = scene.hub.mirror(receiver)?.heard();
    let usage = usage::of(&[scene.pid])?;
    mix.check(scene.hub.mirror(receiver)?)?;
    Ok(PhaseReport {
        phase,
        last: heard.last.map(|last| last.saturating_duration_since(start.time)),
        heard,
        latency,
        spent: end.since(&start),
        resident: usage.resident,
        peak: usage.peak,
        churn,
    })
}

/// Feeder by feeder, one or all.
fn say(scene: &mut Scene<'_>, said: &[Vec<u8>]) -> Result<()> {
    for (feeder, messages) in scene.feeders.iter().zip(said) {
        scene.hub.say(*feeder, messages)?;
    }
    Ok(())
}

/// Sends changes at their pace.
fn stir(
    scene: &mut Scene<'_>,
    mix: &mut Mix<'_>,
    receiver: PeerIndex,
    pace: Pace,
    tell: &mut dyn FnMut(&Second) -> Result<()>,
) -> Result<ChurnReport> {
    let first = mix.changes();
    let mut out = vec![Vec::new(); scene.feeders.len()];
    let start = scene.costs()?;
    let mut last = start.clone();
    let (mut most_pending, mut most_late, mut sent) = (0, Duration::ZERO, 0_u64);
    let mut resident = vec![scene.resident()?];
    loop {
        let elapsed = start.time.elapsed().min(pace.period);
        let due = u64::try_from(elapsed.as_micros() * u128::from(pace.rate) / 1_000_000)?;
        let late = Duration::from_secs(due.saturating_sub(sent)) / pace.rate.max(1);
        most_late = most_late.max(late);
        while sent < due {
            mix.step(&mut out);
            sent += 1;
        }
        for (feeder, messages) in scene.feeders.iter().zip(&mut out) {
            scene.hub.say(*feeder, messages)?;
            messages.clear();
        }
        most_pending = most_pending.max(scene.hub.pending());
        if last.time.elapsed() >= Duration::from_secs(1) || elapsed == pace.period {
            let now = scene.costs()?;
            let second = Second {
                at: now.time - start.time,
                sent,
                heard: scene.hub.mirror(receiver)?.heard(),
                pending: scene.hub.pending(),
                resident: scene.resident()?,
                spent: now.since(&last),
            };
            tell(&second)?;
            resident.push(second.resident);
            last = now;
        }
        if elapsed == pace.period {
            break;
        }
        scene.hub.turn(PACE)?;
    }
    let total = mix.changes();
    let changes = Changes {
        path: total.path - first.path,
        community: total.community - first.community,
        med: total.med - first.med,
        withdrawn: total.withdrawn - first.withdrawn,
        returned: total.returned - first.returned,
    };
    let cost = last.since(&start);
    Ok(ChurnReport { changes, sending: cost.time, most_pending, most_late, spent: cost, resident })
}

impl ChurnReport {
    /// How resident memory grew, in bytes a second: over the whole time and over its second half, when
    /// everything that changes has changed once.
    pub fn growth(&self) -> [Option<Line>; 2] {
        let points: Vec<(f64, f64)> =
            self.resident.iter().zip(0_u32..).map(|(bytes, at)| (f64::from(at), float(*bytes))).collect();
        [fit::line(&points), fit::line(&points[points.len() / 2..])]
    }
}

#[expect(clippy::cast_precision_loss, reason = "bytes and routes stay far below 2^52")]
fn float(count: u64) -> f64 {
    count as f64
}

fn mebibytes(bytes: u64) -> f64 {
    float(bytes) / f64::from(1 << 20)
}

fn spent_json(spent: &Spent) -> Value {
    let threads: serde_json::Map<String, Value> =
        spent.threads.iter().map(|(name, cpu)| (name.clone(), json!(cpu.as_secs_f64()))).collect();
    json!({
        "seconds": spent.time.as_secs_f64(),
        "cpu": spent.daemon.as_secs_f64(),
        "threads": threads,
        "harness_cpu": spent.harness.as_secs_f64(),
    })
}

impl Second {
    /// One line of JSON: times in seconds, sizes in bytes.
    pub fn json(&self) -> Value {
        json!({
            "second": self.at.as_secs_f64(),
            "sent": self.sent,
            "announced": self.heard.announced,
            "withdrawn": self.heard.withdrawn,
            "pending": self.pending,
            "resident": self.resident,
            "spent": spent_json(&self.spent),
        })
    }
}

impl PhaseReport {
    /// One line of JSON: times in seconds, sizes in bytes.
    pub fn json(&self) -> Value {
        let churn = self.churn.as_ref().map(|churn| {
            let growth = churn.growth().map(|line| line.map(|line| line.slope));
            json!({
                "updates": churn.changes.total(),
                "sending": churn.sending.as_secs_f64(),
                "most_pending": churn.most_pending,
                "most_late": churn.most_late.as_secs_f64(),
                "spent": spent_json(&churn.spent),
                "resident": churn.resident,
                "growth_per_second": growth[0],
                "growth_per_second_late": growth[1],
            })
        });
        json!({
            "phase": self.phase.name(),
            "last": self.last.map(|last| last.as_secs_f64()),
            "updates": self.heard.updates,
            "announced": self.heard.announced,
            "withdrawn": self.heard.withdrawn,
            "update_to_fib": self.latency.json(),
            "spent": spent_json(&self.spent),
            "resident": self.resident,
            "peak": self.peak,
            "churn": churn,
        })
    }

    /// A few lines for people.
    pub fn text(&self) -> String {
        let last =
            self.last.map_or("nothing heard".to_owned(), |last| format!("{:.2} s", last.as_secs_f64()));
        let mut out = format!(
            "{}: the receiver's last route after {last}; {} announced, {} withdrawn\n  \
             UPDATE to FIB: {}\n  resident {:.0} MiB, peak {:.0} MiB\n",
            self.phase.name(),
            self.heard.announced,
            self.heard.withdrawn,
            self.latency,
            mebibytes(self.resident),
            mebibytes(self.peak),
        );
        // While changes come at their pace, shares say more than sums.
        let spent = self.churn.as_ref().map_or(&self.spent, |churn| &churn.spent);
        let figure = |cpu: Duration| {
            if self.churn.is_some() {
                format!("{:.1} %", 100.0 * spent.share(cpu))
            } else {
                format!("{:.2} s", cpu.as_secs_f64())
            }
        };
        let threads: Vec<String> =
            spent.threads.iter().map(|(name, cpu)| format!("{name} {}", figure(*cpu))).collect();
        out.push_str(&format!(
            "  CPU {} ({}), harness {}\n",
            figure(spent.daemon),
            threads.join(", "),
            figure(spent.harness)
        ));
        if let Some(churn) = &self.churn {
            out.push_str(&churn.text());
        }
        out
    }
}

impl ChurnReport {
    fn text(&self) -> String {
        let Changes { path, community, med, withdrawn, returned } = self.changes;
        let slope = |line: Option<Line>| {
            line.map_or("-".to_owned(), |line| format!("{:+.2}", 60.0 * line.slope / f64::from(1 << 20)))
        };
        let [whole, late] = self.growth().map(slope);
        let bound = |bytes: Option<&u64>| bytes.copied().map_or(0.0, mebibytes);
        format!(
            "  {} UPDATEs in {:.1} s, {:.0} a second: {path} paths, {community} communities, {med} MEDs, \
             {withdrawn} withdrawn, {returned} returned\n  \
             at most {} octets unread, {:.1} ms late\n  \
             resident {:.1} MiB at first, {:.1} at most, {:.1} at last; {whole} MiB a minute, {late} in the \
             second half\n",
            self.changes.total(),
            self.sending.as_secs_f64(),
            float(self.changes.total()) / self.sending.as_secs_f64().max(1e-9),
            self.most_pending,
            1e3 * self.most_late.as_secs_f64(),
            bound(self.resident.first()),
            bound(self.resident.iter().max()),
            bound(self.resident.last()),
        )
    }
}
