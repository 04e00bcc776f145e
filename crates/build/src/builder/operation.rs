//! Steps that write files: operations of the solver, and what is said of them.

use engine::container::Resources;
use engine::image::Progress;
use engine::{ContainerId, OutputKind};
use llb::pb::{self, op};
use tokio::sync::mpsc;

use super::{Builder, Key, Stage};
use crate::error::BuildError;
use crate::solve::SolveError;
use crate::solve::operate::{Followed, Said};
use crate::solve::schedule::Done;
use crate::solve::value::{Chain, Value};

/// So much of what is said of an operation may wait.
const SAID_AHEAD: usize = 16;

/// What a step comes to is what an operation comes to.
pub(super) struct Operation {
    pub(super) op: op::Op,
    pub(super) inputs: Vec<Value>,
    pub(super) kind: Kind,
}

/// What sort of step it is of.
pub(super) enum Kind {
    /// RUN, with the command as it is shown.
    Command(String),
    /// COPY or ADD.
    Copy(&'static str),
    /// WORKDIR, which has a container though it runs nothing.
    Directory,
}

impl Kind {
    /// Why a step failed, in the words of its sort.
    pub(super) fn failed(&self, error: SolveError) -> BuildError {
        match (self, error.cause()) {
            (Self::Command(shown), SolveError::Exit { code, .. }) => {
                let message = format!("The command '{shown}' returned a non-zero code: {code}");
                engine::Error::new(engine::Kind::Invalid, message).with_exit_code(*code).into()
            }
            (Self::Copy(keyword), _) => BuildError::copy_operation(keyword, &error),
            _ => error.into(),
        }
    }
}

/// Makes text of bytes that may be cut inside a character.
#[derive(Default)]
struct TextPieces {
    rest: Vec<u8>,
}

impl Builder {
    /// Does a step's operation, and makes the image of the step.
    pub(super) async fn operate(
        &self,
        stage: &mut Stage,
        key: &Key,
        operation: Operation,
    ) -> Result<(), BuildError> {
        if !self.options.cache_from.is_empty() && self.found_done(stage, key).await? {
            stage.arrow().await;
            return Ok(());
        }
        let done = self.follow(stage, operation.op, operation.inputs).await;
        let (done, container) = done.map_err(|error| operation.kind.failed(error))?;
        let chain = match done.outputs.into_iter().next() {
            Some(Value::Chain(chain)) => chain,
            _ => Chain::default(),
        };
        if done.cached {
            stage.out.text(" ---> Using cache\n".to_owned()).await;
        } else {
            stage.cached = false;
            if matches!(operation.kind, Kind::Directory) {
                let container = self.idle_container(stage, key).await?;
                self.give_up(stage, container).await?;
            } else if let Some(id) = container.filter(|_| self.options.remove) {
                stage.out.text(format!(" ---> Removed intermediate container {}\n", id.short())).await;
            }
        }
        let known = match done.cached {
            true => self.image_here(stage, key, chain.chain_id()),
            false => None,
        };
        match known {
            Some(id) => self.go_on(stage, id)?,
            None => {
                let is_new = chain.chain_id() != stage.chain.chain_id();
                let layer = chain.chain_id().filter(|_| is_new).and_then(|top| self.store.layer_hold(top));
                self.commit(stage, key, layer)?;
            }
        }
        stage.chain = chain;
        stage.arrow().await;
        Ok(())
    }

    /// Does an operation, and says what is said of it. Gives the container that it had, if it had one.
    pub(super) async fn follow(
        &self,
        stage: &Stage,
        op: op::Op,
        inputs: Vec<Value>,
    ) -> Result<(Done, Option<ContainerId>), SolveError> {
        // What is written into a volume is not kept, as a definition has it.
        let volumes = &stage.config.volumes;
        let is_apart = matches!(op, op::Op::Exec(_)) && !volumes.is_empty();
        let (said, mut hears) = mpsc::channel(SAID_AHEAD);
        let (heard, mut others) = mpsc::unbounded_channel();
        let followed = Followed {
            said,
            heard,
            image: stage.image.clone(),
            network: self.network.clone(),
            keeps: !self.options.remove,
            keeps_failed: !self.options.force_remove,
            apart: is_apart.then(|| format!("volumes {volumes:?}")),
        };
        let mut metadata = pb::OpMetadata {
            // Of what was done before only the steps of the images count that are named.
            ignore_cache: self.options.no_cache || !self.options.cache_from.is_empty(),
            linux_resources: Some(resources(&self.options.resources)),
            ..pb::OpMetadata::default()
        };
        metadata.description.insert(llb::CUSTOM_NAME.to_owned(), stage.text.clone());
        let mut doing = Box::pin(self.job.operate(op, metadata, &stage.platform, inputs, Some(&followed)));
        let mut teller = Teller::default();
        let done = loop {
            tokio::select! {
                biased;
                Some(said) = hears.recv() => teller.tell(stage, said).await,
                Some(said) = others.recv() => teller.tell(stage, said).await,
                done = &mut doing => break done,
            }
        };
        while let Ok(said) = hears.try_recv().or_else(|_| others.try_recv()) {
            teller.tell(stage, said).await;
        }
        Ok((done?, teller.container))
    }
}

/// Says what is said of an operation in the classic builder's words.
#[derive(Default)]
struct Teller {
    output: TextPieces,
    errors: TextPieces,
    container: Option<ContainerId>,
}

impl Teller {
    async fn tell(&mut self, stage: &Stage, said: Said) {
        let text = match said {
            Said::Began(id, warnings) => {
                for warning in warnings {
                    stage.out.text(format!(" ---> [Warning] {warning}\n")).await;
                }
                let text = format!(" ---> Running in {}\n", id.short());
                self.container = Some(id);
                text
            }
            Said::Wrote(OutputKind::Stdout, bytes) => self.output.push(&bytes),
            Said::Wrote(_, bytes) => in_red(self.errors.push(&bytes)),
            Said::Came(come, of) => {
                let status = "Downloading".to_owned();
                let step = Progress::Layer { id: String::new(), status, bytes: Some((come, of)) };
                return stage.out.pull(step).await;
            }
        };
        if !text.is_empty() {
            stage.out.text(text).await;
        }
    }
}

/// Limits as definitions have them.
fn resources(limits: &Resources) -> pb::LinuxResources {
    pb::LinuxResources {
        memory: limits.memory.unwrap_or_default(),
        memory_swap: limits.memory_swap.unwrap_or_default(),
        cpu_shares: limits.cpu_shares.unwrap_or_default(),
        cpu_period: limits.cpu_period.unwrap_or_default(),
        cpu_quota: limits.cpu_quota.unwrap_or_default(),
        cpuset_cpus: limits.cpuset_cpus.clone().unwrap_or_default(),
        cpuset_mems: limits.cpuset_mems.clone().unwrap_or_default(),
    }
}

/// Text as a terminal shows it in red: clients tell errors from output by it, as it comes in one stream.
fn in_red(text: String) -> String {
    match text.is_empty() {
        true => text,
        false => format!("\x1b[91m{text}\x1b[0m"),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_arrive_in_two_pieces_stay_whole() {
        let mut pieces = TextPieces::default();
        let bytes = "aé€".as_bytes();
        let texts: Vec<String> = bytes.chunks(1).map(|chunk| pieces.push(chunk)).collect();
        assert_eq!(texts.concat(), "aé€");
        assert_eq!(pieces.push(&[0xff, b'x']), "\u{fffd}x");
    }
}
