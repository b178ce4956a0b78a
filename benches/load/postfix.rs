//! The peer: Debian's Postfix, when it is installed, as an instance of its own under a temporary folder.
//!
//! It relays to the same sink, untracked. *Tuned* means no brake on input, 200 processes, 50 deliveries at once to the
//! next hop and kept connections.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::smtp::Door;

const PROGRAM: &str = "/usr/sbin/postfix";
/// What Debian's own instance is made of.
const DEFAULTS: &str = "/usr/share/postfix";

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tuning {
    Default,
    Tuned,
}

/// A running instance. Stopped when it is dropped.
pub struct Postfix {
    folder: TempDir,
    pub smtp: Door,
}

impl Postfix {
    pub fn is_installed() -> bool {
        Path::new(PROGRAM).exists()
    }

    pub async fn start(tuning: Tuning, sink_port: u16) -> Self {
        // Its processes run as another user, who must be able to look through every folder above.
        let folder = TempDir::with_prefix_in("postback-load-postfix-", "/var/tmp").unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let postfix = Self { folder, smtp: Door { address: format!("127.0.0.1:{port}"), secret: None } };
        postfix.write_settings(tuning, port, sink_port);
        postfix.run("start");
        while tokio::net::TcpStream::connect(&postfix.smtp.address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        postfix
    }

    fn write_settings(&self, tuning: Tuning, port: u16, sink_port: u16) {
        let root = self.folder.path();
        let (queue, data, config) = (root.join("queue"), root.join("data"), root.join("config"));
        for folder in [&queue, &data, &config] {
            std::fs::create_dir(folder).unwrap();
        }
        assert!(Command::new("chmod").arg("755").args([root, &queue]).status().unwrap().success());
        assert!(Command::new("chown").arg("postfix").arg(&data).status().unwrap().success());
        let mut main = format!(
            "compatibility_level = 3.6\nqueue_directory = {}\ndata_directory = {}\nmail_owner = postfix\n\
             setgid_group = postdrop\nmyhostname = load.example\nmydestination =\nmynetworks = 127.0.0.0/8\n\
             inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nrelayhost = [127.0.0.1]:{sink_port}\n\
             alias_maps =\nalias_database =\n",
            queue.display(),
            data.display(),
        );
        if tuning == Tuning::Tuned {
            main += &format!(
                "in_flow_delay = 0\ndefault_process_limit = 200\ndefault_destination_concurrency_limit = 50\n\
                 initial_destination_concurrency = 50\nsmtp_connection_cache_destinations = [127.0.0.1]:{sink_port}\n"
            );
        }
        std::fs::write(config.join("main.cf"), main).unwrap();
        let services = std::fs::read_to_string(Path::new(DEFAULTS).join("master.cf.dist")).unwrap();
        // Debian's services but for the listener's address, the inbox of local programs, and the jail.
        let services = services.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let line = match line.strip_prefix("smtp      inet") {
                Some(rest) => format!("127.0.0.1:{port} inet{rest}"),
                None => line.to_owned(),
            };
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                [name, kind, private, unprivileged, "y", rest @ ..] => {
                    format!("{name} {kind} {private} {unprivileged} n {}", rest.join(" "))
                }
                _ => line,
            }
        });
        std::fs::write(config.join("master.cf"), services.collect::<Vec<_>>().join("\n") + "\n").unwrap();
    }

    fn run(&self, what: &str) {
        let mut command = Command::new(PROGRAM);
        command.arg("-c").arg(self.folder.path().join("config")).arg(what);
        let done = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        assert!(done.success(), "postfix {what}");
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        self.run("abort");
    }
}
