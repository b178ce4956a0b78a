//! Debian's Postfix as an instance of its own, under a temporary folder: a client of ours, or the next hop.
//!
//! It takes mail on a port of its own and sends it on to one place. Stopped when it is dropped. What is missing is
//! installed by `tests/run`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::TempDir;

use super::RESOLVER;
use super::port::free;
use super::root::as_root;

const PROGRAM: &str = "/usr/sbin/postfix";
/// What Debian's own instance is made of.
const SERVICES: &str = "/usr/share/postfix/master.cf.dist";

/// A running instance.
pub struct Postfix {
    folder: TempDir,
    /// Where it takes mail.
    pub address: SocketAddr,
}

impl Postfix {
    /// One that sends everything to `relay_port`, with these lines in `main.cf` besides.
    pub fn start(relay_port: u16, more: &str) -> Self {
        // Its processes run as another user, who must be able to look through every folder above.
        let folder = TempDir::with_prefix_in("postback-tests-postfix-", "/var/tmp").unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free()));
        let postfix = Self { folder, address };
        postfix.write_settings(relay_port, more);
        // It returns when the listener is open.
        postfix.run("start").unwrap();
        postfix
    }

    /// A file of its own, which its processes may read; its path.
    pub fn file(folder: &Path, name: &str, text: &str) -> String {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn write_settings(&self, relay_port: u16, more: &str) {
        let root = self.folder.path();
        let (queue, data, config) = (root.join("queue"), root.join("data"), root.join("config"));
        for folder in [&queue, &data, &config] {
            std::fs::create_dir(folder).unwrap();
        }
        let main = format!(
            "compatibility_level = 3.6\nqueue_directory = {}\ndata_directory = {}\nmail_owner = postfix\n\
             setgid_group = postdrop\nmyhostname = relay.example\nmydestination =\nmynetworks = 127.0.0.0/8\n\
             inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nrelayhost = [127.0.0.1]:{relay_port}\n\
             alias_maps =\nalias_database =\nsmtp_dns_support_level = disabled\nsmtp_host_lookup = native\n\
             maillog_file_prefixes = {root}\nmaillog_file = {log}\n\
             import_environment = MAIL_CONFIG MAIL_DEBUG MAIL_LOGTAG LANG=C POSTLOG_SERVICE POSTLOG_HOSTNAME {{ {name} = {value} }}\n\
             {more}",
            queue.display(),
            data.display(),
            root = root.display(),
            log = self.log_path().display(),
            name = RESOLVER.0,
            value = RESOLVER.1,
        );
        std::fs::write(config.join("main.cf"), main).unwrap();
        let services = std::fs::read_to_string(SERVICES).expect("tests/run installs Postfix");
        let services = services.lines().filter(|line| !line.starts_with('#')).map(|line| self.service(line));
        std::fs::write(config.join("master.cf"), services.collect::<Vec<_>>().join("\n") + "\n").unwrap();
        assert!(as_root("chown").args(["-R", "root:root"]).arg(root).status().unwrap().success());
        assert!(as_root("chmod").arg("755").args([root, &queue, &config]).status().unwrap().success());
        assert!(as_root("chown").arg("postfix").arg(&data).status().unwrap().success());
    }

    /// Debian's service but for the listener's address and the jail.
    fn service(&self, line: &str) -> String {
        let line = match line.strip_prefix("smtp      inet") {
            Some(rest) => format!("{} inet{rest}", self.address),
            None => line.to_owned(),
        };
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [name, kind, private, unprivileged, "y", rest @ ..] => {
                format!("{name} {kind} {private} {unprivileged} n {}", rest.join(" "))
            }
            _ => line,
        }
    }

    /// Mails that it has, and has not passed on.
    pub fn queued(&self) -> usize {
        let queue = self.folder.path().join("queue");
        let folders = ["maildrop", "incoming", "active", "deferred"].map(|name| queue.join(name));
        let found = as_root("find").args(folders).args(["-type", "f"]).output().unwrap();
        found.stdout.iter().filter(|byte| **byte == b'\n').count()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&as_root("cat").arg(self.log_path()).output().unwrap().stdout).into_owned()
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn run(&self, what: &str) -> Result<(), String> {
        let mut command = as_root(PROGRAM);
        command.arg("-c").arg(self.folder.path().join("config")).arg(what);
        let done = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        if done.success() { Ok(()) } else { Err(format!("postfix {what}: {done}\n{}", self.log())) }
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        let _ = self.run("abort");
        let _ = as_root("rm").arg("-rf").arg(self.folder.path()).status();
    }
}
