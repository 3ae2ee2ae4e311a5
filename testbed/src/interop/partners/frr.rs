//! FRR: bgpd alone.

use anyhow::Result;

use super::{
    COLORED, COLORS, FAREWELL, Heard, OUR_ASN, OUR_FAREWELL, PARTNER_ASN, PASSWORD, PLAIN, Partner, Shown,
    THEIR_LIMIT,
};
use crate::interop::Scene;
use crate::netns::{Namespace, Sandbox};
use crate::peers::frr::Frr;

fn config(scene: Scene, colored: bool) -> String {
    let network = if colored { format!("network {COLORED}") } else { String::new() };
    let session = match scene {
        Scene::Password => format!("neighbor 10.99.1.1 password {PASSWORD}"),
        Scene::TtlSecurity => "neighbor 10.99.1.1 ttl-security hops 1".to_owned(),
        Scene::Restart => "bgp graceful-restart\n bgp graceful-restart preserve-fw-state\n \
                           bgp graceful-restart restart-time 40"
            .to_owned(),
        _ => String::new(),
    };
    let family = match scene {
        Scene::TheirLimit => format!("neighbor 10.99.1.1 maximum-prefix {THEIR_LIMIT}"),
        Scene::AddPath => "neighbor 10.99.1.1 addpath-tx-all-paths".to_owned(),
        _ => String::new(),
    };
    format!(
        "ip prefix-list colored seq 5 permit {COLORED}\n\
         router bgp {PARTNER_ASN}\n bgp router-id 10.99.1.2\n no bgp ebgp-requires-policy\n \
         bgp log-neighbor-changes\n \
         no bgp network import-check\n neighbor 10.99.1.1 remote-as {OUR_ASN}\n \
         neighbor 10.99.1.1 timers connect 1\n {session}\n \
         address-family ipv4 unicast\n  network {}\n  {network}\n  {family}\n  \
         neighbor 10.99.1.1 route-map colors out\n exit-address-family\n \
         address-family ipv6 unicast\n  network {}\n  neighbor 10.99.1.1 activate\n exit-address-family\n\
         route-map colors permit 10\n match ip address prefix-list colored\n set community {}\n \
         set large-community {}\n set extcommunity rt 64500:7\n\
         route-map colors permit 20\n",
        PLAIN[0], PLAIN[1], COLORS[0], COLORS[1]
    )
}

pub(super) fn start(sandbox: &Sandbox, namespace: &Namespace, scene: Scene) -> Result<Box<dyn Partner>> {
    Ok(Box::new(Frr::start(sandbox, namespace, "frr", &config(scene, true))?))
}

impl Partner for Frr {
    fn shows(&self, prefix: &str, what: Shown) -> Result<bool> {
        let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
        let route = self.query_json(&format!("show bgp {family} unicast {prefix} json"))?;
        let path = &route["paths"][0];
        Ok(match what {
            Shown::Route => path["aspath"]["string"] == "64500",
            Shown::Community => path["community"]["string"] == COLORS[0],
            Shown::Large => path["largeCommunity"]["string"] == COLORS[1],
            Shown::Extended => path["extendedCommunity"]["string"] == "RT:64500:7",
        })
    }

    fn ask_again(&self) -> Result<()> {
        self.query("clear bgp * soft in")?;
        Ok(())
    }

    fn shut_down(&self) -> Result<()> {
        let router = format!("router bgp {PARTNER_ASN}");
        self.configure(&[&router, &format!("neighbor 10.99.1.1 shutdown message {FAREWELL}")])?;
        Ok(())
    }

    fn heard_of(&self, what: Heard) -> Result<bool> {
        Ok(match what {
            // It comes back at once, and is refused: what it shows is soon about that.
            Heard::TooMany => self.log_text().contains("Maximum Number of Prefixes Reached"),
            Heard::Farewell => self.query("show bgp neighbors 10.99.1.1 json")?.contains(OUR_FAREWELL),
        })
    }

    fn restart(&mut self, sandbox: &Sandbox) -> Result<()> {
        self.kill_9()?;
        self.rewrite(&config(Scene::Restart, false))?;
        self.launch(sandbox)
    }
}
