//! Answering a registry's challenge: basic authentication, or a token from its token server.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci::distribution::{Challenge, TokenBody};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{StatusCode, Url};

use super::limits::document;
use super::repository::{answer_error, is_of, unreachable};
use super::{Client, Credentials, Way};
use crate::transfer::PullError;

/// How long a token holds that does not say so.
const TOKEN_LIFE: Duration = Duration::from_secs(60);
/// How long one is kept, whatever it says.
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// Tokens are renewed this long before they end.
const TOKEN_MARGIN: Duration = Duration::from_secs(10);
/// What Docker calls itself to token servers; some know no other name.
const CLIENT_ID: &str = "docker";

/// What a token is for.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct TokenKey {
    pub(super) domain: String,
    pub(super) scope: String,
    pub(super) credentials: Credentials,
}

/// The value of an `Authorization` header, while it holds.
#[derive(Clone)]
pub(super) struct Token {
    header: HeaderValue,
    until: Instant,
}

impl Token {
    pub(super) fn header(&self) -> Option<HeaderValue> {
        (Instant::now() < self.until).then(|| self.header.clone())
    }
}

/// Gets what a challenge asks for. `None` if nothing can answer it.
pub(super) async fn answer(
    client: &Client,
    key: &TokenKey,
    challenges: &[Challenge],
    secure: bool,
) -> Result<Option<Token>, PullError> {
    let far = Instant::now() + LONGEST_LIFE;
    if let Credentials::RegistryToken(token) = &key.credentials {
        return Ok(header(&format!("Bearer {token}")).map(|header| Token { header, until: far }));
    }
    if let Some(bearer) = challenges.iter().find(|challenge| challenge.scheme == "bearer") {
        let token = fetch_token(client, key, bearer, secure).await?;
        let life = token.expires_in.map_or(TOKEN_LIFE, Duration::from_secs).clamp(TOKEN_LIFE, LONGEST_LIFE);
        let header = token.token().and_then(|token| header(&format!("Bearer {token}")));
        return Ok(header.map(|header| Token { header, until: Instant::now() + life - TOKEN_MARGIN }));
    }
    let basic = challenges.iter().any(|challenge| challenge.scheme == "basic");
    match (&key.credentials, basic) {
        (Credentials::Password { user, password }, true) => {
            Ok(header(&basic_value(user, password)).map(|header| Token { header, until: far }))
        }
        _ => Ok(None),
    }
}

/// Checks credentials; gives an identity token if there is one.
pub(super) async fn login(
    client: &Client,
    domain: &str,
    credentials: &Credentials,
) -> Result<Option<String>, PullError> {
    let (http, base) = client.reach(domain, Way::Ask).await?;
    let url = format!("{base}/v2/");
    let whole = |error| match error {
        PullError::Unauthorized { message, .. } => PullError::Unauthorized { what: url.clone(), message },
        other => other,
    };
    let first = http.get(&url).send().await.map_err(unreachable(domain))?;
    if first.status().is_success() {
        return Ok(None);
    }
    // Where it leads has no claim to what is the registry's.
    let challenges = if is_of(&base, first.url()) { challenges(&first) } else { Vec::new() };
    let key = TokenKey { domain: domain.to_owned(), scope: String::new(), credentials: credentials.clone() };
    let denied = |message: &str| PullError::Denied { what: domain.to_owned(), message: message.to_owned() };
    let token = answer(client, &key, &challenges, base.starts_with("https")).await.map_err(whole)?;
    let token = token.ok_or_else(|| denied("it asks for credentials of another kind"))?;
    let second =
        http.get(&url).header(AUTHORIZATION, token.header).send().await.map_err(unreachable(domain))?;
    match second.status() {
        status if status.is_success() => Ok(None),
        // What a registry says besides is about the repository, which there is none of.
        StatusCode::UNAUTHORIZED if challenges.iter().all(|challenge| challenge.scheme == "basic") => {
            Err(PullError::Login { address: url })
        }
        _ => Err(whole(answer_error(domain, second).await)),
    }
}

pub(super) fn challenges(response: &reqwest::Response) -> Vec<Challenge> {
    let headers = response.headers().get_all(WWW_AUTHENTICATE);
    headers.iter().filter_map(|value| value.to_str().ok()).flat_map(Challenge::parse_all).collect()
}

async fn fetch_token(
    client: &Client,
    key: &TokenKey,
    challenge: &Challenge,
    secure: bool,
) -> Result<TokenBody, PullError> {
    let malformed = |problem: String| PullError::Malformed { name: key.domain.clone(), problem };
    let realm = challenge.parameters.get("realm").map(String::as_str).unwrap_or_default();
    let mut url =
        Url::parse(realm).map_err(|_| malformed(format!("`{realm}` is no token server's address")))?;
    // A registry reached by TLS must not send a password anywhere without.
    if url.scheme() != "https" && (url.scheme() != "http" || secure) {
        return Err(malformed(format!("its token server `{realm}` would get the credentials without TLS")));
    }
    // Whoever is reached by TLS of any kind may send on to the like.
    let like = secure && client.is_insecure(&key.domain);
    let verified = !like && url.host_str().is_none_or(|host| !client.is_insecure(host));
    let way = if matches!(key.credentials, Credentials::IdentityToken(_)) { Way::Confide } else { Way::Ask };
    let http = client.http(way, verified, &key.domain)?;
    let service = challenge.parameters.get("service").map(String::as_str).unwrap_or_default();
    let request = match &key.credentials {
        Credentials::IdentityToken(token) => {
            let form = form(&[
                ("grant_type", "refresh_token"),
                ("refresh_token", token),
                ("service", service),
                ("scope", &key.scope),
                ("client_id", CLIENT_ID),
            ]);
            http.post(url).header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form)
        }
        credentials => {
            {
                let mut query = url.query_pairs_mut();
                if !service.is_empty() {
                    query.append_pair("service", service);
                }
                if !key.scope.is_empty() {
                    query.append_pair("scope", &key.scope);
                }
                if let Credentials::Password { user, .. } = credentials {
                    query.append_pair("account", user);
                }
            }
            let request = http.get(url);
            match credentials {
                Credentials::Password { user, password } => {
                    request.header(AUTHORIZATION, basic_value(user, password))
                }
                _ => request,
            }
        }
    };
    let response = request.send().await.map_err(unreachable(realm))?;
    if !response.status().is_success() {
        return Err(answer_error(&key.domain, response).await);
    }
    if secure && response.url().scheme() != "https" {
        return Err(malformed(format!(
            "its token server leads to `{}`, where there is no TLS",
            response.url()
        )));
    }
    let body = document(realm, response, client.limits()).await?;
    serde_json::from_slice(&body).map_err(|error| malformed(format!("its token server's answer: {error}")))
}

pub(super) fn basic_value(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

fn header(value: &str) -> Option<HeaderValue> {
    let mut header = HeaderValue::from_str(value).ok()?;
    header.set_sensitive(true);
    Some(header)
}

fn form(fields: &[(&str, &str)]) -> String {
    let mut url = Url::parse("http://form/").expect("a constant address");
    url.query_pairs_mut().extend_pairs(fields);
    url.query().unwrap_or_default().to_owned()
}
