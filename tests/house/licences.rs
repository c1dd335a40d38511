//! Every crate that is built in has a licence that deny.toml allows. `cargo deny check` says more, where it is
//! installed; this needs only Cargo.

use std::collections::BTreeSet;
use std::process::Command;

use crate::{manifest, root};

/// Whether an SPDX expression can be satisfied; `/` is the old way to write OR. Exceptions count as their licence.
fn satisfied(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let expression = expression.replace('/', " OR ").replace(['(', ')'], " ");
    // AND binds closer than OR; where brackets say otherwise this asks for too much, never for too little.
    expression.split(" OR ").any(|all| {
        all.split(" AND ").all(|one| allowed.contains(one.split(" WITH ").next().unwrap_or_default().trim()))
    })
}

#[test]
fn every_licence_is_one_of_those_allowed() {
    let deny = manifest(&root().join("deny.toml"));
    let allowed: BTreeSet<String> = deny["licenses"]["allow"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap().to_owned())
        .collect();
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let run = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", &platform])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 50);
    for package in packages {
        let (name, licence) =
            (package["name"].as_str().unwrap(), package["license"].as_str().unwrap_or("none"));
        assert!(satisfied(licence, &allowed), "{name} is under `{licence}`, which deny.toml does not allow");
    }
}

#[test]
fn an_expression_is_satisfied_only_by_what_is_allowed() {
    let allowed: BTreeSet<String> = ["MIT", "Apache-2.0"].map(str::to_owned).into();
    for good in
        ["MIT", "MIT OR GPL-3.0", "GPL-2.0/MIT", "MIT AND Apache-2.0", "Apache-2.0 WITH LLVM-exception"]
    {
        assert!(satisfied(good, &allowed), "{good}");
    }
    for bad in ["GPL-3.0", "MIT AND GPL-3.0", "none", ""] {
        assert!(!satisfied(bad, &allowed), "{bad}");
    }
}
