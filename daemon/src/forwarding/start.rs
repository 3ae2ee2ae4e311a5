//! Bringing the forwarding plane up: beside that of an earlier run, if there is one.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use fib::{EngineChoice, Family, Fib};
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use super::forwarder::{Forwarder, Outputs};
use super::net::NetTask;
use super::ports::{PortSpec, Ports};
use super::thread::{self, Inputs};
use super::topology::Topology;
use super::{
    Farewell, ForwardingConfig, ForwardingError, ForwardingHandle, ForwardingStats, NextHopSink, QUEUE,
    RIB_QUEUE, Running,
};
use crate::host::{self, Host, Lock, Plan, Removed};
use crate::netlink::{Mirror, Netlink};
use crate::xdp::{AttachedMode, DataPlane, Pins, XdpError};

/// Loads the XDP program, attaches it to the ports unless that of an earlier run is there, and starts the FIB thread.
/// Must be called in a tokio runtime. When it fails, nothing is left behind, save what was there before.
pub async fn start(
    config: ForwardingConfig,
    sink: Box<dyn NextHopSink>,
) -> Result<ForwardingHandle, ForwardingError> {
    let lock = Lock::take()?;
    let netlink = Netlink::connect().await?;
    for name in &config.interfaces {
        if netlink.mirror().link_named(name).is_none() {
            let existing = netlink.mirror().links().map(|link| link.name.clone()).collect();
            return Err(ForwardingError::NoInterface { name: name.clone(), existing });
        }
    }
    let mut plane = DataPlane::load(&config.plane()).map_err(ForwardingError::Load)?;
    if config.tables.engine == EngineChoice::Direct {
        for family in Family::ALL {
            plane.open_direct(family).map_err(ForwardingError::Load)?;
        }
    }

    let keeps = find_earlier(&mut plane, config.keep);
    let earlier: HashMap<_, _> = plane.earlier().collect();
    // Without a port that was one before nothing is forwarded now, whatever is on our end of the pair.
    let staged = config.interfaces.iter().any(|name| is_on(&earlier, netlink.mirror(), name));

    let (kept_sender, kept) = watch::channel(BTreeSet::new());
    let stats = Arc::new(RwLock::new(ForwardingStats::default()));
    let outputs = Outputs { sink, kept: kept_sender, stats: Arc::clone(&stats) };
    let ports = Ports::new(specs(&config), config.mode);
    let topology = Topology::new(config.next_hop_via_default);
    let mut forwarder = Forwarder::new(Fib::new(config.tables), plane, ports, topology, outputs);
    forwarder.keep(keeps);
    if staged {
        info!(
            ports = earlier.len(),
            "forwarding goes on by the tables of an earlier run while those of this one are filled"
        );
        forwarder.stage(earlier);
    }
    // The router's own addresses first: packets to them must not be lost when the hook is in place.
    forwarder.net_all(netlink.mirror().events());
    forwarder.flush(false);
    // Ports before the way out: who has another program there hears of it before anything else is touched.
    bind(&mut forwarder)?;
    let plan = Plan::new(netlink.mirror(), &config.interfaces, config.router_id, host::ipv6_available());
    // The way out of an earlier run is in use: whatever comes, it stays.
    let host = if staged {
        Host::adopt(netlink.handle(), &plan).await?
    } else {
        Host::set_up(netlink.handle(), &plan).await?
    };

    let (stop, stopped) = watch::channel(None);
    let (events, net_inputs) = mpsc::channel(QUEUE);
    let (rib, rib_inputs) = mpsc::channel(RIB_QUEUE);
    let (queries, query_inputs) = mpsc::channel(QUEUE);
    let (doubts, doubt_inputs) = mpsc::unbounded_channel();
    let (live, live_inputs) = mpsc::channel(1);
    let inputs = Inputs {
        net: net_inputs,
        doubts: doubt_inputs,
        queries: query_inputs,
        rib: rib_inputs,
        live: live_inputs,
        stop: stopped.clone(),
    };
    let (netlink, thread) = match Box::pin(finish(netlink, forwarder, inputs, config.audit_interval)).await {
        Ok(done) => done,
        Err(error) => {
            if !staged {
                host.tear_down().await;
            }
            return Err(error);
        }
    };
    let task = NetTask {
        netlink,
        host,
        plan,
        interfaces: config.interfaces,
        router_id: config.router_id,
        events,
        kept,
        stop: stopped,
        unless_told: if keeps || staged { Farewell::Keep } else { Farewell::Remove },
    };
    let net = tokio::spawn(task.run());
    let running = Arc::new(Mutex::new(Some(Running { thread, net, _lock: lock })));
    Ok(ForwardingHandle { rib, doubts, queries, stats, live, stop, running, earlier: staged, keeps })
}

/// Whether a program of an earlier run is on the device that an interface leads to.
fn is_on(earlier: &HashMap<u32, Option<AttachedMode>>, mirror: &Mirror, interface: &str) -> bool {
    let mut link = mirror.link_named(interface);
    while let Some(vlan) = link.and_then(|link| link.vlan) {
        link = mirror.link(vlan.parent);
    }
    link.is_some_and(|link| earlier.contains_key(&link.ifindex))
}

/// Looks for what an earlier run has left on the ports, and makes way for what this one is to leave. Whether it can.
fn find_earlier(plane: &mut DataPlane, keep: bool) -> bool {
    let found = if keep { Pins::find_or_mount().map(Some) } else { Pins::find() };
    match found {
        Ok(Some(pins)) => {
            let swept = pins.sweep();
            if swept > 0 {
                info!(namespaces = swept, "removed what was kept for network namespaces that have gone");
            }
            let keeps = keep && pins.check().map_err(|error| cannot_keep(&error)).is_ok();
            if keeps {
                info!(pins = pins.place(), "forwarding goes on when the daemon ends, save by SIGINT");
            }
            plane.adopt(pins);
            keeps
        }
        Ok(None) => false,
        Err(error) => {
            if keep {
                cannot_keep(&error);
            }
            false
        }
    }
}

/// Says why forwarding is not kept, and what to do about it.
fn cannot_keep(error: &XdpError) {
    warn!(
        %error,
        "forwarding will end with the daemon; to have it go on, mount a BPF file system before the start, and let the \
         daemon write there: mount -t bpf -o mode=0700 bpf /sys/fs/bpf"
    );
}

/// Takes back what an earlier run has left, for a daemon that is to forward nothing; nothing if another one does.
pub async fn let_go() -> Result<Removed, host::DetachError> {
    match Lock::take() {
        Ok(lock) => host::take_back(&lock).await,
        Err(_) => Ok(Removed::default()),
    }
}

/// The ports of the configuration, and our end of the pair.
fn specs(config: &ForwardingConfig) -> Vec<PortSpec> {
    let routed = config.interfaces.iter();
    let mut specs: Vec<_> = routed.map(|name| PortSpec { name: name.clone(), host: false }).collect();
    specs.push(PortSpec { name: host::XDP_END.to_owned(), host: true });
    specs
}

fn bind(forwarder: &mut Forwarder<DataPlane>) -> Result<(), ForwardingError> {
    forwarder.bind_ports().map_err(|(name, source)| ForwardingError::Port { name, source })?;
    forwarder.flush(true);
    Ok(())
}

/// Binds our end of the pair that was just made, and starts the thread.
async fn finish(
    mut netlink: Netlink,
    mut forwarder: Forwarder<DataPlane>,
    inputs: Inputs,
    audit_interval: Option<Duration>,
) -> Result<(Netlink, std::thread::JoinHandle<()>), ForwardingError> {
    forwarder.net_all(netlink.refresh().await?);
    bind(&mut forwarder)?;
    forwarder.audit_every(audit_interval);
    let thread = spawn(forwarder, inputs).map_err(ForwardingError::Thread)?;
    Ok((netlink, thread))
}

fn spawn(forwarder: Forwarder<DataPlane>, inputs: Inputs) -> io::Result<std::thread::JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    std::thread::Builder::new()
        .name("fib".to_owned())
        .spawn(move || runtime.block_on(thread::run(forwarder, inputs)))
}
