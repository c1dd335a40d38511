//! Rules about source files: small, no `unsafe` outside of `src/io`, no module that is named after nothing.

use std::path::{Path, PathBuf};

use crate::root;

/// Never more lines than this in one file.
const MOST_LINES: usize = 800;
const NAMELESS: [&str; 7] = ["common", "util", "utils", "types", "helpers", "manager", "v2"];

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            // Build output, and what is no part of the workspace.
            if !name.starts_with('.') && name != "target" && name != "data" && name != "corpus" {
                rust_files(&path, found);
            }
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

fn all() -> Vec<(String, String)> {
    let (root, mut files) = (root(), Vec::new());
    rust_files(&root, &mut files);
    assert!(files.len() > 100);
    let named = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        (path.strip_prefix(&root).unwrap().display().to_string(), text)
    };
    files.into_iter().map(named).collect()
}

#[test]
fn no_file_is_too_long_and_half_of_them_are_short() {
    let mut lengths = Vec::new();
    for (name, text) in all() {
        let lines = text.lines().count();
        assert!(lines <= MOST_LINES, "{name} has {lines} lines: cut it at a joint");
        lengths.push(lines);
    }
    lengths.sort_unstable();
    let median = lengths[lengths.len() / 2];
    assert!(median <= 200, "half of the files have more than {median} lines");
}

#[test]
fn unsafe_stands_in_src_io_only() {
    // Put together here, so that this file does not find itself.
    let (block, word) = (["unsafe", " {"].concat(), ["unsafe", " "].concat());
    for (name, text) in all() {
        let code = || text.lines().filter(|line| !line.trim_start().starts_with("//"));
        if !name.starts_with("src/io/") {
            let found = code().find(|line| line.contains(&block) || line.trim_start().starts_with(&word));
            assert_eq!(found, None, "{name}: only src/io may do this");
        }
    }
}

#[test]
fn no_module_is_named_after_nothing() {
    for (name, _) in all() {
        let bad = Path::new(&name).components().find(|part| {
            let part = part.as_os_str().to_string_lossy();
            NAMELESS.contains(&part.trim_end_matches(".rs"))
        });
        assert!(bad.is_none(), "{name}: call it by what it does");
    }
}
