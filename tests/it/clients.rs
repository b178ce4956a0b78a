//! The clients that people use, as they use them, against the true program: `tests/clients`, lettre, and Postfix and
//! Exim as relays. A mail for each way in must be there at the end, once.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use postback::clock::Stopwatch;
use postback::model::network::Network;
use sqlx::{Connection, SqliteConnection};

use crate::mailers::exim;
use crate::support::RESOLVER;
use crate::support::agent::{self, Agent};
use crate::support::postfix::Postfix;

const FROM: &str = "app@ours.example";
const TO: &str = "reader@example.com";
/// A client, or a relay, that takes longer hangs.
const PATIENCE: Duration = Duration::from_mins(1);

/// The true program with a listener of each kind.
struct House {
    folder: tempfile::TempDir,
    agent: Agent,
    clear: SocketAddr,
    starttls: SocketAddr,
    tls: SocketAddr,
    key: String,
    password: String,
}

impl House {
    fn build() -> Self {
        // Another user's processes read the certificate.
        let folder = tempfile::TempDir::with_prefix_in("postback-tests-clients-", "/var/tmp").unwrap();
        assert!(Command::new("chmod").arg("755").arg(folder.path()).status().unwrap().success());
        make_certificates(folder.path());
        let listener = |tls: &str, clear: &str| {
            format!(
                "[[smtp.listeners]]\naddress = \"127.0.0.1:0\"\nkind = \"submission\"\ntls = \"{tls}\"\n\
                 auth_without_tls = \"{clear}\"\n"
            )
        };
        let settings = format!(
            "http.address = \"127.0.0.1:0\"\nadmin.address = \"127.0.0.1:0\"\n[tls]\ncertificate = \"chain.pem\"\n\
             key = \"key.pem\"\n{}{}{}",
            listener("off", "loopback"),
            listener("starttls", "never"),
            listener("implicit", "never"),
        );
        std::fs::write(folder.path().join("postback.toml"), settings).unwrap();
        let agent = Agent::start_as_set(folder.path());
        let [clear, starttls, tls] = agent.addresses("smtp")[..] else { panic!("three listeners") };
        agent::printed(folder.path(), &["domain", "add", "ours.example"]);
        let loopback: Network = "127.0.0.0/8".parse().unwrap();
        let key = agent::printed(folder.path(), &["key", "add", "--name", "clients"]).trim().to_owned();
        let from = loopback.to_string();
        let password = agent::printed(folder.path(), &["key", "add", "--smtp", "--from", &from]).trim().to_owned();
        Self { folder, agent, clear, starttls, tls, key, password }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a client of `tests/clients` to its end. One that hangs is ended, or nobody would know which it was.
    fn run(&self, program: &str, arguments: &[&str]) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let packages = root.join("target/clients");
        let mut command = Command::new("timeout");
        command.arg(PATIENCE.as_secs().to_string()).arg(program).args(arguments);
        command.current_dir(root.join("tests/clients")).stdin(Stdio::null());
        command.env(RESOLVER.0, RESOLVER.1);
        command.env("HOST", "localhost").env("FROM", FROM).env("TO", TO);
        for (name, address) in [("CLEAR", self.clear), ("STARTTLS", self.starttls), ("TLS", self.tls)] {
            command.env(format!("PORT_{name}"), address.port().to_string());
        }
        command.env("CA_FILE", self.path("ca.pem")).env("API_KEY", &self.key).env("PASSWORD", &self.password);
        command.env("PACKAGES", &packages).env("FOLDER", self.folder.path());
        command.env("PYTHONPATH", packages.join("python"));
        command.env("GOCACHE", packages.join("go")).env("GO111MODULE", "off");
        let output = command.output().unwrap_or_else(|fault| panic!("{program}: {fault}; tests/run installs it"));
        let (told, failed) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let end = output.status;
        assert!(end.success(), "{program} {arguments:?}: {end}\n{told}\n{failed}\n{}", self.agent.log());
    }

    async fn lettre(&self) {
        let pem = std::fs::read(self.path("ca.pem")).unwrap();
        let tls = TlsParameters::builder("localhost".to_owned())
            .add_root_certificate(Certificate::from_pem(&pem).unwrap())
            .build_rustls()
            .unwrap();
        let ways = [("starttls", self.starttls, Tls::Required(tls.clone())), ("tls", self.tls, Tls::Wrapper(tls))];
        for (way, address, tls) in ways {
            let client = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous("127.0.0.1")
                .port(address.port())
                .tls(tls)
                .credentials(Credentials::new(FROM.to_owned(), self.password.clone()))
                .build();
            let mail = Message::builder().from(FROM.parse().unwrap()).to(TO.parse().unwrap());
            let mail = mail.subject(format!("lettre {way}")).header(ContentType::TEXT_PLAIN).body("hello".to_owned());
            client.send(mail.unwrap()).await.unwrap();
        }
    }

    /// Postfix relays to us as its manual says, and gets its mail by SMTP itself.
    async fn postfix(&self) -> Postfix {
        let passwords = Postfix::file(
            self.folder.path(),
            "passwords",
            &format!("[127.0.0.1]:{} emailapikey:{}\n", self.starttls.port(), self.key),
        );
        let more = format!(
            "smtp_sasl_auth_enable = yes\nsmtp_sasl_password_maps = texthash:{passwords}\n\
             smtp_sasl_security_options = noanonymous\nsmtp_tls_security_level = secure\n\
             smtp_tls_secure_cert_match = localhost\nsmtp_tls_CAfile = {}\n",
            self.path("ca.pem").display()
        );
        let postfix = Postfix::start(self.starttls.port(), &more);
        let client =
            AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous("127.0.0.1").port(postfix.address.port()).build();
        for number in 0..3 {
            let mail = Message::builder().from(FROM.parse().unwrap()).to(TO.parse().unwrap());
            let mail = mail.subject(format!("postfix {number}")).body(".\r\nhello".to_owned()).unwrap();
            client.send(mail).await.unwrap();
        }
        postfix
    }

    /// Exim relays to us. Debian allows one mail server at a time, so it runs from where its package was unpacked to.
    fn exim(&self) {
        let program = Path::new(exim::PROGRAM);
        let spool = self.path("exim");
        std::fs::create_dir(&spool).unwrap();
        let settings = format!(
            "exim_path = {program}\nexim_user = nobody\nexim_group = nogroup\nspool_directory = {spool}\nlog_file_path = {spool}/%s\n\
             primary_hostname = exim.example\nkeep_environment =\nqualify_domain = ours.example\n\
             host_lookup =\nrfc1413_hosts =\ntls_advertise_hosts =\nmessage_size_limit = 10M\n\
             begin routers\nus:\n  driver = manualroute\n  transport = us\n  route_list = * 127.0.0.1 byname\n  self = send\n\
             begin transports\nus:\n  driver = smtp\n  port = {port}\n  hosts_require_tls = *\n  hosts_require_auth = *\n\
             \x20 tls_verify_certificates = {ca}\n  tls_verify_hosts = *\n  tls_verify_cert_hostnames =\n\
             begin authenticators\nplain:\n  driver = plaintext\n  public_name = PLAIN\n\
             \x20 client_send = ^emailapikey^{key}\n",
            program = program.display(),
            spool = spool.display(),
            port = self.starttls.port(),
            ca = self.path("ca.pem").display(),
            key = self.key,
        );
        let file = self.path("exim.conf");
        std::fs::write(&file, settings).unwrap();
        assert!(Command::new("chown").args(["-R", "nobody:nogroup"]).arg(&spool).status().unwrap().success());
        let mail = format!("From: {FROM}\nTo: {TO}\nSubject: exim\n\n.\nhello\n");
        std::fs::write(self.path("exim.eml"), mail).unwrap();
        let run = |arguments: &[&str], input: Stdio| {
            let output = Command::new(program).arg("-C").arg(&file).args(arguments).stdin(input).output();
            let output = output.unwrap_or_else(|fault| panic!("{}: {fault}; tests/run unpacks it", program.display()));
            // What it does as another user it logs there, as it may not write to its file.
            let log = std::fs::read_to_string(spool.join("main")).unwrap_or_default();
            let told = String::from_utf8_lossy(&output.stderr).into_owned() + &log;
            assert!(output.status.success(), "{told}\n{}", self.agent.log());
            told
        };
        let mail = std::fs::File::open(self.path("exim.eml")).unwrap();
        let mut told = run(&["-odf", "-i", "-f", FROM, TO], mail.into());
        // What it cannot pass on at once it keeps, and is content; its queue is run, as it would be.
        let stopwatch = Stopwatch::start();
        while !told.contains(" => ") {
            assert!(stopwatch.elapsed() < PATIENCE, "{told}\n{}", self.agent.log());
            told += &run(&["-qff"], Stdio::null());
        }
    }

    /// The mail with this subject, as it is kept.
    async fn mail(&self, subject: &str) -> String {
        let url = format!("sqlite:{}", self.path("data/postback.db").display());
        let mut database = SqliteConnection::connect(&url).await.unwrap();
        let sql = "select body from contents join messages on id = message_id where facts like '%\"subject\":\"' || $1 || '\"%'";
        let (body,): (Vec<u8>,) = sqlx::query_as(sql).bind(subject).fetch_one(&mut database).await.unwrap();
        String::from_utf8(body).unwrap()
    }

    /// The subjects of all that was taken, once Postfix has passed its mails on.
    async fn subjects(&self, postfix: &Postfix) -> Vec<String> {
        let stopwatch = Stopwatch::start();
        let relayed =
            |subjects: &[String]| subjects.iter().filter(|subject| subject.starts_with("postfix")).count() == 3;
        let url = format!("sqlite:{}", self.path("data/postback.db").display());
        let mut database = SqliteConnection::connect(&url).await.unwrap();
        // Some ask to be told of a success, and are.
        let subject = |(facts,): (String,)| {
            let facts: serde_json::Value = serde_json::from_str(&facts).unwrap();
            (facts["is_report"] != true).then(|| facts["subject"].as_str().unwrap().to_owned())
        };
        loop {
            let rows: Vec<(String,)> =
                sqlx::query_as("select facts from messages").fetch_all(&mut database).await.unwrap();
            let subjects: Vec<String> = rows.into_iter().filter_map(subject).collect();
            if relayed(&subjects) {
                return subjects;
            }
            assert!(stopwatch.elapsed() < PATIENCE, "{subjects:?}\n{}\n{}", postfix.log(), self.agent.log());
        }
    }
}

/// `ca.pem`, and a chain and key for this machine that it signs.
fn make_certificates(folder: &Path) {
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    parameters.distinguished_name.push(rcgen::DnType::CommonName, "Postback tests");
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let ca = parameters.self_signed(&ca_key).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let issuer = rcgen::Issuer::new(parameters, ca_key);
    let own = rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    write("ca.pem", &ca.pem());
    write("chain.pem", &own.pem());
    write("key.pem", &key.serialize_pem());
}

/// How each is run.
const CLIENTS: &[&[&str]] = &[
    &["./swaks.sh"],
    &["./curl.sh"],
    &["./msmtp.sh"],
    &["./s-nail.sh"],
    &["./sendemail.sh"],
    &["./esmtp.sh"],
    &["./nullmailer.sh"],
    &["python3", "smtplib_client.py"],
    &["python3", "aiosmtplib_client.py"],
    &["node", "nodemailer.mjs"],
    &["php", "phpmailer.php"],
    &["java", "-cp", "/usr/share/java/*", "JakartaMail.java"],
    &["go", "run", "netsmtp.go"],
    &["ruby", "mail.rb"],
    &["perl", "email_sender.pl"],
];

fn expected() -> BTreeSet<String> {
    let one = [
        "swaks clear",
        "swaks login",
        "swaks pipelined",
        "swaks tls",
        "curl starttls",
        "curl tls",
        "curl tls 1.2",
        "curl tls 1.3",
        "msmtp starttls",
        "msmtp tls",
        "s-nail starttls",
        "s-nail tls",
        "sendemail starttls",
        "sendemail clear",
        "esmtp starttls",
        "esmtp clear",
        "nullmailer starttls",
        "nullmailer tls",
        "ruby starttls",
        "ruby tls",
        "perl starttls",
        "perl tls",
        "smtplib starttls 0",
        "smtplib starttls 1",
        "smtplib starttls 2",
        "smtplib partial",
        "smtplib tls",
        "smtplib dsn",
        "nodemailer utf8",
        "nodemailer tls",
        "phpmailer starttls 0",
        "phpmailer starttls 1",
        "phpmailer tls",
        "jakarta starttls",
        "jakarta tls",
        "go starttls",
        "go tls",
        "go clear",
        "lettre starttls",
        "lettre tls",
        "postfix 0",
        "postfix 1",
        "postfix 2",
        "exim",
    ];
    let many = (0..10).map(|number| format!("aiosmtplib {number}"));
    let pooled = (0..20).map(|number| format!("nodemailer pooled {number}"));
    one.map(str::to_owned).into_iter().chain(many).chain(pooled).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_client_of_the_field_hands_in_its_mail() {
    let house = House::build();
    // Postfix takes its time; meanwhile the others.
    let postfix = house.postfix().await;
    for client in CLIENTS {
        let (program, arguments) = client.split_first().unwrap();
        house.run(program, arguments);
    }
    house.lettre().await;
    house.exim();
    let subjects = house.subjects(&postfix).await;
    drop(postfix);
    let found: BTreeSet<String> = subjects.iter().cloned().collect();
    assert_eq!(found, expected());
    assert_eq!(found.len(), subjects.len(), "one of them came twice");
    for version in ["1.2", "1.3"] {
        let mail = house.mail(&format!("curl tls {version}")).await;
        assert!(mail.contains(&format!("with ESMTPSA (TLS{version} ")), "{mail}");
    }
    let log = house.agent.log();
    for (user, secret) in [("emailapikey", &house.key), (FROM, &house.password)] {
        let shown = [secret.clone(), STANDARD.encode(secret), STANDARD.encode(format!("\0{user}\0{secret}"))];
        assert!(!shown.iter().any(|secret| log.contains(secret)), "a secret stands in the log");
    }
    assert!(house.agent.stop().success());
}
