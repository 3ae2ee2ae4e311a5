//! One partner, a session for each scene, every feature.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::capture::Capture;
use crate::daemon::Daemon;
use crate::interop::partners::{
    COLORED, COLORS, FAREWELL, Heard, Kind, OUR_ASN, OUR_FAREWELL, OURS, PARTNER_ASN, PASSWORD, PLAIN,
    Partner, Shown,
};
use crate::interop::{Feature, Scene, Verdict};
use crate::netns::Sandbox;
use crate::process::wait_until;
use crate::skip;
use crate::topology::Star;

/// The partner's address.
const PARTNER: &str = "10.99.1.2";
const SESSION: Duration = Duration::from_secs(30);
const ROUTES: Duration = Duration::from_secs(10);

fn daemon_config(scene: Scene) -> String {
    // FRR counts a prefix once it is in, so that it takes one more than allowed before it says so.
    let more = if scene == Scene::TheirLimit { 8..20 } else { 0..0 };
    let more = more.map(|third| format!("10.97.{third}.0/24"));
    let networks: String = OURS
        .map(str::to_owned)
        .into_iter()
        .chain(more)
        .map(|prefix| format!("\n[[network]]\nprefix = \"{prefix}\"\n"))
        .collect();
    let keys = match scene {
        Scene::Password => format!("password = \"{PASSWORD}\"\n"),
        Scene::TtlSecurity => "ttl-security = true\n".to_owned(),
        Scene::OurLimit => "max-prefixes = { ipv4-unicast = 1 }\n".to_owned(),
        Scene::AddPath => "add-path = { receive = true, send = \"all\" }\n".to_owned(),
        Scene::Plain | Scene::TheirLimit | Scene::Restart => String::new(),
    };
    format!(
        "[router]\nasn = {OUR_ASN}\nrouter-id = \"10.99.1.1\"\n{networks}\n\
         [[policy]]\nname = \"colors\"\n[[policy.rule]]\n\
         set = {{ community-add = \"{}\", large-community-add = \"{}\", extended-community-add = \"{}\" }}\n\
         action = \"accept\"\n\n\
         [[neighbor]]\naddress = \"{PARTNER}\"\nasn = {PARTNER_ASN}\nconnect-retry = 1\nimport = [\"all\"]\n\
         export = [\"colors\"]\n{keys}",
        COLORS[0], COLORS[1], COLORS[2]
    )
}

/// Holds the sessions with the partner and tries each feature. What we send is captured and must be well-formed
/// to tshark too, where that is installed.
pub fn run(kind: Kind) -> Result<Vec<(Feature, Verdict)>> {
    let mut verdicts = Feature::ALL.map(|feature| (feature, Verdict::NotOffered)).to_vec();
    for scene in Scene::ALL {
        let wanted = |feature: Feature| feature.scene() == scene && kind.offers(feature);
        let mut slots: Vec<_> = verdicts.iter_mut().filter(|(feature, _)| wanted(*feature)).collect();
        if slots.is_empty() {
            continue;
        }
        if let Err(error) = play(kind, scene, &mut slots) {
            for (_, verdict) in slots {
                *verdict = Verdict::Fails(format!("{scene:?}: {error:#}"));
            }
        }
    }
    Ok(verdicts)
}

/// One session, and the features that are tried on it.
fn play(kind: Kind, scene: Scene, slots: &mut [&mut (Feature, Verdict)]) -> Result<()> {
    let star = Star::build(&format!("interop-{}", kind.key()), 1)?;
    let capture = skip::installed(&crate::capture::PROGRAMS)
        .then(|| Capture::start(&star.sandbox, &star.router, "wan1", "tcp port 179 and src host 10.99.1.1"))
        .transpose()?;
    let partner = kind.start(&star.sandbox, &star.neighbors[0], scene)?;
    let mut daemon = Daemon::start(&star.sandbox, &star.router, &daemon_config(scene))?;
    // With a limit the session may be over before anybody looks.
    if !matches!(scene, Scene::OurLimit | Scene::TheirLimit) {
        daemon.wait_established(PARTNER, SESSION)?;
    }
    let log = daemon.process().log().to_owned();
    let mut trial = Trial { daemon: &daemon, partner, log: &log, sandbox: &star.sandbox };
    for (feature, verdict) in slots.iter_mut().map(|slot| (slot.0, &mut slot.1)) {
        *verdict = match trial.run(feature) {
            Ok(()) => Verdict::Works,
            Err(error) => Verdict::Fails(format!("{error:#}")),
        };
    }
    drop(trial);
    daemon.process().ensure_running()?;
    capture.map_or(Ok(()), |capture| capture.stop_well_formed().map(drop))
}

struct Trial<'a> {
    daemon: &'a Daemon,
    partner: Box<dyn Partner>,
    /// Where the daemon logs to.
    log: &'a Path,
    sandbox: &'a Sandbox,
}

impl Trial<'_> {
    /// An error if it does not work.
    fn run(&mut self, feature: Feature) -> Result<()> {
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
            Feature::AddPath => self.add_path(),
            Feature::Password => self.transport("TCP MD5"),
            Feature::TtlSecurity => self.transport("TTL 255 out, 255 or more in"),
            Feature::OurLimit => self.our_limit(),
            Feature::TheirLimit => self.their_limit(),
            Feature::Restart => self.restart(),
            Feature::OurShutdownText => self.our_shutdown(),
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

    /// Routes go both ways over a connection that is shown like this.
    fn transport(&self, shown: &str) -> Result<()> {
        let text = self.daemon.show(&["neighbors", PARTNER])?;
        ensure!(text.contains(shown), "{text}");
        self.both_ways(0)
    }

    fn add_path(&self) -> Result<()> {
        let families = json!(["ipv4-unicast", "ipv6-unicast"]);
        let negotiated = &self.neighbor()?["add_path"];
        ensure!(negotiated["receive"] == families && negotiated["send"] == families, "{negotiated}");
        for prefix in PLAIN {
            self.path(prefix, |path| {
                ensure!(path["path_id"].is_u64(), "{path}");
                Ok(())
            })?;
        }
        self.both_ways(0)?;
        self.both_ways(1)
    }

    fn neighbor(&self) -> Result<Value> {
        Ok(self.daemon.show_json(&["neighbors"])?[0].clone())
    }

    fn partner_heard(&self, what: Heard) -> Result<()> {
        wait_until(&format!("the partner shows that it heard {what:?}"), ROUTES, || {
            ensure!(self.partner.heard_of(what)?, "it does not");
            Ok(())
        })
    }

    fn our_limit(&self) -> Result<()> {
        wait_until("too many prefixes keep the session down", SESSION, || {
            let neighbor = self.neighbor()?;
            ensure!(neighbor["over_limit"] == true && neighbor["state"] == "Idle", "{neighbor}");
            Ok(())
        })?;
        self.partner_heard(Heard::TooMany)
    }

    fn their_limit(&self) -> Result<()> {
        wait_until("we hear that we sent too many prefixes", SESSION, || {
            // Before that or afterwards, it may refuse connections.
            let log = std::fs::read_to_string(self.log)?;
            let heard = log.contains("Maximum Number of Prefixes Reached");
            let down: Vec<&str> = log.lines().filter(|line| line.contains("session down")).collect();
            ensure!(heard, "{down:?}, {}", self.neighbor()?);
            Ok(())
        })
    }

    fn restart(&mut self) -> Result<()> {
        self.path(PLAIN[0], |path| {
            ensure!(path["usable"] == true, "{path}");
            Ok(())
        })?;
        wait_until("End-of-RIB", ROUTES, || {
            let neighbor = self.neighbor()?;
            let ends = neighbor["ends_of_rib"].as_array().map_or(0, Vec::len);
            ensure!(ends == 2, "{neighbor}");
            Ok(())
        })?;
        let daemon = self.daemon;
        // It takes its time to come back; until then nothing may be gone.
        self.partner.restart(self.sandbox)?;
        let log = std::fs::read_to_string(self.log)?;
        ensure!(log.contains("session down"), "the session never went");
        daemon.wait_established(PARTNER, SESSION)?;
        wait_until("what did not come again is gone, and the rest is fresh", SESSION, || {
            let (plain, colored) = (daemon.paths(PLAIN[0])?, daemon.paths(COLORED)?);
            ensure!(colored.is_empty(), "{colored:?}");
            ensure!(plain.len() == 1 && plain[0]["stale"] == false, "{plain:?}");
            Ok(())
        })?;
        let log = std::fs::read_to_string(self.log)?;
        ensure!(log.contains("routes that are still stale are dropped"), "nothing was kept");
        Ok(())
    }

    fn our_shutdown(&self) -> Result<()> {
        self.daemon.run(&["shutdown", PARTNER, OUR_FAREWELL])?;
        self.daemon.wait_down(PARTNER, SESSION)?;
        self.partner_heard(Heard::Farewell)?;
        self.daemon.run(&["enable", PARTNER])?;
        self.daemon.wait_established(PARTNER, SESSION)
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
