//! Somebody at the console, without a browser's window.

use std::net::SocketAddr;

use super::agent::ask;

/// A person with a browser.
pub struct Person {
    pub http: SocketAddr,
    pub cookie: String,
}

impl Person {
    /// Follows an invitation.
    pub fn join(http: SocketAddr, invitation: &str, name: &str) -> Self {
        let path = invitation.split_whitespace().find_map(|word| Some(&word[word.find("/console/join/")?..])).unwrap();
        let form = format!("name={name}&email={name}%40example.com&password=correct+horse+battery");
        let answer = Self { http, cookie: String::new() }.post(path, &form);
        let cookie = answer.lines().find_map(|line| line.strip_prefix("set-cookie: ")?.split(';').next()).unwrap();
        Self { http, cookie: cookie.to_owned() }
    }

    /// The whole answer to a GET.
    pub fn get(&self, path: &str) -> String {
        ask(self.http, &format!("GET {path}"), &[("Cookie", self.cookie.clone())], "").unwrap()
    }

    /// The pages of a tenant's first mail agent.
    pub fn agent_pages(&self, tenant: &str) -> String {
        let page = self.get(&format!("/console/{tenant}/agents"));
        let start = format!("/console/{tenant}/agents/");
        let key = page.split(&start).nth(1).unwrap().split(['/', '"']).next().unwrap();
        format!("{start}{key}")
    }

    /// The whole answer to a form that one of our pages sends.
    pub fn post(&self, path: &str, form: &str) -> String {
        let fields = [
            ("Cookie", self.cookie.clone()),
            ("Sec-Fetch-Site", "same-origin".to_owned()),
            ("Content-Type", "application/x-www-form-urlencoded".to_owned()),
        ];
        // An empty body would have no length.
        ask(self.http, &format!("POST {path}"), &fields, if form.is_empty() { "x=" } else { form }).unwrap()
    }

    /// The status of a GET, or of a form without fields.
    pub fn walk(&self, method: &str, path: &str) -> String {
        let answer = if method == "GET" { self.get(path) } else { self.post(path, "") };
        answer.split(' ').nth(1).unwrap_or_default().to_owned()
    }
}
