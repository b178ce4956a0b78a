//! What an API key may be used for. The words are Mailtura's where it has one.

use serde::{Deserialize, Serialize};

use super::time::Timestamp;

/// A kind of work that a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    /// Hand in mail, by HTTP and SMTP; keep files for it, and take it back.
    SendEmails,
    /// See mails, what became of them, and statistics.
    ViewAnalytics,
    /// See and change templates.
    ManageTemplates,
    /// See and change suppressions.
    ManageSuppressions,
    /// See and change webhooks, their log and their secrets.
    WebhookAccess,
    /// See and change domains and tracking hosts.
    ManageDomains,
    /// Everything else: mail agents, keys, tenants, the queue, what is kept of recipients.
    Administer,
}

impl Permission {
    /// Every one.
    pub const ALL: [Permission; 7] = [
        Permission::SendEmails,
        Permission::ViewAnalytics,
        Permission::ManageTemplates,
        Permission::ManageSuppressions,
        Permission::WebhookAccess,
        Permission::ManageDomains,
        Permission::Administer,
    ];

    /// As the API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Permission::SendEmails => "send_emails",
            Permission::ViewAnalytics => "view_analytics_api",
            Permission::ManageTemplates => "manage_templates_api",
            Permission::ManageSuppressions => "manage_suppressions_api",
            Permission::WebhookAccess => "webhook_access",
            Permission::ManageDomains => "manage_domains_api",
            Permission::Administer => "administer_api",
        }
    }
}

/// What may be set on a credential. Kept as JSON; every field has a default, so that old rows stay readable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CredentialSettings {
    /// What it may do; `None` for all that its kind may.
    pub permissions: Option<Vec<Permission>>,
    /// Requests a minute; `None` leaves it to the installation.
    pub rate_limit: Option<u32>,
    /// From when on it is good for nothing; `None` for never.
    pub expires_at: Option<Timestamp>,
}

impl CredentialSettings {
    /// Whether it may do this.
    pub fn may(&self, wanted: Permission) -> bool {
        self.permissions.as_ref().is_none_or(|own| own.contains(&wanted))
    }

    /// Whether its time is over.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// The same, made with a key that is set so: nothing more, no faster, and no longer.
    pub fn bound_as(self, asking: &Self) -> Self {
        let permissions = match (self.permissions, &asking.permissions) {
            (own, None) => own,
            (None, Some(theirs)) => Some(theirs.clone()),
            (Some(own), Some(_)) => Some(own.into_iter().filter(|one| asking.may(*one)).collect()),
        };
        let rate_limit = [self.rate_limit, asking.rate_limit].into_iter().flatten().min();
        let expires_at = [self.expires_at, asking.expires_at].into_iter().flatten().min();
        Self { permissions, rate_limit, expires_at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_more_no_faster_and_no_longer() {
        let at = |millis| Some(Timestamp::from_millis(millis));
        let check = |own: (Option<&[Permission]>, _),
                     asking: (Option<&[Permission]>, _),
                     expected: (Option<&[Permission]>, _)| {
            let settings = |(permissions, expires_at): (Option<&[Permission]>, _)| CredentialSettings {
                permissions: permissions.map(<[Permission]>::to_vec),
                expires_at,
                rate_limit: None,
            };
            assert_eq!(settings(own).bound_as(&settings(asking)), settings(expected));
        };
        let (send, both) = ([Permission::SendEmails], [Permission::SendEmails, Permission::Administer]);
        check((None, None), (None, None), (None, None));
        check((Some(&send), at(5)), (None, None), (Some(&send), at(5)));
        check((None, None), (Some(&both), at(5)), (Some(&both), at(5)));
        check((Some(&both), at(7)), (Some(&send), at(5)), (Some(&send), at(5)));
        check((Some(&send), at(3)), (Some(&both), at(5)), (Some(&send), at(3)));
        let fast = |rate_limit| CredentialSettings { rate_limit, ..Default::default() };
        for (own, asking, expected) in
            [(None, None, None), (Some(9), None, Some(9)), (None, Some(3), Some(3)), (Some(9), Some(3), Some(3))]
        {
            assert_eq!(fast(own).bound_as(&fast(asking)), fast(expected));
        }
    }

    #[test]
    fn what_is_not_said_is_allowed_and_never_over() {
        let plain: CredentialSettings = serde_json::from_str("{}").unwrap();
        assert!(Permission::ALL.into_iter().all(|permission| plain.may(permission)));
        assert!(!plain.is_over(Timestamp::from_millis(i64::MAX)));
        let some: CredentialSettings =
            serde_json::from_str(r#"{"permissions":["send_emails"],"rate_limit":3,"expires_at":5}"#).unwrap();
        assert!(some.may(Permission::SendEmails) && !some.may(Permission::Administer));
        assert!(some.is_over(Timestamp::from_millis(5)) && !some.is_over(Timestamp::from_millis(4)));
    }
}
