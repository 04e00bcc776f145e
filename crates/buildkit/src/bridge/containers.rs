//! Containers that a client has in its build. They end when they are released, and with their build.

use std::collections::HashMap;

use build::solve::{Container, ContainerOptions, SolveError};
use parking_lot::Mutex;
use tonic::Status;

use super::Bridge;
use crate::failure::status;
use crate::wire::moby::buildkit::v1::frontend::NewContainerRequest;

/// How many containers one build may have at a time.
const CONTAINERS: usize = 32;
/// Bytes of the names of containers and processes.
pub(super) const NAME: usize = 1 << 10;

/// The containers of a build, by the names that its client gave them.
#[derive(Default)]
pub(super) struct Containers {
    named: Mutex<Named<Container>>,
}

struct Named<T> {
    containers: HashMap<String, T>,
    /// The build has ended: there are no more.
    ended: bool,
}

impl<T> Default for Named<T> {
    fn default() -> Self {
        Named { containers: HashMap::new(), ended: false }
    }
}

impl<T> Named<T> {
    fn check(&self, id: &str) -> Result<(), Status> {
        if self.ended {
            return Err(Status::cancelled("the build has ended"));
        }
        if self.containers.contains_key(id) {
            return Err(Status::already_exists(format!("Container {id} already exists")));
        }
        if self.containers.len() >= CONTAINERS {
            let problem = format!("a build may have {CONTAINERS} containers at a time");
            return Err(Status::resource_exhausted(problem));
        }
        Ok(())
    }

    /// One more, if there still may be: others may have come since that was asked.
    fn add(&mut self, id: String, container: T) -> Result<(), Status> {
        self.check(&id)?;
        self.containers.insert(id, container);
        Ok(())
    }
}

impl Containers {
    pub(super) fn find(&self, id: &str) -> Option<Container> {
        self.named.lock().containers.get(id).cloned()
    }

    /// Whether there may be one of this name; that is asked again when it is there.
    fn check(&self, id: &str) -> Result<(), Status> {
        self.named.lock().check(id)
    }

    fn add(&self, id: String, container: &Container) -> Result<(), Status> {
        self.named.lock().add(id, container.clone())
    }

    /// Ends all of them, and lets no other begin.
    pub(super) fn end(&self) {
        let mut named = self.named.lock();
        named.ended = true;
        for (_, container) in named.containers.drain() {
            container.end();
        }
    }
}

impl Bridge {
    pub(super) async fn new_container(&self, request: NewContainerRequest) -> Result<(), Status> {
        let id = request.container_id;
        if id.is_empty() || id.len() > NAME {
            return Err(Status::invalid_argument(format!("a container's id has 1 to {NAME} bytes")));
        }
        self.containers.check(&id)?;
        let mut mounts = Vec::new();
        for mount in request.mounts {
            let result = match mount.result_id.as_str() {
                "" => None,
                result => {
                    let dest = &mount.dest;
                    let missing = |error: Status| {
                        let why = error.message();
                        Status::unknown(format!("failed to find ref {result} for {dest:?} mount: {why}"))
                    };
                    self.result(result).map_err(missing)?
                }
            };
            mounts.push((mount, result));
        }
        let options = ContainerOptions {
            mounts,
            network: request.network,
            hostname: request.hostname,
            extra_hosts: request.extra_hosts,
            platform: request.platform,
        };
        let container = self.job.container(options).await.map_err(|error| status(&error))?;
        self.containers.add(id, &container).inspect_err(|_| container.end())
    }

    pub(super) async fn release_container(&self, id: &str) -> Result<(), Status> {
        let container = self.containers.named.lock().containers.remove(id);
        let container =
            container.ok_or_else(|| Status::unknown(format!("container details for {id} not found")))?;
        match container.release().await {
            Ok(false) => Ok(()),
            // What ran in it has been ended.
            Ok(true) => Err(status(&SolveError::Cancelled)),
            Err(error) => Err(status(&error)),
        }
    }

    /// The container whose files are asked for.
    pub(super) fn looked_into(&self, id: &str, mount: i32) -> Result<(Container, usize), Status> {
        let none = || Status::unknown(format!("container details for {id}@{mount} not found"));
        let container = self.containers.find(id).ok_or_else(none)?;
        let mount = usize::try_from(mount)
            .map_err(|_| Status::invalid_argument(format!("mount index {mount} is out of bounds")))?;
        Ok((container, mount))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asked_before_others_came_is_asked_again() {
        let mut named = Named::<()>::default();
        (0..=CONTAINERS).try_for_each(|at| named.check(&at.to_string())).expect("there is room for each");
        (0..CONTAINERS).try_for_each(|at| named.add(at.to_string(), ())).expect("and for so many");
        let code = |added: Result<(), Status>| added.expect_err("refused").code();
        assert_eq!(code(named.add("more".to_owned(), ())), tonic::Code::ResourceExhausted);
        named.containers.remove("1");
        assert_eq!(code(named.add("0".to_owned(), ())), tonic::Code::AlreadyExists);
        named.ended = true;
        assert_eq!(code(named.add("more".to_owned(), ())), tonic::Code::Cancelled);
    }
}
