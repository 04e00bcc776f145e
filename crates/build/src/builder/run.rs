//! RUN: a container that does the step, and whose changes become the layer.

use dockerfile::classic::{CommandForm, HereDocument, RunNetwork};
use engine::container::{
    AttachFlags, ContainerSpec, HealthTest, Healthcheck, HostEntry, LogOptions, NetworkMode, RemoveOptions,
};
use engine::{ContainerId, Engine, Kind, OutputKind};
use image::Layer;

use super::{Builder, Key, STEPS, Stage};
use crate::configure::arguments;
use crate::error::BuildError;

/// Removes a step's container when the step is dropped in the middle.
pub(super) struct StepContainer {
    engine: Engine,
    pub(super) id: ContainerId,
    done: bool,
}

/// Makes text of bytes that may be cut inside a character.
#[derive(Default)]
struct TextPieces {
    rest: Vec<u8>,
}

impl Builder {
    pub(super) async fn run(
        &self,
        stage: &mut Stage,
        form: &CommandForm,
        network: RunNetwork,
        documents: &[HereDocument],
    ) -> Result<(), BuildError> {
        let own = match network {
            RunNetwork::Default => None,
            RunNetwork::None => Some("--network=none".to_owned()),
            RunNetwork::Host => Some("--network=host".to_owned()),
        };
        let network = chosen_network(network, &self.options.network)?;
        let command = arguments(&with_documents(form, documents)?, &stage.config);
        let (counted, silent) = self.args.for_run(|name| stage.config.env_get(name).is_some());
        let count = (!counted.is_empty()).then(|| format!("|{}", counted.len()));
        let words = own.into_iter().chain(count).chain(counted.iter().cloned()).chain(command.clone());
        let key = Key::of(words.collect());
        if self.found_done(stage, &key).await? {
            self.arrow(stage).await;
            return Ok(());
        }
        let Some(image) = &stage.image else {
            return Err(BuildError::Step("RUN needs a root file system, but the stage is empty".to_owned()));
        };
        let spec =
            self.container_spec(image, &stage.config.env, command.clone(), network, &counted, &silent)?;
        let mut container = self.step_container(spec).await?;
        let id = container.id.clone();
        let code = self.run_container(&id).await?;
        if code != 0 {
            container.done = !self.options.force_remove;
            if container.done {
                self.engine.container_keep(&id).await?;
            }
            let shown = command.join(" ");
            let message = format!("The command '{shown}' returned a non-zero code: {code}");
            return Err(engine::Error::new(Kind::Invalid, message).with_exit_code(code).into());
        }
        let layer = self.layer_of(&id).await?;
        self.give_up(container).await?;
        self.commit(stage, &key, layer)?;
        self.arrow(stage).await;
        Ok(())
    }

    /// Makes a step's container, and tells it.
    pub(super) async fn step_container(&self, spec: ContainerSpec) -> Result<StepContainer, BuildError> {
        let created = self.engine.container_create(spec).await?;
        let container = StepContainer { engine: self.engine.clone(), id: created.id, done: false };
        for warning in created.warnings {
            self.text(format!(" ---> [Warning] {warning}\n")).await;
        }
        self.text(format!(" ---> Running in {}\n", container.id.short())).await;
        Ok(container)
    }

    /// Removes the container of a step that is done, unless it is to stay.
    pub(super) async fn give_up(&self, mut container: StepContainer) -> Result<(), BuildError> {
        container.done = true;
        let id = &container.id;
        if self.options.remove {
            self.engine.container_remove(id, RemoveOptions { force: true, volumes: true }).await?;
            self.text(format!(" ---> Removed intermediate container {}\n", id.short())).await;
        } else {
            self.engine.container_keep(id).await?;
        }
        Ok(())
    }

    pub(super) fn container_spec(
        &self,
        image: &image::ImageId,
        env: &[String],
        command: Vec<String>,
        network: &str,
        counted: &[String],
        silent: &[String],
    ) -> Result<ContainerSpec, BuildError> {
        let mut spec = ContainerSpec {
            image: image.to_string(),
            command: Some(command),
            entrypoint: Some(Vec::new()),
            env: [env, counted, silent].concat(),
            attach: AttachFlags { stdin: false, stdout: true, stderr: true },
            resources: self.options.resources.clone(),
            shm_size: self.options.shm_size,
            cgroup_parent: self.options.cgroup_parent.clone(),
            transient: true,
            healthcheck: Some(Healthcheck { test: HealthTest::Disabled, ..Healthcheck::default() }),
            log: Some(LogOptions { driver: "none".to_owned(), ..LogOptions::default() }),
            ..ContainerSpec::default()
        };
        spec.namespaces.network = match network {
            "" | "default" | "bridge" => NetworkMode::Bridge,
            "none" => NetworkMode::None,
            "host" => NetworkMode::Host,
            other => match other.strip_prefix("container:") {
                Some(container) => NetworkMode::Container(self.engine.container_find(container)?),
                None => NetworkMode::Network(other.to_owned()),
            },
        };
        for line in &self.options.extra_hosts {
            let invalid = || BuildError::Step(format!("bad format for add-host: \"{line}\""));
            let (name, address) = line.split_once(':').ok_or_else(invalid)?;
            let address = match address {
                "host-gateway" => None,
                address => Some(address.parse().map_err(|_| invalid())?),
            };
            spec.extra_hosts.push(HostEntry { names: vec![name.to_owned()], address });
        }
        Ok(spec)
    }

    /// Starts the container, passes on what it writes, and waits for its end.
    async fn run_container(&self, id: &ContainerId) -> Result<i32, BuildError> {
        let mut attached = self.engine.container_attach(id, false).await?;
        self.engine.container_start(id).await?;
        let (mut output, mut errors) = (TextPieces::default(), TextPieces::default());
        while let Some(piece) = attached.output.next().await {
            let (kind, bytes) = piece?;
            let text = match kind {
                OutputKind::Stdout => output.push(&bytes),
                OutputKind::Stderr => in_red(errors.push(&bytes)),
            };
            if !text.is_empty() {
                self.text(text).await;
            }
        }
        // The container's root file system is free only when the engine has seen its end.
        let status = self.engine.container_wait(id, engine::container::WaitCondition::NotRunning)?.await?;
        Ok(status.code)
    }

    /// The layer that a container made. One that is going to be removed gives up its own directory.
    pub(super) async fn layer_of(&self, id: &ContainerId) -> Result<Option<Layer>, BuildError> {
        let (store, id, give_up) = (self.store.clone(), id.as_str().to_owned(), self.options.remove);
        let cancel = self.cancel.clone();
        let layer = STEPS.run(move || match give_up {
            true => store.snapshot_seal(&id, &cancel),
            false => store.snapshot_capture(&id, &cancel).map(Some),
        });
        layer.await.map_err(BuildError::from)
    }
}

/// Text as a terminal shows it in red: clients tell errors from output by it, as it comes in one stream.
fn in_red(text: String) -> String {
    match text.is_empty() {
        true => text,
        false => format!("\x1b[91m{text}\x1b[0m"),
    }
}

/// A command whose here-documents are where its shell looks for them.
fn with_documents(form: &CommandForm, documents: &[HereDocument]) -> Result<CommandForm, BuildError> {
    let (CommandForm::Shell(line), [first, ..]) = (form, documents) else { return Ok(form.clone()) };
    // Nothing but a document: it is the script.
    let bare = line.trim_start_matches("<<").trim_start_matches('-').trim_matches(['"', '\'']);
    if bare == first.name {
        if first.content.starts_with("#!") {
            let problem = "a here-document that begins with #! is not supported by RUN";
            return Err(BuildError::Step(problem.to_owned()));
        }
        return Ok(CommandForm::Shell(first.content.clone()));
    }
    let mut script = format!("{line}\n");
    for document in documents {
        script.push_str(&format!("{}{}\n", document.content, document.name));
    }
    Ok(CommandForm::Shell(script))
}

/// The network of a step, where the request says `asked`.
fn chosen_network(own: RunNetwork, asked: &str) -> Result<&str, BuildError> {
    match own {
        RunNetwork::Default => Ok(asked),
        RunNetwork::None => Ok("none"),
        RunNetwork::Host if asked == "host" => Ok(asked),
        RunNetwork::Host => Err(BuildError::Step(
            "network.host is not allowed: RUN --network=host needs a build with --network host".to_owned(),
        )),
    }
}

impl TextPieces {
    fn push(&mut self, bytes: &[u8]) -> String {
        self.rest.extend_from_slice(bytes);
        let whole = match std::str::from_utf8(&self.rest) {
            Ok(_) => self.rest.len(),
            // An incomplete character at the end waits for the rest of it.
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) => self.rest.len(),
        };
        let rest = self.rest.split_off(whole);
        let text = String::from_utf8_lossy(&self.rest).into_owned();
        self.rest = rest;
        text
    }
}

impl Drop for StepContainer {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let (engine, id) = (self.engine.clone(), self.id.clone());
        // The build may be dropped anywhere; the engine's own task sees the removal through.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let options = RemoveOptions { force: true, volumes: true };
                if let Err(error) = engine.container_remove(&id, options).await {
                    tracing::warn!(container = %id, error = %base::error::chain(&error), "a build step's container stays");
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dockerfile_has_no_more_network_than_the_request() {
        let chosen = |own, asked| chosen_network(own, asked).map_err(|error| error.to_string());
        for asked in ["", "none", "host", "container:web", "net"] {
            assert_eq!(chosen(RunNetwork::Default, asked), Ok(asked));
            assert_eq!(chosen(RunNetwork::None, asked), Ok("none"));
        }
        assert_eq!(chosen(RunNetwork::Host, "host"), Ok("host"));
        for asked in ["", "default", "none", "net"] {
            let error = chosen(RunNetwork::Host, asked).expect_err(asked);
            assert!(error.starts_with("network.host is not allowed"), "{error}");
        }
    }

    #[test]
    fn characters_that_arrive_in_two_pieces_stay_whole() {
        let mut pieces = TextPieces::default();
        let bytes = "aé€".as_bytes();
        let texts: Vec<String> = bytes.chunks(1).map(|chunk| pieces.push(chunk)).collect();
        assert_eq!(texts.concat(), "aé€");
        assert_eq!(pieces.push(&[0xff, b'x']), "\u{fffd}x");
    }

    #[test]
    fn a_document_alone_is_the_script_and_otherwise_input() {
        let document = HereDocument { name: "EOF".into(), content: "a\nb\n".into(), expand: true };
        let script = |line: &str| {
            with_documents(&CommandForm::Shell(line.into()), std::slice::from_ref(&document))
                .expect("a script")
        };
        assert_eq!(script("<<EOF"), CommandForm::Shell("a\nb\n".into()));
        assert_eq!(script("cat <<EOF > /x"), CommandForm::Shell("cat <<EOF > /x\na\nb\nEOF\n".into()));
    }
}
