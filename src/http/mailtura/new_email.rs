//! A mail as `POST /api/v1/emails` brings it, and the submission that it becomes.
//!
//! `to` is text or a list, as the documents have it; people may also be written as objects. The texts are a template's
//! or the mail's own; with `variables` its own are filled in like a template's. A subject stands before a template's.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::super::Server;
use super::super::extras::{self, HeaderFields, Metadata, Tags, TimeToLive};
use super::super::json::Json;
use super::super::problem::Problem;
use super::super::shape::{Base64, List, People, Read, Schemas, Shape, Text, When, request};
use super::super::wire::{self, Flaw, Person, Wrong};
use super::super::zeptomail::FILES_MAX;
use super::templates;
use crate::intake::submission::{Content, Rejection, Submission};
use crate::mail::compose::{File, Inline, Parts};
use crate::mail::submitted::Switches;
use crate::mail::template::{Budget, Compiled};
use crate::model::address::Mailbox;
use crate::model::message::{Source, Way};
use crate::model::template::Texts;
use crate::model::tenant::Grant;
use crate::model::time::Timestamp;

request! {
    /// A mail to send: `to`, a subject, and `html` or `text` or both.
    pub(super) struct NewEmail {
        /// To whom.
        to "to": People,
        /// To whom besides.
        cc "cc": Option<People>,
        /// To whom no header tells.
        bcc "bcc": Option<People>,
        /// Who sends it; the mail agent's sender unless given.
        from "from": Option<Person>,
        /// The name with that address.
        from_name "fromName": Option<Text<0, 250>>,
        /// Where answers go.
        reply_to "replyTo": Option<People>,
        /// Its subject.
        subject "subject": Option<Text<1, 2000>>,
        /// The body for readers that show HTML.
        html "html": Option<String>,
        /// The body for those that do not.
        text "text": Option<String>,
        /// The name of a template, in place of bodies and, unless one is given, of the subject.
        template "template": Option<Text<1, 100>>,
        /// What the template, or the mail's own texts, are filled in with.
        variables "variables": Option<Map<String, Value>>,
        /// Files. One with a `contentId` is a picture that the HTML refers to.
        attachments "attachments": Option<List<Attachment, 0, FILES_MAX>>,
        /// Further header fields.
        headers "headers": Option<HeaderFields>,
        /// Words to find it by, at most 10.
        tags "tags": Option<Tags>,
        /// What webhooks are told with it, at most 8 KiB.
        metadata "metadata": Option<Metadata>,
        /// Whether it has a pixel and tracked links; the mail agent's setting unless given.
        tracking "tracking": Option<Tracking>,
        /// Give it a `List-Unsubscribe` of one click; the mail agent's setting unless given.
        list_unsubscribe "listUnsubscribe": Option<bool>,
        /// Not to be sent before this time, at most 30 days ahead.
        scheduled_at "scheduledAt": Option<When>,
        /// How long to try, in seconds from when it is first due; as long as the installation does unless given.
        time_to_live "timeToLive": Option<TimeToLive>,
        /// Which mail agent sends it; the key's own unless given.
        mail_agent "mailAgent": Option<Text<1, 100>>,
    }

    /// A file.
    pub(super) struct Attachment {
        /// Its name.
        filename "filename": Option<Text<0, 255>>,
        /// Its bytes.
        content "content": Base64,
        /// What it is, as in `application/pdf`.
        content_type "contentType": Option<String>,
        /// What the HTML calls it: `logo` for `cid:logo`.
        content_id "contentId": Option<String>,
    }

    /// How a mail is tracked.
    pub(super) struct Switched {
        /// Add a pixel.
        opens "opens": Option<bool>,
        /// Rewrite links.
        clicks "clicks": Option<bool>,
    }
}

/// Both switches with one word, or each by itself.
#[derive(Debug)]
pub(super) struct Tracking(Switched);

impl Shape for Tracking {
    fn schema(schemas: &mut Schemas) -> Value {
        json!({ "anyOf": [{ "type": "boolean" }, Switched::schema(schemas)] })
    }
}

impl Read for Tracking {
    fn read(json: &Json<'_>, path: &str) -> Result<Self, Flaw> {
        match json {
            Json::Bool(both) => Ok(Self(Switched { opens: Some(*both), clicks: Some(*both) })),
            each => Switched::read(each, path).map(Self),
        }
    }
}

/// Makes submissions of mails that come together: templates are read once, and filling in all of them has one limit.
pub(super) struct Writing<'s> {
    server: &'s Server,
    grant: &'s Grant,
    now: Timestamp,
    templates: HashMap<String, (Texts, Compiled)>,
    budget: Budget,
}

impl<'s> Writing<'s> {
    pub(super) fn new(server: &'s Server, grant: &'s Grant) -> Self {
        let (now, templates, budget) = (server.clock().now(), HashMap::new(), Budget::default());
        Self { server, grant, now, templates, budget }
    }

    /// What is to be sent, and the addresses in `to`. `path` is where the mail stands in the request.
    pub(super) async fn submission(
        &mut self,
        mut new: NewEmail,
        path: &str,
    ) -> Result<(Submission, Vec<String>), Problem> {
        let way = Way::of(!path.is_empty(), new.template.is_some());
        let Texts { subject, html, text } = self.texts(&mut new, path).await?;
        let People(to) = new.to;
        if to.is_empty() {
            return Err(Flaw::at(format!("{path}/to"), Wrong::NoItems).into());
        }
        let from = sender(new.from, new.from_name, self.grant)?;
        let [cc, bcc, reply_to] =
            [new.cc, new.bcc, new.reply_to].map(|people| people.map_or(Vec::new(), |people| people.0));
        let recipients = wire::recipients(to.iter().chain(&cc).chain(&bcc));
        let mailboxes = |people: &[Person]| people.iter().map(Person::mailbox).collect();
        let (attachments, inline_images) = files(new.attachments);
        let parts = Parts {
            from,
            to: mailboxes(&to),
            cc: mailboxes(&cc),
            reply_to: mailboxes(&reply_to),
            subject,
            html,
            text,
            headers: new.headers.unwrap_or_default().0,
            attachments,
            inline_images,
        };
        let tracking = new.tracking.map_or(Switched { opens: None, clicks: None }, |tracking| tracking.0);
        let switches = Switches {
            track_opens: tracking.opens,
            track_clicks: tracking.clicks,
            tags: new.tags.unwrap_or_default().0,
            metadata: new.metadata.unwrap_or_default().0,
            send_at: extras::not_before(new.scheduled_at, &format!("{path}/scheduledAt"), self.now)?,
            time_to_live: extras::duration(new.time_to_live),
            list_unsubscribe: new.list_unsubscribe,
            way,
            ..Switches::default()
        };
        let to = to.iter().map(|person| person.address.to_string()).collect();
        let content = Content::Parts(Box::new(parts));
        Ok((Submission { source: Source::Http, sender: None, recipients, content, switches }, to))
    }

    /// The texts of a mail, filled in.
    async fn texts(&mut self, new: &mut NewEmail, path: &str) -> Result<Texts, Problem> {
        let at = |field: &str, wrong| Problem::from(Flaw::at(format!("{path}/{field}"), wrong));
        let subject = new.subject.take().map(|Text(subject)| subject);
        let [html, text] = [new.html.take(), new.text.take()].map(|body| body.filter(|body| !body.is_empty()));
        let data = new.variables.take().map(Value::Object);
        if let Some(Text(name)) = new.template.take() {
            for (field, body) in [("html", &html), ("text", &text)] {
                if body.is_some() {
                    return Err(at(field, Wrong::Other("must not stand beside a template".into())));
                }
            }
            return self.filled(name, subject, &data.unwrap_or_else(|| Value::Object(Map::new()))).await;
        }
        if html.is_none() && text.is_none() {
            return Err(at("html", Wrong::Missing));
        }
        let texts = Texts { subject: subject.ok_or_else(|| at("subject", Wrong::Missing))?, html, text };
        let Some(data) = data else { return Ok(texts) };
        let compiled = Compiled::new(&texts).map_err(Problem::Template)?;
        Ok(compiled.fill(&data, &mut self.budget)?)
    }

    /// The texts of a template, but for a subject that stands before its own.
    async fn filled(&mut self, name: String, subject: Option<String>, data: &Value) -> Result<Texts, Problem> {
        if !self.templates.contains_key(&name) {
            let template = templates::named(self.server, &self.grant.agent, &name).await?;
            let texts = template.ok_or(Problem::NotFound("Template"))?.texts;
            let compiled = Compiled::new(&texts).map_err(Problem::Template)?;
            self.templates.insert(name.clone(), (texts, compiled));
        }
        let (texts, compiled) = self.templates.get(&name).ok_or(Problem::Broken)?;
        let other = subject.map(|subject| Compiled::new(&Texts { subject, ..texts.clone() })).transpose();
        let other = other.map_err(Problem::Template)?;
        Ok(other.as_ref().unwrap_or(compiled).fill(data, &mut self.budget)?)
    }
}

/// `from`, else the agent's own sender; `fromName` names either.
fn sender(from: Option<Person>, name: Option<Text<0, 250>>, grant: &Grant) -> Result<Mailbox, Problem> {
    let own = || grant.agent.settings.from.clone().ok_or(Problem::Rejected(Rejection::NoSender));
    let mut from = from.map_or_else(own, |from| Ok(from.mailbox()))?;
    if let Some(Text(name)) = name {
        from.name = name;
    }
    Ok(from)
}

/// Attachments, and pictures that the HTML refers to.
fn files(files: Option<List<Attachment, 0, FILES_MAX>>) -> (Vec<File>, Vec<Inline>) {
    let (mut attachments, mut images) = (Vec::new(), Vec::new());
    for Attachment { filename, content: Base64(content), content_type, content_id } in files.map_or(Vec::new(), |f| f.0)
    {
        let name = filename.map_or(String::new(), |Text(name)| name);
        let file = File { name, content_type: content_type.unwrap_or_default(), content };
        match content_id {
            Some(cid) => images.push(Inline { cid, file }),
            None => attachments.push(file),
        }
    }
    (attachments, images)
}
