//! The veth pair itself.
//!
//! Neither end speaks ARP or neighbour discovery, and neither makes itself a link-local address: frames
//! are addressed to nobody in particular, and the XDP program does not look at their MACs.

use futures::TryStreamExt;
use rtnetlink::packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoKind, LinkAttribute, LinkInfo, LinkMessage, LinkXdp,
    XdpAttached,
};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth};

use super::{HOST_END, HostError, XDP_END, failed};

/// The kernel interface indices of both ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    pub(super) host: u32,
    pub(super) xdp: u32,
}

/// Makes or completes the pair; both ends are up.
pub(super) async fn make(handle: &Handle) -> Result<Pair, HostError> {
    let (mut host, mut xdp) = (find(handle, HOST_END).await?, find(handle, XDP_END).await?);
    if let (Some(a), Some(b)) = (&host, &xdp)
        && !(a.is_veth && b.is_veth && a.peer == Some(b.ifindex) && b.peer == Some(a.ifindex))
    {
        return Err(HostError::NameTaken { name: if a.is_veth { XDP_END } else { HOST_END } });
    }
    if host.is_none() && xdp.is_none() {
        let message = LinkVeth::new(HOST_END, XDP_END).build();
        handle
            .link()
            .add(message)
            .execute()
            .await
            .map_err(failed(format!("make the veth pair {HOST_END}/{XDP_END}")))?;
        host = find(handle, HOST_END).await?;
        xdp = find(handle, XDP_END).await?;
    }
    // One end alone is not ours: the ends of a veth pair live and die together.
    let host = host.ok_or(HostError::NameTaken { name: XDP_END })?.ifindex;
    let xdp = xdp.ok_or(HostError::NameTaken { name: HOST_END })?.ifindex;
    for (name, ifindex) in [(HOST_END, host), (XDP_END, xdp)] {
        silence(handle, name, ifindex).await?;
        let up = LinkMessageBuilder::<LinkUnspec>::new().index(ifindex).arp(false).up().build();
        handle.link().change(up).execute().await.map_err(failed(format!("switch on {name}")))?;
    }
    Ok(Pair { host, xdp })
}

/// `addrgenmode none`. Without IPv6 in the kernel there is nothing to silence.
async fn silence(handle: &Handle, name: &str, ifindex: u32) -> Result<(), HostError> {
    if !super::ipv6_available() {
        return Ok(());
    }
    let mode = AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)]);
    let message = LinkMessageBuilder::<LinkUnspec>::new()
        .index(ifindex)
        .append_extra_attribute(LinkAttribute::AfSpecUnspec(vec![mode]))
        .build();
    let what = failed(format!("keep {name} from making addresses"));
    handle.link().change(message).execute().await.map_err(what)
}

pub(super) async fn set_mtu(handle: &Handle, pair: Pair, mtu: u32) -> Result<(), HostError> {
    for ifindex in [pair.xdp, pair.host] {
        let message = LinkMessageBuilder::<LinkUnspec>::new().index(ifindex).mtu(mtu).build();
        let what = failed(format!("set the MTU of {HOST_END}/{XDP_END} to {mtu}"));
        handle.link().change(message).execute().await.map_err(what)?;
    }
    Ok(())
}

/// Removes the pair, if it is there and ours; whether it was.
pub(super) async fn remove(handle: &Handle) -> Result<bool, HostError> {
    let Some(host) = find(handle, HOST_END).await?.filter(|end| end.is_veth) else { return Ok(false) };
    let what = failed(format!("remove the veth pair {HOST_END}/{XDP_END}"));
    handle.link().del(host.ifindex).execute().await.map_err(what)?;
    Ok(true)
}

/// Whether an XDP program is on our end, as it is while a daemon runs.
pub(super) async fn has_program(handle: &Handle) -> Result<bool, HostError> {
    Ok(find(handle, XDP_END).await?.is_some_and(|end| end.has_program))
}

#[derive(Debug)]
struct End {
    ifindex: u32,
    is_veth: bool,
    peer: Option<u32>,
    has_program: bool,
}

impl From<LinkMessage> for End {
    fn from(message: LinkMessage) -> Self {
        let mut end = Self { ifindex: message.header.index, is_veth: false, peer: None, has_program: false };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::Xdp(program) => {
                    end.has_program = program
                        .iter()
                        .any(|part| matches!(part, LinkXdp::Attached(how) if *how != XdpAttached::None));
                }
                LinkAttribute::Link(peer) => end.peer = Some(*peer),
                LinkAttribute::LinkInfo(infos) => {
                    end.is_veth |= infos.iter().any(|i| matches!(i, LinkInfo::Kind(InfoKind::Veth)));
                }
                _ => {}
            }
        }
        end
    }
}

async fn find(handle: &Handle, name: &'static str) -> Result<Option<End>, HostError> {
    match handle.link().get().match_name(name).execute().try_next().await {
        Ok(found) => Ok(found.map(End::from)),
        Err(rtnetlink::Error::NetlinkError(e)) if e.to_io().raw_os_error() == Some(libc::ENODEV) => Ok(None),
        Err(source) => Err(HostError::Netlink { what: format!("look for {name}"), source }),
    }
}
