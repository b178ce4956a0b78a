//! The command line.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is the part that speaks to people")]

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
