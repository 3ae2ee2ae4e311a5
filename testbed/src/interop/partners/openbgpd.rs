//! OpenBGPD.
//!
//! Its next hops of the other family than the session's are wrong: 7.7 looks for an address of that family on
//! every interface but the session's, finds `::1` of the loopback or nothing, and announces with that or not at
//! all. Told one, it takes it only for a neighbour that may be more than one hop away.

use anyhow::Result;
use anyhow::bail;

use super::{
    COLORED, COLORS, FAREWELL, Heard, OUR_ASN, OUR_FAREWELL, PARTNER_ASN, PASSWORD, PLAIN, Partner, Shown,
    THEIR_LIMIT,
};
use crate::interop::Scene;
use crate::netns::{Namespace, Sandbox};
use crate::peers::openbgpd::Openbgpd;

fn config(scene: Scene) -> String {
    let session = match scene {
        Scene::Password => format!("  tcp md5sig password {PASSWORD}\n"),
        Scene::TtlSecurity => "  ttl-security yes\n".to_owned(),
        Scene::TheirLimit => format!("  max-prefix {THEIR_LIMIT}\n"),
        Scene::AddPath => "  announce add-path recv yes\n  announce add-path send all\n".to_owned(),
        _ => String::new(),
    };
    // It would be a contradiction to TTL security.
    let distance = if scene == Scene::TtlSecurity { "" } else { "  multihop 2\n" };
    format!(
        "AS {PARTNER_ASN}\nrouter-id 10.99.1.2\nnetwork {}\nnetwork {} set nexthop fd99:1::2\n\
         network {COLORED} set {{ community {} large-community {} ext-community rt 64500:7 }}\n\
         neighbor 10.99.1.1 {{\n  remote-as {OUR_ASN}\n  announce IPv4 unicast\n  announce IPv6 unicast\n\
         {distance}{session}}}\n\
         allow from any\nallow to any\nmatch to any prefix {} set nexthop no-modify\n",
        PLAIN[0], PLAIN[1], COLORS[0], COLORS[1], PLAIN[1]
    )
}

pub(super) fn start(sandbox: &Sandbox, namespace: &Namespace, scene: Scene) -> Result<Box<dyn Partner>> {
    Ok(Box::new(Openbgpd::start(sandbox, namespace, "openbgpd", &config(scene))?))
}

impl Partner for Openbgpd {
    fn shows(&self, prefix: &str, what: Shown) -> Result<bool> {
        let text = self.query(&format!("show rib detail {prefix}")).unwrap_or_default();
        Ok(text.contains(match what {
            Shown::Route => "64500\n",
            Shown::Community => "64500:77",
            Shown::Large => "64500:1:2",
            Shown::Extended => "rt 64500:7",
        }))
    }

    fn ask_again(&self) -> Result<()> {
        self.query("neighbor 10.99.1.1 refresh")?;
        Ok(())
    }

    fn shut_down(&self) -> Result<()> {
        self.query(&format!("neighbor 10.99.1.1 down {FAREWELL}"))?;
        Ok(())
    }

    fn heard_of(&self, what: Heard) -> Result<bool> {
        let text = self.query("show neighbor 10.99.1.1")?;
        Ok(text.contains(match what {
            Heard::TooMany => "Last error received: Cease, received max-prefix exceeded",
            Heard::Farewell => OUR_FAREWELL,
        }))
    }

    fn restart(&mut self, _: &Sandbox) -> Result<()> {
        bail!("it does not ask for its routes to be kept")
    }
}
