//! Where a delivery goes: nowhere (capture), or to the smarthost. MX comes beside them.
//!
//! A route knows the host, its rules and its kept connections; `transport` holds the conversation, `mod` judges what
//! came of it.

use std::sync::Arc;

use super::encryption::{BadCaFile, Check, Encryption};
use super::opening::{Credentials, Peer, Security};
use super::pace::Limits;
use super::settings::{Mode, Settings, Smarthost, Tls};
use super::sites::Site;
use super::throttle::{Bounds, Throttle};
use crate::model::address::Address;

/// Where a delivery goes.
#[derive(Clone, Debug)]
pub enum Route {
    /// Nowhere: kept for looking at.
    Capture,
    /// To a host, over its kept connections.
    Host(Arc<Host>),
}

/// A host that takes mail.
#[derive(Debug)]
pub struct Host {
    /// Name of the kind of route.
    pub route: &'static str,
    /// What it is known by to those who count how much it takes.
    pub site: Site,
    /// How to talk to it.
    pub peer: Peer,
    /// How much of it we may take.
    pub throttle: Throttle,
}

/// Knows the route of each delivery.
#[derive(Clone, Debug)]
pub struct Routes {
    only: Route,
    site: Site,
    limits: Limits,
}

impl Routes {
    /// The routes that `settings` ask for; `hostname` is who we are.
    ///
    /// # Errors
    /// The CA file cannot be used.
    pub fn new(settings: &Settings, hostname: &str) -> Result<Self, BadCaFile> {
        let (only, site, connections) = match settings.mode {
            Mode::Capture => (Route::Capture, "capture".into(), u32::MAX),
            Mode::Smarthost => {
                let host = smarthost(&settings.smarthost, hostname)?;
                let site = host.site.clone();
                (Route::Host(Arc::new(host)), site, settings.smarthost.connections_max.into())
            }
        };
        let limits = Limits { connections, connections_start: connections, mails_per_minute: None };
        Ok(Self { only, site, limits })
    }

    /// The site of all mail, when there is but one.
    pub fn common_site(&self) -> Option<&Site> {
        Some(&self.site)
    }

    /// How much a site may be sent, when the settings of its route say so.
    pub fn limits(&self, site: &Site) -> Option<Limits> {
        (*site == self.site).then_some(self.limits)
    }

    /// The route of mail to `address`.
    pub fn of(&self, _address: &Address) -> &Route {
        &self.only
    }

    /// Every host that connections may be kept to.
    pub fn hosts(&self) -> impl Iterator<Item = &Arc<Host>> {
        match &self.only {
            Route::Capture => None,
            Route::Host(host) => Some(host),
        }
        .into_iter()
    }
}

fn smarthost(settings: &Smarthost, hostname: &str) -> Result<Host, BadCaFile> {
    let check = if settings.verify_certificate { Check::Certificate } else { Check::Nothing };
    let encryption = |check| Encryption::new(check, settings.ca_file.as_deref());
    let security = match settings.tls {
        Tls::None => Security::None,
        Tls::Opportunistic => Security::Opportunistic(encryption(Check::Nothing)?),
        Tls::Required => Security::Required(encryption(check)?),
        Tls::Implicit => Security::Implicit(encryption(check)?),
    };
    let credentials = (!settings.username.is_empty()).then(|| Credentials {
        username: settings.username.clone(),
        password: settings.password.clone(),
        in_clear: settings.auth_in_clear,
    });
    let hello = if settings.ehlo_name.is_empty() { hostname } else { &settings.ehlo_name };
    let peer = Peer {
        host: settings.host.clone(),
        port: settings.port,
        security,
        credentials,
        hello: hello.to_owned(),
        timeouts: (&settings.timeouts).into(),
    };
    let site = format!("{}:{}", peer.host, peer.port).into();
    Ok(Host { route: "smarthost", site, peer, throttle: Throttle::new(Bounds::from(settings)) })
}
