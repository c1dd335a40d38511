//! Which crate of ours may know which. The walls of the house are crates, and Cargo's manifests are where they stand.

use std::collections::BTreeSet;

use crate::{manifest, root};

const ALL: &[&str] = &["format", "io", "wal", "replica", "meta", "proto", "client", "inspect"];

/// Folder, and what it may depend on. A crate that is not listed here has no place in the house yet.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("format", &[]),
    ("src/io", &[]),
    ("src/wal", &["format", "io"]),
    ("src/replica", &["format"]),
    ("src/meta", &["format", "wal", "io"]),
    ("src/proto", &["format"]),
    ("src/client", &["format", "proto", "io"]),
    ("src/node", ALL),
    ("tools/inspect", &["format", "io"]),
    ("benches", ALL),
    ("tests/fault", &[]),
    ("tests/damage", &["format", "io", "wal", "inspect"]),
    ("tests/model", &[]),
    ("tests/world", &["format", "replica", "meta"]),
];

fn ours(table: &toml::Table, kind: &str) -> BTreeSet<String> {
    let names = table.get(kind).and_then(toml::Value::as_table).into_iter().flat_map(toml::Table::keys);
    names.filter_map(|name| name.strip_prefix("tidelog-")).map(str::to_owned).collect()
}

#[test]
fn imports_go_down_only() {
    for (folder, allowed) in MAY_KNOW.iter().copied() {
        let table = manifest(&root().join(folder).join("Cargo.toml"));
        for kind in ["dependencies", "build-dependencies"] {
            for name in ours(&table, kind) {
                assert!(
                    allowed.contains(&name.as_str()),
                    "{folder} must not depend on tidelog-{name} ({kind})"
                );
            }
        }
    }
}

#[test]
fn every_crate_of_the_workspace_has_its_floor() {
    let table = manifest(&root().join("Cargo.toml"));
    let members: BTreeSet<&str> = table["workspace"]["members"]
        .as_array()
        .unwrap()
        .iter()
        .map(|member| member.as_str().unwrap())
        .collect();
    let known: BTreeSet<&str> = MAY_KNOW.iter().map(|(folder, _)| *folder).collect();
    assert_eq!(members, known);
}

#[test]
fn every_crate_is_held_to_the_lints_of_the_workspace() {
    for (folder, _) in MAY_KNOW.iter().copied() {
        let table = manifest(&root().join(folder).join("Cargo.toml"));
        let lints =
            table.get("lints").and_then(|lints| lints.get("workspace")).and_then(toml::Value::as_bool);
        assert_eq!(lints, Some(true), "{folder}/Cargo.toml lacks [lints] workspace = true");
    }
}
