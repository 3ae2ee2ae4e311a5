//! GoBGP.

use anyhow::Result;

use super::{
    COLORED, COLORS, FAREWELL, Heard, OUR_ASN, OUR_FAREWELL, PARTNER_ASN, PASSWORD, PLAIN, Partner, Shown,
    THEIR_LIMIT,
};
use crate::interop::Scene;
use crate::netns::{Namespace, Sandbox};
use crate::peers::gobgp::Gobgp;

fn config(scene: Scene) -> String {
    let family = match scene {
        Scene::TheirLimit => {
            format!("    [neighbors.afi-safis.prefix-limit.config]\n      max-prefixes = {THEIR_LIMIT}\n")
        }
        Scene::Restart => {
            "    [neighbors.afi-safis.mp-graceful-restart.config]\n      enabled = true\n".to_owned()
        }
        Scene::AddPath => {
            "    [neighbors.afi-safis.add-paths.config]\n      receive = true\n      send-max = 8\n"
                .to_owned()
        }
        _ => String::new(),
    };
    let families: String = ["ipv4-unicast", "ipv6-unicast"]
        .map(|name| {
            format!(
                "  [[neighbors.afi-safis]]\n    [neighbors.afi-safis.config]\n      afi-safi-name = \"{name}\"\n\
                 {family}"
            )
        })
        .concat();
    let password = if scene == Scene::Password {
        format!("    auth-password = \"{PASSWORD}\"\n")
    } else {
        String::new()
    };
    let session = match scene {
        Scene::TtlSecurity => "  [neighbors.ttl-security.config]\n    enabled = true\n    ttl-min = 255\n",
        Scene::Restart => {
            "  [neighbors.graceful-restart.config]\n    enabled = true\n    restart-time = 60\n"
        }
        _ => "",
    };
    format!(
        "[global.config]\n  as = {PARTNER_ASN}\n  router-id = \"10.99.1.2\"\n\
         [[neighbors]]\n  [neighbors.config]\n    neighbor-address = \"10.99.1.1\"\n    peer-as = {OUR_ASN}\n\
         {password}  [neighbors.timers.config]\n    connect-retry = 1\n{session}{families}"
    )
}

/// What it announces it is told at run time.
fn announce(gobgp: &Gobgp, colored: bool) -> Result<()> {
    gobgp.query(&format!("global rib add -a ipv4 {} nexthop 10.99.1.2", PLAIN[0]))?;
    gobgp.query(&format!("global rib add -a ipv6 {} nexthop fd99:1::2", PLAIN[1]))?;
    if colored {
        gobgp.query(&format!(
            "global rib add -a ipv4 {COLORED} nexthop 10.99.1.2 community {} large-community {} rt 64500:7",
            COLORS[0], COLORS[1]
        ))?;
    }
    Ok(())
}

pub(super) fn start(sandbox: &Sandbox, namespace: &Namespace, scene: Scene) -> Result<Box<dyn Partner>> {
    let gobgp = Gobgp::start(sandbox, namespace, "gobgp", &config(scene))?;
    announce(&gobgp, true)?;
    Ok(Box::new(gobgp))
}

impl Partner for Gobgp {
    fn shows(&self, prefix: &str, what: Shown) -> Result<bool> {
        let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
        let text = self.query(&format!("global rib {prefix} -a {family}")).unwrap_or_default();
        Ok(text.contains(match what {
            Shown::Route => " 64500 ",
            Shown::Community => "64500:77",
            Shown::Large => "64500:1:2",
            Shown::Extended => "64500:7]",
        }))
    }

    fn ask_again(&self) -> Result<()> {
        self.query("neighbor 10.99.1.1 softresetin")?;
        Ok(())
    }

    fn shut_down(&self) -> Result<()> {
        self.query(&format!("neighbor 10.99.1.1 shutdown --reason {FAREWELL}"))?;
        Ok(())
    }

    fn heard_of(&self, what: Heard) -> Result<bool> {
        let log = self.log_text();
        let mut heard = log.lines().filter(|line| line.contains("received notification"));
        Ok(match what {
            // Cease, Maximum Number of Prefixes Reached.
            Heard::TooMany => {
                heard.any(|line| line.contains("\"Code\":6,") && line.contains("\"Subcode\":1,"))
            }
            Heard::Farewell => heard.any(|line| line.contains(OUR_FAREWELL)),
        })
    }

    fn restart(&mut self, sandbox: &Sandbox) -> Result<()> {
        self.kill_9()?;
        self.recover(sandbox)?;
        announce(self, false)
    }
}
