//! What a command wants of the client: secrets, and whether there are agents. All is asked for before anything is
//! taken that others wait for: a client may be slow to answer, and may never do.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use llb::pb::{self, ExecOp, MountType};

use crate::solve::SolveError;
use crate::solve::schedule::Step;
use crate::solve::session;

/// What the client has.
#[derive(Default)]
pub(super) struct Asked {
    /// By name; none of those that it does not have.
    secrets: HashMap<String, Option<Bytes>>,
    agents: HashSet<String>,
}

/// What an agent is called.
pub(super) fn agent_name(option: &pb::SshOpt) -> &str {
    if option.id.is_empty() { "default" } else { &option.id }
}

/// Asks for all that a command wants, in the time that one answer may take.
pub(super) async fn ask(step: &Step<'_>, exec: &ExecOp) -> Result<Asked, SolveError> {
    session::answered(async {
        let mut asked = Asked::default();
        for mount in &exec.mounts {
            match mount.mount_type() {
                MountType::Secret => {
                    let option = mount.secret_opt.clone().unwrap_or_default();
                    asked.ask_secret(step, &option.id, option.optional).await?;
                }
                MountType::Ssh => {
                    let option = mount.ssh_opt.clone().unwrap_or_default();
                    asked.ask_agent(step, agent_name(&option), option.optional).await?;
                }
                _ => {}
            }
        }
        for wanted in &exec.secretenv {
            asked.ask_secret(step, &wanted.id, wanted.optional).await?;
        }
        Ok(asked)
    })
    .await
}

impl Asked {
    async fn ask_secret(&mut self, step: &Step<'_>, id: &str, optional: bool) -> Result<(), SolveError> {
        if !self.secrets.contains_key(id) {
            let found = match step.job.session() {
                Ok(session) => session.secret(id).await?,
                Err(error) if !optional => return Err(error),
                Err(_) => None,
            };
            self.secrets.insert(id.to_owned(), found);
        }
        match self.secret(id) {
            None if !optional => Err(SolveError::NotFound(format!("secret {id}: not found"))),
            _ => Ok(()),
        }
    }

    async fn ask_agent(&mut self, step: &Step<'_>, id: &str, optional: bool) -> Result<(), SolveError> {
        if self.agents.contains(id) {
            return Ok(());
        }
        let there = match step.job.session() {
            Ok(session) => session.ssh_check(id).await.map_err(SolveError::from),
            Err(error) => Err(error),
        };
        match there {
            Ok(()) => drop(self.agents.insert(id.to_owned())),
            Err(error) if !optional => return Err(error),
            Err(_) => {}
        }
        Ok(())
    }

    /// A secret that was asked for, if the client has it.
    pub(super) fn secret(&self, id: &str) -> Option<&Bytes> {
        self.secrets.get(id)?.as_ref()
    }

    /// Whether the client has an agent that was asked for.
    pub(super) fn has_agent(&self, id: &str) -> bool {
        self.agents.contains(id)
    }
}
