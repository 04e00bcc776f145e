//! Reads a kubeconfig file: its current context becomes a [`Config`].

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::config::{Config, Credentials};

/// Why a kubeconfig cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    /// A file cannot be read: the kubeconfig, or one that it names.
    #[error("read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What failed.
        source: std::io::Error,
    },
    /// The file is no kubeconfig.
    #[error("`{}` is no kubeconfig", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        source: Box<serde_saphyr::Error>,
    },
    /// An entry that another names is not there.
    #[error("the kubeconfig `{}` has no {what} `{name}`", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// `context`, `cluster` or `user`.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// Something that it asks for is not done.
    #[error("`{field}` in the kubeconfig `{}` is not supported", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The field.
        field: &'static str,
    },
    /// A field that ends in `-data` is no base64.
    #[error("`{field}` in the kubeconfig `{}` is no base64", path.display())]
    Encoding {
        /// The file.
        path: PathBuf,
        /// The field.
        field: &'static str,
        /// What is wrong.
        source: base64::DecodeError,
    },
}

impl Config {
    /// What the current context of the kubeconfig at `path` says.
    ///
    /// Files that it names are relative to its own directory, as for `kubectl`. Understands
    /// certificates and tokens, not programs that fetch credentials.
    pub fn from_kubeconfig(path: &Path) -> Result<Self, KubeconfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| KubeconfigError::Read { path: path.to_owned(), source })?;
        let file: Kubeconfig = serde_saphyr::from_str(&text)
            .map_err(|source| KubeconfigError::Syntax { path: path.to_owned(), source: source.into() })?;
        let missing = |what, name: &str| {
            let (path, name) = (path.to_owned(), name.to_owned());
            KubeconfigError::Missing { path, what, name }
        };
        let name = &file.current_context;
        let context = &named(&file.contexts, name).ok_or_else(|| missing("context", name))?.context;
        let cluster = &named(&file.clusters, &context.cluster)
            .ok_or_else(|| missing("cluster", &context.cluster))?
            .cluster;
        let user = &named(&file.users, &context.user).ok_or_else(|| missing("user", &context.user))?.user;
        let asked = [
            ("insecure-skip-tls-verify", cluster.insecure_skip_tls_verify.unwrap_or_default()),
            ("tls-server-name", cluster.tls_server_name.as_ref().is_some_and(|name| !name.is_empty())),
            ("proxy-url", cluster.proxy_url.as_ref().is_some_and(|url| !url.is_empty())),
            ("tokenFile", user.token_file.is_some()),
            ("exec", user.exec.is_some()),
            ("auth-provider", user.auth_provider.is_some()),
            ("username", user.username.is_some() || user.password.is_some()),
            ("as", user.impersonates.is_some()),
        ];
        if let Some((field, _)) = asked.into_iter().find(|(_, asked)| *asked) {
            return Err(KubeconfigError::Unsupported { path: path.to_owned(), field });
        }
        let authority = Source {
            field: "certificate-authority-data",
            data: cluster.certificate_authority_data.as_deref(),
            file: cluster.certificate_authority.as_deref(),
        };
        Ok(Self {
            server: cluster.server.clone(),
            certificate_authority: authority.read(path)?.unwrap_or_default(),
            credentials: user.credentials(path)?,
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Kubeconfig {
    #[serde(default)]
    current_context: String,
    #[serde(default)]
    contexts: Vec<NamedContext>,
    #[serde(default)]
    clusters: Vec<NamedCluster>,
    #[serde(default)]
    users: Vec<NamedUser>,
}

#[derive(Deserialize)]
struct NamedContext {
    name: String,
    context: Context,
}

#[derive(Deserialize)]
struct Context {
    cluster: String,
    #[serde(default)]
    user: String,
}

#[derive(Deserialize)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
    insecure_skip_tls_verify: Option<bool>,
    tls_server_name: Option<String>,
    proxy_url: Option<String>,
}

#[derive(Deserialize)]
struct NamedUser {
    name: String,
    user: User,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<String>,
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<PathBuf>,
    exec: Option<serde::de::IgnoredAny>,
    auth_provider: Option<serde::de::IgnoredAny>,
    username: Option<String>,
    password: Option<String>,
    #[serde(rename = "as")]
    impersonates: Option<String>,
}

/// An entry of a list whose entries have names.
trait Named {
    fn name(&self) -> &str;
}

impl Named for NamedContext {
    fn name(&self) -> &str {
        &self.name
    }
}

impl Named for NamedCluster {
    fn name(&self) -> &str {
        &self.name
    }
}

impl Named for NamedUser {
    fn name(&self) -> &str {
        &self.name
    }
}

fn named<'a, T: Named>(list: &'a [T], name: &str) -> Option<&'a T> {
    list.iter().find(|entry| entry.name() == name)
}

/// PEM that is in the kubeconfig, or in a file beside it.
struct Source<'a> {
    field: &'static str,
    data: Option<&'a str>,
    file: Option<&'a Path>,
}

impl Source<'_> {
    /// What is in the kubeconfig wins, as for `kubectl`.
    fn read(&self, kubeconfig: &Path) -> Result<Option<Vec<u8>>, KubeconfigError> {
        if let Some(data) = self.data {
            let (path, field) = (kubeconfig.to_owned(), self.field);
            let decoded = STANDARD.decode(data.trim());
            return decoded.map(Some).map_err(|source| KubeconfigError::Encoding { path, field, source });
        }
        let Some(file) = self.file else { return Ok(None) };
        let path = kubeconfig.parent().unwrap_or(Path::new("")).join(file);
        std::fs::read(&path).map(Some).map_err(|source| KubeconfigError::Read { path, source })
    }
}

impl User {
    fn credentials(&self, kubeconfig: &Path) -> Result<Credentials, KubeconfigError> {
        let certificate = Source {
            field: "client-certificate-data",
            data: self.client_certificate_data.as_deref(),
            file: self.client_certificate.as_deref(),
        };
        let key = Source {
            field: "client-key-data",
            data: self.client_key_data.as_deref(),
            file: self.client_key.as_deref(),
        };
        if let (Some(certificate), Some(key)) = (certificate.read(kubeconfig)?, key.read(kubeconfig)?) {
            return Ok(Credentials::Certificate { certificate, key });
        }
        Ok(self.token.clone().map_or(Credentials::Anonymous, Credentials::Token))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, KubeconfigError> {
        let dir = tempfile::tempdir().expect("temporary directory");
        std::fs::write(dir.path().join("ca.pem"), "authority").expect("write a file");
        let path = dir.path().join("kubeconfig");
        std::fs::write(&path, text).expect("write a file");
        Config::from_kubeconfig(&path)
    }

    const TWO: &str = "
current-context: second
contexts:
- {name: first, context: {cluster: a, user: a}}
- {name: second, context: {cluster: b, user: b}}
clusters:
- {name: a, cluster: {server: 'https://a:1'}}
- {name: b, cluster: {server: 'https://b:2', certificate-authority: ca.pem}}
users:
- {name: a, user: {token: secret}}
- {name: b, user: {client-certificate-data: b25l, client-key-data: dHdv}}
";

    #[test]
    fn the_current_context_decides() {
        let config = read(TWO).expect("a kubeconfig");
        assert_eq!(config.server, "https://b:2");
        assert_eq!(config.certificate_authority, b"authority");
        assert!(matches!(
            config.credentials,
            Credentials::Certificate { certificate, key } if certificate == b"one" && key == b"two"
        ));
        let config =
            read(&TWO.replace("current-context: second", "current-context: first")).expect("a kubeconfig");
        assert_eq!(config.server, "https://a:1");
        assert!(matches!(config.credentials, Credentials::Token(token) if token == "secret"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |text: &str, message: &str| {
            let error = read(text).expect_err("no kubeconfig");
            assert!(error.to_string().contains(message), "{error}");
        };
        check(&TWO.replace("current-context: second", "current-context: third"), "has no context `third`");
        check(&TWO.replace("user: b}", "user: c}"), "has no user `c`");
        check(&TWO.replace("b25l", "b25_"), "`client-certificate-data`");
        check(&TWO.replace("ca.pem", "other.pem"), "other.pem`");
        check("contexts: 3", "is no kubeconfig");
        for (from, field) in [
            ("server: 'https://b:2'", "insecure-skip-tls-verify: true"),
            ("server: 'https://b:2'", "tls-server-name: c"),
            ("client-key-data: dHdv", "tokenFile: /t"),
            ("client-key-data: dHdv", "exec: {command: x}"),
        ] {
            let name = field.split(':').next().expect("a name");
            let text = TWO.replace(from, &format!("{from}, {field}"));
            check(&text, &format!("`{name}` in the kubeconfig"));
        }
    }
}
