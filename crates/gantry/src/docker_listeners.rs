//! Where the Docker API listens: on its Unix socket always, over TCP where the configuration names an address.
//!
//! Whoever speaks it is root on this host. So over TCP clients show a certificate, of an authority that vouches for
//! nothing else: one of the cluster's users is not one of this API's. `<root>/docker-tls` has
//!
//! | file | what |
//! | --- | --- |
//! | `ca.crt`, `ca.key` | the authority; another one may be put in its place |
//! | `server.crt`, `server.key` | what the server shows |
//! | `client/ca.pem`, `client/cert.pem`, `client/key.pem` | what a client needs, named as it looks for it |
//!
//! Certificates are good for a year, and renewed in time.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use apiserver::pki::{Authority, Names, Serving};
use base::{Clock, Random};
use docker::Listener;
use offload::in_place;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::config::Config;

/// How often certificates are looked at: the host's addresses are in them.
const LOOK: Duration = Duration::from_secs(600);

/// The bound sockets.
pub(crate) struct DockerListeners {
    listeners: Vec<Listener>,
    /// What is shown over TCP.
    pub(crate) certificates: Option<Certificates>,
}

/// The certificates of the Docker API.
pub(crate) struct Certificates {
    directory: PathBuf,
    authority: Arc<Authority>,
    serving: Arc<Serving>,
}

impl DockerListeners {
    /// Binds what `config` asks for.
    pub(crate) async fn bind(
        config: &Config,
        clock: &Arc<dyn Clock>,
        random: &Arc<dyn Random>,
    ) -> anyhow::Result<Self> {
        let mut bound = Self {
            listeners: vec![Listener::unix(in_place(|| bind_unix(&config.docker_socket))?)],
            certificates: None,
        };
        let Some(address) = config.docker_address else { return Ok(bound) };
        let directory = config.root.join("docker-tls");
        let certificates = in_place(|| -> anyhow::Result<_> {
            let authority = Authority::open(&directory, Arc::clone(clock), Arc::clone(random))?;
            let authority = Arc::new(authority);
            let names = Names::of_host(address.ip());
            let serving = Serving::open(&directory, Arc::clone(&authority), Arc::clone(clock), names)?;
            let certificates = Certificates { directory, authority, serving: Arc::new(serving) };
            certificates.write_client()?;
            Ok(certificates)
        });
        let certificates = certificates.context("make the certificates of the Docker API over TCP")?;
        let listener = TcpListener::bind(address).await.with_context(|| {
            format!("listen on {address} for the Docker API; --docker-address names another")
        })?;
        info!(%address, client = %certificates.client().display(), "the Docker API is served over TCP too");
        bound.listeners.push(Listener::tcp(listener, Arc::new(certificates.tls()?))?);
        bound.certificates = Some(certificates);
        Ok(bound)
    }

    /// The sockets, for whoever serves them.
    pub(crate) fn take(&mut self) -> Vec<Listener> {
        std::mem::take(&mut self.listeners)
    }
}

impl Certificates {
    /// Renews what is due until `stop`.
    pub(crate) async fn keep_fresh(self, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
            let renewed = in_place(|| -> anyhow::Result<()> {
                if self.serving.renew()? {
                    self.write_client()?;
                }
                Ok(())
            });
            if let Err(error) = renewed {
                tracing::warn!(error = format!("{error:#}"), "renew the certificates of the Docker API");
            }
        }
    }

    /// A server that serves whoever shows a certificate of the authority, and nobody else.
    fn tls(&self) -> anyhow::Result<ServerConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.certificate().clone()).context("trust the authority")?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), tls::provider())
            .build()
            .context("check certificates of clients")?;
        let resolver = Arc::clone(&self.serving);
        let mut config = tls::server().with_client_cert_verifier(verifier).with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    fn client(&self) -> PathBuf {
        self.directory.join("client")
    }

    /// Puts what a client needs where it is looked for, under the names that clients know.
    fn write_client(&self) -> anyhow::Result<()> {
        let directory = self.client();
        std::fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
        let issued = self.serving.administrator();
        let files = [
            ("ca.pem", self.authority.certificate_pem()),
            ("cert.pem", &issued.certificate),
            ("key.pem", &issued.key),
        ];
        for (name, text) in files {
            let path = directory.join(name);
            base::fs::write_atomic(&path, text.as_bytes(), 0o600)
                .with_context(|| format!("write {}", path.display()))?;
        }
        Ok(())
    }
}

/// Binds the Unix socket: mode 0660, group `docker` where there is one.
fn bind_unix(path: &Path) -> anyhow::Result<UnixListener> {
    let shown = path.display();
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
    }
    // Whoever holds the root's lock owns its socket: what lies there is left over, unless it answers.
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        anyhow::bail!("another daemon already listens on {shown}: stop it, or give another --docker-socket");
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("remove the old socket {shown}"));
        }
        _ => {}
    }
    let listener = UnixListener::bind(path).with_context(|| format!("listen on {shown}"))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))
        .with_context(|| format!("protect {shown}"))?;
    if let Some(group) = docker_group() {
        std::os::unix::fs::chown(path, None, Some(group))
            .with_context(|| format!("give {shown} to the group docker"))?;
    }
    Ok(listener)
}

fn docker_group() -> Option<u32> {
    let groups = std::fs::read_to_string("/etc/group").ok()?;
    let mut fields = groups.lines().find(|line| line.starts_with("docker:"))?.split(':');
    fields.nth(2)?.parse().ok()
}
