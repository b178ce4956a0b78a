//! `POST /oauth/v2/token`: an access token for what manages, as ZeptoMail's clients ask for it (RFC 6749 §6).
//!
//! The client's id is an API key's, its secret and its refresh token are the key. Whatever is wrong is told with 200 and
//! an `error`, since that is where those clients look.

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use serde_json::json;

use super::super::memory::Owner;
use super::super::problem::Problem;
use super::super::server::Answer;
use super::super::{SMALL_BYTES_MAX, Server, body, client, finish, json_answer};
use crate::intake::caller::{ACCESS_LIFETIME, AuthFailure, OAuthClient};

/// Where it is.
pub(in super::super) const PATH: &str = "/oauth/v2/token";

/// Answers a request for a token.
pub(in super::super) async fn answer(server: &Server, mut request: Request<Incoming>) -> Answer {
    match respond(server, &mut request).await {
        Ok(answer) => answer,
        Err(problem) => {
            body::drain(request, &problem).await;
            super::refused(server, &problem)
        }
    }
}

async fn respond(server: &Server, request: &mut Request<Incoming>) -> Result<Answer, Problem> {
    if request.method() != Method::POST {
        return Err(Problem::Method { allowed: "POST" });
    }
    let peer = client::of(request);
    let api_domain = client::base_url(request);
    let query = request.uri().query().unwrap_or_default().to_owned();
    let body = body::read(server.0.memory.share(Owner::of(None, peer)), request, SMALL_BYTES_MAX).await?;
    let server = server.clone();
    finish(async move {
        let mut client = OAuthClient::default();
        let mut grant_type = String::new();
        // Some write it all into the query.
        for (name, value) in form_urlencoded::parse(query.as_bytes()).chain(form_urlencoded::parse(&body.bytes)) {
            match &*name {
                "grant_type" => grant_type = value.into_owned(),
                "client_id" => client.client_id = value.into_owned(),
                "client_secret" => client.client_secret = value.into_owned(),
                "refresh_token" => client.refresh_token = value.into_owned(),
                _ => {}
            }
        }
        if grant_type != "refresh_token" {
            return Ok(refused("unsupported_grant_type"));
        }
        match server.intake().access_token(&client, peer).await {
            Ok(token) => Ok(json_answer(
                StatusCode::OK,
                &json!({
                    "access_token": token,
                    "api_domain": api_domain,
                    "token_type": "Bearer",
                    "expires_in": ACCESS_LIFETIME.as_secs(),
                }),
            )),
            Err(AuthFailure::Wrong | AuthFailure::NotFromHere) => Ok(refused("invalid_client")),
            Err(AuthFailure::Unavailable) => Err(Problem::Unavailable),
        }
    })
    .await
}

fn refused(error: &str) -> Answer {
    json_answer(StatusCode::OK, &json!({ "error": error }))
}
