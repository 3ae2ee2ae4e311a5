//! ExaBGP.

use anyhow::Result;
use anyhow::bail;
use serde_json::Value;

use super::{COLORED, COLORS, Heard, OUR_ASN, OUR_FAREWELL, PARTNER_ASN, PASSWORD, PLAIN, Partner, Shown};
use crate::interop::Scene;
use crate::netns::{Namespace, Sandbox};
use crate::peers::exabgp::Exabgp;

fn config(scene: Scene, colored: bool) -> String {
    let session = match scene {
        Scene::Password => format!("md5-password '{PASSWORD}';"),
        Scene::TtlSecurity => "incoming-ttl 255; outgoing-ttl 255;".to_owned(),
        _ => String::new(),
    };
    let (capability, id) = match scene {
        Scene::Restart => ("graceful-restart 60;", ""),
        Scene::AddPath => ("add-path send/receive;", "path-information 0.0.0.7"),
        _ => ("", ""),
    };
    let colored = if colored {
        format!(
            "route {COLORED} next-hop 10.99.1.2 {id} community [ {} ] large-community [ {} ] \
             extended-community [ target:64500:7 ];",
            COLORS[0], COLORS[1]
        )
    } else {
        String::new()
    };
    format!(
        "  router-id 10.99.1.2;\n  local-address 10.99.1.2;\n  local-as {PARTNER_ASN};\n  peer-as {OUR_ASN};\n  \
         {session}\n  family {{ ipv4 unicast; ipv6 unicast; }}\n  \
         capability {{ asn4 enable; route-refresh enable; {capability} }}\n  \
         static {{\n    route {} next-hop 10.99.1.2 {id};\n    route {} next-hop fd99:1::2 {id};\n    {colored}\n  }}",
        PLAIN[0], PLAIN[1]
    )
}

pub(super) fn start(sandbox: &Sandbox, namespace: &Namespace, scene: Scene) -> Result<Box<dyn Partner>> {
    let config = config(scene, true);
    Ok(Box::new(Exabgp::start(sandbox, namespace, "exabgp", "10.99.1.1", &config)?))
}

impl Partner for Exabgp {
    fn shows(&self, prefix: &str, what: Shown) -> Result<bool> {
        // An announcement: {"attribute": {...}, "announce": {"ipv4 unicast": {"10.99.1.1": [{"nlri": ...}]}}}.
        for message in self.heard()?.iter().rev() {
            let update = &message["neighbor"]["message"]["update"];
            if !update["announce"].to_string().contains(&format!("\"{prefix}\"")) {
                continue;
            }
            let attribute = &update["attribute"];
            let among = |key: &str, expected: &Value| {
                attribute[key].as_array().is_some_and(|all| all.contains(expected))
            };
            return Ok(match what {
                Shown::Route => attribute["as-path"].to_string().contains("64500"),
                Shown::Community => among("community", &serde_json::json!([64500, 77])),
                Shown::Large => among("large-community", &serde_json::json!([64500, 1, 2])),
                Shown::Extended => attribute["extended-community"].to_string().contains("target:64500:7"),
            });
        }
        Ok(false)
    }

    fn ask_again(&self) -> Result<()> {
        bail!("it cannot be told to")
    }

    fn shut_down(&self) -> Result<()> {
        bail!("its farewell has no text")
    }

    fn heard_of(&self, what: Heard) -> Result<bool> {
        Ok(self.heard()?.iter().any(|message| {
            let notification = &message["neighbor"]["notification"];
            match what {
                Heard::TooMany => notification["code"] == 6 && notification["subcode"] == 1,
                Heard::Farewell => notification.to_string().contains(OUR_FAREWELL),
            }
        }))
    }

    fn restart(&mut self, sandbox: &Sandbox) -> Result<()> {
        self.kill_9()?;
        self.recover(sandbox, "10.99.1.1", &config(Scene::Restart, false))
    }
}
