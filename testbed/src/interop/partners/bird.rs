//! BIRD 2.

use anyhow::Result;

use super::{
    COLORED, FAREWELL, Heard, OUR_ASN, OUR_FAREWELL, PARTNER_ASN, PASSWORD, PLAIN, Partner, Shown,
    THEIR_LIMIT,
};
use crate::interop::Scene;
use crate::netns::{Namespace, Sandbox};
use crate::peers::bird::Bird;

fn config(scene: Scene, colored: bool) -> String {
    let colored = if colored {
        format!(
            "route {COLORED} blackhole {{ bgp_community.add((64500,77)); bgp_large_community.add((64500,1,2)); \
             bgp_ext_community.add((rt,64500,7)); }};"
        )
    } else {
        String::new()
    };
    let session = match scene {
        Scene::Password => format!("password \"{PASSWORD}\";"),
        Scene::TtlSecurity => "ttl security on;".to_owned(),
        Scene::Restart => "graceful restart on;\n  graceful restart time 60;".to_owned(),
        _ => String::new(),
    };
    let channel = match scene {
        Scene::TheirLimit => format!("import limit {THEIR_LIMIT} action disable;"),
        Scene::AddPath => "add paths on;".to_owned(),
        _ => String::new(),
    };
    format!(
        "router id 10.99.1.2;\n\
         protocol static plain4 {{ ipv4; route {} blackhole; {colored} }}\n\
         protocol static plain6 {{ ipv6; route {} blackhole; }}\n\
         protocol bgp peregrine {{\n  local 10.99.1.2 as {PARTNER_ASN};\n  neighbor 10.99.1.1 as {OUR_ASN};\n  \
         connect delay time 1;\n  error wait time 1, 2;\n  {session}\n  \
         ipv4 {{ {channel} import all; export where source = RTS_STATIC; }};\n  \
         ipv6 {{ {channel} import all; export where source = RTS_STATIC; }};\n}}\n",
        PLAIN[0], PLAIN[1]
    )
}

pub(super) fn start(sandbox: &Sandbox, namespace: &Namespace, scene: Scene) -> Result<Box<dyn Partner>> {
    Ok(Box::new(Bird::start(sandbox, namespace, "bird", &config(scene, true))?))
}

impl Partner for Bird {
    fn shows(&self, prefix: &str, what: Shown) -> Result<bool> {
        let text = self.routes(prefix).unwrap_or_default();
        Ok(text.contains(match what {
            Shown::Route => "BGP.as_path: 64500",
            Shown::Community => "(64500,77)",
            Shown::Large => "(64500, 1, 2)",
            Shown::Extended => "(rt, 64500, 7)",
        }))
    }

    fn ask_again(&self) -> Result<()> {
        self.query("reload in peregrine")?;
        Ok(())
    }

    fn shut_down(&self) -> Result<()> {
        self.query(&format!("disable peregrine \"{FAREWELL}\""))?;
        Ok(())
    }

    fn heard_of(&self, what: Heard) -> Result<bool> {
        let text = self.query("show protocols all peregrine")?;
        Ok(text.contains(match what {
            Heard::TooMany => "Maximum number of prefixes reached",
            Heard::Farewell => OUR_FAREWELL,
        }))
    }

    fn restart(&mut self, sandbox: &Sandbox) -> Result<()> {
        self.kill_9()?;
        self.recover(sandbox, &config(Scene::Restart, false))
    }
}
