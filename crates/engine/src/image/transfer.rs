//! Moving images between here and registries.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use image::registry::Credentials;
use oci::Platform;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::{ImageId, Progress, ProgressStream, PullOptions, RegistryAuth, Remote, convert};
use crate::engine::Engine;
use crate::error::{Error, Fact, Result};

/// How much progress waits for whoever reads.
const EVENTS_AHEAD: usize = 1024;

impl Engine {
    /// Pulls an image; nothing is left of a pull that is broken off.
    pub fn image_pull(&self, reference: &str, options: PullOptions) -> Result<ProgressStream> {
        let named = convert::reference(reference)?;
        let platform =
            options.platform.as_deref().filter(|text| !text.is_empty()).map(parse_platform).transpose()?;
        let (engine, registries) = (self.clone(), self.registries()?);
        let every = options.all_tags;
        let asked = platform.clone();
        let options = image::PullOptions { platform, credentials: credentials(options.auth), is_part: every };
        Ok(self.progress(move |sink, progress| async move {
            let wanted = match every {
                true => every_tag(&registries, &named, &options.credentials).await?,
                false => vec![named.with_default_tag()],
            };
            let message = |text: String| {
                let _ = sink.send(Ok(Progress::Message { id: None, text }));
            };
            let (mut last, mut changed) = (None, false);
            for wanted in wanted {
                let pulled = engine
                    .inner
                    .images
                    .image_pull(&registries, &wanted, &options, &progress)
                    .await
                    .map_err(|source| pull_error(&wanted, source))?;
                engine.emit_image("pull", &wanted.familiar(), &wanted.familiar());
                changed |= pulled.changed;
                if let Some(platform) = &asked
                    && let Some(fact) = engine.other_platform(&wanted.to_string(), platform)
                {
                    let _ = sink.send(Ok(Progress::Warning { fact }));
                }
                last = Some(Progress::Done {
                    id: Some(ImageId(pulled.id.to_string())),
                    digest: Some(pulled.digest.to_string()),
                });
            }
            if every {
                let repository = named.without_suffix().familiar();
                message(match changed {
                    true => format!("Status: Downloaded newer image for {repository}"),
                    false => format!("Status: Image is up to date for {repository}"),
                });
            }
            let _ = sink.send(Ok(last.ok_or_else(|| Error::internal("nothing was pulled"))?));
            Ok(())
        }))
    }

    /// What is the matter with an image that is here, but for another platform than is asked for.
    pub(crate) fn other_platform(&self, reference: &str, wanted: &Platform) -> Option<Fact> {
        let image = self.inner.images.image_get(reference).ok()?;
        if self.inner.images.image_fits(&image, wanted) {
            return None;
        }
        let whole = oci::Reference::parse(reference).ok().filter(|name| name.to_string() == reference);
        Some(Fact::OtherPlatform {
            reference: whole.map_or_else(|| reference.to_owned(), |name| name.familiar()),
            has: image.config.platform().to_string(),
            wanted: wanted.to_string(),
        })
    }

    /// Asks a registry what it has under a name.
    pub async fn image_inspect_remote(&self, reference: &str, auth: Option<RegistryAuth>) -> Result<Remote> {
        let wanted = convert::reference(reference)?.with_default_tag();
        let found = self.registries()?.inspect(&wanted, &credentials(auth)).await;
        found.map_err(|source| pull_error(&wanted, source))
    }

    /// Pushes an image, or with `all_tags` every tag of its repository. With a platform
    /// (`os/arch[/variant]`), only if it is for that.
    pub fn image_push(
        &self,
        reference: &str,
        auth: Option<RegistryAuth>,
        all_tags: bool,
        platform: Option<&str>,
    ) -> Result<ProgressStream> {
        let named = convert::reference(reference)?;
        let wanted = if all_tags { named.without_suffix() } else { named.with_default_tag() };
        if let Some(platform) = platform {
            self.image_inspect_for(reference, platform)?;
        }
        let (engine, registries) = (self.clone(), self.registries()?);
        let credentials = credentials(auth);
        Ok(self.progress(move |sink, progress| async move {
            let pushed = engine.inner.images.image_push(&registries, &wanted, &credentials, &progress).await;
            let digest = pushed.map_err(|source| push_error(&wanted, source))?;
            engine.emit_image("push", &wanted.familiar(), &wanted.familiar());
            let _ = sink.send(Ok(Progress::Done { id: None, digest: Some(digest.to_string()) }));
            Ok(())
        }))
    }

    /// Sends a document that the image store keeps, a manifest or an index, with all that it leads to, as it is:
    /// under the tag of `reference`, or, `by_digest`, under none.
    pub async fn image_push_document(
        &self,
        reference: &oci::Reference,
        by_digest: bool,
        target: &oci::Descriptor,
        auth: Option<RegistryAuth>,
        told: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<()> {
        let registries = self.registries()?;
        let progress = image::Progress::new(move |event| told(from_store(event)));
        let credentials = credentials(auth);
        let pushed = self.inner.images.document_push(
            &registries,
            reference,
            by_digest,
            target,
            &credentials,
            &progress,
        );
        pushed.await.map_err(|source| push_error(reference, source))?;
        self.emit_image("push", &reference.familiar(), &reference.familiar());
        Ok(())
    }

    /// Checks who one is at a registry; returns an identity token where it gives one.
    pub async fn registry_login(&self, registry: &str, auth: RegistryAuth) -> Result<Option<String>> {
        let host = registry.split_once("://").map_or(registry, |(_, rest)| rest);
        let host = host.split('/').next().unwrap_or(host);
        let host = if matches!(host, "" | "index.docker.io") { "docker.io" } else { host };
        let token = self.registries()?.login(host, &credentials(Some(auth))).await;
        token.map_err(|source| match source {
            image::PullError::Unauthorized { what, message } => {
                Fact::LoginRefused { address: what, answer: Some(message) }.into()
            }
            image::PullError::Login { address } => Fact::LoginRefused { address, answer: None }.into(),
            source => convert::error(source.kind(), source),
        })
    }

    /// Runs `operation` while its progress is read; dropping the stream aborts it.
    pub(super) fn progress<Operation>(
        &self,
        operation: impl FnOnce(mpsc::UnboundedSender<Result<Progress>>, image::Progress) -> Operation,
    ) -> ProgressStream
    where
        Operation: Future<Output = Result<()>> + Send + 'static,
    {
        // Unbounded: the sink must not block. There are few events but those that count bytes, which whoever
        // does not read goes without.
        let (sink, events) = mpsc::unbounded_channel();
        let (events_sink, behind) = (sink.clone(), Arc::new(AtomicUsize::new(0)));
        let waiting = Arc::clone(&behind);
        let progress = image::Progress::new(move |event| {
            let event = from_store(event);
            if matches!(event, Progress::Layer { bytes: Some(_), .. })
                && waiting.load(Ordering::Relaxed) >= EVENTS_AHEAD
            {
                return;
            }
            waiting.fetch_add(1, Ordering::Relaxed);
            let _ = events_sink.send(Ok(event));
        });
        let running = operation(sink.clone(), progress);
        let closing = self.inner.closing.clone();
        let task = AbortOnDropHandle::new(self.inner.tasks.spawn_on(
            async move {
                let done = tokio::select! {
                    done = running => done,
                    () = closing.cancelled() => Err(Error::unavailable("the engine is shutting down")),
                };
                if let Err(error) = done {
                    let _ = sink.send(Err(error));
                }
            },
            &self.inner.runtime,
        ));
        Box::pin(futures::stream::unfold((events, task, behind), |(mut events, task, behind)| async move {
            let event = events.recv().await?;
            // What was not counted came past the sink.
            behind.store(events.len(), Ordering::Relaxed);
            Some((event, (events, task, behind)))
        }))
    }
}

/// The names of all tags of a repository, in their order.
async fn every_tag(
    registries: &image::registry::Client,
    named: &oci::Reference,
    credentials: &Credentials,
) -> Result<Vec<oci::Reference>> {
    let repository = named.without_suffix();
    let mut tags =
        registries.tags(&repository, credentials).await.map_err(|source| pull_error(&repository, source))?;
    if tags.is_empty() {
        return Err(Fact::NoTags { repository: repository.familiar_name() }.into());
    }
    tags.sort();
    // What no client could name is no tag of an image.
    Ok(tags.iter().filter_map(|tag| repository.with_tag(tag).ok()).collect())
}

pub(super) fn from_store(event: image::Event) -> Progress {
    use image::Action;
    match &event.action {
        Action::PullingFrom(_)
        | Action::Digest(_)
        | Action::Status(_)
        | Action::PushingTo(_)
        | Action::LoadedImage { .. } => Progress::Message { id: event.subject, text: event.action.text() },
        Action::PushedManifest { tag, digest, size } => {
            Progress::Pushed { tag: tag.clone(), digest: digest.to_string(), size: *size }
        }
        action => Progress::Layer {
            id: event.subject.clone().unwrap_or_default(),
            status: action.text(),
            bytes: action.progress(),
        },
    }
}

pub(super) fn pull_error(wanted: &oci::Reference, source: image::PullError) -> Error {
    match source {
        image::PullError::NotFound { is_repository: true, message, .. } => {
            Error::from(Fact::NoRepository { repository: wanted.familiar_name() }).with_source(message)
        }
        image::PullError::NotFound { message, .. } => {
            Error::from(Fact::NoManifest { reference: wanted.familiar() }).with_source(message)
        }
        image::PullError::Denied { message, .. } => {
            Error::from(Fact::PullDenied { repository: wanted.familiar_name() }).with_source(message)
        }
        source => convert::error(source.kind(), source),
    }
}

fn push_error(wanted: &oci::Reference, source: image::PushError) -> Error {
    match source {
        image::PushError::Find(image::FindError::NotFound { .. }) => {
            Fact::NoImageToPush { repository: wanted.familiar_name() }.into()
        }
        image::PushError::NoTag { .. } if wanted.tag().is_none() => {
            Fact::NoTagsToPush { repository: wanted.familiar_name() }.into()
        }
        image::PushError::NoTag { name } => Fact::NoTagToPush { reference: name }.into(),
        source => convert::error(source.kind(), source),
    }
}

pub(super) fn credentials(auth: Option<RegistryAuth>) -> Credentials {
    match auth {
        Some(auth) if !auth.registry_token.is_empty() => Credentials::RegistryToken(auth.registry_token),
        Some(auth) if !auth.identity_token.is_empty() => Credentials::IdentityToken(auth.identity_token),
        Some(auth) if !auth.username.is_empty() => {
            Credentials::Password { user: auth.username, password: auth.password }
        }
        _ => Credentials::Anonymous,
    }
}

/// Reads `os/arch[/variant]`.
pub(crate) fn parse_platform(text: &str) -> Result<Platform> {
    text.parse().map_err(|error: oci::platform::ParsePlatformError| Error::invalid(error.to_string()))
}
