//! Runs of ours and of fio in turn, so that both meet the same moods of the disk.

use crate::BenchError;
use crate::args::Common;
use crate::cpu;
use crate::fio::{Figures, Fio, Load};
use crate::place::Place;
use crate::producers::{self, Measured, Plan};
use crate::shard::{Setting, with_shard};
use crate::workload::{Case, Pool};

/// Between two rounds of retention with many partitions: still more often than a server makes them.
const RARELY: std::time::Duration = std::time::Duration::from_secs(2);

/// A load with its runs.
#[derive(Debug)]
pub struct Compared {
    /// The load.
    pub case: Case,
    /// How it was run.
    pub common: Common,
    /// What fio was given to do; `None` without fio.
    pub fio_load: Option<Load>,
    /// Our runs, each between two of fio.
    pub runs: Vec<Measured>,
    /// Runs of fio: one more than ours, or none.
    pub fio: Vec<Figures>,
    /// fio's version.
    pub fio_version: Option<String>,
    /// Runnable tasks on the machine before the first run.
    pub load_before: Option<f64>,
}

impl Compared {
    /// What fio gave on average around run number `run`.
    pub fn beside(&self, run: usize) -> Option<f64> {
        let (before, after) = (self.fio.get(run)?, self.fio.get(run + 1)?);
        Some((before.writes_per_s + after.writes_per_s) / 2.0)
    }
}

/// Runs fio, ours, fio, ours, ..., fio.
///
/// # Errors
/// The first failure.
pub fn alternate(
    place: &Place,
    fio: Option<&Fio>,
    case: Case,
    common: &Common,
    repeats: u32,
) -> Result<Compared, BenchError> {
    let setting = Setting { options: common.options()?, io: common.io, placement: common.placement };
    let plan = Plan {
        shape: case.shape,
        before: common.before(),
        measured: common.measured(),
        validate: common.validate,
        recycle: !common.first_fill,
        // A round looks at every partition and trims each: with many of them it has to be as rare as in a server.
        retain_every: if case.retain_rarely || case.shape.partitions > 1 {
            RARELY
        } else {
            producers::RETAIN_EVERY
        },
        seed: common.seed,
        max_batch: setting.options.max_batch(),
    };
    let stored = Pool::stored_of(case.shape, common.seed, plan.max_batch)?;
    let fio_load = fio.map(|_| Load::like(stored, case.shape.producers));
    let mut compared = Compared {
        case,
        common: common.clone(),
        fio_load,
        runs: Vec::new(),
        fio: Vec::new(),
        fio_version: fio.map(|fio| fio.version().to_owned()),
        load_before: cpu::load(),
    };
    let beside = |compared: &mut Compared| {
        if let Some((fio, load)) = fio.zip(fio_load) {
            compared.fio.push(fio.run(load, common.seconds, common.warmup)?);
        }
        Ok::<_, BenchError>(())
    };
    beside(&mut compared)?;
    for _ in 0..repeats {
        let dir = place.fresh_shard()?;
        let run = with_shard(&dir, &setting, async |wal| producers::drive(wal, plan).await)?;
        compared.runs.push(run);
        beside(&mut compared)?;
    }
    Ok(compared)
}
