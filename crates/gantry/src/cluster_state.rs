//! Where the cluster's state is: in the root, or in etcd.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use base::Clock;
use offload::Threads;
use store::{Embedded, Etcd, EtcdOptions, Store};

use crate::config::{Config, Etcd as Elsewhere};

/// How long etcd is to keep what is superseded, as kube-apiserver has it.
const HISTORY: Duration = Duration::from_secs(300);

/// Opens the store that the configuration names.
pub(crate) async fn open(config: &Config, clock: Arc<dyn Clock>) -> anyhow::Result<Arc<dyn Store>> {
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
