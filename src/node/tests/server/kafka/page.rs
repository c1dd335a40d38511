//! `docs/kafka.md` says what is refused and how: every row has a code of the protocol and a test that exists, and every
//! code that the server can answer has a row.

use std::path::{Path, PathBuf};

use tidelog_proto::kafka::{ApiKey, ErrorCode};

const PAGE: &str = include_str!("../../../../../docs/kafka.md");

/// The cells of a table's rows, without heading and rule.
fn rows(heading: &str) -> Vec<Vec<&'static str>> {
    let (_, section) = PAGE.split_once(heading).unwrap();
    let table =
        section.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let cells = |line: &'static str| line.trim_matches('|').split('|').map(str::trim).collect();
    table.skip(2).map(cells).collect()
}

/// `MESSAGE_TOO_LARGE`, as Kafka writes it.
fn kafkas_name(code: ErrorCode) -> String {
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(letter.to_uppercase());
    }
    name
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_refusal_on_the_page_has_a_code_and_a_test() {
    let mut files = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    sources(&root.join("src"), &mut files);
    sources(&root.join("tests"), &mut files);
    sources(&root.join("../../tests/cluster"), &mut files);
    let code: String = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let refusals = rows("## Refusals");
    assert!(refusals.len() > 40, "{}", refusals.len());
    for row in &refusals {
        let [situation, answer, clients, test] = row[..] else { panic!("{row:?}") };
        let known =
            ErrorCode::ALL.iter().any(|one| answer == format!("`{}` ({})", kafkas_name(*one), one.number()));
        assert!(known || answer == "the connection is closed", "{situation}: {answer}");
        assert!(!clients.is_empty());
        let test = test.trim_matches('`');
        let is_test = code.contains(&format!("#[test]\nfn {test}()"))
            || code.contains(&format!("#[test]\n    fn {test}()"))
            || code.contains(&format!("]\nasync fn {test}()"));
        assert!(is_test, "{situation}: there is no test `{test}`");
    }
}

#[test]
fn every_code_that_can_be_answered_is_on_the_page() {
    for code in ErrorCode::ALL.iter().filter(|code| **code != ErrorCode::None) {
        let shown = format!("`{}` ({})", kafkas_name(*code), code.number());
        assert!(PAGE.contains(&shown), "{shown} is not on the page");
    }
}

#[test]
fn the_page_has_every_api_with_its_versions() {
    let listed = rows("## APIs and versions");
    let listed: Vec<String> = listed.iter().map(|row| row[..3].join(" ")).collect();
    let spoken = ApiKey::ALL.iter().map(|api| {
        format!("{} {} {} to {}", api.name(), api.number(), api.versions().start(), api.versions().end())
    });
    assert_eq!(listed, spoken.collect::<Vec<_>>());
}
