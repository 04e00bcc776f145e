//! What the configuration says of who callers of the Kubernetes API are, and of who decides what they may.

use std::path::PathBuf;
use std::time::Duration;

use super::{ConfigError, Origin, Reader};

/// Who callers of the Kubernetes API are, and who decides what they may.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    /// The files of keys that tokens of service accounts are checked by.
    pub(crate) key_files: Vec<PathBuf>,
    /// The file of the one that signs them.
    pub(crate) signing_key: Option<PathBuf>,
    /// Who issues them.
    pub(crate) issuers: Vec<String>,
    /// Whom they have to be for.
    pub(crate) audiences: Vec<String>,
    /// Where others find the keys.
    pub(crate) key_set_url: Option<String>,
    /// How long one is good at most.
    pub(crate) longest: Option<Duration>,
    /// Whether those of pods are good for longer than they say.
    pub(crate) extends: bool,
    /// The file that says whose tokens of others are good.
    pub(crate) authentication: Option<PathBuf>,
    /// Whether those may ask who show nothing, and whether somebody has said so.
    pub(crate) anonymous: (bool, bool),
    /// One issuer of others' tokens, without a file.
    pub(crate) oidc: Option<Oidc>,
    /// Who knows tokens that nobody else does.
    pub(crate) token_webhook: Option<TokenWebhook>,
    /// What stands in front of the server.
    pub(crate) front_proxy: Option<FrontProxy>,
    /// Who decides what callers may.
    pub(crate) deciders: Deciders,
}

/// An issuer, as the `oidc` keys tell of it; the authority's certificate is in the file.
#[derive(Clone, Debug)]
pub(crate) struct Oidc {
    pub(crate) authority: Option<PathBuf>,
    pub(crate) options: apiserver::OidcOptions,
}

/// A webhook for tokens.
#[derive(Clone, Debug)]
pub(crate) struct TokenWebhook {
    pub(crate) kubeconfig: PathBuf,
    pub(crate) version: String,
    pub(crate) lifetime: Duration,
}

/// A proxy in front; its authorities' certificates are in the file.
#[derive(Clone, Debug)]
pub(crate) struct FrontProxy {
    pub(crate) authorities: PathBuf,
    pub(crate) options: apiserver::FrontProxy,
}

/// Who decides what callers may.
#[derive(Clone, Debug)]
pub(crate) enum Deciders {
    /// A file says.
    File(PathBuf),
    /// These, in this order.
    Named(Vec<String>, Option<AccessWebhook>),
}

/// A webhook for rights.
#[derive(Clone, Debug)]
pub(crate) struct AccessWebhook {
    pub(crate) kubeconfig: PathBuf,
    pub(crate) version: String,
    pub(crate) authorized: Duration,
    pub(crate) unauthorized: Duration,
}

/// The keys that tell of an issuer.
const OIDC: [&str; 9] = [
    "oidc-issuer-url",
    "oidc-client-id",
    "oidc-ca-file",
    "oidc-username-claim",
    "oidc-username-prefix",
    "oidc-groups-claim",
    "oidc-groups-prefix",
    "oidc-signing-algs",
    "oidc-required-claim",
];
const ACCESS_WEBHOOK: [&str; 4] = [
    "authorization-webhook-config-file",
    "authorization-webhook-version",
    "authorization-webhook-cache-authorized-ttl",
    "authorization-webhook-cache-unauthorized-ttl",
];
/// The bounds of `--service-account-max-token-expiration`.
const SHORTEST: Duration = Duration::from_secs(3600);
const LONGEST: Duration = Duration::from_secs(1 << 32);

impl Access {
    pub(super) fn read(read: &Reader<'_>) -> Result<Self, ConfigError> {
        let text = |name: &str| Some(read.raw(name).0).filter(|text| !text.is_empty());
        let access = Self {
            key_files: read.files("service-account-key-file")?,
            signing_key: read.file("service-account-signing-key-file")?,
            issuers: read.list("service-account-issuer"),
            audiences: read.list("api-audiences"),
            key_set_url: text("service-account-jwks-uri"),
            longest: Some(read.duration("service-account-max-token-expiration")?)
                .filter(|longest| !longest.is_zero()),
            extends: read.parsed("service-account-extend-token-expiration", TRUTH)?,
            authentication: read.file("authentication-config")?,
            anonymous: (read.parsed("anonymous-auth", TRUTH)?, read.is_said("anonymous-auth")),
            oidc: read.oidc()?,
            token_webhook: match read.file("authentication-token-webhook-config-file")? {
                None => None,
                Some(kubeconfig) => Some(TokenWebhook {
                    kubeconfig,
                    version: read.raw("authentication-token-webhook-version").0,
                    lifetime: read.duration("authentication-token-webhook-cache-ttl")?,
                }),
            },
            front_proxy: read.file("requestheader-client-ca-file")?.map(|authorities| FrontProxy {
                authorities,
                options: apiserver::FrontProxy {
                    authorities: Vec::new(),
                    allowed_names: read.list("requestheader-allowed-names"),
                    username_headers: read.list("requestheader-username-headers"),
                    group_headers: read.list("requestheader-group-headers"),
                    uid_headers: read.list("requestheader-uid-headers"),
                    extra_prefixes: read.list("requestheader-extra-headers-prefix"),
                },
            }),
            deciders: read.deciders()?,
        };
        if access.longest.is_some_and(|longest| !(SHORTEST..=LONGEST).contains(&longest)) {
            let why = "the service-account-max-token-expiration must be between 1 hour and 2^32 seconds";
            return Err(read.wrong("service-account-max-token-expiration", why));
        }
        if access.signing_key.is_some() && access.key_files.is_empty() {
            let why = "service-account-key-file must name what tokens are checked by, those of the key before included";
            return Err(read.wrong("service-account-signing-key-file", why));
        }
        if access.key_set_url.as_ref().is_some_and(|url| !url.starts_with("https://")) {
            return Err(
                read.wrong("service-account-jwks-uri", "service-account-jwks-uri requires https scheme")
            );
        }
        if access.authentication.is_some() && access.oidc.is_some() {
            let why = "authentication-config file and oidc-* flags are mutually exclusive";
            return Err(read.wrong("authentication-config", why));
        }
        Ok(access)
    }
}

const TRUTH: &str = "`true` or `false`";

impl Reader<'_> {
    /// Whether somebody has given a value.
    fn is_said(&self, name: &str) -> bool {
        self.raw(name).1 != Origin::Default
    }

    fn file(&self, name: &'static str) -> Result<Option<PathBuf>, ConfigError> {
        if self.raw(name).0.is_empty() { Ok(None) } else { self.directory(name).map(Some) }
    }

    fn files(&self, name: &'static str) -> Result<Vec<PathBuf>, ConfigError> {
        let absolute =
            |path: String| std::path::absolute(path).map_err(|error| self.wrong(name, error.to_string()));
        self.list(name).into_iter().map(absolute).collect()
    }

    /// As Kubernetes' own options have them: `5m`, `1h30m`, `0`.
    pub(super) fn duration(&self, name: &'static str) -> Result<Duration, ConfigError> {
        let parsed =
            base::duration::parse(&self.raw(name).0).map_err(|error| self.wrong(name, error.to_string()))?;
        let nanoseconds = u64::try_from(parsed).map_err(|_| self.wrong(name, "must not be negative"))?;
        Ok(Duration::from_nanos(nanoseconds))
    }

    fn oidc(&self) -> Result<Option<Oidc>, ConfigError> {
        if !OIDC.iter().any(|name| self.is_said(name)) {
            return Ok(None);
        }
        let text = |name: &str| self.raw(name).0;
        let options = apiserver::OidcOptions {
            issuer_url: text("oidc-issuer-url"),
            client_id: text("oidc-client-id"),
            authority: String::new(),
            username_claim: text("oidc-username-claim"),
            username_prefix: text("oidc-username-prefix"),
            groups_claim: text("oidc-groups-claim"),
            groups_prefix: text("oidc-groups-prefix"),
            required_claims: self
                .list("oidc-required-claim")
                .into_iter()
                .map(|pair| {
                    let (claim, value) = pair
                        .split_once('=')
                        .ok_or_else(|| self.wrong("oidc-required-claim", "must be pairs `claim=value`"))?;
                    Ok((claim.to_owned(), value.to_owned()))
                })
                .collect::<Result<_, ConfigError>>()?,
            signing_algorithms: self.list("oidc-signing-algs"),
        };
        if options.issuer_url.is_empty() || options.client_id.is_empty() {
            let why =
                "oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags are set";
            return Err(self.wrong("oidc-issuer-url", why));
        }
        Ok(Some(Oidc { authority: self.file("oidc-ca-file")?, options }))
    }

    fn deciders(&self) -> Result<Deciders, ConfigError> {
        if let Some(file) = self.file("authorization-config")? {
            if self.is_said("authorization-mode") || ACCESS_WEBHOOK.iter().any(|name| self.is_said(name)) {
                let why = "--authorization-config can not be specified when --authorization-mode or \
                           --authorization-webhook-* flags are defined";
                return Err(self.wrong("authorization-config", why));
            }
            return Ok(Deciders::File(file));
        }
        let [file, version, authorized, unauthorized] = ACCESS_WEBHOOK;
        let webhook = match self.file(file)? {
            None => None,
            Some(kubeconfig) => Some(AccessWebhook {
                kubeconfig,
                version: self.raw(version).0,
                authorized: self.duration(authorized)?,
                unauthorized: self.duration(unauthorized)?,
            }),
        };
        Ok(Deciders::Named(self.list("authorization-mode"), webhook))
    }
}
