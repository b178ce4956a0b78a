//! Exim, in the foreground, with all that it writes under a temporary folder.

use std::path::Path;
use std::process::{Child, Stdio};

use tempfile::TempDir;

use super::{HOME, SHUT, Ways};
use crate::support::root::as_root;

/// Where `tests/run` puts the program: Debian does not install a second mail system beside the first.
pub const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/clients/exim/usr/sbin/exim4");

/// A running daemon. Stopped when it is dropped.
pub(super) struct Exim {
    folder: TempDir,
    child: Child,
}

impl Exim {
    /// Starts one that tries each mail once: it has no rule for a second time.
    pub(super) fn start(own: u16, ways: Ways) -> Self {
        assert!(Path::new(PROGRAM).exists(), "{PROGRAM} is not there: run `tests/run`, which fetches it");
        let folder = TempDir::with_prefix_in("postback-test-exim-", "/var/tmp").unwrap();
        let root = folder.path();
        let Ways { home, shut, there } = ways;
        let router = |name: &str, domains: &str| {
            format!(
                "{name}:\n  driver = manualroute\n  domains = {domains}\n  route_list = * 127.0.0.1\n  \
                 transport = {name}\n  self = send\n"
            )
        };
        let transport = |name: &str, port: u16| {
            format!("{name}:\n  driver = smtp\n  port = {port}\n  allow_localhost\n  hosts_avoid_tls = *\n")
        };
        let config = format!(
            "exim_path = {PROGRAM}\nexim_user = mail\nexim_group = mail\nspool_directory = {root}/spool\n\
             log_file_path = {root}/log/%slog\nprimary_hostname = mta.tests.example\nlocal_interfaces = 127.0.0.1\n\
             daemon_smtp_ports = {own}\ntls_advertise_hosts =\nrfc1413_query_timeout = 0s\nacl_smtp_rcpt = check\n\
             begin acl\ncheck:\n  accept\nbegin routers\n{}{}{}begin transports\n{}{}{}begin retry\n",
            router("home", HOME),
            router("shut", SHUT),
            router("there", "*"),
            transport("home", home),
            transport("shut", shut),
            transport("there", there),
            root = root.display(),
        );
        let path = root.join("exim.conf");
        std::fs::write(&path, config).unwrap();
        assert!(as_root("chown").args(["-R", "root:mail"]).arg(root).status().unwrap().success());
        assert!(as_root("chmod").arg("775").arg(root).status().unwrap().success());
        let mut command = as_root(PROGRAM);
        command.arg("-C").arg(&path).arg("-bdf");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Self { folder, child }
    }
}

impl Drop for Exim {
    fn drop(&mut self) {
        let _ = as_root("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
        let _ = as_root("rm").arg("-rf").arg(self.folder.path()).status();
    }
}
