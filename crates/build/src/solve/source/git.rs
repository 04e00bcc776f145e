//! Git repositories. The commit that is meant is asked of the server; one that was checked out before is not
//! fetched again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::cancel::Cancel;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use oci::Digest;
use tokio::sync::OnceCell;

use crate::files::{Owner, Tree};
use crate::git::{Checkout, GitError, Named};
use crate::ignore::Ignore;
use crate::solve::SolveError;
use crate::solve::attach::Attached;
use crate::solve::exec::forward;
use crate::solve::job::Job;
use crate::solve::key::Key;
use crate::solve::schedule::{Done, Step};
use crate::solve::session::answered;
use crate::solve::usage::{self, Made};
use crate::solve::value::{self, Chain};

/// The source `git://`; what is behind that is an address without its protocol, with `#reference:directory`.
pub(crate) async fn perform(
    step: &Step<'_>,
    name: &str,
    attributes: &BTreeMap<String, String>,
) -> Result<Done, SolveError> {
    let failed = |error| failed(name, error);
    let inner = &step.job.inner.solver.inner;
    let Prepared { checkout, directory, attached: _attached, agent: _agent } =
        prepare(step.job, name, attributes).await?;
    let scratch = inner.store.scratch().map_err(SolveError::io("make a place for a repository"))?;
    let named = find(step.job, name, &checkout, scratch.path()).await?;
    check(&named, attributes)?;
    let commit = named.commit().to_owned();
    let of_commit = attributes.get("git.mtime").is_some_and(|mtime| mtime == "commit");
    let algorithm = if commit.len() == 64 { "sha256" } else { "sha1" };
    step.job.pin(&step.vertex.digest, algorithm, &commit);
    let key = key(&checkout, &commit, &directory, of_commit);
    let directory = crate::ignore::clean(&directory);
    usage::once(step, key, "source.git.checkout", || async {
        let made = checkout.bring(scratch.path(), &commit).await.map_err(failed)?;
        let (root, keep) = (scratch.path().to_owned(), checkout.keep_git_dir);
        let layer = value::layer_on(step.job, Chain::default(), move |target| {
            let tree = part(&root, &directory, keep)?;
            let mut entries = tree.entries(Path::new(""), &Ignore::default())?;
            if of_commit {
                entries
                    .iter_mut()
                    .for_each(|entry| (entry.stat.st_mtime, entry.stat.st_mtime_nsec) = (made, 0));
            }
            // Whoever the daemon runs as is nobody in an image.
            Ok(target.copy(&tree, &entries, Path::new("/"), Owner::default())?)
        });
        Ok(Made { outputs: vec![layer.await?] })
    })
    .await
}

/// What is known of the commit of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GitMeta {
    /// The name in full; the commit where one was named.
    pub reference: String,
    /// What that is of: a commit, or a tag with words of its own.
    pub checksum: String,
    /// The commit that such a tag is on; empty where there is none.
    pub commit_checksum: String,
    /// The commit as it is kept, if it was asked for.
    pub commit_object: Vec<u8>,
    /// The tag as it is kept, if it was asked for and there is one.
    pub tag_object: Vec<u8>,
}

/// What is known of the commit of a source; with what is kept of it where that is asked for.
pub(crate) async fn meta(
    job: &Job,
    name: &str,
    attributes: &BTreeMap<String, String>,
    objects: bool,
) -> Result<GitMeta, SolveError> {
    let prepared = prepare(job, name, attributes).await?;
    let store = &job.inner.solver.inner.store;
    let scratch = store.scratch().map_err(SolveError::io("make a place for a repository"))?;
    let named = find(job, name, &prepared.checkout, scratch.path()).await?;
    check(&named, attributes)?;
    let mut meta = GitMeta {
        reference: named.reference.clone(),
        checksum: named.object.clone(),
        commit_checksum: named.commit.clone().unwrap_or_default(),
        ..GitMeta::default()
    };
    if objects {
        let kept = prepared.checkout.objects(scratch.path(), &named).await;
        let (commit, tag) = kept.map_err(|error| failed(name, error))?;
        (meta.commit_object, meta.tag_object) = (commit, tag.unwrap_or_default());
    }
    Ok(meta)
}

/// What names mean in repositories, in a build: each is asked for once, and means the same to its end.
pub(crate) type NamedOnce = Arc<OnceCell<Result<Named, SolveError>>>;

/// What a source means.
async fn find(job: &Job, name: &str, checkout: &Checkout, place: &Path) -> Result<Named, SolveError> {
    let key = (checkout.remote.clone(), checkout.reference.clone());
    let cell: NamedOnce = Arc::clone(job.inner.named.lock().entry(key).or_default());
    let ask = || async { checkout.find(place).await.map_err(|error| failed(name, error)) };
    cell.get_or_init(ask).await.clone()
}

/// What git is told, and what is there meanwhile.
struct Prepared {
    checkout: Checkout,
    /// The part of the repository that is meant.
    directory: String,
    attached: Attached,
    agent: Option<forward::Forward>,
}

async fn prepare(
    job: &Job,
    name: &str,
    attributes: &BTreeMap<String, String>,
) -> Result<Prepared, SolveError> {
    if let Some(key) = attributes.keys().find(|key| key.starts_with("git.sig.")) {
        let problem =
            format!("{key} of the source git://{name} is not supported: signatures are not checked");
        return Err(SolveError::Unsupported(problem));
    }
    let is_on = |key: &str| attributes.get(key).is_some_and(|value| value == "true");
    let (address, fragment) = name.split_once('#').unwrap_or((name, ""));
    let (reference, directory) = fragment.split_once(':').unwrap_or((fragment, ""));
    let remote = attributes.get("git.fullurl").cloned().unwrap_or_else(|| format!("https://{address}"));
    if reference.starts_with('-') || remote.starts_with('-') {
        return Err(SolveError::Invalid(format!("invalid refspec: {reference}")));
    }
    let mut attached = offload::in_place(|| Attached::new(&job.inner.solver.inner.root))?;
    let mut checkout = Checkout {
        remote,
        reference: reference.to_owned(),
        keep_git_dir: is_on("git.keepgitdir"),
        skip_submodules: is_on("git.skipsubmodules"),
        ..Checkout::default()
    };
    let agent = authenticate(job, attributes, address, &mut checkout, &mut attached).await?;
    Ok(Prepared { checkout, directory: directory.to_owned(), attached, agent })
}

/// Refuses a commit that is not the one that is meant.
fn check(named: &Named, attributes: &BTreeMap<String, String>) -> Result<(), SolveError> {
    let Some(wanted) = attributes.get("git.checksum").filter(|wanted| !wanted.is_empty()) else {
        return Ok(());
    };
    if named.commit().starts_with(wanted.as_str()) || named.object.starts_with(wanted.as_str()) {
        return Ok(());
    }
    let got = named.commit();
    Err(SolveError::Invalid(format!("expected checksum to match {wanted}, got {got}")))
}

fn failed(name: &str, error: GitError) -> SolveError {
    SolveError::Failed(format!("failed to fetch {name}: {}", base::error::chain(&error)))
}

fn key(checkout: &Checkout, commit: &str, directory: &str, of_commit: bool) -> Digest {
    let mut key = Key::new("git");
    key.add(commit);
    key.add(directory);
    key.add(format!("{} {} {of_commit}", checkout.keep_git_dir, checkout.skip_submodules));
    if checkout.keep_git_dir || !checkout.skip_submodules {
        // It says where it comes from, and what others say next to it may be meant.
        key.add(&checkout.remote);
        key.add(&checkout.reference);
    }
    key.finish()
}

/// The part of a checkout that is wanted. No link in it leads out of it.
fn part(root: &Path, directory: &str, keep: bool) -> Result<Tree, SolveError> {
    let failed = |error| SolveError::io("look into a repository")(error);
    if !keep {
        base::tree::remove(&root.join(".git")).map_err(failed)?;
    }
    let whole =
        Tree::new(crate::context::directory(root).map_err(failed)?, Ignore::default(), &Cancel::default());
    let part = whole.directory(Path::new(directory)).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => {
            SolveError::NotFound(format!("the repository has no directory {directory}"))
        }
        _ => failed(error),
    })?;
    Ok(Tree::new(part, Ignore::default(), &Cancel::default()))
}

/// What the client has for the server: a token, a header, an agent.
async fn authenticate(
    job: &Job,
    attributes: &BTreeMap<String, String>,
    address: &str,
    checkout: &mut Checkout,
    attached: &mut Attached,
) -> Result<Option<forward::Forward>, SolveError> {
    let session = job.options().session.as_ref();
    let host = address.split('/').next().unwrap_or_default();
    let is_web = checkout.remote.starts_with("https://") || checkout.remote.starts_with("http://");
    if let (Some(session), true) = (session, is_web) {
        let mut header = None;
        for (attribute, is_token) in [("git.authheadersecret", false), ("git.authtokensecret", true)] {
            let Some(name) = attributes.get(attribute) else { continue };
            for id in [format!("{name}.{host}"), name.clone()] {
                // A client without secrets has none of this name.
                let Ok(Some(secret)) = answered(session.secret(&id)).await else { continue };
                let secret = String::from_utf8_lossy(&secret).trim().to_owned();
                header.get_or_insert(match is_token {
                    true => format!("basic {}", BASE64_STANDARD.encode(format!("x-access-token:{secret}"))),
                    false => secret,
                });
            }
        }
        if let Some(header) = header {
            let place = checkout.remote.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
            let say = |name: &str, value: String| (name.to_owned(), value);
            // Not among its arguments, which all of the host can see; and for that server alone.
            checkout.environment.extend([
                say("GIT_CONFIG_COUNT", "1".to_owned()),
                say("GIT_CONFIG_KEY_0", format!("http.{place}/.extraheader")),
                say("GIT_CONFIG_VALUE_0", format!("Authorization: {header}")),
            ]);
        }
    }
    if let Some(known) = attributes.get("git.knownsshhosts") {
        let path: PathBuf = attached.place()?.join("known_hosts");
        offload::in_place(|| std::fs::write(&path, known))
            .map_err(SolveError::io("write down who hosts are"))?;
        checkout.known_hosts = Some(path);
    }
    let Some(id) = attributes.get("git.mountsshsock") else { return Ok(None) };
    let Some(session) = session else { return Ok(None) };
    if answered(session.ssh_check(id)).await.is_err() {
        return Ok(None);
    }
    let option = llb::pb::SshOpt { id: id.clone(), ..llb::pb::SshOpt::default() };
    let (path, forward) = forward::forward(session, &option, &attached.place()?)?;
    checkout.environment.push(("SSH_AUTH_SOCK".to_owned(), path.display().to_string()));
    Ok(Some(forward))
}
