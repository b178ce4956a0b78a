//! The walls between tenants, and between roles, in the console: each route in its table is walked along by a person who
//! must not see what is behind it.

use std::net::SocketAddr;

use crate::support::agent::{Agent, ask, post, printed};
use crate::support::dns::NameServer;

/// What one tenant has, by the names in the routes.
struct Things {
    agent: String,
    message: String,
    webhook: String,
    template: String,
    domain: String,
}

impl Things {
    /// A route's path with these in place of its names.
    fn fill(&self, path: &str) -> String {
        let nowhere = "0".repeat(32);
        path.replace("{agent}", &self.agent)
            .replace("{message}", &self.message)
            .replace("{webhook}", &self.webhook)
            .replace("{template}", &self.template)
            .replace("{domain}", &self.domain)
            .replace("{number}", "0")
            .replace("{event}", &format!("evt_{nowhere}"))
            .replace("{report}", &format!("rpt_{nowhere}"))
            .replace("{replay}", &format!("rpl_{nowhere}"))
    }
}

/// A person with a browser.
struct Person {
    http: SocketAddr,
    cookie: String,
}

impl Person {
    /// Follows an invitation.
    fn join(http: SocketAddr, invitation: &str, name: &str) -> Self {
        let path = invitation.split_whitespace().find_map(|word| Some(&word[word.find("/console/join/")?..])).unwrap();
        let form = format!("name={name}&email={name}%40example.com&password=correct+horse+battery");
        let answer = Self { http, cookie: String::new() }.post(path, &form);
        let cookie = answer.lines().find_map(|line| line.strip_prefix("set-cookie: ")?.split(';').next()).unwrap();
        Self { http, cookie: cookie.to_owned() }
    }

    fn get(&self, path: &str) -> String {
        ask(self.http, &format!("GET {path}"), &[("Cookie", self.cookie.clone())], "").unwrap()
    }

    fn post(&self, path: &str, form: &str) -> String {
        let fields = [
            ("Cookie", self.cookie.clone()),
            ("Sec-Fetch-Site", "same-origin".to_owned()),
            ("Content-Type", "application/x-www-form-urlencoded".to_owned()),
        ];
        // An empty body would have no length.
        ask(self.http, &format!("POST {path}"), &fields, if form.is_empty() { "x=" } else { form }).unwrap()
    }

    fn walk(&self, method: &str, path: &str) -> String {
        let answer = if method == "GET" { self.get(path) } else { self.post(path, "") };
        answer.split(' ').nth(1).unwrap_or_default().to_owned()
    }
}

fn furnish(http: SocketAddr, owner: &Person, slug: &str, key: &str) -> Things {
    let page = owner.get(&format!("/console/{slug}/agents"));
    let at = page.find("/agents/").unwrap() + "/agents/".len();
    let agent = page[at..at + 16].to_owned();
    let id = |answer: String| answer.split("\"id\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let mail = r#"{"from":"me@example.com","to":"you@example.org","subject":"Hello","html":"<p>x</p>",
        "attachments":[{"filename":"a.txt","content":"eA=="}]}"#;
    let message = id(post(http, "/api/v1/emails", key, mail).unwrap());
    let webhook = r#"{"url":"http://127.0.0.1:8099/x","events":["bounced"]}"#;
    let webhook = id(post(http, "/api/v1/webhooks", key, webhook).unwrap());
    let at = format!("/console/{slug}/agents/{agent}");
    let form = "name=welcome&subject=Hello&html=%3Cp%3Ex%3C%2Fp%3E";
    assert!(owner.post(&format!("{at}/templates"), form).contains("Saved as version 1."));
    assert!(owner.post(&format!("{at}/domains"), "domain=example.com").contains("Added example.com."));
    Things { agent, message, webhook, template: "welcome".to_owned(), domain: "example.com".to_owned() }
}

#[test]
fn nobody_sees_through_the_walls() {
    let folder = tempfile::tempdir().unwrap();
    // Records are looked up, and nobody outside is asked.
    let names = NameServer::start("", "");
    let servers = format!("[dns]\nservers = ['{}']\n", names.settings().servers[0]);
    std::fs::write(folder.path().join("postback.toml"), servers).unwrap();
    let agent = Agent::start(folder.path(), &[]);
    let http = agent.address("http");
    let invite = |more: &[&str]| printed(folder.path(), &[&["user", "invite"], more].concat());
    printed(folder.path(), &["tenant", "add", "other"]);
    let owner = Person::join(http, &invite(&[]), "owner");
    let neighbour = Person::join(http, &invite(&["--tenant", "other"]), "neighbour");
    let reader = Person::join(http, &invite(&["--tenant", "default", "--role", "read-only"]), "reader");
    let things = furnish(http, &owner, "default", &agent.credential("API key"));
    let nobody = Person { http, cookie: "postback=nothing".to_owned() };
    let routes = postback::http::console_routes();
    assert!(routes.len() > 40, "{}", routes.len());
    let mut holes = Vec::new();
    let mut walk = |who: (&str, &Person), method: &str, path: &str, expected: &str| {
        let status = who.1.walk(method, path);
        if status != expected {
            holes.push(format!("{}: {method} {path}: {status}, not {expected}", who.0));
        }
    };
    let (the_owner, a_neighbour, a_reader) = (("an owner", &owner), ("a neighbour", &neighbour), ("a reader", &reader));
    for (method, path) in &routes {
        let inside = format!("/console/default/{}", things.fill(path));
        let carried = format!("/console/other/{}", things.fill(path));
        walk(("nobody", &nobody), method, &inside, "303");
        walk(a_neighbour, method, &inside, "404");
        if path.contains('{') {
            walk(a_neighbour, method, &carried, "404");
            walk(the_owner, method, &carried, "404");
        }
        // Of these there is none.
        let is_there = !["{event}", "{report}", "{replay}", "/log", "/secret"].iter().any(|name| path.contains(name));
        match *method {
            // How a template looks changes nothing.
            "POST" if path.ends_with("/preview") => walk(a_reader, method, &inside, "200"),
            "POST" if is_there => walk(a_reader, method, &inside, "403"),
            // What is behind the walls is there: nobody is told 404 for want of it.
            "GET" if is_there => {
                walk(a_reader, method, &inside, "200");
                walk(the_owner, method, &inside, "200");
            }
            _ => {}
        }
    }
    assert!(holes.is_empty(), "{}", holes.join("\n"));
    // What a reader and a neighbour tried has changed nothing.
    for tab in ["templates/welcome", "domains/example.com", "setup"] {
        let path = format!("/console/default/agents/{}/{tab}", things.agent);
        assert_eq!(owner.walk("GET", &path), "200", "{path}");
    }
    for path in ["/console/people", "/console/account"] {
        assert_eq!(nobody.walk("GET", path), "303", "{path}");
    }
    assert_eq!(neighbour.walk("GET", "/console/people"), "403");
    assert_eq!(reader.walk("POST", "/console/people"), "403");
}

#[test]
fn a_forgotten_password_is_chosen_anew_by_an_operators_link() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), &[]);
    let http = agent.address("http");
    let ann = Person::join(http, &printed(folder.path(), &["user", "invite"]), "ann");
    let link = printed(folder.path(), &["user", "renew", "ann@example.com"]);
    let path = link.split_whitespace().find_map(|word| Some(&word[word.find("/console/join/")?..])).unwrap();
    assert!(ann.get(path).contains("Choose a new password."));
    let stranger = Person { http, cookie: String::new() };
    assert!(stranger.post(path, "password=short").contains("at least 12 characters"));
    assert!(stranger.post(path, "password=another+horse+battery").contains("The password is set."));
    assert_eq!(stranger.walk("GET", path), "404");
    assert_eq!(ann.walk("GET", "/console/default/"), "303", "her session has ended");
    let sign_in =
        |password: &str| stranger.post("/console/sign-in", &format!("email=ann%40example.com&password={password}"));
    assert!(sign_in("correct+horse+battery").contains("The address or the password is wrong."));
    assert!(sign_in("another+horse+battery").contains("set-cookie: "));
}
