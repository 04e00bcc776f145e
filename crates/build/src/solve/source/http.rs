//! Files from addresses. What an address gave is remembered: where the server says that there is still the same,
//! nothing is fetched.

mod known;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::space::Within;
use bytes::Bytes;
use engine::image::AddressRequest;
use futures::StreamExt;
use llb::pb::SourceOp;
use oci::{Algorithm, Digest, Hasher};
use tokio::sync::OnceCell;

use crate::files::{Owner, write_file};
use crate::solve::job::Job;
use crate::solve::key::Key;
use crate::solve::schedule::{Done, Progress, Step};
use crate::solve::session::{UPLOADS, Upload, answered};
use crate::solve::usage::{self, InUse, Made};
use crate::solve::value::{self, Chain};
use crate::solve::{SolveError, now};
pub(crate) use known::Known;

/// It is told how much has come at most every so many bytes.
const TELL_EVERY: u64 = 512 << 10;
/// What servers are told of who asks: some answer by that.
const USER_AGENT: &str = concat!("gantry/", env!("CARGO_PKG_VERSION"), " buildkit/v0");
/// What begins the attributes of fields of a request's head, and the fields that there can be.
const HEADER: &str = "http.header.";
const HEADERS: [&str; 2] = ["accept", "user-agent"];
/// Secrets that tell a server who one is, by its name.
const HEADER_SECRET: &str = "HTTP_AUTH_HEADER_";
const TOKEN_SECRET: &str = "HTTP_AUTH_TOKEN_";
/// The longest text behind a file's content of which a digest is made.
const SUFFIX_MAX: usize = 4 << 10;
/// What a file is called where nobody says.
const NAMELESS: &str = "download";

/// What is known of a file at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpMeta {
    /// Of its content.
    pub digest: Digest,
    /// What it is called.
    pub name: String,
    /// When it was changed, in seconds since 1970, where the server says so.
    pub modified: Option<i64>,
    /// The digest that was asked for.
    pub checksum: Option<Digest>,
}

/// What a source says.
struct Wanted<'a> {
    address: &'a str,
    name: Option<&'a str>,
    mode: u32,
    owner: Owner,
    checksum: Option<Digest>,
    headers: Vec<(String, String)>,
    secret: Option<&'a str>,
}

/// What an address gave in a build.
pub(crate) struct Fetched {
    digest: Digest,
    name: String,
    modified: Option<i64>,
    /// The file; none where it is known what it comes to.
    file: Option<image::Scratch>,
}

/// What addresses gave in a build: each is asked once.
pub(crate) type FetchedOnce = Arc<OnceCell<Result<Arc<Fetched>, SolveError>>>;

/// The sources `http://` and `https://`: a directory with the file in it.
pub(crate) async fn perform(
    step: &Step<'_>,
    address: &str,
    attributes: &BTreeMap<String, String>,
) -> Result<Done, SolveError> {
    let wanted = Wanted::read(address, attributes)?;
    let progress = step.status(&format!("downloading {address}"));
    let again = step.vertex.metadata.ignore_cache;
    let mut fetched = wanted.fetched(step.job, Some(&progress), !again).await?;
    let pin = |fetched: &Fetched| {
        let digest = &fetched.digest;
        step.job.pin(&step.vertex.digest, digest.algorithm().as_str(), digest.hex());
    };
    if wanted.needs_content(&fetched) {
        fetched = wanted.fetch(step.job, Some(&progress)).await?;
    }
    if fetched.file.is_none() {
        match usage::done_before(step, &wanted.key(&fetched)).await {
            Some(done) => {
                wanted.check(&fetched)?;
                pin(&fetched);
                return Ok(done);
            }
            None => fetched = wanted.fetch(step.job, Some(&progress)).await?,
        }
    }
    wanted.check(&fetched)?;
    pin(&fetched);
    let key = wanted.key(&fetched);
    usage::once(step, key, "regular", || async {
        let (mode, owner) = (wanted.mode, wanted.owner);
        let layer = value::layer_on(step.job, Chain::default(), move |target| {
            let mut content = fetched.open().map_err(SolveError::io("read what was fetched"))?;
            let to = Path::new("/").join(&fetched.name);
            Ok(write_file(target, &to, &mut content, mode, fetched.modified, owner)?)
        });
        Ok(Made { outputs: vec![layer.await?] })
    })
    .await
}

/// What is known of the file of a source; with a digest of it and something behind it, where that is asked for.
pub(crate) async fn meta(
    job: &Job,
    source: &SourceOp,
    checksum: Option<(Algorithm, &[u8])>,
) -> Result<HttpMeta, SolveError> {
    if checksum.is_some_and(|(_, suffix)| suffix.len() > SUFFIX_MAX) {
        let problem = format!("http checksum request suffix exceeds max size {SUFFIX_MAX}");
        return Err(SolveError::Invalid(problem));
    }
    let wanted = Wanted::read(&source.identifier, &source.attrs)?;
    if let (Some(digest), None) = (&wanted.checksum, checksum) {
        // It is nothing else than that.
        let name = name(wanted.name, None, wanted.address);
        return Ok(HttpMeta { digest: digest.clone(), name, modified: None, checksum: None });
    }
    let mut fetched = wanted.fetched(job, None, true).await?;
    if wanted.needs_content(&fetched) {
        fetched = wanted.fetch(job, None).await?;
    }
    wanted.check(&fetched)?;
    let checksum = match checksum {
        None => None,
        Some((algorithm, suffix)) => {
            if fetched.file.is_none() {
                fetched = wanted.fetch(job, None).await?;
                wanted.check(&fetched)?;
            }
            let (fetched, suffix) = (Arc::clone(&fetched), suffix.to_vec());
            let hashed = job.blocking(move || fetched.hash(algorithm, &suffix)).await;
            Some(hashed.map_err(SolveError::io("read what was fetched"))?)
        }
    };
    let Fetched { digest, name, modified, .. } = &*fetched;
    Ok(HttpMeta { digest: digest.clone(), name: name.clone(), modified: *modified, checksum })
}

impl<'a> Wanted<'a> {
    fn read(address: &'a str, attributes: &'a BTreeMap<String, String>) -> Result<Self, SolveError> {
        let number = |key: &str, radix: u32, default: u32| match attributes.get(key) {
            None => Ok(default),
            Some(text) => u32::from_str_radix(text, radix)
                .map_err(|_| SolveError::Invalid(format!("{key} of {address} is no number: {text}"))),
        };
        let mode = number("http.perm", 8, 0o600)? & 0o7777;
        let owner =
            Owner { uid: number("http.uid", 10, 0)?, gid: number("http.gid", 10, 0)?, ..Owner::default() };
        let text = |key: &str| attributes.get(key).map(String::as_str).filter(|text| !text.is_empty());
        let checksum = text("http.checksum").map(Digest::parse).transpose();
        let checksum = checksum.map_err(|error| SolveError::Invalid(format!("http.checksum: {error}")))?;
        let mut headers = Vec::new();
        for (key, value) in attributes {
            let refuse =
                || Err(SolveError::Unsupported(format!("{key} of the source {address} is not supported")));
            match key.strip_prefix(HEADER).map(str::to_ascii_lowercase) {
                Some(name) if HEADERS.contains(&name.as_str()) => headers.push((name, value.clone())),
                Some(_) => return refuse(),
                None if key.starts_with("http.sig.") => return refuse(),
                None => {}
            }
        }
        headers.sort();
        let (name, secret) = (text("http.filename"), text("http.authheadersecret"));
        Ok(Self { address, name, mode, owner, checksum, headers, secret })
    }

    /// What tells it from what else is asked of addresses.
    fn identity(&self) -> Digest {
        let mut key = Key::new("address");
        key.add(self.address);
        key.add(self.name.unwrap_or_default());
        key.add(format!("{:o} {} {}", self.mode, self.owner.uid, self.owner.gid));
        key.add(self.secret.unwrap_or_default());
        self.headers.iter().flat_map(|(name, value)| [name, value]).for_each(|part| key.add(part));
        key.finish()
    }

    /// What a file comes to is known by.
    fn key(&self, fetched: &Fetched) -> Digest {
        let mut key = Key::new("http");
        key.add(fetched.digest.to_string());
        key.add(&fetched.name);
        key.add(format!("{:o} {} {} {:?}", self.mode, self.owner.uid, self.owner.gid, fetched.modified));
        key.finish()
    }

    /// Whether only the content says if it is the one that is meant, and that is not here: another source of the
    /// build has asked for it by another sort of digest.
    fn needs_content(&self, fetched: &Fetched) -> bool {
        let wanted = self.checksum.as_ref();
        fetched.file.is_none()
            && wanted.is_some_and(|wanted| wanted.algorithm() != fetched.digest.algorithm())
    }

    /// Refuses a file that is not the one that is meant.
    fn check(&self, fetched: &Fetched) -> Result<(), SolveError> {
        let Some(wanted) = &self.checksum else { return Ok(()) };
        let actual = match wanted.algorithm() == fetched.digest.algorithm() {
            true => fetched.digest.clone(),
            false => offload::in_place(|| fetched.hash(wanted.algorithm(), &[]))
                .map_err(SolveError::io("read what was fetched"))?,
        };
        match actual == *wanted {
            true => Ok(()),
            false => Err(SolveError::Invalid(format!("digest mismatch {actual}: {wanted}"))),
        }
    }

    /// What the address gives in this build. Where `known` is set, what it gave before counts if it has not changed.
    async fn fetched(
        &self,
        job: &Job,
        progress: Option<&Progress>,
        known: bool,
    ) -> Result<Arc<Fetched>, SolveError> {
        let identity = self.identity();
        let cell: FetchedOnce = Arc::clone(job.inner.fetched.lock().entry(identity.clone()).or_default());
        let ask = || async {
            if known && let Some(known) = self.unchanged(job, &identity).await? {
                return Ok(Arc::new(known));
            }
            self.fetch(job, progress).await
        };
        cell.get_or_init(ask).await.clone()
    }

    /// What the address gave before, if there is still the same, and it is known what that comes to.
    async fn unchanged(&self, job: &Job, identity: &Digest) -> Result<Option<Fetched>, SolveError> {
        let inner = &job.inner.solver.inner;
        let Some(given) = inner.addresses.get(identity) else { return Ok(None) };
        let Ok(digest) = Digest::parse(&given.digest) else { return Ok(None) };
        let before = Fetched { digest, name: given.name, modified: given.modified, file: None };
        // Of another sort of digest than what is wanted is only known that it was right.
        if self.checksum.as_ref().is_some_and(|wanted| wanted.algorithm() != before.digest.algorithm()) {
            return Ok(None);
        }
        let key = self.key(&before);
        let in_use = InUse::new(&job.inner.solver, &key);
        if inner.store.result_use(&key, now()).is_none() {
            return Ok(None);
        }
        job.inner.uses.lock().push(in_use);
        // A file that is known by its content is not asked for. Who had to say who he is has to say it again.
        if self.checksum.as_ref() == Some(&before.digest) && !given.authorized {
            return Ok(Some(before));
        }
        let Some(tag) = given.tag else { return Ok(None) };
        let request = self.request(job).await?;
        // Not every server answers this, and what it says to it may be wrong: then all is asked for.
        let Ok(Some(head)) = inner.engine.fetch_head(&request, &[&tag]).await else { return Ok(None) };
        let is_same = head.tag.as_deref().map_or(head.unchanged, |now| now == tag);
        let named = name(self.name, head.file_name.as_deref(), self.address);
        Ok((is_same && (head.file_name.is_none() || named == before.name)).then_some(before))
    }

    /// Fetches the file.
    async fn fetch(&self, job: &Job, progress: Option<&Progress>) -> Result<Arc<Fetched>, SolveError> {
        let (inner, address) = (&job.inner.solver.inner, self.address);
        let request = self.request(job).await?;
        let mut opened = Coming::open(job, &request).await?;
        let name = name(self.name, opened.file_name().as_deref(), address);
        let scratch = inner.store.scratch().map_err(SolveError::io("make a place for a file"))?;
        let failed = |error| SolveError::io(format_args!("keep {address}"))(error);
        let file = offload::in_place(|| File::create(place(&scratch)).and_then(Within::new));
        let (mut file, mut hasher, mut told) = (file.map_err(failed)?, Hasher::sha256(), 0);
        let tell = |came, length, done| {
            if let Some(progress) = progress {
                progress.tell(came, length, done);
            }
        };
        while let Some(piece) = opened.next().await? {
            hasher.update(&piece);
            offload::in_place(|| file.write_all(&piece)).map_err(failed)?;
            if opened.came() - told >= TELL_EVERY {
                told = opened.came();
                tell(told, opened.length(), false);
            }
        }
        tell(opened.came(), opened.length(), true);
        let (digest, modified) = (hasher.finish(), opened.modified());
        if let Coming::Address(opened) = &opened {
            let given = known::Given {
                digest: digest.to_string(),
                name: name.clone(),
                modified,
                tag: opened.tag.clone(),
                authorized: request.authorization.is_some(),
            };
            inner.addresses.put(&self.identity(), &given);
        }
        Ok(Arc::new(Fetched { digest, name, modified, file: Some(scratch) }))
    }

    /// What the server is asked with.
    async fn request(&self, job: &Job) -> Result<AddressRequest, SolveError> {
        let mut headers = self.headers.clone();
        if !headers.iter().any(|(name, _)| name == "user-agent") {
            headers.push(("user-agent".to_owned(), USER_AGENT.to_owned()));
        }
        let authorization = self.authorization(job).await?;
        Ok(AddressRequest { address: self.address.to_owned(), headers, authorization })
    }

    /// Who the client is to the server.
    async fn authorization(&self, job: &Job) -> Result<Option<String>, SolveError> {
        let text = |secret: Bytes| String::from_utf8_lossy(&secret).trim().to_owned();
        if let Some(id) = self.secret {
            let missing = || SolveError::NotFound(format!("failed to retrieve HTTP auth secret {id}"));
            let secret = answered(job.session()?.secret(id)).await?;
            return secret.map(|secret| Some(text(secret))).ok_or_else(missing);
        }
        let Some(session) = job.options().session.as_ref() else { return Ok(None) };
        let Some(host) = host(self.address).filter(|_| !self.address.starts_with(UPLOADS)) else {
            return Ok(None);
        };
        for (prefix, before) in [(TOKEN_SECRET, "Bearer "), (HEADER_SECRET, "")] {
            // A client without secrets has none of this name.
            if let Ok(Some(secret)) = answered(session.secret(&format!("{prefix}{host}"))).await {
                return Ok(Some(format!("{before}{}", text(secret))));
            }
        }
        Ok(None)
    }
}

impl Fetched {
    fn open(&self) -> std::io::Result<File> {
        let gone = || std::io::Error::from(std::io::ErrorKind::NotFound);
        File::open(place(self.file.as_ref().ok_or_else(gone)?))
    }

    /// The digest of the file, with something behind it.
    fn hash(&self, algorithm: Algorithm, suffix: &[u8]) -> std::io::Result<Digest> {
        let (mut hasher, mut file) = (algorithm.hasher(), self.open()?);
        let mut buffer = vec![0; 128 << 10];
        loop {
            match std::io::Read::read(&mut file, &mut buffer)? {
                0 => break,
                got => hasher.update(&buffer[..got]),
            }
        }
        hasher.update(suffix);
        Ok(hasher.finish())
    }
}

fn place(scratch: &image::Scratch) -> PathBuf {
    scratch.path().join("file")
}

/// The host of an address.
fn host(address: &str) -> Option<&str> {
    let authority = address.split_once("://")?.1.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => host.split(':').next(),
    }
}

/// What a file is called: as the definition says, as the server says, or as its address ends.
fn name(wanted: Option<&str>, said: Option<&str>, address: &str) -> String {
    let name = wanted.or(said).or_else(|| crate::address::last_part(address)).unwrap_or_default();
    let last = name.trim().trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    match last {
        "" | "." | ".." => NAMELESS.to_owned(),
        last if last.chars().any(char::is_control) => NAMELESS.to_owned(),
        last => last.to_owned(),
    }
}

/// What comes: from an address, or from the client, who has been given a stream and knows it by a path.
enum Coming {
    Address(engine::image::Opened),
    Client { pieces: Upload, came: u64 },
}

impl Coming {
    async fn open(job: &Job, request: &AddressRequest) -> Result<Self, SolveError> {
        match request.address.strip_prefix(UPLOADS) {
            Some(path) => {
                let pieces = job.session()?.upload(&format!("/{path}")).await?;
                Ok(Self::Client { pieces, came: 0 })
            }
            None => Ok(Self::Address(job.inner.solver.inner.engine.fetch_as(request).await?)),
        }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, SolveError> {
        match self {
            Self::Address(opened) => Ok(opened.next().await?),
            Self::Client { pieces, came } => {
                let piece = pieces.next().await.transpose()?;
                *came += piece.as_ref().map_or(0, Bytes::len) as u64;
                Ok(piece)
            }
        }
    }

    fn came(&self) -> u64 {
        match self {
            Self::Address(opened) => opened.came(),
            Self::Client { came, .. } => *came,
        }
    }

    /// How much there is; 0 where nobody says.
    fn length(&self) -> u64 {
        match self {
            Self::Address(opened) => opened.length.unwrap_or_default(),
            Self::Client { .. } => 0,
        }
    }

    fn file_name(&self) -> Option<String> {
        match self {
            Self::Address(opened) => opened.file_name.clone(),
            Self::Client { .. } => None,
        }
    }

    fn modified(&self) -> Option<i64> {
        match self {
            Self::Address(opened) => opened.modified.map(|time| time.as_second()),
            Self::Client { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_called_as_is_said_and_nothing_else() {
        for (wanted, said, address, expected) in [
            (Some("a"), Some("b"), "http://h/c", "a"),
            (None, Some("b"), "http://h/c", "b"),
            (None, None, "http://h/c/d?x=/y", "d"),
            (None, None, "http://h", "download"),
            (Some("../../etc/passwd"), None, "http://h/c", "passwd"),
            (Some(".."), None, "http://h/c", "download"),
            (Some("a\nb"), None, "http://h/c", "download"),
        ] {
            assert_eq!(name(wanted, said, address), expected, "{wanted:?} {said:?} {address}");
        }
    }

    #[test]
    fn secrets_are_looked_for_by_the_name_of_the_host() {
        for (address, expected) in [
            ("http://h/a", Some("h")),
            ("https://h.example:8443?x", Some("h.example")),
            ("https://user:word@h/a@b", Some("h")),
            ("https://[::1]:80/a", Some("::1")),
            ("nothing", None),
        ] {
            assert_eq!(host(address), expected, "{address}");
        }
    }

    #[test]
    fn what_is_not_done_is_refused() {
        let read = |key: &str| {
            let attributes = BTreeMap::from([(key.to_owned(), "1".to_owned())]);
            Wanted::read("http://h/a", &attributes).map(|wanted| wanted.identity())
        };
        assert!(read("http.header.accept").is_ok() && read("http.header.User-Agent").is_ok());
        assert_ne!(read("http.header.accept").ok(), read("http.header.user-agent").ok());
        for key in ["http.header.cookie", "http.sig.signature", "http.sig.pubkey", "http.checksum"] {
            assert!(read(key).is_err(), "{key}");
        }
    }
}
