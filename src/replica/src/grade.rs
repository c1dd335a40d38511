//! What recovery's verdict on an unsealed span means for quorums.

use tidelog_format::verdict::{Grade as Sure, Verdict};

use crate::message::Grade;
use crate::planted::{self, Bug};

/// The grade of an end with this verdict; `None` for files that a newer program wrote, which must not be judged.
pub fn grade(verdict: Verdict) -> Option<Grade> {
    Some(match verdict {
        Verdict::End(Sure::Proved) => Grade::Proved,
        Verdict::End(Sure::Strong | Sure::Weak) | Verdict::Torn if planted::has(Bug::FirstBadIsEnd) => {
            Grade::Proved
        }
        Verdict::Corrupt if planted::has(Bug::FirstBadIsEnd) || planted::has(Bug::RotIsTorn) => Grade::Proved,
        // Nothing says that the last write had not returned: it may have been acknowledged.
        Verdict::End(Sure::Strong | Sure::Weak) | Verdict::Torn => Grade::Unproved,
        Verdict::Corrupt => Grade::Suspect,
        Verdict::Unsupported => return None,
    })
}
