//! The routers under attack, and one attack.
//!
//! The daemon and BIRD each have a network of their own with the same addresses, so that both are
//! sent the same bytes. Each case has an address, and so a session, of its own: what one does to
//! the others shows.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use testbed::daemon::Daemon;
use testbed::feeder;
use testbed::netns::{Namespace, Sandbox};
use testbed::peers::bird::Bird;
use testbed::speaker::{self, Received};

use crate::case::{Case, Reaction, When};
use crate::craft::{KEEPALIVE, NOTIFICATION, OPEN, ROUTER_ASN, Session, UPDATE};

/// The witness, which must notice nothing, has this last octet; the first case the one above.
pub(crate) const WITNESS: u8 = 10;
pub(crate) const WITNESS_ASN: u32 = 64502;
/// How long a router may take to react.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a case that should not end the session is watched before the mark is sent behind it.
const PAUSE: Duration = Duration::from_millis(20);

/// A router's network: `10.99.1.0/24` with the router at `.1` and everybody else in one namespace.
pub(crate) fn network(sandbox: &Sandbox, hosts: usize) -> Result<(Namespace, Namespace)> {
    let router = sandbox.namespace("router")?;
    let outside = sandbox.namespace("peers")?;
    sandbox.link((&router, "lan"), (&outside, "lan"))?;
    router.address("lan", "10.99.1.1/24")?;
    router.address("lan", "fd99:1::1/64")?;
    let addresses = (9..).take(hosts + 2).map(|host: u8| format!("10.99.1.{host}/24").parse());
    outside.addresses("lan", &addresses.collect::<Result<Vec<_>, _>>()?)?;
    outside.address("lan", "fd99:1::9/64")?;
    Ok((router, outside))
}

/// The last octet of the address of a case.
pub(crate) fn host(index: usize) -> u8 {
    WITNESS + 1 + index as u8
}

pub(crate) fn address(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 99, 1, host)
}

pub(crate) fn daemon_config(cases: &[Case]) -> String {
    let mut text = format!("[router]\nasn = {ROUTER_ASN}\nrouter-id = \"10.99.1.1\"\n");
    let cases =
        cases.iter().enumerate().map(|(index, case)| (host(index), case.session.asn(), "none", case.session));
    for (host, asn, export, session) in cases.chain([(WITNESS, WITNESS_ASN, "all", Session::External)]) {
        let keys = match session {
            Session::AddPath => "add-path = { receive = true, send = \"all\" }\n",
            Session::Customer => "role = \"provider\"\nrole-strict = true\n",
            _ => "",
        };
        text += &format!(
            "\n[[neighbor]]\naddress = \"10.99.1.{host}\"\nasn = {asn}\npassive = true\nimport = [\"all\"]\n\
             export = [\"{export}\"]\n{keys}"
        );
    }
    text
}

pub(crate) fn bird_config(cases: &[Case]) -> String {
    let mut text = "router id 10.99.1.1;\nprotocol direct { ipv4; ipv6; }\n".to_owned();
    for (index, case) in cases.iter().enumerate() {
        let (host, asn) = (host(index), case.session.asn());
        let (options, paths) = match case.session {
            Session::Extended => ("enable extended messages on;", ""),
            Session::AddPath => ("", "add paths on;"),
            Session::Customer => ("local role provider; require roles on;", ""),
            _ => ("", ""),
        };
        text += &format!(
            "protocol bgp c{host} {{ local 10.99.1.1 as {ROUTER_ASN}; neighbor 10.99.1.{host} as {asn}; passive on; \
             {options} ipv4 {{ {paths} import all; export none; }}; ipv6 {{ {paths} import all; export none; }}; }}\n"
        );
    }
    text
}

/// The AS paths of the prefixes that matter.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    target: Option<String>,
    target6: Option<String>,
    keep: bool,
    mark: bool,
    /// The daemon's JSON of the target's path.
    path: Value,
}

impl Table {
    fn put(&mut self, prefix: &str, as_path: &str) {
        match prefix {
            "198.51.100.0/24" => self.target = Some(as_path.to_owned()),
            "2001:db8:1::/48" => self.target6 = Some(as_path.to_owned()),
            "203.0.113.0/24" => self.keep = true,
            "192.0.2.0/24" => self.mark = true,
            _ => (),
        }
    }
}

/// What a router holds of a session.
pub(crate) trait Router {
    fn table(&self, host: u8) -> Result<Table>;
}

impl Router for Daemon {
    fn table(&self, host: u8) -> Result<Table> {
        let mut table = Table::default();
        for line in self.get(&format!("/v1/routes?received={}", address(host)))?.lines() {
            let route: Value = serde_json::from_str(line).with_context(|| format!("route: {line}"))?;
            let prefix = route["prefix"].as_str().unwrap_or_default();
            let path = &route["paths"][0];
            table.put(prefix, path["as_path"].as_str().unwrap_or_default());
            if prefix.starts_with("198.51.100.") {
                table.path = path.clone();
            }
        }
        Ok(table)
    }
}

impl Router for Bird {
    fn table(&self, host: u8) -> Result<Table> {
        let mut table = Table::default();
        let mut prefix = String::new();
        for line in self.query(&format!("show route all protocol c{host}"))?.lines() {
            if let Some(first) =
                line.split_whitespace().next().filter(|_| !line.starts_with(char::is_whitespace))
            {
                first.clone_into(&mut prefix);
            } else if let Some(path) = line.trim().strip_prefix("BGP.as_path:") {
                table.put(&prefix, path.trim());
            }
        }
        Ok(table)
    }
}

/// Sends a case's bytes to a router from the case's address, and tells what came of them.
pub(crate) fn attack(
    router: &impl Router,
    outside: &Namespace,
    case: &Case,
    host: u8,
    expected: Reaction,
) -> Result<Outcome> {
    let remote = SocketAddr::from(([10, 99, 1, 1], 179));
    let stream = outside.enter(|| feeder::connect_from(address(host).into(), remote))?;
    let mut attacker = Attacker { stream, unread: Vec::new() };
    attacker.read_until(OPEN, PATIENCE)?;
    if case.when == When::Opening {
        attacker.write(&case.bytes)?;
    } else {
        attacker.write(&case.session.open(host))?;
    }
    if let Some(end) = attacker.read_until(KEEPALIVE, PATIENCE)? {
        return Ok(attacker.finished(end));
    }
    match case.when {
        When::Opening => attacker.write(&[speaker::keepalive(), case.session.prelude()].concat())?,
        When::Confirming => attacker.write(&case.bytes)?,
        When::Established => {
            attacker.write(&[speaker::keepalive(), case.session.prelude(), case.bytes.clone()].concat())?;
        }
    }
    if case.hang_up {
        attacker.stream.shutdown(std::net::Shutdown::Write).context("close one side")?;
    }
    // Nothing may be sent behind what ends the session: the router's last words would be lost to a
    // reset of the connection.
    let ends = matches!(expected, Reaction::Reset(..) | Reaction::Closed);
    if let Some(end) = attacker.read_until(UPDATE_NEVER_COMES, if ends { PATIENCE } else { PAUSE })? {
        return Ok(attacker.finished(end));
    }
    // Should the session be over, reading tells how.
    let _ = attacker.write(&case.session.mark());
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(end) = attacker.read_until(UPDATE_NEVER_COMES, Duration::from_millis(2))? {
            return Ok(attacker.finished(end));
        }
        let table = router.table(host)?;
        if table.mark {
            let kept = table.keep || case.when == When::Confirming;
            ensure!(kept, "a route that the UPDATE does not name is gone");
            let judged = if case.ipv6 { &table.target6 } else { &table.target };
            let reaction = match judged.as_deref() {
                None => Reaction::Withdraw,
                Some(path) if path.ends_with("64998") => Reaction::Ignored,
                Some(_) => Reaction::Taken,
            };
            return Ok(Outcome { reaction, path: table.path, _attacker: attacker });
        }
        ensure!(Instant::now() < deadline, "no reaction, and what came behind was not taken");
    }
}

/// A message type that is waited for in vain, so that only the end or the time ends the wait.
const UPDATE_NEVER_COMES: u8 = 0;

/// What came of an attack; the connection stays open as long as this lives.
pub(crate) struct Outcome {
    pub(crate) reaction: Reaction,
    /// The daemon's JSON of the path that the target has.
    pub(crate) path: Value,
    _attacker: Attacker,
}

struct Attacker {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Attacker {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).context("send")
    }

    fn finished(self, reaction: Reaction) -> Outcome {
        Outcome { reaction, path: Value::Null, _attacker: self }
    }

    /// Reads until a message of this type has come, or for so long; how the session ended, if so.
    fn read_until(&mut self, kind: u8, patience: Duration) -> Result<Option<Reaction>> {
        let deadline = Instant::now() + patience;
        loop {
            while let Some(frame) = speaker::frame(&self.unread)? {
                let (found, length) = (frame[18], frame.len());
                let said = (found == NOTIFICATION).then(|| speaker::parse(frame)).transpose()?;
                self.unread.drain(..length);
                if let Some(Received::Notification(code, subcode)) = said {
                    return Ok(Some(Reaction::Reset(code, subcode)));
                }
                if found == kind {
                    return Ok(None);
                }
                ensure!(matches!(found, KEEPALIVE | UPDATE), "message of type {found}");
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                if matches!(kind, OPEN | KEEPALIVE) {
                    bail!("no message of type {kind} within {patience:?}");
                }
                return Ok(None);
            }
            self.stream.set_read_timeout(Some(left)).context("read timeout")?;
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(Some(Reaction::Closed)),
                Ok(count) => self.unread.extend(&chunk[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => (),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    return Ok(Some(Reaction::Closed));
                }
                Err(error) => return Err(error).context("read"),
            }
        }
    }
}
