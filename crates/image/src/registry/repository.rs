//! One repository of a registry: its manifests, blobs, tags and uploads.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use oci::distribution::ErrorBody;
use oci::manifest::Descriptor;
use oci::{Digest, Reference, media_type};
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LINK, LOCATION, RANGE,
};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use tokio::sync::mpsc;

use super::auth::{TokenKey, answer, challenges};
use super::limits::{document, slow};
use super::upload::Watch;
use super::{Client, Credentials, Limits, Way};
use crate::content::Kept;
use crate::transfer::PullError;

/// Pages of a list; a registry may send one round in a circle.
const PAGES_MAX: usize = 1000;
/// Tags of a repository, and their bytes: the largest on Docker Hub have some ten thousand.
const TAGS_MAX: usize = 100_000;
const TAG_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The longest error text that is read, and how long it may take.
const ERROR_MAX: usize = 64 * 1024;
const ERROR_TIME: Duration = Duration::from_secs(10);
/// Tokens that are remembered.
const TOKENS_MAX: usize = 1024;

/// What is to be done in a repository.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    Pull,
    Push,
}

/// A repository, as somebody.
#[derive(Clone)]
pub(crate) struct Repository {
    client: Client,
    domain: String,
    path: String,
    credentials: Credentials,
    access: Access,
    /// Another repository of the same registry to read from, for mounting its blobs.
    also_from: Option<String>,
}

/// What became of an offer to mount a blob.
pub(crate) enum Mount {
    Mounted,
    /// The blob has to be sent, to this address.
    Upload(Url),
}

impl Repository {
    pub(crate) fn new(
        client: &Client,
        reference: &Reference,
        credentials: &Credentials,
        access: Access,
    ) -> Self {
        Self {
            client: client.clone(),
            domain: reference.domain().to_owned(),
            path: reference.path().to_owned(),
            credentials: credentials.clone(),
            access,
            also_from: None,
        }
    }

    /// Another repository of the same registry, to read from.
    pub(crate) fn sibling(&self, path: &str) -> Self {
        Self { path: path.to_owned(), access: Access::Pull, also_from: None, ..self.clone() }
    }

    /// The repository within the registry.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The registry's host and perhaps port.
    pub(crate) fn domain(&self) -> &str {
        &self.domain
    }

    pub(crate) fn limits(&self) -> Limits {
        self.client.limits()
    }

    /// The repository as `domain/path`.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    pub(crate) async fn tags(&self) -> Result<Vec<String>, PullError> {
        #[derive(Deserialize)]
        struct TagList {
            #[serde(default)]
            tags: Option<Vec<String>>,
        }
        let (mut tags, mut length) = (Vec::new(), 0);
        let mut next = Some(format!("/v2/{}/tags/list?n=1000", self.path));
        let mut pages = 0;
        while let Some(target) = next {
            pages += 1;
            if pages > PAGES_MAX {
                let problem = format!("its list of tags has more than {PAGES_MAX} pages");
                return Err(PullError::Malformed { name: self.name(), problem });
            }
            let response = self.send(&self.name(), Method::GET, &target, |request| request).await?;
            self.check_way(&response).await?;
            next = next_page(&response);
            let body = document(&self.name(), response, self.limits()).await?;
            let list: TagList = serde_json::from_slice(&body).map_err(|error| PullError::Malformed {
                name: self.name(),
                problem: format!("its list of tags: {error}"),
            })?;
            let page = list.tags.unwrap_or_default();
            length += page.iter().map(String::len).sum::<usize>();
            tags.extend(page);
            if tags.len() > TAGS_MAX || length > TAG_BYTES_MAX {
                let problem = format!(
                    "its list of tags is longer than {TAGS_MAX} tags or {TAG_BYTES_MAX} bytes: pull those that are needed by name"
                );
                return Err(PullError::Malformed { name: self.name(), problem });
            }
        }
        Ok(tags)
    }

    /// A manifest by tag or digest, with what the registry says it is.
    pub(crate) async fn manifest(&self, tag_or_digest: &str) -> Result<(Vec<u8>, Option<String>), PullError> {
        let what = format!("{}:{tag_or_digest}", self.name());
        let target = format!("/v2/{}/manifests/{tag_or_digest}", self.path);
        let accept = media_type::MANIFEST_ACCEPT.join(", ");
        let response =
            self.send(&what, Method::GET, &target, |request| request.header(ACCEPT, &accept)).await?;
        self.check_way(&response).await?;
        let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let content_type =
            content_type.map(|value| value.split(';').next().unwrap_or(value).trim().to_owned());
        Ok((document(&what, response, self.limits()).await?, content_type))
    }

    /// The document that a name leads to, with what the registry says it is; verified, if the name has a
    /// digest.
    pub(crate) async fn document_named(
        &self,
        reference: &Reference,
    ) -> Result<(Kept, Option<String>), PullError> {
        let wanted = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.unwrap_or(oci::reference::DEFAULT_TAG).to_owned(),
        };
        let (bytes, content_type) = self.manifest(&wanted).await?;
        let document = match reference.digest() {
            Some(digest) => {
                let what = reference.familiar();
                Kept::verified(digest, bytes).map_err(|source| PullError::Mismatch { what, source })?
            }
            None => Kept::of(bytes),
        };
        Ok((document, content_type))
    }

    /// The manifest or index that a descriptor points at, verified by its digest.
    pub(crate) async fn document_at(&self, descriptor: &Descriptor) -> Result<Kept, PullError> {
        let (bytes, _) = self.manifest(&descriptor.digest.to_string()).await?;
        let what = format!("{}@{}", self.name(), descriptor.digest);
        Kept::verified(&descriptor.digest, bytes).map_err(|source| PullError::Mismatch { what, source })
    }

    /// Whether the registry has a manifest or index.
    pub(crate) async fn has_manifest(&self, digest: &Digest) -> Result<bool, PullError> {
        let what = format!("{}@{digest}", self.name());
        let target = format!("/v2/{}/manifests/{digest}", self.path);
        let accept = media_type::MANIFEST_ACCEPT.join(", ");
        match self.send(&what, Method::HEAD, &target, |request| request.header(ACCEPT, &accept)).await {
            Ok(_) => Ok(true),
            Err(PullError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A small blob, whole and verified.
    pub(crate) async fn blob_document(&self, digest: &Digest) -> Result<Kept, PullError> {
        let what = format!("{}@{digest}", self.name());
        let response = self.send(&what, Method::GET, &self.blob_target(digest), |request| request).await?;
        let body = document(&what, response, self.limits()).await?;
        Kept::verified(digest, body).map_err(|source| PullError::Mismatch { what, source })
    }

    /// A blob from the byte `offset` on. The answer may begin at 0 all the same: see its status.
    pub(crate) async fn blob(&self, digest: &Digest, offset: u64) -> Result<Response, PullError> {
        let what = format!("{}@{digest}", self.name());
        self.send(&what, Method::GET, &self.blob_target(digest), |request| match offset {
            0 => request,
            _ => request.header(RANGE, format!("bytes={offset}-")),
        })
        .await
    }

    /// The size of a blob, if the registry has it.
    pub(crate) async fn blob_size(&self, digest: &Digest) -> Result<Option<u64>, PullError> {
        let what = format!("{}@{digest}", self.name());
        match self.send(&what, Method::HEAD, &self.blob_target(digest), |request| request).await {
            Ok(response) => {
                let length = response.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
                Ok(Some(length.and_then(|length| length.parse().ok()).unwrap_or(0)))
            }
            Err(PullError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Begins to send a blob, offering to take it from another repository of the registry.
    pub(crate) async fn upload_begin(&self, mount: Option<(&Digest, &str)>) -> Result<Mount, PullError> {
        let mut target = format!("/v2/{}/blobs/uploads/", self.path);
        let mut repository = self.clone();
        if let Some((digest, from)) = mount {
            target = format!("{target}?mount={digest}&from={from}");
            repository.also_from = Some(from.to_owned());
        }
        let what = self.name();
        let response = repository
            .send(&what, Method::POST, &target, |request| request.header(CONTENT_LENGTH, 0))
            .await?;
        if response.status() == StatusCode::CREATED && mount.is_some() {
            return Ok(Mount::Mounted);
        }
        Ok(Mount::Upload(self.location(&response)?))
    }

    /// Sends content of unknown length to an upload's address; gives the address to finish at.
    pub(crate) async fn upload_stream(
        &self,
        url: Url,
        pieces: mpsc::Receiver<io::Result<Bytes>>,
    ) -> Result<Url, PullError> {
        let (what, limits) = (self.name(), self.limits());
        let (http, base) = self.client.reach(&self.domain, Way::Send).await?;
        let (body, watch) = Watch::new(pieces);
        // A stream cannot be sent twice, so the token is got beforehand rather than on refusal.
        let token = self.token().filter(|_| is_of(&base, &url));
        let request =
            http.request(Method::PATCH, url).header(CONTENT_TYPE, "application/octet-stream").body(body);
        let request = match token {
            Some(token) => request.header(AUTHORIZATION, token),
            None => request,
        };
        let response = tokio::select! {
            response = request.send() => response.map_err(unreachable(&what))?,
            limit = watch.stuck(limits.silence, limits.document) => return Err(slow(&what, limit)),
        };
        if !response.status().is_success() {
            return Err(answer_error(&what, response).await);
        }
        self.location(&response)
    }

    /// Ends an upload: the registry checks the digest and keeps the blob.
    pub(crate) async fn upload_end(
        &self,
        mut url: Url,
        digest: &Digest,
        body: Vec<u8>,
    ) -> Result<(), PullError> {
        url.query_pairs_mut().append_pair("digest", &digest.to_string());
        let what = format!("{}@{digest}", self.name());
        // The registry reads it all once more before it answers.
        let limit = self.limits().document;
        self.send_to(&what, Method::PUT, url, Way::Send, |request| {
            request.header(CONTENT_TYPE, "application/octet-stream").timeout(limit).body(body.clone())
        })
        .await
        .map(drop)
    }

    pub(crate) async fn manifest_put(
        &self,
        tag: &str,
        media_type: &str,
        document: &Kept,
    ) -> Result<(), PullError> {
        let what = format!("{}:{tag}", self.name());
        let target = format!("/v2/{}/manifests/{tag}", self.path);
        self.send(&what, Method::PUT, &target, |request| {
            request.header(CONTENT_TYPE, media_type).body(document.bytes().to_vec())
        })
        .await
        .map(drop)
    }

    fn blob_target(&self, digest: &Digest) -> String {
        format!("/v2/{}/blobs/{digest}", self.path)
    }

    async fn send(
        &self,
        what: &str,
        method: Method,
        target: &str,
        change: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, PullError> {
        let (_, base) = self.client.reach(&self.domain, Way::Ask).await?;
        let url = Url::parse(&format!("{base}{target}"))
            .map_err(|error| PullError::Malformed { name: self.name(), problem: error.to_string() })?;
        self.send_to(what, method, url, Way::Ask, change).await
    }

    /// Sends a request; once more with credentials if the registry asks for them. They are for the registry
    /// alone: an upload may have its address elsewhere, and an answer may have come from elsewhere.
    async fn send_to(
        &self,
        what: &str,
        method: Method,
        url: Url,
        way: Way,
        change: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, PullError> {
        let (http, base) = self.client.reach(&self.domain, way).await?;
        let request = |token: Option<HeaderValue>| {
            let request = change(http.request(method.clone(), url.clone()));
            match token.filter(|_| is_of(&base, &url)) {
                Some(token) => request.header(AUTHORIZATION, token),
                None => request,
            }
        };
        let mut response = request(self.token()).send().await.map_err(unreachable(what))?;
        if response.status() == StatusCode::UNAUTHORIZED && is_of(&base, response.url()) {
            let key = self.token_key();
            self.client.inner.tokens.lock().remove(&key);
            let secure = base.starts_with("https");
            let token = answer(&self.client, &key, &challenges(&response), secure).await?;
            if let Some(token) = token {
                let header = token.header();
                {
                    let mut tokens = self.client.inner.tokens.lock();
                    // Those that are over would stay for ever.
                    tokens.retain(|_, token| token.header().is_some());
                    if tokens.len() >= TOKENS_MAX {
                        tokens.clear();
                    }
                    tokens.insert(key, token);
                }
                response = request(header).send().await.map_err(unreachable(what))?;
            }
        }
        if response.status().is_success() { Ok(response) } else { Err(answer_error(what, response).await) }
    }

    /// Refuses an answer that nobody vouches for: one without TLS from a registry that has it. What is known
    /// by its digest may come from anywhere.
    async fn check_way(&self, response: &Response) -> Result<(), PullError> {
        let (_, base) = self.client.reach(&self.domain, Way::Ask).await?;
        if base.starts_with("https") && response.url().scheme() != "https" {
            let problem = format!("it leads to `{}`, where there is no TLS", response.url());
            return Err(PullError::Malformed { name: self.name(), problem });
        }
        Ok(())
    }

    fn token(&self) -> Option<HeaderValue> {
        self.client.inner.tokens.lock().get(&self.token_key())?.header()
    }

    fn token_key(&self) -> TokenKey {
        let actions = match self.access {
            Access::Pull => "pull",
            Access::Push => "pull,push",
        };
        let mut scope = format!("repository:{}:{actions}", self.path);
        if let Some(from) = &self.also_from {
            scope.push_str(&format!(" repository:{from}:pull"));
        }
        TokenKey { domain: self.domain.clone(), scope, credentials: self.credentials.clone() }
    }

    /// Where an answer says to go on; may be relative to where it came from.
    fn location(&self, response: &Response) -> Result<Url, PullError> {
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        location.and_then(|location| response.url().join(location).ok()).ok_or_else(|| PullError::Malformed {
            name: self.name(),
            problem: "an upload got no address".into(),
        })
    }
}

/// Whether an address is one of the registry that answers at `base`.
pub(super) fn is_of(base: &str, url: &Url) -> bool {
    Url::parse(base).is_ok_and(|base| base.origin() == url.origin())
}

/// The path and query of the next page of a list (RFC 8288).
fn next_page(response: &Response) -> Option<String> {
    let link = response.headers().get(LINK)?.to_str().ok()?;
    let (target, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
    if !rest.contains("next") {
        return None;
    }
    let url = response.url().join(target).ok()?;
    Some(match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    })
}

pub(super) fn unreachable(what: &str) -> impl FnOnce(reqwest::Error) -> PullError + use<> {
    let what = what.to_owned();
    move |source| PullError::Unreachable { what, source: Arc::new(source) }
}

/// What an answer that is no success means.
pub(super) async fn answer_error(what: &str, response: Response) -> PullError {
    let status = response.status();
    // Who is known, but may not do this, is told so in the challenge (RFC 6750, section 3.1).
    let scope = challenges(&response).into_iter().find(|challenge| {
        challenge.parameters.get("error").is_some_and(|error| error == "insufficient_scope")
    });
    let body = error_body(response).await;
    let said = serde_json::from_slice::<ErrorBody>(&body).unwrap_or_default();
    let code = said.errors.first().map(|entry| entry.code.to_uppercase()).unwrap_or_default();
    let reason = status.canonical_reason().unwrap_or("unknown").to_lowercase();
    let first = said.errors.first().map(ToString::to_string).filter(|said| !said.is_empty());
    let message = first.unwrap_or(reason);
    let what = what.to_owned();
    if let Some(scope) = scope.filter(|_| status == StatusCode::UNAUTHORIZED) {
        let described = scope.parameters.get("error_description").filter(|text| !text.is_empty());
        let described = described.map_or("requested access to the resource is denied", String::as_str);
        return PullError::Denied { what, message: format!("denied: {described}") };
    }
    match (status, code.as_str()) {
        (StatusCode::NOT_FOUND, code) => {
            PullError::NotFound { what, is_repository: code == "NAME_UNKNOWN", message }
        }
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, "DENIED") | (StatusCode::FORBIDDEN, _) => {
            PullError::Denied { what, message }
        }
        (StatusCode::UNAUTHORIZED, _) => PullError::Unauthorized { what, message },
        _ => PullError::Status { what, status: status.as_u16(), message },
    }
}

/// The beginning of what comes with an answer that is no success: enough to say why.
pub(super) async fn error_body(response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    let mut stream = response.bytes_stream();
    let read = async {
        while let Some(Ok(piece)) = stream.next().await {
            body.extend_from_slice(&piece);
            if body.len() > ERROR_MAX {
                break;
            }
        }
    };
    // What has come until then may do.
    let _ = tokio::time::timeout(ERROR_TIME, read).await;
    body
}
