//! The BFD control packet (RFC 5880 section 4.1).
//!
//! Any octets may come in. What is wrong with a packet is found in the order of section 6.8.6, as far as that needs no
//! session; [`Unusable`] is the reason by which it is counted.

use std::fmt;
use std::time::Duration;

/// Octets of a packet without authentication.
pub const LENGTH: usize = 24;
/// Least octets of a packet with authentication.
const LENGTH_WITH_AUTHENTICATION: u8 = 26;
const VERSION: u8 = 1;

/// The bits of the second octet, below the state.
mod flag {
    pub(super) const POLL: u8 = 0x20;
    pub(super) const FINAL: u8 = 0x10;
    pub(super) const CONTROL_PLANE_INDEPENDENT: u8 = 0x08;
    pub(super) const AUTHENTICATION: u8 = 0x04;
    pub(super) const DEMAND: u8 = 0x02;
    pub(super) const MULTIPOINT: u8 = 0x01;
}

/// The state of a session (RFC 5880 section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Held down by an operator.
    AdminDown,
    /// Not up; the neighbour may not hear us.
    Down,
    /// The neighbour can be heard, and does not say yet that it hears us.
    Init,
    /// Both hear each other.
    Up,
}

impl State {
    fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::AdminDown,
            1 => Self::Down,
            2 => Self::Init,
            _ => Self::Up,
        }
    }

    fn bits(self) -> u8 {
        match self {
            Self::AdminDown => 0,
            Self::Down => 1,
            Self::Init => 2,
            Self::Up => 3,
        }
    }

    /// In the RFC's words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AdminDown => "AdminDown",
            Self::Down => "Down",
            Self::Init => "Init",
            Self::Up => "Up",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a session last went down (RFC 5880 section 4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Diagnostic(u8);

impl Diagnostic {
    /// Nothing is known.
    pub const NONE: Self = Self(0);
    /// Nothing was heard for the detection time.
    pub const DETECTION_TIME_EXPIRED: Self = Self(1);
    /// The neighbour said so.
    pub const NEIGHBOR_SIGNALED_DOWN: Self = Self(3);
    /// An operator did it.
    pub const ADMINISTRATIVELY_DOWN: Self = Self(7);

    /// The number.
    pub fn code(self) -> u8 {
        self.0
    }

    /// In the RFC's words; numbers that it reserves have none.
    pub fn as_str(self) -> &'static str {
        match self.0 {
            0 => "no diagnostic",
            1 => "control detection time expired",
            2 => "echo function failed",
            3 => "neighbor signaled session down",
            4 => "forwarding plane reset",
            5 => "path down",
            6 => "concatenated path down",
            7 => "administratively down",
            8 => "reverse concatenated path down",
            _ => "reserved diagnostic",
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a packet is dropped before a session is looked for (RFC 5880 section 6.8.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
pub enum Unusable {
    /// Shorter than the shortest packet, or than its own length field.
    #[error("too short")]
    TooShort,
    /// Another version of the protocol.
    #[error("version")]
    Version,
    /// A length field that no packet can have.
    #[error("length field")]
    Length,
    /// A detection multiplier of 0.
    #[error("detect mult 0")]
    DetectMult,
    /// The multipoint bit.
    #[error("multipoint")]
    Multipoint,
    /// `My Discriminator` is 0.
    #[error("no my discriminator")]
    MyDiscriminator,
    /// `Your Discriminator` is 0 in a state that takes one.
    #[error("no your discriminator")]
    YourDiscriminator,
    /// Authenticated, while no session uses authentication.
    #[error("authentication")]
    Authentication,
}

impl Unusable {
    /// All there are.
    pub const ALL: [Self; 8] = [
        Self::TooShort,
        Self::Version,
        Self::Length,
        Self::DetectMult,
        Self::Multipoint,
        Self::MyDiscriminator,
        Self::YourDiscriminator,
        Self::Authentication,
    ];
}

/// A control packet without authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a bit of the packet")]
pub struct Packet {
    /// Why the sender's session last went down.
    pub diagnostic: Diagnostic,
    /// State of the sender's session.
    pub state: State,
    /// The sender asks for a packet with `final_`, to see that its parameters have arrived.
    pub poll: bool,
    /// The answer to `poll`.
    pub final_: bool,
    /// The sender's BFD goes on when its control plane restarts.
    pub control_plane_independent: bool,
    /// The sender wants no packets while both are up.
    pub demand: bool,
    /// Packets that may be lost in a row: times the interval, the detection time.
    pub detect_mult: u8,
    /// The sender's number of the session, never 0.
    pub my_discriminator: u32,
    /// The receiver's number of the session; 0 while it is not known.
    pub your_discriminator: u32,
    /// Least interval at which the sender would like to send.
    pub desired_min_tx: Duration,
    /// Least interval at which it can receive; 0: it wants no packets.
    pub required_min_rx: Duration,
    /// The same for echo packets; 0: it does not support them.
    pub required_min_echo_rx: Duration,
}

impl Packet {
    /// Reads a packet. What follows it in the datagram is ignored.
    pub fn decode(octets: &[u8]) -> Result<Self, Unusable> {
        let Some(head) = octets.first_chunk::<LENGTH>() else { return Err(Unusable::TooShort) };
        let [first, second, detect_mult, length, numbers @ ..] = head;
        let authenticated = second & flag::AUTHENTICATION != 0;
        let least = if authenticated { LENGTH_WITH_AUTHENTICATION } else { LENGTH as u8 };
        if first >> 5 != VERSION {
            return Err(Unusable::Version);
        }
        if *length < least {
            return Err(Unusable::Length);
        }
        if octets.len() < usize::from(*length) {
            return Err(Unusable::TooShort);
        }
        if *detect_mult == 0 {
            return Err(Unusable::DetectMult);
        }
        if second & flag::MULTIPOINT != 0 {
            return Err(Unusable::Multipoint);
        }
        let (numbers, _) = numbers.as_chunks::<4>();
        let number = |index: usize| numbers.get(index).map_or(0, |octets| u32::from_be_bytes(*octets));
        let micros = |index| Duration::from_micros(number(index).into());
        let packet = Self {
            diagnostic: Diagnostic(first & 0x1f),
            state: State::from_bits(second >> 6),
            poll: second & flag::POLL != 0,
            final_: second & flag::FINAL != 0,
            control_plane_independent: second & flag::CONTROL_PLANE_INDEPENDENT != 0,
            demand: second & flag::DEMAND != 0,
            detect_mult: *detect_mult,
            my_discriminator: number(0),
            your_discriminator: number(1),
            desired_min_tx: micros(2),
            required_min_rx: micros(3),
            required_min_echo_rx: micros(4),
        };
        if packet.my_discriminator == 0 {
            return Err(Unusable::MyDiscriminator);
        }
        if packet.your_discriminator == 0 && !matches!(packet.state, State::Down | State::AdminDown) {
            return Err(Unusable::YourDiscriminator);
        }
        if authenticated {
            return Err(Unusable::Authentication);
        }
        Ok(packet)
    }

    /// Writes it. Times are in microseconds; longer ones than fit, more than an hour, are cut to that.
    pub fn encode(&self) -> [u8; LENGTH] {
        let bit = |set, bit| if set { bit } else { 0 };
        let flags = bit(self.poll, flag::POLL)
            | bit(self.final_, flag::FINAL)
            | bit(self.control_plane_independent, flag::CONTROL_PLANE_INDEPENDENT)
            | bit(self.demand, flag::DEMAND);
        let micros = |time: Duration| u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        let mut octets = [0; LENGTH];
        octets[0] = VERSION << 5 | self.diagnostic.0;
        octets[1] = self.state.bits() << 6 | flags;
        octets[2] = self.detect_mult;
        octets[3] = LENGTH as u8;
        let numbers = [
            self.my_discriminator,
            self.your_discriminator,
            micros(self.desired_min_tx),
            micros(self.required_min_rx),
            micros(self.required_min_echo_rx),
        ];
        let (places, _) = octets[4..].as_chunks_mut::<4>();
        for (place, number) in places.iter_mut().zip(numbers) {
            *place = number.to_be_bytes();
        }
        octets
    }
}
