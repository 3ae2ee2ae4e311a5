//! A neighbour that does not read for a while.
//!
//! Two receivers of the same routes. First the quick one alone hears several rounds of a feeder that says
//! everything again by other paths, or loses its session and comes back. Then the slow one joins, ceases
//! to read (and goes on sending KEEPALIVEs), and the rounds go on. They must take the quick one no longer
//! than before, and the daemon must not keep what the slow one misses: when it reads again, it is told
//! what holds now, not what happened. Connections have small buffers here, so that it is the daemon, and
//! not the kernel, that would have to keep it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use serde_json::{Value, json};

use crate::load::neighbors::{Neighbor, Neighbors};
use crate::soak::fit;
use crate::soak::hub::PeerIndex;
use crate::soak::mirror::Heard;
use crate::soak::mix::Mix;
use crate::soak::scene::{Scene, Setting};

/// So many rounds at least while the slow receiver does not read.
const LEAST: usize = 4;

/// What a round is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// The feeder's session breaks; it comes back and announces everything again.
    Flap,
    /// The feeder announces everything again, by other paths.
    Announce,
}

/// What the rounds are and how many.
#[derive(Clone, Copy, Debug)]
pub struct Rounds {
    /// What each is.
    pub kind: Kind,
    /// With the quick receiver alone.
    pub alone: usize,
    /// How long the slow receiver does not read.
    pub pause: Duration,
}

/// One round.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// When the quick receiver was told the last route.
    pub time: Duration,
    /// The daemon's resident memory afterwards, in bytes.
    pub resident: u64,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Report {
    /// Rounds of the quick receiver alone.
    pub alone: Vec<Round>,
    /// Rounds while the slow one did not read.
    pub paused: Vec<Round>,
    /// Prefixes in the end.
    pub prefixes: u64,
    /// What the slow receiver was told from the pause on.
    pub heard: Heard,
    /// From reading again until it had been told everything.
    pub catching_up: Duration,
}

/// Runs it.
pub fn run(setting: Setting<'_>, rounds: Rounds) -> Result<Report> {
    let neighbors = Neighbors::new(setting.feeders, setting.table)?;
    let slow_neighbor = other_receiver(&neighbors.receiver);
    let setting = Setting { small_buffers: true, ..setting };
    let mut scene = Scene::start(setting, &[slow_neighbor])?;
    let mut mix = Mix::new(setting.table, &neighbors.feeders, setting.seed);
    let quick = scene.receiver("the quick receiver", &neighbors.receiver)?;
    for feeder in 0..scene.feeders.len() {
        mix.announce_all(feeder);
        let messages = mix.encode(feeder);
        scene.hub.say(scene.feeders[feeder], &messages)?;
    }
    scene.settle(&mix, &[quick])?;
    mix.check(scene.hub.mirror(quick)?).context("the load")?;

    let mut alone = Vec::new();
    for _ in 0..rounds.alone {
        alone.push(round(&mut scene, &mut mix, quick, rounds.kind)?);
    }
    let slow = scene.receiver("the slow receiver", &slow_neighbor)?;
    scene.settle(&mix, &[quick, slow])?;
    mix.check(scene.hub.mirror(slow)?).context("the slow receiver before the pause")?;
    scene.hub.mirror(slow)?.forget();
    scene.hub.set_reading(slow, false)?;
    let (mut paused, start) = (Vec::new(), Instant::now());
    while start.elapsed() < rounds.pause || paused.len() < LEAST {
        paused.push(round(&mut scene, &mut mix, quick, rounds.kind)?);
    }
    ensure!(scene.hub.mirror(slow)?.heard().updates == 0, "the slow receiver has read in its pause");
    let resumed = Instant::now();
    scene.hub.set_reading(slow, true)?;
    scene.settle(&mix, &[quick, slow])?;
    for (receiver, name) in [(quick, "the quick receiver"), (slow, "the slow receiver")] {
        mix.check(scene.hub.mirror(receiver)?).with_context(|| format!("{name} in the end"))?;
    }
    let heard = scene.hub.mirror(slow)?.heard();
    let prefixes = mix.prefixes().iter().sum();
    scene.end()?;
    let catching_up = heard.last.map_or(Duration::ZERO, |last| last.saturating_duration_since(resumed));
    Ok(Report { alone, paused, prefixes, heard, catching_up })
}

/// Beside the receiver on the same link. Its AS number is in the block that no origin has.
fn other_receiver(receiver: &Neighbor) -> Neighbor {
    let mut other = *receiver;
    other.asn -= 1;
    let [a, b, c, d] = receiver.v4.octets();
    other.v4 = [a, b, c, d + 1].into();
    let mut segments = receiver.v6.segments();
    segments[7] += 1;
    other.v6 = segments.into();
    other
}

fn round(scene: &mut Scene<'_>, mix: &mut Mix<'_>, quick: PeerIndex, kind: Kind) -> Result<Round> {
    scene.hub.mirror(quick)?.forget();
    if kind == Kind::Announce {
        mix.change_all(0);
    }
    let messages = mix.encode(0);
    let start = Instant::now();
    if kind == Kind::Flap {
        scene.hub.close(scene.feeders[0])?;
        scene.reconnect(0)?;
    }
    scene.hub.say(scene.feeders[0], &messages)?;
    scene.settle(mix, &[quick])?;
    mix.check(scene.hub.mirror(quick)?).context("a round")?;
    let last = scene.hub.mirror(quick)?.heard().last.context("the quick receiver has heard nothing")?;
    Ok(Round { time: last.saturating_duration_since(start), resident: scene.resident()? })
}

#[expect(clippy::cast_precision_loss, reason = "bytes and routes stay far below 2^52")]
fn float(count: u64) -> f64 {
    count as f64
}

fn mebibytes(bytes: u64) -> f64 {
    float(bytes) / f64::from(1 << 20)
}

fn median(rounds: &[Round]) -> Duration {
    let mut times: Vec<Duration> = rounds.iter().map(|round| round.time).collect();
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

impl Report {
    /// How often the slow receiver was told each prefix, on average. A round has one for each; what lay in
    /// the connection's buffers when it ceased to read comes on top.
    pub fn told(&self) -> f64 {
        float(self.heard.announced) / float(self.prefixes.max(1))
    }

    /// By how many bytes the daemon grew with each round of the pause.
    pub fn growth(&self) -> Option<f64> {
        let points: Vec<(f64, f64)> = self
            .paused
            .iter()
            .zip(0_u32..)
            .map(|(round, at)| (f64::from(at), float(round.resident)))
            .collect();
        fit::line(&points).map(|line| line.slope)
    }

    /// A few lines for people.
    pub fn text(&self) -> String {
        let list = |rounds: &[Round]| {
            let shown = rounds.iter().map(|round| {
                format!("{:.2} s {:.0} MiB", round.time.as_secs_f64(), mebibytes(round.resident))
            });
            shown.collect::<Vec<_>>().join(", ")
        };
        format!(
            "the quick receiver alone: median {:.2} s\n  {}\nwhile the other does not read: median {:.2} s, \
             {:+.2} MiB a round\n  {}\nreading again: {} announced and {} withdrawn for {} prefixes ({:.2} each), \
             the last after {:.2} s\n",
            median(&self.alone).as_secs_f64(),
            list(&self.alone),
            median(&self.paused).as_secs_f64(),
            self.growth().unwrap_or_default() / f64::from(1 << 20),
            list(&self.paused),
            self.heard.announced,
            self.heard.withdrawn,
            self.prefixes,
            self.told(),
            self.catching_up.as_secs_f64(),
        )
    }

    /// One line of JSON: times in seconds, sizes in bytes.
    pub fn json(&self) -> Value {
        let rounds = |rounds: &[Round]| -> Vec<Value> {
            let row =
                |round: &Round| json!({ "seconds": round.time.as_secs_f64(), "resident": round.resident });
            rounds.iter().map(row).collect()
        };
        json!({
            "alone": rounds(&self.alone),
            "paused": rounds(&self.paused),
            "growth_per_round": self.growth(),
            "prefixes": self.prefixes,
            "announced": self.heard.announced,
            "withdrawn": self.heard.withdrawn,
            "catching_up": self.catching_up.as_secs_f64(),
        })
    }
}
