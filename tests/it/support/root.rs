//! What mail systems only do for root.

use std::ffi::OsStr;
use std::process::Command;

/// A command that runs as root: by itself, or by sudo, which must not ask.
pub fn as_root(program: impl AsRef<OsStr>) -> Command {
    let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    if is_root {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.arg("-n").arg(program);
    command
}
