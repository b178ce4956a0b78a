//! The command line.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is the part that speaks to people")]

mod cli;

use std::process::ExitCode;

/// A mail is many small pieces that go from thread to thread, which the system's allocator is slow at.
#[cfg(not(debug_assertions))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // What is written is mail and keys: nobody else on this machine is to read it, whoever made the folder.
    #[cfg(unix)]
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    cli::main()
}
