//! Which of a peer's paths are present, which are stale, and which are to go: the generations of paths.
//!
//! Each path carries the generation in which its peer announced it last. A peer announces in the present
//! one. When what it announced so far is to be doubted, the next generation begins: because its session
//! ended and it is expected back (graceful restart, RFC 4724 section 4.2), or because it sends everything
//! again (RFC 7313). The paths of the one before are *stale* from then on: used as ever, until the peer
//! announces them again, which makes them present without anybody noticing, or until whoever marked them
//! has them dropped. Paths of a session that ended for good are *departed* at once, and the sweep takes
//! them out at its own pace, while the next session may already bring new ones.
//!
//! There are four generations, so that one may be present and others stale or departed at the same time.

use super::path::Path;

/// How many generations a path can name.
const COUNT: u8 = 4;

/// What a path is to its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Announced in the present session, and not withdrawn.
    Present,
    /// Announced before the session was lost, or a refresh began, and not since.
    Stale,
    /// Of a session that ended, or given up: about to be removed.
    Departed,
}

/// The generations of a peer in one family, sets as one bit for each.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Generations {
    present: u8,
    stale: u8,
    departed: u8,
    /// Stale paths are long-lived ones (RFC 9494 section 4.2).
    pub(crate) long_lived: bool,
}

impl Generations {
    /// The bits of present paths.
    #[inline]
    pub(crate) fn marks(self) -> u16 {
        u16::from(self.present) << Path::GENERATION_SHIFT
    }

    /// Whether a path is present.
    #[inline]
    pub(crate) fn owns(self, path: Path) -> bool {
        path.flags & Path::GENERATION == self.marks()
    }

    #[inline]
    pub(crate) fn standing(self, path: Path) -> Standing {
        let generation = path.generation();
        if generation == self.present {
            Standing::Present
        } else if self.stale & 1 << generation != 0 {
            Standing::Stale
        } else {
            Standing::Departed
        }
    }

    pub(crate) fn has_stale(self) -> bool {
        self.stale != 0
    }

    pub(crate) fn has_departed(self) -> bool {
        self.departed != 0
    }

    /// A generation that no path has.
    fn unused(self) -> Option<u8> {
        let used = 1 << self.present | self.stale | self.departed;
        (0..COUNT).find(|generation| used & 1 << generation == 0)
    }

    /// Begins a new generation; the paths of the one before become stale, or have departed. `false`: no
    /// generation is free, nothing happened.
    pub(crate) fn begin(&mut self, stale: bool) -> bool {
        let Some(next) = self.unused() else { return false };
        let before = 1 << self.present;
        *(if stale { &mut self.stale } else { &mut self.departed }) |= before;
        self.present = next;
        true
    }

    /// All stale paths have departed; whether there may be any.
    pub(crate) fn drop_stale(&mut self) -> bool {
        let any = self.has_stale();
        self.departed |= self.stale;
        self.stale = 0;
        self.long_lived = false;
        any
    }

    /// No departed path is left.
    pub(crate) fn swept(&mut self) {
        self.departed = 0;
    }

    /// Names one generation for all stale paths: the mark that they are to get.
    pub(crate) fn merge_stale(&mut self) -> u16 {
        let kept = self.stale.trailing_zeros() as u8 % COUNT;
        self.stale = 1 << kept;
        u16::from(kept) << Path::GENERATION_SHIFT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(generations: Generations) -> Path {
        Path { flags: Path::BEST | generations.marks(), ..Path::default() }
    }

    #[test]
    fn a_path_is_present_then_stale_then_departed() {
        let mut generations = Generations::default();
        let first = path(generations);
        assert_eq!(generations.standing(first), Standing::Present);
        assert!(generations.begin(true));
        assert_eq!(generations.standing(first), Standing::Stale);
        let second = path(generations);
        assert!(generations.owns(second) && !generations.owns(first));
        assert!(generations.drop_stale() && !generations.drop_stale());
        assert_eq!(generations.standing(first), Standing::Departed);
        assert!(generations.begin(false));
        assert_eq!(generations.standing(second), Standing::Departed);
    }

    #[test]
    fn a_generation_is_used_again_only_when_no_path_has_it() {
        let mut generations = Generations::default();
        assert!(generations.begin(true) && generations.begin(false) && generations.begin(true));
        assert!(!generations.begin(true), "one present, two stale, one departed");
        generations.swept();
        assert!(generations.begin(true));
        assert!(!generations.begin(true), "one present, three stale");
        assert_eq!(generations.merge_stale(), 0);
        assert!(generations.begin(false));
    }
}
