//! Forwarding that outlives the process, and what an earlier process has left: the part of [`DataPlane`] that
//! deals with [`Pins`].
//!
//! A data plane that finds links of an earlier run ([`DataPlane::adopt`]) leaves them alone while its own maps are
//! filled: packets go on by the earlier program. [`DataPlane::attach`] then has a link run the new program, in one
//! step and without losing a packet; [`DataPlane::settle`] lets go of links that nobody asked for, and names those
//! that are to stay. A process that dies between any two of these steps leaves each interface with the one program
//! or the other, and with a name for each link that had one.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd as _, BorrowedFd},
};

use super::{
    DataPlane, Pins, XdpError, XdpMode,
    attach::{AttachedMode, Attachment},
    pins::PinnedLink,
    sys,
};

/// What is kept beyond the process, and what was.
#[derive(Debug, Default)]
pub(super) struct Keeping {
    pins: Option<Pins>,
    /// Whether what is attached is pinned.
    pinning: bool,
    /// Links that still run the program of an earlier run, by interface.
    earlier: BTreeMap<u32, PinnedLink>,
}

impl DataPlane {
    /// Looks for what an earlier run has left attached. It goes on forwarding until it is taken over.
    pub fn adopt(&mut self, pins: Pins) {
        self.keeping.earlier = pins.links().into_iter().map(|link| (link.ifindex, link)).collect();
        self.keeping.pins = Some(pins);
    }

    /// The interfaces that run the program of an earlier run, and how, as far as that is known.
    pub fn earlier(&self) -> impl Iterator<Item = (u32, Option<AttachedMode>)> + '_ {
        self.keeping.earlier.values().map(|link| (link.ifindex, link.mode))
    }

    /// Attaches the program to an interface; `name` is for messages. What an earlier run has attached there is
    /// taken over without losing a packet, unless it is attached otherwise than `mode` demands.
    pub fn attach(&mut self, ifindex: u32, name: &str, mode: XdpMode) -> Result<AttachedMode, XdpError> {
        if self.attachments.contains_key(&ifindex) {
            return Err(XdpError::AlreadyAttached { name: name.to_owned() });
        }
        let earlier = self.keeping.earlier.remove(&ifindex);
        let program = self.program()?.fd().map_err(|error| XdpError::from_aya("attach XDP", &error))?;
        let program = program.as_fd();
        let taken_over = earlier.and_then(|earlier| take_over(earlier, program, name, mode));
        let attachment = if let Some(attachment) = taken_over {
            attachment
        } else {
            let attachment = Attachment::new(program, ifindex, name, mode)?;
            tracing::info!(interface = name, mode = %attachment.mode, "XDP attached");
            attachment
        };
        let attached = attachment.mode;
        let attachment = self.attachments.entry(ifindex).or_insert(attachment);
        if self.keeping.pinning {
            self.keeping.pin(ifindex, attachment);
        }
        Ok(attached)
    }

    /// Detaches the program from an interface; whether it was attached.
    pub fn detach(&mut self, ifindex: u32) -> bool {
        let Some(attachment) = self.attachments.remove(&ifindex) else { return false };
        if let Some(pins) = self.keeping.pins.as_ref().filter(|_| attachment.pinned) {
            pins.unpin(ifindex, attachment.mode);
        }
        // An interface that has gone has no program any more.
        let _ = sys::link_detach(attachment.link.as_fd());
        tracing::info!(interface = attachment.name, "XDP detached");
        true
    }

    /// Detaches the program from all interfaces, those of an earlier run too, and removes all pins.
    pub fn detach_all(&mut self) {
        while let Some(&ifindex) = self.attachments.keys().next() {
            self.detach(ifindex);
        }
        self.settle(false);
    }

    /// What is attached is all that is to be, and what an earlier run has left goes. With `keep` it stays attached
    /// beyond the process, and so does what is attached later.
    pub fn settle(&mut self, keep: bool) {
        for (ifindex, earlier) in std::mem::take(&mut self.keeping.earlier) {
            match sys::link_detach(earlier.link.as_fd()) {
                Ok(()) => tracing::info!(
                    ifindex,
                    "XDP of an earlier run detached from an interface that is no port"
                ),
                Err(error) => tracing::warn!(ifindex, %error, "XDP of an earlier run stays on an interface"),
            }
        }
        self.keeping.pinning = keep && self.keeping.pins.is_some();
        if self.keeping.pinning {
            for (&ifindex, attachment) in &mut self.attachments {
                self.keeping.pin(ifindex, attachment);
            }
        }
        let Some(pins) = &self.keeping.pins else { return };
        let mut kept = Vec::new();
        for (&ifindex, attachment) in &mut self.attachments {
            attachment.pinned &= self.keeping.pinning;
            if attachment.pinned {
                kept.push((ifindex, attachment.mode));
            }
        }
        pins.keep_only(&kept);
    }
}

impl Keeping {
    fn pin(&self, ifindex: u32, attachment: &mut Attachment) {
        let Some(pins) = self.pins.as_ref().filter(|_| !attachment.pinned) else { return };
        match pins.pin(&attachment.link, ifindex, attachment.mode) {
            Ok(()) => attachment.pinned = true,
            Err(error) => {
                tracing::warn!(interface = attachment.name, %error, "forwarding there ends with the daemon");
            }
        }
    }
}

/// Has the link of an earlier run run our program, if it is as it should be; else it is detached.
fn take_over(earlier: PinnedLink, program: BorrowedFd<'_>, name: &str, mode: XdpMode) -> Option<Attachment> {
    let PinnedLink { link, mode: was, ours, .. } = earlier;
    let fits = was.filter(|was| match mode {
        XdpMode::Auto => true,
        XdpMode::Native => *was == AttachedMode::Native,
        XdpMode::Generic => *was == AttachedMode::Generic,
    });
    if let Some(mode) = fits {
        match sys::link_update(link.as_fd(), program) {
            Ok(()) => {
                tracing::info!(interface = name, %mode, "XDP taken over from an earlier run");
                return Some(Attachment { name: name.to_owned(), mode, link, pinned: ours });
            }
            Err(error) => {
                tracing::warn!(interface = name, %error, "XDP of an earlier run cannot be taken over, is attached anew");
            }
        }
    } else {
        tracing::warn!(
            interface = name,
            "XDP of an earlier run is attached in another way, is attached anew"
        );
    }
    if let Err(error) = sys::link_detach(link.as_fd()) {
        tracing::debug!(interface = name, %error, "XDP of an earlier run was not detached");
    }
    None
}
