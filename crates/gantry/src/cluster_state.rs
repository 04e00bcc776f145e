//! Where the cluster's state is: in the root, or in etcd.

use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use apiserver::Encryption;
use base::{Clock, Random};
use offload::Threads;
use store::{Embedded, Etcd, EtcdOptions, Sealed, Store};

use crate::config::{Config, Etcd as Elsewhere};

/// How long etcd is to keep what is superseded, as kube-apiserver has it.
const HISTORY: Duration = Duration::from_secs(300);

/// Opens the store that the configuration names. Secrets are encrypted in it, in etcd where a configuration says so.
pub(crate) async fn open(
    config: &Config,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
) -> anyhow::Result<Arc<dyn Store>> {
    let store = open_plain(config, clock).await?;
    let (path, own) = match &config.encryption {
        Some(path) => (path.clone(), false),
        // Each server would have a key of its own, and read no other's Secrets.
        None if store.is_shared() => return Ok(store),
        None => (config.root.join("encryption").join("config.yaml"), true),
    };
    let shown = path.display().to_string();
    let encryption = Threads::new(1).run(move || encryption(&path, own, random)).await;
    let encryption = encryption.with_context(|| format!("use the encryption configuration {shown}"))?;
    let sealed = Sealed::new(store, Arc::new(encryption));
    match sealed.renew().await {
        Ok(0) => {}
        Ok(objects) => tracing::info!(objects, configuration = shown, "encrypted objects anew"),
        // Else nothing could be deleted that makes space. The next start goes on.
        Err(error @ store::Error::DiskFull { .. }) => {
            tracing::warn!(%error, configuration = shown, "objects may be on disk in another form than this says");
        }
        Err(error) => return Err(error).with_context(|| format!("encrypt the store as {shown} says")),
    }
    let before = config.root.join("store").join("log.format-1");
    let shown = before.display().to_string();
    if Threads::new(1).run(move || before.exists()).await {
        tracing::warn!(path = shown, "the log of an earlier version has Secrets in clear: remove it");
    }
    Ok(Arc::new(sealed))
}

/// Reads the encryption configuration; makes the installation's own, with a new key, where there is none.
fn encryption(path: &Path, own: bool, random: Arc<dyn Random>) -> anyhow::Result<Encryption> {
    // A link that leads nowhere, to keys that are not mounted for example, is no reason to make others.
    let is_absent = path.symlink_metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound);
    if own && is_absent {
        let directory = path.parent().context("it is in a directory")?;
        DirBuilder::new().recursive(true).mode(0o700).create(directory).context("make its directory")?;
        let text = Encryption::new_configuration(&*random);
        base::fs::write_atomic(path, text.as_bytes(), 0o600).context("make it")?;
    }
    let text = std::fs::read_to_string(path).context("read it")?;
    Ok(Encryption::parse(&text, random)?)
}

async fn open_plain(config: &Config, clock: Arc<dyn Clock>) -> anyhow::Result<Arc<dyn Store>> {
    match &config.etcd {
        Some(elsewhere) => connect(elsewhere).await,
        None => {
            let path = config.root.join("store");
            let shown = path.display().to_string();
            let open = move || Embedded::open(&path, store::Options::default(), clock);
            let opened = Threads::new(1).run(open).await;
            Ok(Arc::new(opened.with_context(|| format!("open the store at {shown}"))?))
        }
    }
}

async fn connect(elsewhere: &Elsewhere) -> anyhow::Result<Arc<dyn Store>> {
    let files = elsewhere.clone();
    let read = move || -> anyhow::Result<EtcdOptions> {
        let read = |path: &PathBuf| std::fs::read(path).with_context(|| format!("read {}", path.display()));
        let identity = files.identity.as_ref();
        Ok(EtcdOptions {
            endpoints: files.servers.clone(),
            prefix: files.prefix.clone(),
            authority: files.authority.as_ref().map(read).transpose()?,
            identity: identity
                .map(|(certificate, key)| anyhow::Ok((read(certificate)?, read(key)?)))
                .transpose()?,
            arrival: None,
            history: Some(HISTORY),
        })
    };
    let options = Threads::new(1).run(read).await.context("read the certificates for etcd")?;
    Ok(Arc::new(Etcd::connect(options).await.context("use etcd as the store; --etcd-servers names it")?))
}
