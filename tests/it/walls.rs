//! The walls between tenants, and between roles, in the console: each route in its table is walked along by a person who
//! must not see what is behind it.

use std::net::SocketAddr;

use crate::support::agent::{Agent, post, printed};
use crate::support::dns::NameServer;
use crate::support::person::Person;
use crate::support::port;
use crate::support::submitter::{HOME, auto_reply};

/// What one tenant has, by the names in the routes.
struct Things {
    agent: String,
    message: String,
    webhook: String,
    template: String,
    domain: String,
    event: String,
    replay: String,
    report: String,
}

impl Things {
    /// A route's path with these in place of its names.
    fn fill(&self, path: &str) -> String {
        path.replace("{agent}", &self.agent)
            .replace("{message}", &self.message)
            .replace("{webhook}", &self.webhook)
            .replace("{template}", &self.template)
            .replace("{domain}", &self.domain)
            .replace("{number}", "0")
            .replace("{event}", &self.event)
            .replace("{replay}", &self.replay)
            .replace("{report}", &self.report)
    }
}

fn furnish(http: SocketAddr, owner: &Person, slug: &str, key: &str) -> Things {
    let at = owner.agent_pages(slug);
    let agent = at.rsplit('/').next().unwrap().to_owned();
    let id = |answer: String| answer.split("\"id\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let mail = r#"{"from":"me@example.com","to":"you@example.org","subject":"Hello","html":"<p>x</p>",
        "attachments":[{"filename":"a.txt","content":"eA=="}]}"#;
    let message = id(post(http, "/api/v1/emails", key, mail).unwrap());
    let webhook = format!(r#"{{"url":"http://127.0.0.1:{}/x","events":["bounced"]}}"#, port::free());
    let webhook = id(post(http, "/api/v1/webhooks", key, &webhook).unwrap());
    let its = format!("/api/v1/webhooks/{webhook}");
    let event = id(post(http, &format!("{its}/test"), key, r#"{"eventType":"opened"}"#).unwrap());
    let replay = id(post(http, &format!("{its}/replays"), key, r#"{"from":"2026-01-01T00:00:00Z"}"#).unwrap());
    let form = "name=welcome&subject=Hello&html=%3Cp%3Ex%3C%2Fp%3E";
    assert!(owner.post(&format!("{at}/templates"), form).contains("Saved as version 1."));
    assert!(owner.post(&format!("{at}/domains"), "domain=example.com").contains("Added example.com."));
    let (template, domain) = ("welcome".to_owned(), "example.com".to_owned());
    Things { agent, message, webhook, template, domain, event, replay, report: String::new() }
}

#[test]
fn nobody_sees_through_the_walls() {
    let folder = tempfile::tempdir().unwrap();
    // Records are looked up, and nobody outside is asked.
    let names = NameServer::start("", "");
    let servers = format!("[dns]\nservers = ['{}']\n", names.settings().servers[0]);
    std::fs::write(folder.path().join("postback.toml"), servers).unwrap();
    let agent = Agent::start(folder.path(), &["--set", &format!("reports.return_path_domain={HOME}")]);
    let http = agent.address("http");
    let invite = |more: &[&str]| printed(folder.path(), &[&["user", "invite"], more].concat());
    printed(folder.path(), &["tenant", "add", "other"]);
    let owner = Person::join(http, &invite(&[]), "owner");
    let neighbour = Person::join(http, &invite(&["--tenant", "other"]), "neighbour");
    let reader = Person::join(http, &invite(&["--tenant", "default", "--role", "read-only"]), "reader");
    let watcher = Person::join(http, &invite(&["--role", "read-only"]), "watcher");
    let things = furnish(http, &owner, "default", &agent.credential("API key"));
    let things = Things { report: auto_reply(&agent, folder.path(), &things.message), ..things };
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
    let a_watcher = ("a watcher", &watcher);
    for (method, path, _) in &routes {
        let inside = format!("/console/default/{}", things.fill(path));
        let carried = format!("/console/other/{}", things.fill(path));
        walk(("nobody", &nobody), method, &inside, "303");
        walk(a_neighbour, method, &inside, "404");
        // Reports are the installation's: whoever looks after it sees them anywhere, others nowhere.
        let is_of_all = path.contains("{report}");
        if path.contains('{') {
            walk(a_neighbour, method, &carried, "404");
        }
        if path.contains('{') && !is_of_all {
            walk(the_owner, method, &carried, "404");
        }
        if is_of_all {
            walk(a_reader, method, &inside, "404");
        }
        let a_reader = if is_of_all { a_watcher } else { a_reader };
        match *method {
            // How a template looks changes nothing.
            "POST" if ["/templates/preview", "/tracking/preview"].iter().any(|end| path.ends_with(end)) => {
                walk(a_reader, method, &inside, "200")
            }
            "POST" => walk(a_reader, method, &inside, "403"),
            // What is behind the walls is there: nobody is told 404 for want of it.
            _ => {
                walk(a_reader, method, &inside, "200");
                walk(the_owner, method, &inside, "200");
            }
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
    let deeds = ["", "/role", "/renew", "/remove", "/revoke"].map(|path| ("POST", path));
    for (method, path) in [("GET", ""), ("GET", "/audit")].into_iter().chain(deeds) {
        let path = format!("/console/people{path}");
        assert_eq!((reader.walk(method, &path), watcher.walk(method, &path)), ("403".into(), "403".into()), "{path}");
    }
}

#[test]
fn an_owner_of_one_tenant_looks_after_its_people_and_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), &[]);
    let http = agent.address("http");
    let invite = |more: &[&str]| printed(folder.path(), &[&["user", "invite"], more].concat());
    printed(folder.path(), &["tenant", "add", "other"]);
    let owner = Person::join(http, &invite(&[]), "owner");
    let stranger = Person::join(http, &invite(&["--tenant", "default"]), "stranger");
    let landlord = Person::join(http, &invite(&["--tenant", "other"]), "landlord");
    let status = |answer: String| answer.split(' ').nth(1).unwrap_or_default().to_owned();
    let does = |path: &str, form: &str| status(landlord.post(&format!("/console/people{path}"), form));

    // Whom they invite is of their tenant, whatever a form says.
    assert_eq!(does("", "role=owner&tenant=default"), "404");
    assert_eq!(does("", "role=emperor"), "404");
    let helper = Person::join(http, &landlord.post("/console/people", "role=support").replace('<', " "), "helper");
    assert_eq!(
        (helper.walk("GET", "/console/other/"), helper.walk("GET", "/console/default/")),
        ("200".into(), "404".into())
    );
    assert_eq!(helper.walk("GET", "/console/people"), "403");

    // They see those, and what these did, and nobody else.
    let page = landlord.get("/console/people");
    for (who, is_seen) in [("landlord", true), ("helper", true), ("owner", false), ("stranger", false)] {
        assert_eq!(page.contains(&format!("{who}@example.com")), is_seen, "{who}");
    }
    assert!(owner.get("/console/people").contains("stranger@example.com"));
    for email in ["owner", "stranger", "nobody"].map(|name| format!("email={name}%40example.com")) {
        for path in ["/role", "/remove", "/renew"] {
            assert_eq!(does(path, &format!("{email}&role=read-only&second_factor=remove")), "404", "{path} {email}");
        }
    }
    assert_eq!(
        (owner.walk("GET", "/console/people"), stranger.walk("GET", "/console/people")),
        ("200".into(), "200".into())
    );

    // A role holds at once; nobody changes their own.
    let role = |who: &str, role: &str| does("/role", &format!("email={who}%40example.com&role={role}"));
    assert_eq!((role("helper", "owner"), helper.walk("GET", "/console/people")), ("200".into(), "200".into()));
    assert_eq!((role("helper", "read-only"), helper.walk("GET", "/console/people")), ("200".into(), "403".into()));
    assert_eq!(role("helper", "emperor"), "404");
    assert_eq!(
        (role("landlord", "support"), does("/remove", "email=landlord%40example.com")),
        ("403".into(), "403".into())
    );
    // Whoever finds a browser signed in does not get past the second factor, or to a new password, without the old one.
    assert_eq!(does("/renew", "email=landlord%40example.com&second_factor=remove"), "403");
    let link = landlord.post("/console/people/renew", "email=helper%40example.com").replace('<', " ");
    let path = link.split_whitespace().find_map(|word| Some(&word[word.find("/console/join/")?..])).unwrap();
    assert!(helper.post(path, "password=another+horse+battery").contains("The password is set."));
    assert_eq!(does("/remove", "email=helper%40example.com"), "200");
    assert!(!landlord.get("/console/people").contains("value=\"helper@example.com\""));

    // Links that wait can be seen, and revoked, by whoever may make them.
    let mut links = [&owner, &landlord].map(|person| {
        let link = person.post("/console/people", "role=owner&tenant=other").replace('<', " ");
        link.split_whitespace().find_map(|word| Some(word[word.find("/console/join/")?..].to_owned())).unwrap()
    });
    links.sort();
    let waiting = |person: &Person| -> Vec<String> {
        let page = person.get("/console/people");
        let ids = page.split("name=\"id\" value=\"").skip(1);
        ids.map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
    };
    let ids = waiting(&landlord);
    // That of the first run waits too, and is the installation's.
    assert_eq!((ids.len(), waiting(&owner).len()), (2, 3));
    assert_eq!(status(stranger.post("/console/people/revoke", &format!("id={}", ids[0]))), "404");
    assert_eq!(
        (does("/revoke", "id=00"), does("/revoke", &format!("id={}", "0".repeat(64)))),
        ("404".into(), "404".into())
    );
    let followed = |link: &String| stranger.walk("GET", link);
    assert_eq!(links.each_ref().map(followed), ["200", "200"]);
    assert_eq!(does("/revoke", &format!("id={}", ids[0])), "200");
    assert_eq!((does("/revoke", &format!("id={}", ids[0])), waiting(&landlord)), ("404".into(), vec![ids[1].clone()]));
    let mut left = links.each_ref().map(followed);
    left.sort();
    assert_eq!(left, ["200", "404"]);
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
