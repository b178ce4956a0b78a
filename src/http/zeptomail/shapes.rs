//! The bodies of this API, described: what `/openapi.json` says of them.
//!
//! They are read and written by hand, with more tolerance than is described (`fields`): here stands what a new client
//! should send, and what it will get.

pub(super) mod logs;
pub(super) mod manage;

use serde_json::{Map, Value};

use super::super::extras::{HeaderFields, Metadata, Tags, TimeToLive};
use super::super::shape::{Base64, Email, List, Text, When, described};
use super::fields::{
    FILE_NAME_CHARS_MAX, FILES_MAX, NAME_CHARS_MAX, PEOPLE_MAX, REFERENCE_CHARS_MAX, SUBJECT_CHARS_MAX,
};

type People = List<ZeptoRecipient, 0, PEOPLE_MAX>;
pub(super) type Values = Map<String, Value>;

described! {
    /// Somebody.
    pub(super) struct ZeptoPerson {
        /// The address.
        "address": Email,
        /// The name with it.
        "name": Option<Text<0, NAME_CHARS_MAX>>,
    }

    /// Somebody to send to.
    pub(super) struct ZeptoRecipient {
        /// Who.
        "email_address": ZeptoPerson,
    }

    /// Somebody to send to in a batch.
    pub(super) struct ZeptoBatchRecipient {
        /// Who.
        "email_address": ZeptoPerson,
        /// What this recipient's mail is filled in with.
        "merge_info": Option<Values>,
    }

    /// A file.
    pub(super) struct ZeptoFile {
        /// Its name.
        "name": Option<Text<0, FILE_NAME_CHARS_MAX>>,
        /// What it is, as in `application/pdf`.
        "mime_type": Option<String>,
        /// Its bytes.
        "content": Option<Base64>,
        /// The key of a file that is kept, instead of its bytes.
        "file_cache_key": Option<String>,
    }

    /// A picture that the HTML refers to.
    pub(super) struct ZeptoImage {
        /// What the HTML calls it: `logo` for `cid:logo`.
        "cid": Text<1, 250>,
        /// What it is, as in `image/png`.
        "mime_type": Option<String>,
        /// Its bytes.
        "content": Option<Base64>,
        /// The key of a file that is kept, instead of its bytes.
        "file_cache_key": Option<String>,
    }

    /// What every mail may have.
    struct ZeptoCommon {
        /// Who sends it: of a domain of the mail agent.
        "from": ZeptoPerson,
        /// To whom besides.
        "cc": Option<People>,
        /// To whom no header tells.
        "bcc": Option<People>,
        /// Where answers go.
        "reply_to": Option<List<ZeptoPerson, 0, PEOPLE_MAX>>,
        /// Rewrite links; the mail agent's setting unless given.
        "track_clicks": Option<bool>,
        /// Add a pixel; the mail agent's setting unless given.
        "track_opens": Option<bool>,
        /// What webhooks and logs tell with it; in a batch it is filled in too.
        "client_reference": Option<Text<0, REFERENCE_CHARS_MAX>>,
        /// Further header fields.
        "mime_headers": Option<HeaderFields>,
        /// Files.
        "attachments": Option<List<ZeptoFile, 0, FILES_MAX>>,
        /// Pictures that the HTML refers to.
        "inline_images": Option<List<ZeptoImage, 0, FILES_MAX>>,
        /// The bounce address that webhooks show.
        "bounce_address": Option<Email>,
        /// Give it a `List-Unsubscribe` of one click; the mail agent's setting unless given (ours).
        "list_unsubscribe": Option<bool>,
        /// Words to find it by, at most 10 (ours).
        "tags": Option<Tags>,
        /// What webhooks are told with it, at most 8 KiB (ours).
        "metadata": Option<Metadata>,
        /// Not to be sent before this time, at most 30 days ahead (ours).
        "scheduled_at": Option<When>,
        /// How long to try, in seconds from when it is first due (ours).
        "time_to_live": Option<TimeToLive>,
    }

    /// The texts of a mail: `htmlbody` or `textbody` or both.
    struct ZeptoTexts {
        /// Its subject.
        "subject": Text<1, SUBJECT_CHARS_MAX>,
        /// The body for readers that show HTML.
        "htmlbody": Option<String>,
        /// The body for those that do not.
        "textbody": Option<String>,
    }

    /// A template: one of `template_key`, `template_alias`, `mail_template_key`.
    struct ZeptoTemplateName {
        /// The template's key.
        "template_key": Option<String>,
        /// The template's alias.
        "template_alias": Option<String>,
        /// The template's key, under its old name.
        "mail_template_key": Option<String>,
    }

    /// To whom a batch goes.
    struct ZeptoBatchPeople {
        /// To whom, each with a mail of its own.
        "to": List<ZeptoBatchRecipient, 1, PEOPLE_MAX>,
        /// What the mails of those are filled in with who have nothing of their own.
        "merge_info": Option<Values>,
    }

    /// A mail to send: to somebody, and `htmlbody` or `textbody` or both.
    pub(super) struct ZeptoMail {
        /// To whom.
        "to": People,
        ..ZeptoTexts,
        ..ZeptoCommon,
    }

    /// A mail to each of `to`. Texts are filled in: `{{name}}`.
    pub(super) struct ZeptoBatch {
        ..ZeptoBatchPeople,
        ..ZeptoTexts,
        ..ZeptoCommon,
    }

    /// A template to send: one of `template_key`, `template_alias`, `mail_template_key`.
    pub(super) struct ZeptoTemplateMail {
        /// To whom.
        "to": People,
        /// What it is filled in with.
        "merge_info": Option<Values>,
        ..ZeptoTemplateName,
        ..ZeptoCommon,
    }

    /// A template to send to each of `to`.
    pub(super) struct ZeptoTemplateBatch {
        ..ZeptoBatchPeople,
        ..ZeptoTemplateName,
        ..ZeptoCommon,
    }

    /// It was done.
    pub(super) struct ZeptoNote {
        /// What was done, as a code.
        "code": String,
        /// Further facts.
        "additional_info": Vec<String>,
        /// What was done.
        "message": String,
    }

    /// A mail that was accepted: it is on the disk.
    pub(super) struct ZeptoAccepted {
        /// One entry.
        "data": Vec<ZeptoNote>,
        /// `OK`.
        "message": String,
        /// What webhooks and logs call it.
        "request_id": String,
        /// `email`.
        "object": String,
    }

    /// A file that is kept.
    pub(super) struct ZeptoKeptFile {
        /// What mails call it.
        "file_cache_key": String,
        /// One entry.
        "data": Vec<ZeptoNote>,
        /// `OK`.
        "message": String,
        /// `file`.
        "object": String,
    }

    /// A kept file, as a list shows it.
    pub(super) struct ZeptoCachedFile {
        /// What mails call it.
        "file_cache_key": String,
        /// Its name.
        "file_name": String,
        /// What it is.
        "content_type": String,
        /// Its size in bytes.
        "size": u64,
        /// When it was kept.
        "created_time": String,
    }

    /// Kept files.
    pub(super) struct ZeptoCachedFiles {
        /// The files.
        "data": Vec<ZeptoCachedFile>,
        /// `OK`.
        "message": String,
        /// `file`.
        "object": String,
    }
}

described! {
    /// What is wrong, more closely.
    pub(super) struct ZeptoFault {
        /// A code.
        "code": String,
        /// In a sentence.
        "message": String,
        /// More closely: where JSON ends to be JSON (ours).
        "description": Option<String>,
        /// Which field is meant.
        "target": Option<String>,
        /// What stood there.
        "target_value": Option<String>,
    }

    /// What is wrong.
    pub(super) struct ZeptoErrorBody {
        /// A code.
        "code": String,
        /// In a few words.
        "message": String,
        /// More closely; never empty.
        "details": Vec<ZeptoFault>,
        /// The request's id.
        "request_id": String,
        /// Which field is meant, where things are managed.
        "field": Option<String>,
        /// What stood there, where things are managed.
        "value": Option<String>,
    }

    /// What was wrong with a request.
    pub(in crate::http) struct ZeptoError {
        /// What is wrong.
        "error": ZeptoErrorBody,
        /// The request's id.
        "request_id": String,
        /// `failure`, where things are managed.
        "status": Option<String>,
    }
}
