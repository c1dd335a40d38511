//! Which operations are to fail, and how.

/// Classes of operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Of a file's bytes.
    Read,
    /// Of a file's bytes, and changes of its length.
    Write,
    /// Of a file or a directory.
    Sync,
    /// Creating, renaming, removing.
    Name,
}

/// How an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `EIO`. A write leaves nothing, a sync throws away what it should have kept.
    Io,
    /// `ENOSPC`.
    Full,
    /// `EROFS`, as after a read-only remount.
    ReadOnly,
    /// The first half of a write is done, in whole pages, and the rest fails.
    Short,
}

/// A fault that is planned.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What fails.
    pub kind: Kind,
    /// How.
    pub fault: Fault,
    /// Only files whose name ends like this.
    pub suffix: &'static str,
    /// Operations that pass before.
    pub skip: u64,
    /// Whether all fail from then on, not one alone.
    pub for_ever: bool,
}

impl Plan {
    /// Every operation of a kind from now on.
    pub fn all(kind: Kind, fault: Fault) -> Plan {
        Plan { kind, fault, suffix: "", skip: 0, for_ever: true }
    }

    /// The next operation of a kind on a file whose name ends like this.
    pub fn next(kind: Kind, fault: Fault, suffix: &'static str) -> Plan {
        Plan { kind, fault, suffix, skip: 0, for_ever: false }
    }

    fn meets(&self, kind: Kind, name: &str) -> bool {
        self.kind == kind && name.ends_with(self.suffix)
    }
}

/// Takes the fault that this operation is to have.
pub(crate) fn due(plans: &mut Vec<Plan>, kind: Kind, name: &str) -> Option<Fault> {
    let mut due = None;
    plans.retain_mut(|plan| {
        if due.is_some() || !plan.meets(kind, name) {
            return true;
        }
        if plan.skip > 0 {
            plan.skip -= 1;
            return true;
        }
        due = Some(plan.fault);
        plan.for_ever
    });
    due
}
