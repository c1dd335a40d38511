//! `tidelog-inspect`, the program. See the library beside it.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    tidelog_inspect::main()
}
