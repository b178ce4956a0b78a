//! Other people's clients, as published, against the true program: only base URL and key are changed.
//!
//! `tests/sdk/install` puts the pinned packages into `target/sdk`; `tests/run` calls it.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::agent::{Agent, ask, printed};

/// A running program with a template, and a key for it.
struct House {
    agent: Agent,
    folder: TempDir,
    base: String,
    key: String,
    key_id: String,
    agent_key: String,
    access: String,
}

impl House {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let agent = Agent::start(folder.path(), &[]);
        let key = agent.credential("API key");
        let listed = printed(folder.path(), &["key", "list"]);
        let key_id =
            listed.lines().find(|line| line.contains("api_key")).unwrap().split(' ').next().unwrap().to_owned();
        let listed = printed(folder.path(), &["agent", "list"]);
        let agent_key = listed.lines().nth(1).unwrap().split_whitespace().nth(1).unwrap().to_owned();
        let base = format!("http://{}", agent.address("http"));
        let mut house = Self { agent, folder, base, key, key_id, agent_key, access: String::new() };
        let (id, key) = (&house.key_id, &house.key);
        let form = format!("grant_type=refresh_token&client_id={id}&client_secret={key}&refresh_token={key}");
        let token = house.ask("POST /oauth/v2/token", &form);
        house.access = format!("Zoho-oauthtoken {}", token["access_token"].as_str().unwrap());
        house.keep_template();
        house
    }

    fn keep_template(&self) {
        let template = json!({
            "template_name": "Welcome", "template_alias": "welcome", "subject": "Hi {{name}}", "htmlbody": "<p>{{name}}</p>",
        });
        let path = format!("POST /v1.1/mailagents/{}/templates", self.agent_key);
        let kept = self.ask(&path, &template.to_string());
        assert_eq!(kept["data"]["template_alias"], json!("welcome"), "{kept}");
    }

    fn ask(&self, request: &str, body: &str) -> Value {
        let fields = [("Authorization", self.access.clone())];
        let answer = ask(self.agent.address("http"), request, &fields, body).unwrap();
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    /// Runs a client to its end.
    fn run(&self, client: &mut Command) {
        let output = client.output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{client:?}: {out}{err}\n{}", self.agent.log());
    }

    /// Runs a client to its end; how many mails there are then.
    fn mails_of(&self, client: &mut Command) -> usize {
        self.run(client);
        let found = self.ask("GET /v1.1/email?limit=100", "");
        found["data"]["logs"].as_array().unwrap_or_else(|| panic!("{found}")).len()
    }

    fn python(&self, name: &str) -> usize {
        let packages = installed(&format!("python/{name}"));
        let script = root().join(format!("tests/sdk/python/{name}.py"));
        let mut python = Command::new("python3");
        python.arg(script).args([&self.base, &self.key]).env("PYTHONPATH", packages).current_dir(self.folder.path());
        self.mails_of(&mut python)
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn installed(what: &str) -> PathBuf {
    let place = root().join("target/sdk").join(what);
    assert!(place.exists(), "{} is not there: run tests/sdk/install", place.display());
    place
}

#[test]
fn npm_zeptomail_with_all_its_clients() {
    let house = House::new();
    let script = root().join("tests/sdk/node/zeptomail.mjs");
    let mut node = Command::new("node");
    node.arg(script).arg(installed("node")).args([&house.base, &house.key, &house.key_id, &house.agent_key]);
    // One, two of a batch, one and two with a template, and one with a new key.
    assert_eq!(house.mails_of(&mut node), 7);
}

#[test]
fn npm_nodemailer_zeptomail_transport() {
    let house = House::new();
    let script = root().join("tests/sdk/node/transport.mjs");
    let mut node = Command::new("node");
    node.arg(script).arg(installed("node")).args([&house.base, &house.key]);
    assert_eq!(house.mails_of(&mut node), 1);
}

#[test]
fn the_official_django_package() {
    assert_eq!(House::new().python("official"), 2);
}

#[test]
fn pypi_zeptomail_python_api() {
    assert_eq!(House::new().python("api"), 4);
}

#[test]
fn pypi_zeptomail() {
    assert_eq!(House::new().python("unofficial"), 1);
}

#[test]
fn crates_io_zeptomail_rs() {
    let house = House::new();
    let mut client = Command::new(installed("rust/debug/zeptomail-rs-client"));
    client.args([&house.base, &house.key]);
    assert_eq!(house.mails_of(&mut client), 7);
}

/// What schemathesis makes of a part of the API's description: no 5xx, and no answer that is not described.
fn schemathesis(tag: &str, authorization: impl Fn(&House) -> String) {
    let house = House::new();
    let mut python = Command::new("python3");
    python.args(["-m", "schemathesis.cli", "run", &format!("{}/openapi.json", house.base)]);
    python.args(["--include-tag", tag, "--header", &format!("Authorization: {}", authorization(&house))]);
    python.args(["--phases", "examples,coverage,fuzzing", "--max-examples", "8", "--seed", "1", "--no-shrink"]);
    python.args(["--generation-deterministic", "--suppress-health-check", "all", "--warnings", "off"]);
    let checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";
    python.args(["--checks", checks, "--continue-on-failure", "--workers", "1"]);
    python.env("PYTHONPATH", installed("python/schemathesis")).current_dir(house.folder.path());
    house.run(&mut python);
}

#[test]
fn schemathesis_of_mailturas_surface() {
    schemathesis("Mailtura", |house| format!("Bearer {}", house.key));
}

#[test]
fn schemathesis_of_zeptomails_sending() {
    schemathesis("ZeptoMail: sending", |house| format!("Zoho-enczapikey {}", house.key));
}

#[test]
fn schemathesis_of_zeptomails_management() {
    schemathesis("ZeptoMail: managing", |house| house.access.clone());
}
