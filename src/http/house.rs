//! What the console tells of the installation and does not know itself: its settings, its names, what places are looked
//! up in. `app` hands it in.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::dns::check::Outlet;
use crate::model::time::Timestamp;
use crate::tls::Certificates;

/// What places are looked up in: a line for each source, attribution included, and when the oldest was made.
pub type Places = Arc<dyn Fn() -> (String, Timestamp) + Send + Sync>;

/// The installation, as people see it.
#[derive(Clone)]
pub struct House {
    /// Nothing leaves the machine.
    pub is_capture: bool,
    /// What this machine is called.
    pub hostname: String,
    /// The domain of return paths.
    pub return_path_domain: String,
    /// The host of tracked links; empty when there is none.
    pub tracking_host: String,
    /// Mail leaves from the addresses of `hostname`, not only from `sources` or by a smarthost.
    pub is_direct: bool,
    /// Further addresses that mail leaves from.
    pub sources: Vec<Outlet>,
    /// Doors that are open here: what, and where.
    pub doors: Vec<(String, String)>,
    /// The settings in force, secrets masked.
    pub settings: Vec<(String, String)>,
    /// What is unwise about them.
    pub warnings: Vec<String>,
    /// What the doors show to clients of TLS.
    pub certificates: Option<Certificates>,
    /// Where addresses are.
    pub places: Places,
}

impl Default for House {
    fn default() -> Self {
        Self {
            is_capture: true,
            hostname: String::new(),
            return_path_domain: String::new(),
            tracking_host: String::new(),
            is_direct: false,
            sources: Vec::new(),
            doors: Vec::new(),
            settings: Vec::new(),
            warnings: Vec::new(),
            certificates: None,
            places: Arc::new(|| (String::new(), Timestamp::default())),
        }
    }
}

impl House {
    /// Where a door is open here; empty when it is not.
    pub(super) fn door(&self, name: &str) -> &str {
        self.doors.iter().find(|(door, _)| door == name).map_or("", |(_, address)| address.as_str())
    }
}

/// Where people find the console: by https where a door for that is open, and by the machine's name where a door is open on
/// each of its addresses. `None`: nowhere.
pub fn console_url(hostname: &str, http: Option<SocketAddr>, https: Option<SocketAddr>) -> Option<String> {
    let (scheme, door, usual) = match (https, http) {
        (Some(door), _) => ("https", door, 443),
        (None, door) => ("http", door?, 80),
    };
    // A certificate is for a name.
    let is_named = door.ip().is_unspecified() || scheme == "https" && !door.ip().is_loopback();
    let place = match (is_named && !hostname.is_empty(), door.port()) {
        (false, _) => door.to_string(),
        (true, port) if port == usual => hostname.to_owned(),
        (true, port) => format!("{hostname}:{port}"),
    };
    Some(format!("{scheme}://{place}/console/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_console_is() {
        let check = |http: &str, https: &str, expected: Option<&str>| {
            let url = console_url("mail.example.com", http.parse().ok(), https.parse().ok());
            assert_eq!(url.as_deref(), expected, "{http} {https}");
        };
        check("127.0.0.1:8080", "", Some("http://127.0.0.1:8080/console/"));
        check("0.0.0.0:8080", "", Some("http://mail.example.com:8080/console/"));
        check("[::]:80", "", Some("http://mail.example.com/console/"));
        check("192.0.2.7:8080", "", Some("http://192.0.2.7:8080/console/"));
        check("127.0.0.1:8080", "0.0.0.0:443", Some("https://mail.example.com/console/"));
        check("127.0.0.1:8080", "192.0.2.7:8443", Some("https://mail.example.com:8443/console/"));
        check("127.0.0.1:8080", "127.0.0.1:8443", Some("https://127.0.0.1:8443/console/"));
        check("", "", None);
    }
}
