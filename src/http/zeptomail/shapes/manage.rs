//! The bodies of what manages: agents, keys, domains, suppressions, templates, logs.

use serde_json::{Value, json};

use super::super::super::shape::{Domain, List, Nullable, Schemas, Shape, Text, described};
use super::Values;

/// A selector, as it is told.
enum ZeptoSelector {}

impl Shape for ZeptoSelector {
    fn schema(_: &mut Schemas) -> Value {
        json!({ "type": ["integer", "string"] })
    }
}

described! {
    /// A new mail agent.
    pub(in super::super) struct ZeptoNewAgent {
        /// Its name.
        "mailagent_name": Text<1, 100>,
        /// What it is for.
        "description": Option<Text<0, 500>>,
    }

    /// What to change of a mail agent.
    pub(in super::super) struct ZeptoAgentChange {
        /// Its name.
        "mailagent_name": Option<Text<1, 100>>,
        /// What it is for.
        "description": Option<Text<0, 500>>,
        /// `active` or `shutdown` (ours).
        "status": Option<String>,
    }

    /// A mail agent.
    pub(in super::super) struct ZeptoAgent {
        /// Its name.
        "mailagent_name": String,
        /// What paths and webhooks call it.
        "mailagent_key": String,
        /// What it is for.
        "description": String,
        /// When it was added.
        "created_time": String,
        /// `active` or `shutdown`.
        "status": String,
    }

    /// A mail agent.
    pub(in super::super) struct ZeptoAgentAnswer {
        /// The mail agent.
        "data": ZeptoAgent,
        /// `success`.
        "status": String,
    }

    /// Mail agents.
    pub(in super::super) struct ZeptoAgentList {
        /// The mail agents.
        "data": Vec<ZeptoAgent>,
        /// `success`.
        "status": String,
    }

    /// A key, without its secret.
    pub(in super::super) struct ZeptoKey {
        /// What paths call it.
        "id": String,
        /// Asterisks, of an API key.
        "apikey": Option<String>,
        /// Asterisks, of an SMTP password.
        "password": Option<String>,
        /// What to say beside it by SMTP.
        "username": String,
        /// When it was made.
        "created_time": String,
    }

    /// Keys.
    pub(in super::super) struct ZeptoKeyList {
        /// The keys.
        "data": Vec<ZeptoKey>,
        /// `success`.
        "status": String,
    }

    /// A key that was made, and its secret, which is told this once.
    pub(in super::super) struct ZeptoMadeKey {
        /// The key, its secret in `password`.
        "data": ZeptoKey,
        /// `success`.
        "status": String,
    }

    /// A domain to send from.
    pub(in super::super) struct ZeptoNewDomain {
        /// The domain.
        "domain_name": Domain,
        /// What stands before it in the name of its return path.
        "sub_domain_prefix": Option<Text<0, 200>>,
        /// The mail agents that are to send from it.
        "mailagent_keys": Option<List<String, 0, 50>>,
    }

    /// What to change of a domain.
    pub(in super::super) struct ZeptoDomainChange {
        /// Another domain.
        "new_domain": Option<Domain>,
        /// What stands before it in the name of its return path.
        "new_sub_domain_prefix": Option<Text<0, 200>>,
        /// Mail agents that are to send from it.
        "associate_mailagents": Option<List<String, 0, 50>>,
        /// Mail agents that are not.
        "unassociate_mailagents": Option<List<String, 0, 50>>,
    }

    /// A domain, as a list shows it.
    pub(in super::super) struct ZeptoDomain {
        /// What paths call it.
        "domain_key": String,
        /// The domain.
        "domain_name": String,
        /// The mail agents that send from it, or will.
        "associated_mailagents": Vec<String>,
        /// False.
        "is_restricted_senders": bool,
        /// `verified` or `unverified`.
        "status": String,
    }

    /// The record of a key that signs.
    pub(in super::super) struct ZeptoDkim {
        /// What the record says; empty without a key.
        "public_key": String,
        /// Its name.
        "host": String,
        /// The key's selector: a number, unless somebody gave the key another one.
        "selector": ZeptoSelector,
        /// `verified` when it signs.
        "status": String,
    }

    /// The record of a return path.
    pub(in super::super) struct ZeptoCname {
        /// Its name; empty without a prefix.
        "host": String,
        /// What it says.
        "cname_record": String,
        /// `unverified`.
        "status": String,
    }

    /// The record that shows whose the domain is (ours).
    pub(in super::super) struct ZeptoProof {
        /// Its name.
        "host": String,
        /// What it says.
        "txt_record": String,
        /// `verified` when it was seen.
        "status": String,
    }

    /// A domain.
    pub(in super::super) struct ZeptoDomainDetail {
        /// What paths call it.
        "domain_key": String,
        /// The domain.
        "domain_name": String,
        /// The mail agents that send from it, or will.
        "associated_mailagents": Vec<String>,
        /// False.
        "is_restricted_senders": bool,
        /// `verified` or `unverified`.
        "status": String,
        /// The record of the key that signs.
        "dkim": ZeptoDkim,
        /// The record of the return path.
        "cname": ZeptoCname,
        /// The record that shows whose it is (ours).
        "verification": ZeptoProof,
    }

    /// A domain.
    pub(in super::super) struct ZeptoDomainAnswer {
        /// The domain.
        "data": ZeptoDomainDetail,
        /// `success`.
        "status": String,
    }

    /// A domain, in a list of one.
    pub(in super::super) struct ZeptoDomainDetails {
        /// The domain.
        "data": Vec<ZeptoDomainDetail>,
        /// `success`.
        "status": String,
    }

    /// Domains.
    pub(in super::super) struct ZeptoDomainList {
        /// The domains.
        "data": Vec<ZeptoDomain>,
        /// `success`.
        "status": String,
    }

    /// Whom mail is not to go to.
    pub(in super::super) struct ZeptoNewSuppressions {
        /// `reject`, `suppress`, or for addresses `suppress_tracking`.
        "action": Text<6, 17>,
        /// Addresses or domains.
        "values": List<Text<1, 320>, 1, 50>,
        /// For which mail agents; for all unless given.
        "mailagent_keys": Option<List<String, 0, 50>>,
        /// What people want to remember of it.
        "description": Option<Text<0, 500>>,
    }

    /// Whom mail may go to again.
    pub(in super::super) struct ZeptoUnsuppressed {
        /// Addresses or domains.
        "values": List<Text<1, 320>, 1, 50>,
    }

    /// What was suppressed.
    pub(in super::super) struct ZeptoSuppressedBody {
        /// When.
        "modified_time": String,
        /// `email` or `domain`.
        "suppression_type": String,
        /// Addresses or domains.
        "values": Vec<String>,
        /// What is done.
        "action": String,
        /// What people want to remember of it.
        "description": String,
        /// `manual`.
        "category": String,
        /// For which mail agents; for all when absent.
        "mailagent_keys": Option<Vec<String>>,
    }

    /// What was suppressed.
    pub(in super::super) struct ZeptoSuppressed {
        /// What.
        "data": ZeptoSuppressedBody,
        /// `success`.
        "status": String,
    }

    /// A suppressed address or domain.
    pub(in super::super) struct ZeptoSuppression {
        /// The address or domain.
        "value": String,
        /// What is done.
        "action": String,
        /// What people want to remember of it.
        "description": String,
        /// When it was changed last.
        "modified_time": String,
        /// Why.
        "category": String,
        /// When it was added.
        "created_time": String,
        /// For which mail agents; for all when absent.
        "mailagent_keys": Option<Vec<String>>,
    }

    /// Suppressed addresses or domains.
    pub(in super::super) struct ZeptoSuppressionList {
        /// They.
        "data": Vec<ZeptoSuppression>,
        /// How many there are in this answer.
        "count": u64,
        /// `success`.
        "status": String,
    }
}

described! {
    /// A template.
    pub(in super::super) struct ZeptoNewTemplate {
        /// What people call it.
        "template_name": Option<Text<1, 500>>,
        /// What mails call it.
        "template_alias": Option<Text<1, 100>>,
        /// The subject.
        "subject": Option<Text<1, 500>>,
        /// The body for readers that show HTML.
        "htmlbody": Option<String>,
        /// The body for those that do not.
        "textbody": Option<String>,
    }

    /// A template, as a list shows it.
    pub(in super::super) struct ZeptoTemplateRow {
        /// When it was added.
        "created_time": String,
        /// What people call it.
        "template_name": String,
        /// What mails call it.
        "template_key": String,
        /// When it was changed last.
        "modified_time": String,
        /// The subject.
        "subject": String,
        /// What mails call it besides; null when nothing.
        "template_alias": Nullable<String>,
    }

    /// A template.
    pub(in super::super) struct ZeptoTemplate {
        /// The body for readers that show HTML.
        "htmlbody": Nullable<String>,
        /// The body for those that do not.
        "textbody": Nullable<String>,
        /// Counted from 1 (ours).
        "version": u64,
        ..ZeptoTemplateRow,
    }

    /// A template.
    pub(in super::super) struct ZeptoTemplateAnswer {
        /// The template.
        "data": ZeptoTemplate,
        /// `OK`.
        "message": String,
        /// `templates`.
        "object": String,
    }

    /// Which part of a list this is.
    pub(in super::super) struct ZeptoPart {
        /// How many were passed over.
        "offset": u64,
        /// How many are here.
        "count": u64,
        /// How many were asked for.
        "limit": Option<u64>,
    }

    /// Templates.
    pub(in super::super) struct ZeptoTemplateList {
        /// Which part of them.
        "metadata": ZeptoPart,
        /// The templates.
        "data": Vec<ZeptoTemplateRow>,
        /// `OK`.
        "message": String,
        /// `templates`.
        "object": String,
    }

    /// What to fill a template in with (ours).
    pub(in super::super) struct ZeptoTemplatePreview {
        /// The values.
        "merge_info": Option<Values>,
    }

    /// How a mail would look (ours).
    pub(in super::super) struct ZeptoPreview {
        /// The subject.
        "subject": String,
        /// The body for readers that show HTML.
        "htmlbody": Nullable<String>,
        /// The body for those that do not.
        "textbody": Nullable<String>,
        /// Names that the texts ask for and the values lack.
        "missing": Vec<String>,
    }

    /// How a mail would look (ours).
    pub(in super::super) struct ZeptoTemplatePreviewed {
        /// The mail.
        "data": ZeptoPreview,
        /// `OK`.
        "message": String,
        /// `templates`.
        "object": String,
    }
}
