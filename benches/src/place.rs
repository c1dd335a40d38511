//! The directory that a bench works in. Nothing that was there before is touched.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::BenchError;

const MARK: &str = "tidelog-bench.mark";
const SHARD: &str = "shard";
const FIO: &str = "fio.dat";
const WHY: &str = "This directory belongs to tidelog-bench, which removes what is in it.\n";

/// A directory that is ours.
#[derive(Debug)]
pub struct Place {
    dir: PathBuf,
    made: bool,
}

impl Place {
    /// Takes a directory: missing, empty, or marked by an earlier bench.
    ///
    /// # Errors
    /// [`BenchError::NotOurs`] when other files are there; a failing disk.
    pub fn claim(dir: &Path) -> Result<Place, BenchError> {
        let made = !dir.exists();
        fs::create_dir_all(dir).map_err(BenchError::file("making directory", dir))?;
        let mut entries = fs::read_dir(dir).map_err(BenchError::file("listing", dir))?;
        let mark = dir.join(MARK);
        if !mark.exists() {
            if entries.next().is_some() {
                return Err(BenchError::NotOurs { dir: dir.to_owned() });
            }
            fs::write(&mark, WHY).map_err(BenchError::file("writing", &mark))?;
        }
        Ok(Place { dir: dir.to_owned(), made })
    }

    /// The folder of a fresh shard: what an earlier run left there is removed.
    ///
    /// # Errors
    /// A failing disk.
    pub fn fresh_shard(&self) -> Result<PathBuf, BenchError> {
        let shard = self.dir.join(SHARD);
        remove(fs::remove_dir_all(&shard), &shard)?;
        fs::create_dir_all(&shard).map_err(BenchError::file("making directory", &shard))?;
        Ok(shard)
    }

    /// The file that fio writes to.
    pub fn fio_file(&self) -> PathBuf {
        self.dir.join(FIO)
    }

    /// Removes all that a bench puts here, and the directory if it was made for it.
    ///
    /// # Errors
    /// A failing disk.
    pub fn tidy(&self) -> Result<(), BenchError> {
        let (shard, fio, mark) = (self.dir.join(SHARD), self.fio_file(), self.dir.join(MARK));
        remove(fs::remove_dir_all(&shard), &shard)?;
        remove(fs::remove_file(&fio), &fio)?;
        remove(fs::remove_file(&mark), &mark)?;
        if self.made {
            remove(fs::remove_dir(&self.dir), &self.dir)?;
        }
        Ok(())
    }
}

fn remove(done: std::io::Result<()>, path: &Path) -> Result<(), BenchError> {
    match done {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done.map_err(BenchError::file("removing", path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_with_other_files_is_refused_and_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("precious"), "x").unwrap();
        assert!(matches!(Place::claim(dir.path()), Err(BenchError::NotOurs { .. })));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_kept_directory_is_taken_again_and_a_tidied_one_is_as_before() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("bench");
        let place = Place::claim(&dir).unwrap();
        fs::write(place.fresh_shard().unwrap().join("segment"), "x").unwrap();
        let place = Place::claim(&dir).unwrap();
        assert_eq!(fs::read_dir(place.fresh_shard().unwrap()).unwrap().count(), 0, "a fresh one");
        place.tidy().unwrap();
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0, "it was there before this run");
        fs::remove_dir(&dir).unwrap();
        Place::claim(&dir).unwrap().tidy().unwrap();
        assert!(!dir.exists());
    }
}
