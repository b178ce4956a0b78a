//! The program under load: the release binary on a temporary folder, each start on ports of its own.
//!
//! The folder lies under `target`, which is on a disk: in a temporary folder that is memory, syncing would cost nothing.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sqlx::{Connection, Executor};
use tempfile::TempDir;

use crate::smtp::Door;

/// `/proc/<pid>/stat` counts in these (`getconf CLK_TCK`).
const TICKS_PER_SEC: u32 = 100;

/// A folder with a tenant, its domain and its key; the program can be started on it more than once.
pub struct Home {
    folder: TempDir,
    database: Option<String>,
    secret: String,
}

/// A running program. Killed when it is dropped.
pub struct Program {
    pub http: String,
    pub admin: String,
    pub smtp: Door,
    child: Child,
}

impl Home {
    /// On SQLite, or on a new database beside the one that `postgres` names.
    pub async fn make(postgres: Option<&str>) -> Self {
        let folder = TempDir::with_prefix_in("load-", env!("CARGO_TARGET_TMPDIR")).unwrap();
        let database = match postgres {
            Some(url) => Some(fresh_database(url).await),
            None => None,
        };
        let mut home = Self { folder, database, secret: String::new() };
        home.run(&["migrate"]);
        home.run(&["tenant", "add", "load"]);
        home.run(&["domain", "add", "load.example", "--tenant", "load"]);
        home.secret = home.run(&["key", "add", "--tenant", "load"]).trim().to_owned();
        home
    }

    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// Starts the program with these settings, and waits until it is ready.
    pub fn start(&self, settings: &[String]) -> Program {
        let log = File::create(self.folder.path().join("stderr.log")).unwrap();
        let ports = ["--smtp", "127.0.0.1:0", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
        let mut command = self.command();
        command.args(settings.iter().flat_map(|setting| ["--set", setting]));
        let mut child = command.arg("serve").args(ports).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let ready = BufReader::new(stdout).lines().map_while(Result::ok).find(|line| line.starts_with("ready "));
        let ready = ready.expect("the program becomes ready");
        let at = |door: &str| {
            let found = ready.split(' ').find_map(|word| word.strip_prefix(door)?.strip_prefix('='));
            found.unwrap().to_owned()
        };
        let smtp = Door { address: at("smtp"), secret: Some(self.secret.clone()) };
        Program { http: at("http"), admin: at("admin"), smtp, child }
    }

    /// Starts so many nodes that share the database, each with a data folder of its own, one after the other.
    pub fn start_nodes(&self, nodes: usize, settings: &[String]) -> Vec<Program> {
        let key = "master_key_file=data/master.key".to_owned();
        let of_node = |node| [settings, &[format!("data=node-{node}"), key.clone()]].concat();
        (0..nodes).map(|node| self.start(&of_node(node))).collect()
    }

    /// Lets both keys of the sending domain sign.
    pub fn sign(&self) {
        let keys = self.run(&["domain", "keys", "load.example", "--tenant", "load"]);
        for key in keys.lines().skip(1).filter_map(|line| line.split_whitespace().next()) {
            self.run(&["domain", "activate", "load.example", key, "--tenant", "load"]);
        }
    }

    /// Runs a command beside whatever is running; what it printed.
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = self.command().args(arguments).stderr(Stdio::inherit()).output().unwrap();
        assert!(output.status.success(), "postback {}", arguments.join(" "));
        String::from_utf8(output.stdout).unwrap()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postback"));
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        if let Some(url) = &self.database {
            command.args(["--database", url]);
        }
        command
    }
}

impl Program {
    /// Processor time that it has used, in user and kernel.
    pub fn cpu(&self) -> Duration {
        let stat = self.proc("stat");
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let ticks: u32 = fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u32>().unwrap()).sum();
        Duration::from_secs(ticks.into()) / TICKS_PER_SEC
    }

    /// The most memory that it has held, in MiB.
    pub fn memory_peak_mib(&self) -> u64 {
        self.memory_kib("VmHWM:") / 1024
    }

    /// The memory that it holds, in KiB.
    pub fn memory_now_kib(&self) -> u64 {
        self.memory_kib("VmRSS:")
    }

    fn memory_kib(&self, label: &str) -> u64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix(label)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(Path::new("/proc").join(self.child.id().to_string()).join(file)).unwrap()
    }

    /// Tells it to stop, and waits until it has.
    pub fn stop(mut self) {
        Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have been stopped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn fresh_database(url: &str) -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("postback_load_{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let mut server = sqlx::PgConnection::connect(url).await.unwrap();
    for statement in [format!("drop database if exists {name} with (force)"), format!("create database {name}")] {
        server.execute(sqlx::AssertSqlSafe(statement)).await.unwrap();
    }
    let mut url: url::Url = url.parse().unwrap();
    url.set_path(&name);
    url.into()
}
