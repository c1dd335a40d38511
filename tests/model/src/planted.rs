//! In which world each planted bug shows, and as what.

use crate::bug::{Bug, Bugs};
use crate::config::Config;
use crate::invariants::{I1, I5, I6, I7, I8};

/// A bug, or several that do harm only together.
#[derive(Clone, Copy, Debug)]
pub struct Planted {
    /// What is planted.
    pub bugs: &'static [Bug],
    /// A small world in which it shows.
    pub config: Config,
    /// The invariant that it violates there. Wherever it can be, that is I7: acknowledged data is lost.
    pub violates: &'static str,
}

const ONE_FRAME: Config = Config { frames: 1, ..Config::THREE };
const ONE_ATTEMPT: Config = Config { attempts: 1, ..ONE_FRAME };

fn plant(bugs: &'static [Bug], config: Config, violates: &'static str) -> Planted {
    Planted { bugs, config: Config { name: "planted", bugs: Bugs::of(bugs), ..config }, violates }
}

/// Every planted bug.
pub fn all() -> Vec<Planted> {
    let crash = Config { crashes: 1, ..ONE_ATTEMPT };
    let lost = Config { lost_disks: 1, ..ONE_ATTEMPT };
    let rot = Config { rot: 1, ..ONE_ATTEMPT };
    let closes = Config { closes: true, ..ONE_ATTEMPT };
    vec![
        plant(&[Bug::SmallFence], ONE_ATTEMPT, I7),
        plant(&[Bug::UnfencedLength], ONE_ATTEMPT, I7),
        plant(&[Bug::ShortestEnd], ONE_ATTEMPT, I7),
        plant(&[Bug::CommittedEnd], Config { reports: true, ..ONE_ATTEMPT }, I7),
        plant(&[Bug::VolatilePromise], crash, I7),
        plant(&[Bug::AckBeforeSync], crash, I7),
        plant(&[Bug::EmptyDiskVotes], lost, I7),
        plant(&[Bug::RolledBackRejoins], lost, I7),
        plant(&[Bug::UnconditionalSeal], ONE_FRAME, I6),
        plant(&[Bug::ReadLocalEnd], Config { readers: true, ..ONE_ATTEMPT }, I8),
        plant(&[Bug::ResumedLeader], Config { frames: 2, ..crash }, I1),
        plant(&[Bug::NoTailRepair], ONE_ATTEMPT, I5),
        plant(&[Bug::AckWhileClosing], closes, I7),
        plant(&[Bug::BelievesClose], closes, I7),
        plant(&[Bug::ClosesAtItsEnd], closes, I5),
        plant(&[Bug::WeakQuorum], ONE_ATTEMPT, I7),
        plant(&[Bug::UnfencedAppend], ONE_ATTEMPT, I7),
        plant(&[Bug::RepairAcked, Bug::RepairUnfenced], ONE_FRAME, I7),
        plant(&[Bug::FirstBadIsEnd], rot, I7),
        plant(&[Bug::RotIsTorn], Config { frames: 2, ..rot }, I7),
        plant(&[Bug::ForgottenDoubt], Config { crashes: 1, ..rot }, I7),
        plant(&[Bug::ShortDoubt], Config { frames: 2, rot: 2, ..rot }, I7),
        plant(&[Bug::PrefixOnly], Config { frames: 2, rot: 2, ..rot }, I7),
        plant(&[Bug::SubstituteVotes], Config { substitutes: true, ..lost }, I7),
    ]
}

/// Bugs that do no harm alone: each takes away one of two walls.
pub fn harmless_alone() -> [Planted; 2] {
    [plant(&[Bug::RepairAcked], ONE_FRAME, I7), plant(&[Bug::RepairUnfenced], ONE_FRAME, I7)]
}
