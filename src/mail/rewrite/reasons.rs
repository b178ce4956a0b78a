//! Why a link stays as it is, for whoever asks why it was not tracked.

use std::fmt::{self, Display};

/// What asks, in the scheme of a link, for it not to be tracked.
pub(super) const WISH: &[u8] = b"+notrack";

/// Why a link stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftAlone {
    /// Links of this kind of part are not tracked.
    Off,
    /// Its author asked for it.
    OptedOut(OptOut),
    /// `mailto:`, `#x`, `/x`, `//host` and whatever else does not begin with `http://` or `https://`.
    NotWeb,
    /// No URL that a redirect could lead to.
    Invalid,
    /// A user stands before its host: what looks like the host may not be it.
    UserInfo,
    /// A template engine left a placeholder in it.
    Placeholder,
    /// Too long.
    TooLong,
    /// Bytes of which readers make different things.
    Unclear,
    /// Plain text of which readers disagree where the link ends.
    UnclearEnd,
    /// It leads to the tracking host.
    OwnHost,
    /// Its host is one whose links stay.
    SkippedHost,
    /// It stands in `List-Unsubscribe` too.
    Unsubscribe,
    /// Who has it is let in: a parameter is named like this.
    Secret(&'static str),
    /// Tracked, its line would be longer than mail allows.
    LongLine,
    /// Tracked, it would be longer than some readers open.
    Outgrows,
    /// No tracked URL was given for it.
    NoUrl,
}

impl Display for LeftAlone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "links like this one are not tracked",
            Self::OptedOut(OptOut { mark, service }) => return write!(f, "opted out by {mark} ({service})"),
            Self::NotWeb => "it does not begin with http:// or https://",
            Self::Invalid => "it is no valid URL",
            Self::UserInfo => "a user is named before its host",
            Self::Placeholder => "a placeholder is left in it that nobody filled in",
            Self::TooLong => "it is too long",
            Self::Unclear => "readers may make different things of its bytes",
            Self::UnclearEnd => "readers disagree where it ends",
            Self::OwnHost => "it leads to the tracking host already",
            Self::SkippedHost => "its host is one whose links stay as they are",
            Self::Unsubscribe => "List-Unsubscribe names it, and must lead there directly",
            Self::Secret(word) => return write!(f, "it lets its holder in: it has a parameter like {word:?}"),
            Self::LongLine => "its line would become too long for mail",
            Self::Outgrows => "it would become too long for some mail readers",
            Self::NoUrl => "no tracked URL could be made for it",
        })
    }
}

/// How an author says that a link is not to be tracked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptOut {
    /// What stands in the mail.
    pub mark: &'static str,
    /// Whose customers write it.
    pub service: &'static str,
}

/// `https+notrack://`.
pub(super) const BY_SCHEME: OptOut = OptOut { mark: "+notrack", service: "Postal" };
/// Behind a link in plain text.
pub(in crate::mail) const BEHIND_TEXT: OptOut = OptOut { mark: "[[data-msys-clicktrack=\"0\"]]", service: "SparkPost" };

/// Classes that opt out.
const CLASSES: [OptOut; 3] = [
    OptOut { mark: "untracked", service: "Customer.io" },
    OptOut { mark: "mktNoTrack", service: "Marketo" },
    OptOut { mark: "inf-track-no", service: "Keap" },
];

/// Attributes that opt out when they say no.
const SWITCHES: [OptOut; 3] = [
    OptOut { mark: "clicktracking", service: "SendGrid" },
    OptOut { mark: "data-msys-clicktrack", service: "SparkPost" },
    OptOut { mark: "autotrack", service: "MessageGears" },
];

/// Attributes that opt out unless they say no.
const ATTRIBUTES: [OptOut; 11] = [
    OptOut { mark: "data-no-track", service: "Postback" },
    OptOut { mark: "data-pm-no-track", service: "Postmark" },
    OptOut { mark: "ses:no-track", service: "Amazon SES" },
    OptOut { mark: "disable-tracking", service: "Mailgun" },
    OptOut { mark: "mc:disable-tracking", service: "Mandrill" },
    OptOut { mark: "mautic:disable-tracking", service: "Mautic" },
    OptOut { mark: "data-mautic-disable-tracking", service: "Mautic" },
    OptOut { mark: "data-as-no-track", service: "AhaSend" },
    OptOut { mark: "cm_dontconvertlink", service: "Campaign Monitor" },
    OptOut { mark: "mb_dontconvertlink", service: "Campaign Monitor" },
    OptOut { mark: "nottracked", service: "Keap" },
];

/// Whether an attribute says "do not track": ours and those of the services whose customers come to us.
pub(in crate::mail) fn opts_out(attribute: &[u8], value: &[u8]) -> Option<OptOut> {
    let value = value.trim_ascii();
    let is_no = [&b"off"[..], b"0", b"false", b"no"].iter().any(|no| value.eq_ignore_ascii_case(no));
    if attribute == b"class" {
        let is_marked = |out: &&OptOut| value.split(u8::is_ascii_whitespace).any(|class| class == out.mark.as_bytes());
        return CLASSES.iter().find(is_marked).copied();
    }
    let marks = if is_no { &SWITCHES[..] } else { &ATTRIBUTES[..] };
    marks.iter().find(|out| out.mark.as_bytes() == attribute).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authors_can_opt_out() {
        for (attribute, value, service) in [
            ("clicktracking", "off", Some("SendGrid")),
            ("clicktracking", " OFF ", Some("SendGrid")),
            ("clicktracking", "on", None),
            ("clicktracking", "", None),
            ("data-msys-clicktrack", "0", Some("SparkPost")),
            ("data-no-track", "", Some("Postback")),
            ("data-no-track", "false", None),
            ("data-pm-no-track", "", Some("Postmark")),
            ("ses:no-track", "", Some("Amazon SES")),
            ("mc:disable-tracking", "", Some("Mandrill")),
            ("mautic:disable-tracking", "true", Some("Mautic")),
            ("data-mautic-disable-tracking", "true", Some("Mautic")),
            ("disable-tracking", "true", Some("Mailgun")),
            ("disable-tracking", "0", None),
            ("class", "button untracked", Some("Customer.io")),
            ("class", "mktNoTrack", Some("Marketo")),
            ("autotrack", "false", Some("MessageGears")),
            ("autotrack", "true", None),
            ("data-as-no-track", "", Some("AhaSend")),
            ("nottracked", "false", None),
            ("class", "tracked", None),
            ("title", "off", None),
        ] {
            let found = opts_out(attribute.as_bytes(), value.as_bytes());
            assert_eq!(found.map(|out| out.service), service, "{attribute}={value}");
        }
    }

    #[test]
    fn reasons_are_told_in_words() {
        let told = |why: LeftAlone| why.to_string();
        assert_eq!(told(LeftAlone::OptedOut(CLASSES[0])), "opted out by untracked (Customer.io)");
        assert_eq!(told(LeftAlone::Secret("token")), "it lets its holder in: it has a parameter like \"token\"");
        assert_eq!(told(LeftAlone::NotWeb), "it does not begin with http:// or https://");
    }
}
