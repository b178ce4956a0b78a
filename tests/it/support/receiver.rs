//! Webhook receivers as users run them: programs in their languages, from `tests/receivers`.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde::Deserialize;

/// Silence for so long means that nothing more comes.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a receiver says of one request.
#[derive(Debug, Deserialize)]
struct Told {
    ok: bool,
    why: String,
    event: String,
    recipient: String,
}

/// A running receiver. It ends when it is dropped, with whatever it started, or by itself when we are gone.
pub struct Receiver {
    name: String,
    port: u16,
    heard: mpsc::Receiver<Told>,
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Receiver {
    /// Starts the program that these words run in `tests/receivers`, to verify with `secret`. `{sdk}` stands for where
    /// other people's packages are.
    pub fn start(words: &str, secret: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let sdk = root.join("target/sdk");
        let filled: Vec<String> = words.split(' ').map(|word| word.replace("{sdk}", &sdk.to_string_lossy())).collect();
        let mut command = Command::new(&filled[0]);
        command.args(&filled[1..]).current_dir(root.join("tests/receivers"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        writeln!(stdin, "{secret}").unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let hello: serde_json::Value = serde_json::from_str(&lines.next().unwrap_or_default()).unwrap();
        let (tell, heard) = mpsc::channel();
        std::thread::spawn(move || {
            for line in lines {
                let told = serde_json::from_str(&line).unwrap_or_else(|_| panic!("not for a machine: {line}"));
                if tell.send(told).is_err() {
                    return;
                }
            }
        });
        let name = words.to_owned();
        Self { name, port: u16::try_from(hello["port"].as_u64().unwrap()).unwrap(), heard, child, stdin: Some(stdin) }
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/webhooks", self.port)
    }

    /// Waits until it has accepted all of these, each a kind of event and a recipient; others may come between, but
    /// none may be refused.
    pub fn hears(&self, expected: &HashSet<(String, String)>) {
        let mut missing = expected.clone();
        while !missing.is_empty() {
            let told = self.heard.recv_timeout(PATIENCE);
            let told = told.unwrap_or_else(|_| panic!("{} did not hear {missing:?}", self.name));
            assert!(told.ok, "{} refused: {told:?}", self.name);
            missing.remove(&(told.event, told.recipient));
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // The end of its input is its own. What it says ends with it and with whatever it started.
        drop(self.stdin.take());
        while self.heard.recv_timeout(PATIENCE).is_ok() {}
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
