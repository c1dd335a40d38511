//! The spaces that are explored whole: with the rules as they are, nothing may be violated in them.

use crate::config::Config;
use crate::invariants::seen;

/// A configuration, and what its space must be worth: a model that explores nothing finds nothing.
#[derive(Clone, Copy, Debug)]
pub struct Space {
    /// What may happen.
    pub config: Config,
    /// How many different states it has; 0 where it was not explored to its end yet.
    pub states: usize,
    /// What must occur in it.
    pub seen: &'static [&'static str],
}

const ONE_ATTEMPT: &[&str] = &[seen::ACKED, seen::SURFACED, seen::ZOMBIE];
const RACING: &[&str] = &[seen::ACKED, seen::SURFACED, seen::ZOMBIE, seen::RACE];

const SUBSTITUTED: &[&str] = &[seen::ACKED, seen::SURFACED, seen::ZOMBIE, seen::RACE, seen::SUBSTITUTE];

const fn space(config: Config, states: usize, seen: &'static [&'static str]) -> Space {
    Space { config, states, seen }
}

const THREE: Config = Config::THREE;
const ONE_FRAME: Config = Config { frames: 1, ..THREE };

/// Small enough for every test run: together less than a minute of one core. The numbers are what is there, to the
/// state: a rule that is changed changes them, and docs/replication.md with them.
pub const QUICK: &[Space] = &[
    space(THREE, 366_013, RACING),
    space(Config { name: "readers", readers: true, ..THREE }, 689_485, RACING),
    space(Config { name: "Q = 3, F = 1", ack_quorum: 3, ..THREE }, 610_144, RACING),
    space(
        Config { name: "two nodes, Q = 2, F = 1", nodes: 2, readers: true, crashes: 1, ..THREE },
        136_133,
        RACING,
    ),
    space(Config { name: "one node", nodes: 1, ack_quorum: 1, crashes: 1, ..THREE }, 1_332, RACING),
    space(Config { name: "leaders close", closes: true, ..THREE }, 732_093, RACING),
    space(Config { name: "a crash", crashes: 1, ..ONE_FRAME }, 400_658, RACING),
    space(Config { name: "a lost disk", lost_disks: 1, ..ONE_FRAME }, 891_322, RACING),
    space(
        Config { name: "two nodes, a substitute", nodes: 2, lost_disks: 1, substitutes: true, ..THREE },
        529_448,
        SUBSTITUTED,
    ),
    space(
        Config { name: "a substitute", lost_disks: 1, substitutes: true, attempts: 1, ..THREE },
        74_950,
        &[seen::ACKED, seen::SUBSTITUTE],
    ),
    space(Config { name: "rot", rot: 1, reports: true, attempts: 1, ..THREE }, 1_160_289, ONE_ATTEMPT),
    space(Config { name: "rot twice", rot: 2, attempts: 1, ..THREE }, 132_467, ONE_ATTEMPT),
    space(
        Config { name: "rot and a crash", rot: 1, crashes: 1, attempts: 1, ..ONE_FRAME },
        32_930,
        ONE_ATTEMPT,
    ),
    space(Config { name: "fences asked again", asks_again: true, ..ONE_FRAME }, 115_675, RACING),
    space(Config { name: "readers, a crash", readers: true, crashes: 1, ..ONE_FRAME }, 607_991, RACING),
    space(
        Config { name: "a crash and a lost disk", crashes: 1, lost_disks: 1, attempts: 1, ..THREE },
        289_553,
        ONE_ATTEMPT,
    ),
    space(Config { name: "two spans", spans: 2, ..ONE_FRAME }, 1_039_315, RACING),
];

/// Larger ones, by hand: minutes to hours, and some GiB of memory.
pub const LARGE: &[Space] = &[
    space(Config { name: "three frames", frames: 3, ..THREE }, 1_266_113, RACING),
    space(Config { name: "three attempts", attempts: 3, ..ONE_FRAME }, 4_977_511, RACING),
    space(Config { name: "two frames, a crash", crashes: 1, ..THREE }, 2_977_225, RACING),
    space(Config { name: "two frames, a lost disk", lost_disks: 1, ..THREE }, 4_727_866, RACING),
    space(
        Config { name: "a substitute, two attempts", lost_disks: 1, substitutes: true, ..ONE_FRAME },
        3_774_874,
        SUBSTITUTED,
    ),
    space(
        Config { name: "Q = 3, two lost disks", ack_quorum: 3, lost_disks: 2, ..ONE_FRAME },
        12_576_178,
        RACING,
    ),
    space(Config { name: "rot, two attempts", rot: 1, reports: true, ..ONE_FRAME }, 6_561_124, RACING),
    space(Config { name: "two spans, closes", spans: 2, closes: true, ..ONE_FRAME }, 6_896_965, RACING),
    space(
        Config { name: "two spans, a lost disk", spans: 2, lost_disks: 1, ..ONE_FRAME },
        21_770_458,
        RACING,
    ),
];
