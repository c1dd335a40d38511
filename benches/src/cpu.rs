//! Processor time of this process, and how busy the machine is.

use std::fs;

use crate::BenchError;

const LOADAVG: &str = "/proc/loadavg";
/// Ticks of /proc per second: fixed in Linux's interface to programs.
const TICKS_PER_SECOND: f64 = 100.0;

/// Seconds of processor time that all threads of this process have used, the kernel's work for it included;
/// exact to 10 ms.
///
/// # Errors
/// Without /proc.
pub fn process_seconds() -> Result<f64, BenchError> {
    seconds_at("/proc/self/stat".to_owned())
}

/// The same of another process.
///
/// # Errors
/// Without /proc, or when it has ended and was waited for.
pub fn seconds_of(process: u32) -> Result<f64, BenchError> {
    seconds_at(format!("/proc/{process}/stat"))
}

fn seconds_at(path: String) -> Result<f64, BenchError> {
    let found = fs::read_to_string(&path).map_err(BenchError::file("reading", &path))?;
    seconds_in(&found).ok_or(BenchError::Proc { path, found })
}

/// `utime` and `stime`, fields 14 and 15; the name in field 2 may hold blanks and parentheses.
fn seconds_in(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some((f64::from(user) + f64::from(system)) / TICKS_PER_SECOND)
}

/// Runnable tasks on the machine on average over the last minute; `None` without /proc.
pub fn load() -> Option<f64> {
    fs::read_to_string(LOADAVG).ok()?.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_parentheses_does_not_shift_the_fields() {
        let stat = "42 (a) b) (c) S 1 42 42 0 -1 4194304 100 0 0 0 250 150 0 0 20 0 3 0 5 6 7";
        assert_eq!(seconds_in(stat), Some(4.0));
        assert_eq!(seconds_in("42 (a) S 1 2"), None);
    }

    #[test]
    fn this_process_has_a_time_and_it_does_not_shrink() {
        let before = process_seconds().unwrap();
        assert!(process_seconds().unwrap() >= before);
    }
}
