//! The client side of the distribution protocol.

mod auth;
mod limits;
mod open;
mod repository;
mod search;
mod tls;
mod upload;

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use oci::Reference;
use parking_lot::Mutex;

use crate::transfer::PullError;
pub use limits::Limits;
pub(crate) use limits::Paced;
pub use open::{AddressHead, AddressRequest, Opened};
use repository::unreachable;
pub(crate) use repository::{Access, Mount, Repository};
pub use search::Found;

/// Where the images of `docker.io` really are.
const DOCKER_HUB: &str = "registry-1.docker.io";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a connection that nobody needs is kept.
const POOL_TIMEOUT: Duration = Duration::from_secs(60);

/// Speaks to registries; keeps connections and tokens. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

/// How registries are reached.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Registries (`host` or `host:port`) that may be spoken to without TLS, or with certificates
    /// that nobody vouches for. `localhost` and 127.0.0.0/8 always may.
    pub insecure: Vec<String>,
    /// Certificate authorities to trust besides the system's, PEM.
    pub authorities: Vec<Vec<u8>>,
    /// What this program calls itself to registries.
    pub user_agent: String,
    /// How long registries are waited for.
    pub limits: Limits,
}

/// Who asks.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub enum Credentials {
    /// Nobody in particular.
    #[default]
    Anonymous,
    /// A user, for basic authentication or to get a token with.
    Password {
        /// The user's name.
        user: String,
        /// The user's password.
        password: String,
    },
    /// A long-lived token, to get others with (OAuth's refresh token).
    IdentityToken(String),
    /// A token to be shown as it is.
    RegistryToken(String),
}

/// Why no client could be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A certificate authority cannot be read.
    #[error("read a configured certificate authority")]
    Authority(#[source] rustls::pki_types::pem::Error),
    /// A certificate authority is no certificate.
    #[error("trust a configured certificate authority")]
    Certificate(#[source] rustls::Error),
}

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Way {
    /// Something is asked for: the answer begins soon, perhaps elsewhere.
    Ask,
    /// Something is sent: the answer begins when all has been.
    Send,
    /// A secret is sent: nobody but whom it is for may have it.
    Confide,
}

struct Inner {
    config: Config,
    authorities: Vec<rustls::pki_types::CertificateDer<'static>>,
    /// Made when first needed: the system's certificates take memory that an idle daemon need not.
    clients: Mutex<HashMap<(Way, bool), reqwest::Client>>,
    /// The address (`https://host`) at which each registry answered.
    bases: Mutex<HashMap<String, String>>,
    tokens: Mutex<HashMap<auth::TokenKey, auth::Token>>,
}

impl Client {
    /// A client.
    pub fn new(config: Config) -> Result<Self, ClientError> {
        let authorities = tls::read_authorities(&config.authorities)?;
        Ok(Self {
            inner: Arc::new(Inner {
                config,
                authorities,
                clients: Mutex::default(),
                bases: Mutex::default(),
                tokens: Mutex::default(),
            }),
        })
    }

    /// Checks credentials against the registry `host` (`docker login`). Gives an identity token if
    /// the registry hands one out.
    pub async fn login(&self, host: &str, credentials: &Credentials) -> Result<Option<String>, PullError> {
        // Docker's own registry is known by many addresses, most of them historical.
        let host = host.trim_start_matches("https://").trim_start_matches("http://");
        let host = host.split('/').next().unwrap_or(host);
        let host = if host == "index.docker.io" { oci::reference::DEFAULT_DOMAIN } else { host };
        auth::login(self, host, credentials).await
    }

    /// All tags of a repository.
    pub async fn tags(
        &self,
        reference: &Reference,
        credentials: &Credentials,
    ) -> Result<Vec<String>, PullError> {
        Repository::new(self, reference, credentials, Access::Pull).tags().await
    }

    /// Begins to fetch whatever is at an address.
    pub async fn open(&self, address: &str) -> Result<Opened, PullError> {
        self.open_as(&AddressRequest { address: address.to_owned(), ..AddressRequest::default() }).await
    }

    /// The same, asked in a way of one's own.
    pub async fn open_as(&self, request: &AddressRequest) -> Result<Opened, PullError> {
        let address = &request.address;
        let http = self.http(Way::Ask, true, address)?;
        let sent = request.build(&http, reqwest::Method::GET)?.send().await;
        Opened::new(address, sent.map_err(unreachable(address))?, self.limits()).await
    }

    /// Asks what there is, of which states are known already, without fetching it.
    pub async fn head(
        &self,
        request: &AddressRequest,
        known: &[&str],
    ) -> Result<Option<AddressHead>, PullError> {
        let address = &request.address;
        let http = self.http(Way::Ask, true, address)?;
        let asked = request.build(&http, reqwest::Method::HEAD)?;
        let sent = asked.header(reqwest::header::IF_NONE_MATCH, known.join(", ")).send().await;
        Ok(AddressHead::of(&sent.map_err(unreachable(address))?))
    }

    pub(crate) fn limits(&self) -> Limits {
        self.inner.config.limits
    }

    /// The HTTP client for a registry, and the address at which it answers.
    async fn reach(&self, domain: &str, way: Way) -> Result<(reqwest::Client, String), PullError> {
        let host = if domain == oci::reference::DEFAULT_DOMAIN { DOCKER_HUB } else { domain };
        if !self.is_insecure(domain) {
            return Ok((self.http(way, true, host)?, format!("https://{host}")));
        }
        let http = self.http(way, false, host)?;
        if let Some(base) = self.inner.bases.lock().get(host) {
            return Ok((http, base.clone()));
        }
        // Whichever of the two answers is the one.
        let asking = self.http(Way::Ask, false, host)?;
        let mut failure = None;
        for scheme in ["https", "http"] {
            let base = format!("{scheme}://{host}");
            match asking.get(format!("{base}/v2/")).send().await {
                Ok(_) => {
                    self.inner.bases.lock().insert(host.to_owned(), base.clone());
                    return Ok((http, base));
                }
                Err(error) => failure = Some(error),
            }
        }
        let source = failure.map(Arc::new).expect("two addresses were tried");
        Err(PullError::Unreachable { what: host.to_owned(), source })
    }

    fn http(&self, way: Way, verified: bool, host: &str) -> Result<reqwest::Client, PullError> {
        let mut clients = self.inner.clients.lock();
        if let Some(client) = clients.get(&(way, verified)) {
            return Ok(client.clone());
        }
        let builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::config(&self.inner.authorities, verified))
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(POOL_TIMEOUT)
            .user_agent(self.inner.config.user_agent.as_str());
        let builder = match way {
            Way::Ask => builder.read_timeout(self.limits().silence),
            // The limit would be one on the whole upload.
            Way::Send => builder,
            Way::Confide => {
                builder.read_timeout(self.limits().silence).redirect(reqwest::redirect::Policy::none())
            }
        };
        let made = builder.build().map_err(unreachable(host))?;
        clients.insert((way, verified), made.clone());
        Ok(made)
    }

    fn is_insecure(&self, domain: &str) -> bool {
        let host = without_port(domain);
        let is_loopback = host == "localhost"
            || host.trim_matches(['[', ']']).parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        is_loopback || self.inner.config.insecure.iter().any(|entry| entry == domain || entry == host)
    }
}

fn without_port(domain: &str) -> &str {
    match domain.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => domain,
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("config", &self.config).finish_non_exhaustive()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Credentials::Anonymous => "Anonymous",
            Credentials::Password { .. } => "Password(…)",
            Credentials::IdentityToken(_) => "IdentityToken(…)",
            Credentials::RegistryToken(_) => "RegistryToken(…)",
        })
    }
}
