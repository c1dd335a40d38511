//! Names and directories.

use super::{is_pattern, new_file, read};
use crate::{Access, BLOCK, DirEntry, Disk, DiskFile, Fault};
use std::path::Path;

/// Also when it was just removed and made again.
pub async fn creating_an_existing_file_is_refused<D: Disk>(disk: &D, dir: &Path) {
    let path = dir.join("f");
    drop(new_file(disk, &path, Access::Durable, 1, 1).await);
    let Err(error) = disk.create(&path, Access::Durable).await else { panic!("created twice") };
    assert_eq!(error.kind(), Fault::Invalid);
    assert!(error.is_already_exists());
    let file = disk.open(&path, Access::Read).await.unwrap();
    assert_eq!(file.len().await.unwrap(), BLOCK as u64, "the refused creation truncated nothing");
    drop(file);
    disk.remove(&path).await.unwrap();
    disk.create(&path, Access::Bulk).await.unwrap();
}

/// Within a directory and between two.
pub async fn renaming_moves_and_never_overwrites<D: Disk>(disk: &D, dir: &Path) {
    let (a, b, other) = (dir.join("a"), dir.join("b"), dir.join("d").join("c"));
    drop(new_file(disk, &a, Access::Durable, 1, 1).await);
    drop(new_file(disk, &b, Access::Durable, 1, 2).await);
    let error = disk.rename(&a, &b).await.unwrap_err();
    assert_eq!(error.kind(), Fault::Invalid);
    assert!(error.is_already_exists());
    let kept = disk.open(&b, Access::Read).await.unwrap();
    assert!(is_pattern(&read(disk, &kept, BLOCK, 0).await, 0, 2));
    disk.create_dir_all(&dir.join("d")).await.unwrap();
    disk.rename(&a, &other).await.unwrap();
    disk.sync_dir(dir).await.unwrap();
    disk.sync_dir(&dir.join("d")).await.unwrap();
    assert!(disk.open(&a, Access::Read).await.is_err_and(|error| error.kind() == Fault::NotFound));
    let moved = disk.open(&other, Access::Durable).await.unwrap();
    assert!(is_pattern(&read(disk, &moved, BLOCK, 0).await, 0, 1));
}

/// Sorted by name whatever the order of making; directories are told apart.
pub async fn names_are_listed_in_order_with_their_lengths<D: Disk>(disk: &D, dir: &Path) {
    for (name, blocks) in [("b", 2), ("a-10", 0), ("c", 1), ("a-9", 0), ("B", 0)] {
        drop(new_file(disk, &dir.join(name), Access::Bulk, blocks, 1).await);
    }
    disk.create_dir_all(&dir.join("bb").join("inner")).await.unwrap();
    let entry = |name: &str, blocks: usize, is_dir| DirEntry {
        name: name.to_owned(),
        len: (blocks * BLOCK) as u64,
        is_dir,
    };
    let expected = [
        entry("B", 0, false),
        entry("a-10", 0, false),
        entry("a-9", 0, false),
        entry("b", 2, false),
        entry("bb", 0, true),
        entry("c", 1, false),
    ];
    assert_eq!(disk.list(dir).await.unwrap(), expected);
}

/// In every operation that needs an existing name.
pub async fn what_is_missing_is_not_found<D: Disk>(disk: &D, dir: &Path) {
    let (missing, inside) = (dir.join("missing"), dir.join("missing").join("f"));
    let kinds = [
        disk.open(&missing, Access::Read).await.map(|_| ()).unwrap_err(),
        disk.open(&missing, Access::Durable).await.map(|_| ()).unwrap_err(),
        disk.create(&inside, Access::Durable).await.map(|_| ()).unwrap_err(),
        disk.rename(&missing, &dir.join("x")).await.unwrap_err(),
        disk.remove(&missing).await.unwrap_err(),
        disk.sync_dir(&missing).await.unwrap_err(),
        disk.list(&missing).await.unwrap_err(),
    ];
    for error in kinds {
        assert_eq!(error.kind(), Fault::NotFound, "{error}");
        assert!(error.path().starts_with(&missing), "{error}");
    }
    drop(new_file(disk, &dir.join("f"), Access::Bulk, 0, 0).await);
    let error = disk.rename(&dir.join("f"), &inside).await.unwrap_err();
    assert_eq!(error.kind(), Fault::NotFound);
}

/// Making what is there already is no error.
pub async fn directories_are_made_with_their_parents<D: Disk>(disk: &D, dir: &Path) {
    let deep = dir.join("a").join("b").join("c");
    disk.create_dir_all(&deep).await.unwrap();
    disk.create_dir_all(&deep).await.unwrap();
    drop(new_file(disk, &deep.join("f"), Access::Durable, 1, 1).await);
    assert_eq!(disk.list(&deep).await.unwrap().len(), 1);
    let above = disk.list(&dir.join("a")).await.unwrap();
    assert_eq!(above, [DirEntry { name: String::from("b"), len: 0, is_dir: true }]);
}

/// And a directory is no file.
pub async fn a_file_is_no_directory<D: Disk>(disk: &D, dir: &Path) {
    let file = dir.join("f");
    drop(new_file(disk, &file, Access::Bulk, 0, 0).await);
    let sub = dir.join("d");
    disk.create_dir_all(&sub).await.unwrap();
    let errors = [
        disk.create_dir_all(&file.join("d")).await.unwrap_err(),
        disk.list(&file).await.unwrap_err(),
        disk.sync_dir(&file).await.unwrap_err(),
        disk.remove(&sub).await.unwrap_err(),
        disk.open(&sub, Access::Durable).await.map(|_| ()).unwrap_err(),
        disk.create(&sub, Access::Durable).await.map(|_| ()).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), Fault::Invalid, "{error}");
    }
}

/// Some is left, or no test could have run.
pub async fn the_free_space_is_known<D: Disk>(disk: &D, dir: &Path) {
    assert!(disk.free_space(dir).await.unwrap() >= BLOCK as u64);
}
