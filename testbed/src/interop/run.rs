//! One partner, one session, every feature.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::capture::Capture;
use crate::daemon::Daemon;
use crate::interop::partners::{
    COLORED, COLORS, FAREWELL, Kind, OUR_ASN, OURS, PARTNER_ASN, PLAIN, Partner, Shown,
};
use crate::interop::{Feature, Verdict};
use crate::process::wait_until;
use crate::skip;
use crate::topology::Star;

/// The partner's address.
const PARTNER: &str = "10.99.1.2";
const SESSION: Duration = Duration::from_secs(30);
const ROUTES: Duration = Duration::from_secs(10);

fn daemon_config() -> String {
    let networks = OURS.map(|prefix| format!("\n[[network]]\nprefix = \"{prefix}\"\n")).concat();
    format!(
        "[router]\nasn = {OUR_ASN}\nrouter-id = \"10.99.1.1\"\n{networks}\n\
         [[policy]]\nname = \"colors\"\n[[policy.rule]]\n\
         set = {{ community-add = \"{}\", large-community-add = \"{}\", extended-community-add = \"{}\" }}\n\
         action = \"accept\"\n\n\
         [[neighbor]]\naddress = \"{PARTNER}\"\nasn = {PARTNER_ASN}\nimport = [\"all\"]\nexport = [\"colors\"]\n",
        COLORS[0], COLORS[1], COLORS[2]
    )
}

/// Holds a session with the partner and tries each feature. What we send is captured and must be well-formed
/// to tshark too, where that is installed.
pub fn run(kind: Kind) -> Result<Vec<(Feature, Verdict)>> {
    let star = Star::build(&format!("interop-{}", kind.key()), 1)?;
    let capture = skip::installed(&crate::capture::PROGRAMS)
        .then(|| Capture::start(&star.sandbox, &star.router, "wan1", "tcp port 179 and src host 10.99.1.1"))
        .transpose()?;
    let partner = kind.start(&star.sandbox, &star.neighbors[0])?;
    let mut daemon = Daemon::start(&star.sandbox, &star.router, &daemon_config())?;
    daemon.wait_established(PARTNER, SESSION)?;
    let log = daemon.process().log().to_owned();
    let trial = Trial { daemon: &daemon, partner: partner.as_ref(), log: &log };
    let mut verdicts = Vec::new();
    for feature in Feature::ALL {
        let verdict = if kind.offers(feature) {
            match trial.run(feature) {
                Ok(()) => Verdict::Works,
                Err(error) => Verdict::Fails(format!("{error:#}")),
            }
        } else {
            Verdict::NotOffered
        };
        verdicts.push((feature, verdict));
    }
    daemon.process().ensure_running()?;
    if let Some(capture) = capture {
        capture.stop_well_formed()?;
    }
    Ok(verdicts)
}

struct Trial<'a> {
    daemon: &'a Daemon,
    partner: &'a dyn Partner,
    /// Where the daemon logs to.
    log: &'a Path,
}

impl Trial<'_> {
    /// An error if it does not work.
    fn run(&self, feature: Feature) -> Result<()> {
        match feature {
            Feature::FourOctetAs => self.path(PLAIN[0], |path| {
                let as_path = path["as_path"].as_str().map(str::parse);
                ensure!(as_path == Some(Ok(PARTNER_ASN)), "{as_path:?}");
                Ok(())
            }),
            Feature::Ipv4 => self.both_ways(0),
            Feature::Ipv6 => self.both_ways(1),
            Feature::Communities => self.color("communities", 0, Shown::Community),
            Feature::LargeCommunities => self.color("large_communities", 1, Shown::Large),
            Feature::ExtendedCommunities => self.color("extended_communities", 2, Shown::Extended),
            Feature::RefreshByUs => self.again("received update", || self.daemon.refresh(PARTNER, "in")),
            Feature::RefreshByPartner => self.again("sent update", || self.partner.ask_again()),
            Feature::ShutdownText => self.shutdown(),
        }
    }

    /// Waits until the daemon holds one path of a prefix that satisfies a check.
    fn path(&self, prefix: &str, check: impl Fn(&serde_json::Value) -> Result<()>) -> Result<()> {
        wait_until(&format!("the one path of {prefix}"), ROUTES, || {
            let paths = self.daemon.paths(prefix)?;
            ensure!(paths.len() == 1, "{} paths", paths.len());
            check(&paths[0])
        })
    }

    fn partner_shows(&self, prefix: &str, what: Shown) -> Result<()> {
        wait_until(&format!("the partner shows {what:?} of {prefix}"), ROUTES, || {
            ensure!(self.partner.shows(prefix, what)?, "it does not");
            Ok(())
        })
    }

    fn both_ways(&self, family: usize) -> Result<()> {
        self.path(PLAIN[family], |path| {
            ensure!(path["usable"] == true, "{path}");
            Ok(())
        })?;
        self.partner_shows(OURS[family], Shown::Route)
    }

    fn color(&self, field: &str, index: usize, shown: Shown) -> Result<()> {
        self.path(COLORED, |path| {
            ensure!(path[field] == serde_json::json!([COLORS[index]]), "{field}: {}", path[field]);
            Ok(())
        })?;
        self.partner_shows(OURS[0], shown)
    }

    fn messages(&self, which: &str) -> Result<u64> {
        let neighbors: serde_json::Value = serde_json::from_str(&self.daemon.get("/v1/neighbors")?)?;
        Ok(neighbors[0]["messages"][which].as_u64().unwrap_or(0))
    }

    /// Does what makes one side send its routes again, and waits for UPDATEs.
    fn again(&self, which: &str, ask: impl FnOnce() -> Result<()>) -> Result<()> {
        let before = self.messages(which)?;
        ask()?;
        wait_until("routes are sent again", ROUTES, || {
            let now = self.messages(which)?;
            ensure!(now > before, "{which}: {now}, {before} before");
            Ok(())
        })
    }

    fn shutdown(&self) -> Result<()> {
        self.partner.shut_down()?;
        self.daemon.wait_down(PARTNER, SESSION)?;
        let log = std::fs::read_to_string(self.log)?;
        let down = log.lines().rfind(|line| line.contains("session down")).unwrap_or_default();
        ensure!(down.contains(FAREWELL), "it was logged: {down}");
        Ok(())
    }
}
