//! What the receiver was sent, byte by byte, with the time of each read.
//!
//! While the clock runs nothing is interpreted beyond counting: that costs a few milliseconds in
//! a million routes. [`crate::load::ledger`] reads the recording afterwards.

use std::io::{self, Read};
use std::time::Instant;

use anyhow::{Result, bail};

use crate::speaker::{self, Received};

/// Room for a full table of four feeders before it must grow; touched only as it fills.
const CAPACITY: usize = 256 << 20;
/// Bytes to a read.
const READ: usize = 256 << 10;

/// Bytes and their times.
#[derive(Debug)]
pub struct Recording {
    bytes: Vec<u8>,
    /// Where each read ended, and when.
    reads: Vec<(usize, Instant)>,
    scratch: Vec<u8>,
    /// Whole messages up to here have been counted.
    counted: usize,
    tally: Tally,
}

/// What has been counted since the last [`Recording::clear`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Routes in UPDATEs, announced.
    pub announced: u64,
    /// Routes in UPDATEs, withdrawn.
    pub withdrawn: u64,
    /// When the last UPDATE (End-of-RIB is one too) was complete.
    pub last_update: Option<Instant>,
}

impl Recording {
    /// An empty one, which begins with what came during the handshake.
    pub fn new(unread: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(CAPACITY);
        bytes.extend(unread);
        let reads = vec![(bytes.len(), Instant::now())];
        Self { bytes, reads, scratch: vec![0; READ], counted: 0, tally: Tally::default() }
    }

    /// Reads once; false when the connection has ended.
    pub fn read_from(&mut self, stream: &mut impl Read) -> io::Result<bool> {
        let count = stream.read(&mut self.scratch)?;
        self.bytes.extend(&self.scratch[..count]);
        self.reads.push((self.bytes.len(), Instant::now()));
        Ok(count > 0)
    }

    /// Counts what has come since it was last asked; an error if the router has ended the session.
    pub fn tally(&mut self) -> Result<Tally> {
        while let Some(frame) = speaker::frame(&self.bytes[self.counted..])? {
            if let Some((announced, withdrawn)) = speaker::count_routes(frame)? {
                self.tally.announced += announced;
                self.tally.withdrawn += withdrawn;
                self.tally.last_update = self.reads.last().map(|&(_, time)| time);
            } else if let Received::Notification(code, subcode) = speaker::parse(frame)? {
                bail!("the router ends the receiver's session: NOTIFICATION {code}/{subcode}");
            }
            self.counted += frame.len();
        }
        Ok(self.tally)
    }

    /// Every whole message in order, with the time of the read that completed it.
    pub fn replay(&self, mut each: impl FnMut(&[u8], Instant) -> Result<()>) -> Result<()> {
        let (mut at, mut reads) = (0, self.reads.iter().peekable());
        while let Some(frame) = speaker::frame(&self.bytes[at..])? {
            at += frame.len();
            while reads.next_if(|(end, _)| *end < at).is_some() {}
            let Some((_, time)) = reads.peek() else { bail!("bytes that no read has brought") };
            each(frame, *time)?;
        }
        Ok(())
    }

    /// Forgets whole messages; half of one stays.
    pub fn clear(&mut self) -> Result<()> {
        let mut at = 0;
        while let Some(frame) = speaker::frame(&self.bytes[at..])? {
            at += frame.len();
        }
        self.bytes.drain(..at);
        self.reads = vec![(self.bytes.len(), Instant::now())];
        self.counted = 0;
        self.tally = Tally::default();
        Ok(())
    }
}
