//! The Rust crate zeptomail_rs against the true program: BASE TOKEN.

use std::collections::HashMap;

use zeptomail_rs::{
    ApiResponse, Attachment, BatchEmailRequest, BatchTemplateEmailRequest, EmailAddress, EmailRequest, FileUploadRequest,
    InlineImage, MimeHeaders, Recipient, TemplateEmailRequest, ZeptoMailClient, ZeptoMailError,
};

fn person(address: &str) -> EmailAddress {
    EmailAddress { address: address.into(), name: None }
}

fn recipient(address: &str, name: Option<&str>) -> Recipient {
    let merge_info = name.map(|name| HashMap::from([("name".into(), name.into())]));
    Recipient { email_address: person(address), merge_info }
}

fn mail() -> EmailRequest {
    EmailRequest {
        bounce_address: None,
        sender: person("billing@acme.example"),
        to: vec![recipient("rust@example.com", None)],
        reply_to: None,
        subject: "Sent by Rust".into(),
        htmlbody: Some("<b>html</b>".into()),
        textbody: None,
        carbon_copy: None,
        blind_carbon_copy: None,
        track_clicks: None,
        track_opens: None,
        client_reference: None,
        mime_headers: None,
        attachments: None,
        inline_images: None,
    }
}

fn accepted(told: Result<ApiResponse, ZeptoMailError>) {
    let told = told.unwrap();
    let data = told.data.unwrap().remove(0);
    assert_eq!((data.code.as_deref(), told.object.as_deref()), (Some("EM_104"), Some("email")));
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [base, token] = arguments.as_slice() else { panic!("BASE TOKEN") };
    let mut client = ZeptoMailClient::new(&format!("Zoho-enczapikey {token}")).unwrap();
    client.base_url = format!("{base}/v1.1");
    accepted(client.send_email(mail()).await);

    let file = FileUploadRequest { name: "hello.txt".into(), content_type: "text/plain".into(), data: b"hello".to_vec() };
    let kept = client.upload_file_to_cache(file).await.unwrap();
    let attachment =
        Attachment { name: "hello.txt".into(), content: None, mime_type: None, file_cache_key: Some(kept.file_cache_key) };
    let image = InlineImage { mime_type: "image/png".into(), content: "iVBORw0KGgo=".into(), content_id: "logo".into() };
    let full = EmailRequest {
        bounce_address: Some("bounce@acme.example".into()),
        reply_to: Some(vec![person("help@acme.example")]),
        carbon_copy: Some(vec![recipient("cc@example.com", None)]),
        blind_carbon_copy: Some(vec![recipient("hidden@example.com", None)]),
        mime_headers: Some(MimeHeaders { headers: HashMap::from([("X-Test".into(), "test".into())]) }),
        attachments: Some(vec![attachment]),
        inline_images: Some(vec![image]),
        ..mail()
    };
    accepted(client.send_email(full).await);
    let batch = BatchEmailRequest {
        sender: person("billing@acme.example"),
        recipients: vec![recipient("a@example.com", Some("Ann")), recipient("b@example.com", None)],
        subject: "Hi {{name}}".into(),
        htmlbody: Some("<p>{{name}}</p>".into()),
        textbody: None,
        carbon_copy: Some(vec![person("cc@example.com")]),
        blind_carbon_copy: None,
        track_clicks: Some(true),
        track_opens: None,
        client_reference: None,
        mime_headers: None,
        attachments: None,
        inline_images: None,
    };
    accepted(client.send_batch_email(batch).await);
    let template = TemplateEmailRequest {
        template_key: "welcome".into(),
        bounce_address: None,
        sender: person("billing@acme.example"),
        recipients: vec![recipient("rust@example.com", None)],
        reply_to: None,
        track_clicks: None,
        track_opens: None,
        client_reference: None,
        mime_headers: None,
        attachments: None,
        merge_info: Some(HashMap::from([("name".into(), "Rust".into())])),
    };
    accepted(client.send_template_email(template).await);
    let batch = BatchTemplateEmailRequest {
        template_key: "welcome".into(),
        bounce_address: None,
        sender: person("billing@acme.example"),
        recipients: vec![recipient("a@example.com", Some("Ann")), recipient("b@example.com", Some("Bob"))],
        reply_to: None,
        track_clicks: None,
        track_opens: None,
        client_reference: None,
        mime_headers: None,
        attachments: None,
    };
    accepted(client.send_batch_template_email(batch).await);

    match client.send_email(EmailRequest { subject: String::new(), ..mail() }).await {
        Err(ZeptoMailError::ApiError(refused)) => {
            assert_eq!((refused.code.as_str(), refused.details.unwrap()[0].code.as_str()), ("TM_3201", "GE_102"));
        }
        other => panic!("{other:?}"),
    }
}
