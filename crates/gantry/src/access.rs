//! Who callers of the Kubernetes API are, and who decides what they may: the files that the configuration names,
//! read, and read again where that is promised.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use apiserver::pki::KeyFile;
use apiserver::{
    AccessWebhook, AccessWebhookOptions, AuthorizationMode, ServiceAccountTokens, Structured, TokenWebhook,
};
use base::Clock;
use futures::future::BoxFuture;
use offload::{Threads, in_place};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::config::{Config, Deciders};
use crate::own_metrics::Reloads;
use crate::plugs::OverHttps;

/// How often it is looked whether a file has changed.
const LOOK: Duration = Duration::from_secs(5);
/// How long a webhook that the options name may take.
const WEBHOOK: Duration = Duration::from_secs(30);

/// What the files say.
pub(crate) struct Opened {
    pub(crate) tokens: ServiceAccountTokens,
    pub(crate) structured: Arc<Structured>,
    pub(crate) token_webhook: Option<Arc<TokenWebhook>>,
    pub(crate) front_proxy: Option<Arc<apiserver::FrontProxy>>,
    pub(crate) deciders: Arc<kinds::Deciders>,
    modes: Vec<AuthorizationMode>,
    /// The files of authentication and of authorisation as they were read.
    authentication: Option<Vec<u8>>,
    authorization: Option<Vec<u8>>,
}

/// Reads what the configuration names.
pub(crate) fn open(config: &Config, clock: &Arc<dyn Clock>) -> anyhow::Result<Opened> {
    let access = &config.access;
    let key = |path: &PathBuf| anyhow::Ok(KeyFile { path: path.clone(), text: read(path)? });
    let tokens = ServiceAccountTokens {
        keys: access.key_files.iter().map(key).collect::<anyhow::Result<_>>()?,
        signing_key: access.signing_key.as_ref().map(key).transpose()?,
        issuers: access.issuers.clone(),
        audiences: access.audiences.clone(),
        key_set_url: access.key_set_url.clone(),
        longest: access.longest,
        ends_early: !access.extends,
    };
    let (anonymous, is_said) = access.anonymous;
    let structured = Arc::new(Structured::new(Arc::new(OverHttps), anonymous));
    let mut authentication = None;
    if let Some(path) = &access.authentication {
        let text = read(path)?;
        let tells = replace(&structured, &text, config)
            .with_context(|| format!("use the authentication configuration {}", path.display()))?;
        anyhow::ensure!(
            !(tells && is_said),
            "--anonymous-auth flag cannot be set when anonymous field is configured in authentication configuration file"
        );
        authentication = Some(text);
    }
    if let Some(oidc) = &access.oidc {
        let authority = oidc.authority.as_deref().map(read).transpose()?.unwrap_or_default();
        let authority = String::from_utf8(authority).context("the authority of --oidc-ca-file is no text")?;
        let options = apiserver::OidcOptions { authority, ..oidc.options.clone() };
        structured.set_options(&options, &own_issuers(config)).context("use the --oidc options")?;
    }
    let token_webhook = access.token_webhook.as_ref().map(|webhook| {
        let made = TokenWebhook::new(&OverHttps, &webhook.kubeconfig, &webhook.version, webhook.lifetime);
        made.map(Arc::new)
            .map_err(anyhow::Error::msg)
            .context("use --authentication-token-webhook-config-file")
    });
    let front_proxy = access.front_proxy.as_ref().map(|proxy| {
        let authorities = read(&proxy.authorities)?;
        anyhow::Ok(Arc::new(apiserver::FrontProxy { authorities, ..proxy.options.clone() }))
    });
    let (modes, authorization) = modes(&access.deciders, clock)?;
    close(&structured, &modes);
    Ok(Opened {
        tokens,
        structured,
        token_webhook: token_webhook.transpose()?,
        front_proxy: front_proxy.transpose()?,
        deciders: Arc::new(kinds::Deciders::new(modes.clone())),
        modes,
        authentication,
        authorization,
    })
}

/// Who decides, and the file that says so.
fn modes(
    deciders: &Deciders,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<(Vec<AuthorizationMode>, Option<Vec<u8>>)> {
    match deciders {
        Deciders::File(path) => {
            let text = read(path)?;
            let modes = parse(&text, clock)
                .with_context(|| format!("use the authorization configuration {}", path.display()))?;
            Ok((modes, Some(text)))
        }
        Deciders::Named(names, webhook) => {
            let make = webhook.as_ref().map(|webhook| {
                let options = AccessWebhookOptions {
                    name: "webhook".to_owned(),
                    version: webhook.version.clone(),
                    timeout: WEBHOOK,
                    authorized: Some(webhook.authorized),
                    unauthorized: Some(webhook.unauthorized),
                    denies_on_failure: false,
                };
                move || AccessWebhook::new(&OverHttps, &webhook.kubeconfig, options.clone(), clock.clone())
            });
            let make = make.as_ref().map(|make| make as &dyn Fn() -> Result<AccessWebhook, String>);
            Ok((AuthorizationMode::named(names, make)?, None))
        }
    }
}

fn parse(text: &[u8], clock: &Arc<dyn Clock>) -> anyhow::Result<Vec<AuthorizationMode>> {
    let text = std::str::from_utf8(text).context("it is no text")?;
    Ok(AuthorizationMode::parse(text, &OverHttps, clock)?)
}

fn replace(structured: &Structured, text: &[u8], config: &Config) -> anyhow::Result<bool> {
    let text = std::str::from_utf8(text).context("it is no text")?;
    Ok(structured.replace(text, &own_issuers(config))?)
}

/// Who issues the server's own tokens.
fn own_issuers(config: &Config) -> Vec<String> {
    match config.access.issuers.as_slice() {
        [] => vec![format!("https://kubernetes.default.svc.{}", config.cluster_domain)],
        issuers => issuers.to_vec(),
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    in_place(|| std::fs::read(path)).with_context(|| format!("read {}", path.display()))
}

impl Opened {
    /// What follows the files that are read again: a new one that is good is put in force, of another it is said
    /// what is wrong with it.
    pub(crate) fn follow(
        &self,
        config: &Config,
        clock: &Arc<dyn Clock>,
        metrics: &metrics::Registry,
    ) -> impl FnOnce(CancellationToken) -> BoxFuture<'static, anyhow::Result<()>> + use<> {
        let (structured, deciders) = (self.structured.clone(), self.deciders.clone());
        let strangers = structured.clone();
        let (of_users, of_rights, clock) = (config.clone(), config.access.deciders.clone(), clock.clone());
        let mut files = Vec::new();
        if let (Some(path), Some(before)) = (&config.access.authentication, &self.authentication) {
            let put: Put = Box::new(move |text| replace(&structured, text, &of_users).map(drop));
            let reloads = Reloads::new("authentication", &clock, metrics);
            files.push(Followed { path: path.clone(), before: before.clone(), put, reloads });
        }
        if let (Deciders::File(path), Some(before)) = (of_rights, &self.authorization) {
            let before = before.clone();
            let mut kept = built_in(&self.modes);
            let reloads = Reloads::new("authorization", &clock, metrics);
            let put: Put = Box::new(move |text| {
                let modes = parse(text, &clock)?;
                let found = built_in(&modes);
                check(&strangers, &modes, found == kept)?;
                kept = found;
                deciders.replace(modes);
                Ok(())
            });
            files.push(Followed { path, before, put, reloads });
        }
        move |stop| Box::pin(follow(files, stop))
    }
}

type Put = Box<dyn FnMut(&[u8]) -> anyhow::Result<()> + Send>;

/// A file that is read again when it changes.
struct Followed {
    path: PathBuf,
    before: Vec<u8>,
    put: Put,
    reloads: Arc<Reloads>,
}

async fn follow(mut files: Vec<Followed>, stop: CancellationToken) -> anyhow::Result<()> {
    let thread = Threads::new(1);
    while stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
        for Followed { path, before, put, reloads } in &mut files {
            let file = path.clone();
            // One that is being replaced may be gone for a moment.
            let Ok(text) = thread.run(move || std::fs::read(file)).await else { continue };
            if *before == text {
                continue;
            }
            let path = path.display();
            let outcome = in_place(|| put(&text));
            reloads.count(outcome.is_ok());
            match outcome {
                Ok(()) => info!(%path, "the configuration of access has changed, and is in force"),
                Err(why) => {
                    let why = format!("{why:#}");
                    error!(%path, why, "the configuration of access cannot be used: the one before stays");
                }
            }
            *before = text;
        }
    }
    Ok(())
}

/// Keeps those away who show nothing where everybody may do everything.
fn close(structured: &Structured, modes: &[AuthorizationMode]) {
    if structured.is_open() && allows_everything(modes) {
        warn!(
            "AnonymousAuth is not allowed with the AlwaysAllow authorizer. Resetting AnonymousAuth to false. You should \
             use a different authorizer"
        );
        structured.close();
    }
}

/// Whether others may take the place of those who decide; whether the built-in ones are the `same`.
fn check(structured: &Structured, modes: &[AuthorizationMode], same: bool) -> anyhow::Result<()> {
    anyhow::ensure!(same, "Node and RBAC authorizers can be put in another order, not added or removed");
    // Whoever shows nothing was let in when the server began, and is told of nowhere else.
    anyhow::ensure!(
        !(structured.is_open() && allows_everything(modes)),
        "AnonymousAuth is not allowed with the AlwaysAllow authorizer"
    );
    Ok(())
}

/// Whether one of them lets everybody do everything.
fn allows_everything(modes: &[AuthorizationMode]) -> bool {
    modes.iter().any(|mode| matches!(mode, AuthorizationMode::AlwaysAllow))
}

/// Those that cannot come and go while the server runs.
fn built_in(modes: &[AuthorizationMode]) -> [bool; 2] {
    [
        modes.iter().any(|mode| matches!(mode, AuthorizationMode::Node)),
        modes.iter().any(|mode| matches!(mode, AuthorizationMode::Rbac)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_shows_nothing_is_kept_away_where_everybody_may_do_everything() {
        let structured = || Structured::new(Arc::new(OverHttps), true);
        let (roles, all) =
            ([AuthorizationMode::Rbac], [AuthorizationMode::Rbac, AuthorizationMode::AlwaysAllow]);
        let open = structured();
        close(&open, &roles);
        assert!(open.is_open());
        // Once it is open, it stays so: all cannot be allowed any more.
        assert!(check(&open, &roles, true).is_ok() && check(&open, &roles, false).is_err());
        let why = check(&open, &all, true).expect_err("anybody might do anything").to_string();
        assert!(why.contains("AlwaysAllow"), "{why}");
        let closed = structured();
        close(&closed, &all);
        assert!(
            !closed.is_open() && check(&closed, &all, true).is_ok() && check(&closed, &roles, true).is_ok()
        );
    }
}
