//! The output of every command on golden files, word for word.
//!
//! `TRYCMD=overwrite cargo test -p tidelog-inspect --test golden` writes it anew; look at what changed.

#[test]
fn every_command_prints_what_it_printed() {
    trycmd::TestCases::new().env("NO_COLOR", "1").case("tests/cmd/*.trycmd");
}
