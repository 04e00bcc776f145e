//! What Docker says: the sentences that its users know, and that programs look for.

pub(crate) mod network;

use std::error::Error as StdError;
use std::fmt::Write as _;

use engine::container::{ContainerState, Status};
use engine::{ContainerId, Fact, Operation};

/// An error with all its causes, in Docker's words where it has some.
pub(crate) fn message(error: &(dyn StdError + 'static)) -> String {
    let said = |error: &(dyn StdError + 'static)| match error.downcast_ref::<engine::Error>() {
        Some(known) => known.fact().map_or_else(|| known.to_string(), sentence),
        None => error.to_string(),
    };
    let mut text = said(error);
    let mut source = error.source();
    while let Some(error) = source {
        let _ = write!(text, ": {}", said(error));
        source = error.source();
    }
    base::error::plain(&text).into_owned()
}

/// Why a container could not be started the last time, as its state has it.
pub(crate) fn last_error(state: &ContainerState) -> String {
    match &state.fact {
        Some(fact) => sentence(fact) + state.error.strip_prefix(&fact.to_string()).unwrap_or_default(),
        None => state.error.clone(),
    }
}

/// What Docker says of it.
pub(crate) fn sentence(fact: &Fact) -> String {
    match fact {
        Fact::NoContainer { reference } => format!("No such container: {reference}"),
        Fact::ManyContainers { prefix } => format!("multiple IDs found with provided prefix: {prefix}"),
        Fact::NameTaken { name, holder } => format!(
            "Conflict. The container name \"/{name}\" is already in use by container \"{holder}\". You have to remove (or rename) that container to be able to reuse that name."
        ),
        Fact::Status { container, status, operation, .. } => forbidden(container, *status, *operation),
        Fact::NotJoinable { namespace, container } if namespace == "net" => {
            format!("cannot join network namespace of a non running container: {container}")
        }
        Fact::NotJoinable { namespace, container } => {
            let kind = namespace.to_ascii_uppercase();
            format!("failed to join {kind} namespace: container {container} is not running")
        }
        Fact::MemoryNotShared { container } => format!(
            "failed to join IPC namespace: container {container}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)"
        ),
        Fact::NoExec { reference } => format!("No such exec instance: {reference}"),
        Fact::ExecStarted { id } => format!("exec command {id} is already running"),
        Fact::NoImage { reference } => format!("No such image: {reference}"),
        Fact::NoImageToPush { repository } => {
            format!("An image does not exist locally with the tag: {repository}")
        }
        Fact::OtherPlatform { reference, has, wanted } => format!(
            "image with reference {reference} was found but its platform ({has}) does not match the specified platform ({wanted})"
        ),
        Fact::NoTagToPush { reference } => format!("tag does not exist: {reference}"),
        Fact::NoTagsToPush { repository } => format!("no tags to push for {repository}"),
        Fact::NoRepository { repository } => format!("repository {repository} not found"),
        Fact::LoginRefused { address, answer: None } => {
            format!("login attempt to {address} failed with status: 401 Unauthorized")
        }
        Fact::LoginRefused { address, answer: Some(answer) } => format!("Get {address:?}: {answer}"),
        Fact::NoTags { repository } => format!("no tags found for {repository}"),
        Fact::NoManifest { reference } => format!("manifest for {reference} not found"),
        Fact::PullDenied { repository } => format!(
            "pull access denied for {repository}, repository does not exist or may require 'docker login'"
        ),
        Fact::NotPublished { name, endpoint, why } => format!(
            "failed to set up container networking: driver failed programming external connectivity on endpoint {name} ({endpoint}): {why}"
        ),
        Fact::NoVolume { name } => format!("get {name}: no such volume"),
        Fact::VolumeInUse { name, users } => {
            let users: Vec<&str> = users.iter().map(ContainerId::as_str).collect();
            format!("remove {name}: volume is in use - [{}]", users.join(", "))
        }
        Fact::NoBindSource { path } => format!(
            "invalid mount config for type \"bind\": bind source path does not exist: {}",
            path.display()
        ),
        Fact::RelativeBindSource { path } => format!(
            "invalid mount config for type \"bind\": invalid mount path: '{}' mount path must be absolute",
            path.display()
        ),
        Fact::RelativeTarget { target } => {
            format!("invalid mount config: invalid mount path: '{target}' mount path must be absolute")
        }
        Fact::TargetTwice { target } => format!("Duplicate mount point: {target}"),
        Fact::MemoryTooLow { least } => format!("Minimum memory limit allowed is {}MB", least >> 20),
        Fact::SwapBelowMemory => {
            "Minimum memoryswap limit should be larger than memory limit, see usage".to_owned()
        }
        Fact::RemovedAndRestarted => "can't create 'AutoRemove' container with restart policy".to_owned(),
        Fact::Network(fact) => network::sentence(fact),
        Fact::RestartOfRemoved => {
            "Restart policy cannot be updated because AutoRemove is enabled for the container".to_owned()
        }
    }
}

/// What cannot be done to a container as it is.
fn forbidden(container: &ContainerId, status: Status, operation: Operation) -> String {
    match (operation, status) {
        (Operation::Start, Status::Paused) => {
            "cannot start a paused container, try unpause instead".to_owned()
        }
        (Operation::Start, _) => "container is marked for removal and cannot be started".to_owned(),
        (Operation::Exec, Status::Paused) => {
            format!("Container {container} is paused, unpause the container before exec")
        }
        (Operation::Exec, Status::Restarting) => {
            format!("Container {container} is restarting, wait until the container is running")
        }
        (Operation::Pause, Status::Paused) => format!("container {container} is already paused"),
        (Operation::Pause, Status::Restarting) => {
            format!("Container {container} is restarting, wait until the container is running")
        }
        (Operation::Exec | Operation::Pause | Operation::Kill, _) => {
            format!("container {container} is not running")
        }
        (Operation::Unpause, _) => format!("Container {container} is not paused"),
        (Operation::Remove, Status::Paused) => "container is paused and must be unpaused first".to_owned(),
        (Operation::Remove, _) => {
            format!("container is {}: stop the container before removing or force remove", status.as_str())
        }
        (Operation::Update, _) => "container is marked for removal and cannot be \"update\"".to_owned(),
        (Operation::Commit, _) => format!("you cannot commit container {container} which is being removed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(digit: &str) -> ContainerId {
        ContainerId::parse(&digit.repeat(64)).expect("an id")
    }

    #[track_caller]
    fn check(fact: Fact, expected: &str) {
        let kind = fact.kind();
        // Clients are told of a failure where the real daemon has no better status for it.
        let is_failure = matches!(&fact, Fact::NotJoinable { namespace, .. } if namespace != "net")
            || matches!(&fact, Fact::NotPublished { .. });
        let error = engine::Error::from(fact);
        assert_eq!(message(&error), expected);
        assert_ne!(error.message(), expected, "the engine has words of its own");
        // Whatever it is the cause of, and whatever causes it.
        let cause = engine::Error::from(Fact::NoVolume { name: "data".to_owned() });
        let outer = engine::Error::internal("make it").with_source(error.with_source(cause));
        assert_eq!(message(&outer), format!("make it: {expected}: get data: no such volume"));
        assert_eq!(kind == engine::Kind::Internal, is_failure);
    }

    #[test]
    fn docker_has_a_sentence_for_what_users_meet() {
        let text = str::to_owned;
        check(Fact::NoContainer { reference: text("web") }, "No such container: web");
        check(Fact::ManyContainers { prefix: text("a") }, "multiple IDs found with provided prefix: a");
        check(
            Fact::NameTaken { name: text("web"), holder: id("a") },
            &format!(
                "Conflict. The container name \"/web\" is already in use by container \"{}\". You have to remove (or rename) that container to be able to reuse that name.",
                "a".repeat(64)
            ),
        );
        check(
            Fact::NotJoinable { namespace: text("net"), container: id("a") },
            &format!("cannot join network namespace of a non running container: {}", id("a")),
        );
        check(
            Fact::NotJoinable { namespace: text("pid"), container: id("a") },
            &format!("failed to join PID namespace: container {} is not running", id("a")),
        );
        check(Fact::NoExec { reference: text("e") }, "No such exec instance: e");
        check(Fact::ExecStarted { id: text("e") }, "exec command e is already running");
        check(Fact::NoImage { reference: text("nginx:latest") }, "No such image: nginx:latest");
        check(Fact::NoManifest { reference: text("nginx:none") }, "manifest for nginx:none not found");
        check(
            Fact::PullDenied { repository: text("mine") },
            "pull access denied for mine, repository does not exist or may require 'docker login'",
        );
        check(
            Fact::OtherPlatform {
                reference: text("busybox"),
                has: text("linux/amd64"),
                wanted: text("linux/arm64"),
            },
            "image with reference busybox was found but its platform (linux/amd64) does not match the specified platform (linux/arm64)",
        );
        check(Fact::NoTagToPush { reference: text("app:2") }, "tag does not exist: app:2");
        check(
            Fact::LoginRefused { address: text("http://a/v2/"), answer: None },
            "login attempt to http://a/v2/ failed with status: 401 Unauthorized",
        );
        check(
            Fact::VolumeInUse { name: text("data"), users: vec![id("a"), id("b")] },
            &format!("remove data: volume is in use - [{}, {}]", id("a"), id("b")),
        );
        check(
            Fact::NoBindSource { path: "/srv/none".into() },
            "invalid mount config for type \"bind\": bind source path does not exist: /srv/none",
        );
        let why = text("Bind for 0.0.0.0:80 failed: port is already allocated");
        check(
            Fact::NotPublished { name: text("web"), endpoint: text("abc"), why },
            "failed to set up container networking: driver failed programming external connectivity on endpoint web (abc): Bind for 0.0.0.0:80 failed: port is already allocated",
        );
        check(Fact::MemoryTooLow { least: 6 << 20 }, "Minimum memory limit allowed is 6MB");
    }

    #[test]
    fn docker_says_what_a_container_must_be_first() {
        let check = |operation, status, expected: &str| {
            let fact = Fact::Status { container: id("a"), name: "web".to_owned(), status, operation };
            assert_eq!(message(&engine::Error::from(fact)).replace(id("a").as_str(), "ID"), expected);
        };
        use Operation::{Commit, Exec, Kill, Pause, Remove, Start, Unpause, Update};
        check(Start, Status::Paused, "cannot start a paused container, try unpause instead");
        check(Start, Status::Dead, "container is marked for removal and cannot be started");
        check(Exec, Status::Paused, "Container ID is paused, unpause the container before exec");
        check(Exec, Status::Restarting, "Container ID is restarting, wait until the container is running");
        check(Exec, Status::Exited, "container ID is not running");
        check(Pause, Status::Paused, "container ID is already paused");
        check(Pause, Status::Restarting, "Container ID is restarting, wait until the container is running");
        check(Pause, Status::Created, "container ID is not running");
        check(Unpause, Status::Running, "Container ID is not paused");
        check(Kill, Status::Exited, "container ID is not running");
        check(
            Remove,
            Status::Running,
            "container is running: stop the container before removing or force remove",
        );
        check(Update, Status::Removing, "container is marked for removal and cannot be \"update\"");
        check(Commit, Status::Removing, "you cannot commit container ID which is being removed");
    }

    #[test]
    fn the_state_of_a_container_says_in_docker_s_words_why_it_does_not_run() {
        let check = |fact: Option<Fact>, error: &str, expected: &str| {
            let state = ContainerState { fact, error: error.to_owned(), ..ContainerState::default() };
            assert_eq!(last_error(&state), expected);
        };
        check(None, "exec: no such program", "exec: no such program");
        let fact = Fact::NoContainer { reference: "web".to_owned() };
        check(Some(fact), "there is no container web: gone", "No such container: web: gone");
    }
}
