//! Asking before something is destroyed.

use std::io::{self, BufRead, IsTerminal, Write};

use super::args::GuardArgs;
use super::exit::{Failure, printable};

/// Whether to go on with what `deed` describes ("delete topic `t` ..."). `false`: a dry run, nothing shall be done.
///
/// Refused without `--yes` when nobody can be asked, or when the answer is not yes.
pub(crate) fn confirmed(guard: GuardArgs, deed: &str) -> Result<bool, Failure> {
    let deed = printable(deed);
    if guard.dry_run {
        super::output::write(format!("would {deed}\n").as_bytes())?;
        return Ok(false);
    }
    if guard.yes {
        return Ok(true);
    }
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Err(Failure::Refused(format!(
            "this would {deed}; give --yes to do it, or --dry-run to look first"
        )));
    }
    let mut stderr = io::stderr().lock();
    write!(stderr, "This will {deed}. It cannot be undone. Go on? [y/N] ").and_then(|()| stderr.flush())?;
    drop(stderr);
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    if is_yes(&answer) {
        Ok(true)
    } else {
        Err(Failure::Refused("not confirmed, nothing was done".to_owned()))
    }
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_yes_is_a_yes() {
        for answer in ["y\n", "Y", " yes\r\n", "YES"] {
            assert!(is_yes(answer), "{answer:?}");
        }
        for answer in ["", "\n", "n", "yep", "yesno", "ja"] {
            assert!(!is_yes(answer), "{answer:?}");
        }
    }

    #[test]
    fn yes_goes_on_without_asking() {
        assert!(confirmed(GuardArgs { dry_run: false, yes: true }, "delete it").unwrap());
    }
}
