//! RUN: a command, whose changes become the layer.

use dockerfile::classic::operation::{CommandSettings, command};
use dockerfile::classic::{CommandForm, HereDocument, RunNetwork};
use engine::Engine;
use engine::container::{NetworkMode, Ulimit};
use llb::pb::{self, NetMode};

use super::operation::{Kind, Operation};
use super::{Builder, Key, Stage};
use crate::configure::arguments;
use crate::error::BuildError;
use crate::request::BuildOptions;

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
        let network = chosen_network(network, self.commands.network)?;
        let words = arguments(&with_documents(form, documents)?, &stage.config);
        let counted = stage.args.for_run(|name| stage.config.env_get(name).is_some());
        let count = (!counted.is_empty()).then(|| format!("|{}", counted.len()));
        let key = Key::of(own.into_iter().chain(count).chain(counted).chain(words.clone()).collect());
        if stage.image.is_none() {
            return Err(BuildError::Step("RUN needs a root file system, but the stage is empty".to_owned()));
        }
        let (inputs, user) = (stage.base(), stage.config.user.as_str());
        let (env, settings, shown) = (&stage.env, &self.commands, words.join(" "));
        let exec = command(!inputs.is_empty(), words, env, stage.dir(), user, network, settings);
        let operation = Operation { op: pb::op::Op::Exec(exec), inputs, kind: Kind::Command(shown) };
        self.operate(stage, &key, operation).await
    }
}

/// How commands of a build run.
pub(super) fn settings(options: &BuildOptions, network: NetMode) -> Result<CommandSettings, BuildError> {
    let host = |line: &String| {
        let invalid = || BuildError::Step(format!("bad format for add-host: \"{line}\""));
        let (name, address) = line.split_once(':').ok_or_else(invalid)?;
        if address != "host-gateway" {
            address.parse::<std::net::IpAddr>().map_err(|_| invalid())?;
        }
        Ok::<_, BuildError>((name.to_owned(), address.to_owned()))
    };
    let limit = |limit: &Ulimit| pb::Ulimit { name: limit.name.clone(), soft: limit.soft, hard: limit.hard };
    Ok(CommandSettings {
        network,
        args: options.args.clone(),
        hosts: options.extra_hosts.iter().map(host).collect::<Result<_, _>>()?,
        ulimits: options.resources.ulimits.iter().map(limit).collect(),
        cgroup_parent: options.cgroup_parent.clone().unwrap_or_default(),
        shm_size: options.shm_size.and_then(|size| i64::try_from(size).ok()).unwrap_or_default(),
    })
}

/// A network that a request names: as definitions have it, or what it is besides.
pub(super) fn network_of(engine: &Engine, name: &str) -> Result<(NetMode, Option<NetworkMode>), BuildError> {
    Ok(match name {
        "" | "default" | "bridge" => (NetMode::Unset, None),
        "none" => (NetMode::None, None),
        "host" => (NetMode::Host, None),
        other => (
            NetMode::Unset,
            Some(match other.strip_prefix("container:") {
                Some(container) => NetworkMode::Container(engine.container_find(container)?),
                None => NetworkMode::Network(other.to_owned()),
            }),
        ),
    })
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
    let mut script = line.clone();
    for document in documents {
        script.push_str(&format!("\n{}{}", document.content, document.name));
    }
    Ok(CommandForm::Shell(script))
}

/// The network of a step, where the request says `asked`.
fn chosen_network(own: RunNetwork, asked: NetMode) -> Result<NetMode, BuildError> {
    match own {
        RunNetwork::Default => Ok(asked),
        RunNetwork::None => Ok(NetMode::None),
        RunNetwork::Host if asked == NetMode::Host => Ok(asked),
        RunNetwork::Host => Err(BuildError::Step(
            "network.host is not allowed: RUN --network=host needs a build with --network host".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dockerfile_has_no_more_network_than_the_request() {
        let chosen = |own, asked| chosen_network(own, asked).map_err(|error| error.to_string());
        for asked in [NetMode::Unset, NetMode::None, NetMode::Host] {
            assert_eq!(chosen(RunNetwork::Default, asked), Ok(asked));
            assert_eq!(chosen(RunNetwork::None, asked), Ok(NetMode::None));
        }
        assert_eq!(chosen(RunNetwork::Host, NetMode::Host), Ok(NetMode::Host));
        for asked in [NetMode::Unset, NetMode::None] {
            let error = chosen(RunNetwork::Host, asked).expect_err("it is not the host's");
            assert!(error.starts_with("network.host is not allowed"), "{error}");
        }
    }

    #[test]
    fn a_document_alone_is_the_script_and_otherwise_input() {
        let document = HereDocument { name: "EOF".into(), content: "a\nb\n".into(), expand: true };
        let script = |line: &str| {
            with_documents(&CommandForm::Shell(line.into()), std::slice::from_ref(&document))
                .expect("a script")
        };
        assert_eq!(script("<<EOF"), CommandForm::Shell("a\nb\n".into()));
        assert_eq!(script("cat <<EOF > /x"), CommandForm::Shell("cat <<EOF > /x\na\nb\nEOF".into()));
    }
}
