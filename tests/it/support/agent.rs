//! The true program: started on ports that the system chooses, stopped by its process id.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::engines::MASTER_KEY;

/// A start or stop that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running `postback serve`. Killed when it is dropped.
pub struct Agent {
    child: Child,
    folder: PathBuf,
    /// What it printed before it was ready: on a first run, the credentials.
    pub greeting: String,
    /// Where it listens: `smtp`, `http`, `admin`.
    ready: Vec<(String, SocketAddr)>,
}

impl Agent {
    /// Starts one in `folder` with nothing but what its `postback.toml` says.
    pub fn start_as_set(folder: &Path) -> Self {
        Self::spawn(folder, command(folder).arg("serve"))
    }

    /// Starts one in `folder`, where its data goes unless `more` says otherwise, and waits until it is ready.
    pub fn start(folder: &Path, more: &[&str]) -> Self {
        Self::start_with(folder, more, &[])
    }

    /// The same with these variables in its environment.
    pub fn start_with(folder: &Path, more: &[&str], environment: &[(&str, PathBuf)]) -> Self {
        let mut command = command(folder);
        command.envs(environment.iter().map(|(name, value)| (*name, value)));
        let ports = ["--smtp", "127.0.0.1:0", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
        Self::spawn(folder, command.arg("serve").args(ports).args(more))
    }

    fn spawn(folder: &Path, command: &mut Command) -> Self {
        let log = File::create(folder.join("stderr.log")).unwrap();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || read_greeting(stdout, &tell));
        let mut agent = Self { child, folder: folder.to_owned(), greeting: String::new(), ready: Vec::new() };
        match told.recv_timeout(PATIENCE) {
            Ok((greeting, ready)) => (agent.greeting, agent.ready) = (greeting, ready),
            Err(_) => panic!("postback did not become ready; it wrote: {}", agent.log()),
        }
        agent
    }

    /// Where one of its doors listens.
    pub fn address(&self, door: &str) -> SocketAddr {
        *self.addresses(door).first().unwrap_or_else(|| panic!("there is no {door} in {:?}", self.ready))
    }

    /// Where all its doors of this name listen, in the order of the settings.
    pub fn addresses(&self, door: &str) -> Vec<SocketAddr> {
        self.ready.iter().filter(|(name, _)| name == door).map(|(_, address)| *address).collect()
    }

    /// What follows a label in the greeting: `credential("API key")`.
    pub fn credential(&self, label: &str) -> String {
        let line = self.greeting.lines().find_map(|line| line.split_once(label));
        let (_, rest) = line.unwrap_or_else(|| panic!("there is no {label:?} in {}", self.greeting));
        rest.trim_matches([' ', '│']).to_owned()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("stderr.log")).unwrap()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal: `TERM`, `HUP`.
    pub fn signal(&self, name: &str) {
        let told = Command::new("kill").args([&format!("-{name}"), &self.id().to_string()]).status().unwrap();
        assert!(told.success());
    }

    /// Tells it to stop, and waits until it has.
    pub fn stop(self) -> ExitStatus {
        self.signal("TERM");
        self.wait()
    }

    /// Waits until it has ended by itself.
    pub fn wait(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Ends it as a power cut would, as far as a process can tell.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_greeting(stdout: ChildStdout, tell: &mpsc::Sender<(String, Vec<(String, SocketAddr)>)>) {
    let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
    let mut greeting = String::new();
    for line in lines.by_ref() {
        if let Some(doors) = line.strip_prefix("ready ") {
            let doors = doors.split(' ').filter_map(|door| door.split_once('='));
            let ready = doors.map(|(door, address)| (door.to_owned(), address.parse().unwrap())).collect();
            let _ = tell.send((greeting, ready));
            break;
        }
        greeting += &line;
        greeting.push('\n');
    }
    // Read on, or the program would wait for room to write.
    lines.for_each(drop);
}

/// The program, to be run in `folder`, with none of our own settings.
pub fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postback"));
    command.current_dir(folder);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("POSTBACK__") {
            command.env_remove(name);
        }
    }
    command.env("POSTBACK__MASTER_KEY", MASTER_KEY.reveal());
    command
}

/// Runs the program in `folder` to its end.
pub fn run(folder: &Path, arguments: &[&str]) -> Output {
    command(folder).args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// Runs the program in `folder`, which must succeed; what it printed.
pub fn printed(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "postback {} failed: {told}", arguments.join(" "));
    String::from_utf8(output.stdout).unwrap()
}

/// The whole answer to a GET: status line, header and body.
pub fn get(address: SocketAddr, path: &str) -> String {
    ask(address, &format!("GET {path}"), &[], "").unwrap()
}

/// The answer to a POST with this API key, which must be a 2xx.
pub fn post(address: SocketAddr, path: &str, key: &str, json: &str) -> io::Result<String> {
    let fields = [("Authorization", format!("Bearer {key}")), ("Content-Type", "application/json".to_owned())];
    let answer = ask(address, &format!("POST {path}"), &fields, json)?;
    if answer.starts_with("HTTP/1.1 2") { Ok(answer) } else { Err(io::Error::other(answer)) }
}

/// The whole answer to a request: method and path, header fields, body.
pub fn ask(address: SocketAddr, request: &str, fields: &[(&str, String)], body: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut head = format!("{request} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in fields {
        head += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    stream.write_all(format!("{head}\r\n{body}").as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
