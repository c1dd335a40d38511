//! docs/replication.md is in step: what it names exists, and its figures are those of the model.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests may be blunt")]

use std::collections::BTreeMap;
use std::path::Path;

use model::explore::until;
use model::planted::all;
use model::space::QUICK;

fn file(path: &str) -> Option<String> {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)).ok()
}

fn page() -> String {
    file("docs/replication.md").unwrap()
}

/// Whatever stands between back quotes and looks like a path of this repository.
fn paths(page: &str) -> Vec<&str> {
    let quoted = page.split('`').skip(1).step_by(2);
    quoted.filter(|text| text.contains('/') && !text.contains(' ') && !text.contains('*')).collect()
}

/// The cells of the table with this heading.
fn rows(page: &str, heading: &str) -> Vec<Vec<String>> {
    let table = page.lines().skip_while(|line| *line != heading).skip(2);
    let cells = |line: &str| line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect();
    table.take_while(|line| line.starts_with('|')).map(cells).collect()
}

fn defines(text: &str, name: &str) -> bool {
    let starts =
        |rest: &str| rest.strip_prefix(name).is_some_and(|rest| rest.starts_with(['(', '<', ' ', '{', ':']));
    ["fn ", "struct ", "enum ", "const "].iter().any(|kind| text.split(kind).skip(1).any(starts))
}

#[test]
fn every_file_and_function_that_the_page_names_exists() {
    let page = page();
    let paths = paths(&page);
    assert!(paths.len() > 40, "only {} paths", paths.len());
    for named in paths {
        let (path, name) = named.split_once("::").unwrap_or((named, ""));
        if name.is_empty() {
            let there = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path).exists();
            assert!(there, "{path} is named and is not there");
            continue;
        }
        let text = file(path).unwrap_or_else(|| panic!("{path} is named and is not there"));
        assert!(defines(&text, name), "{path} defines no {name}");
    }
}

#[test]
fn what_is_not_defined_is_not_found() {
    assert!(defines("pub fn note(&mut self) {}", "note"));
    assert!(!defines("pub fn note(&mut self) {}", "not"));
    assert!(!defines("self.note();", "note"));
}

#[test]
fn the_spaces_are_those_of_the_tests_with_their_sizes() {
    let rows = rows(&page(), "| space | states | what happens in it |");
    let told: Vec<(String, usize)> =
        rows.iter().map(|row| (row[0].clone(), row[1].replace(',', "").parse().unwrap())).collect();
    let there: Vec<(String, usize)> =
        QUICK.iter().map(|space| (space.config.name.to_owned(), space.states)).collect();
    assert_eq!(told, there);
}

#[test]
fn the_planted_bugs_are_found_as_the_page_says() {
    let rows = rows(&page(), "| bug | violates | steps | what is wrong |");
    let told: BTreeMap<String, (String, usize)> =
        rows.iter().map(|row| (row[0].clone(), (row[1].clone(), row[2].parse().unwrap()))).collect();
    let mut found = BTreeMap::new();
    for planted in all() {
        let names: Vec<&str> = planted.bugs.iter().map(|bug| bug.name()).collect();
        let explored = until(planted.config, 1, planted.violates);
        let steps = explored.violated.get(planted.violates).unwrap().len() - 1;
        found.insert(names.join(", "), (planted.violates[..2].to_owned(), steps));
    }
    assert_eq!(told, found);
}

#[test]
fn every_invariant_has_its_row() {
    let rows = rows(&page(), "| | must hold | kept in | checked by the model | in the simulator |");
    let numbers: Vec<&str> = rows.iter().map(|row| row[0].trim_matches(['|', ' '])).collect();
    let wanted: Vec<String> = (1..=12).map(|number| format!("I{number}")).collect();
    assert_eq!(numbers, wanted);
}
