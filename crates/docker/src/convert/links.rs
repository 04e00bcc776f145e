//! Links between containers of the default network.

use engine::Engine;
use engine::container::{Container, ContainerLink, NetworkMode};

use super::namespaces;
use crate::fault::Fault;

/// Reads `container:alias`, a name that stays itself, and what is read back of either.
fn parts(text: &str) -> Result<(&str, &str), Fault> {
    let parts: Vec<&str> = text.split(':').collect();
    match parts.as_slice() {
        [""] => Err(Fault::invalid("empty string specified for links")),
        [name] => Ok((name.trim_start_matches('/'), name.trim_start_matches('/'))),
        [name, alias] => match name.strip_prefix('/') {
            Some(name) => Ok((name, alias.rsplit('/').next().unwrap_or(alias))),
            None => Ok((name, alias)),
        },
        _ => Err(Fault::invalid(format!("bad format for links: {text}"))),
    }
}

/// The links that a container asks for; they lead to containers that there are.
pub(super) fn links(engine: &Engine, texts: &[String]) -> Result<Vec<ContainerLink>, Fault> {
    let mut links: Vec<ContainerLink> = Vec::new();
    for text in texts {
        let (name, alias) = parts(text)?;
        if name.is_empty() || alias.is_empty() {
            return Err(Fault::invalid(format!("bad format for links: {text}")));
        }
        let found =
            namespaces::other_container(engine, name).and_then(|id| Ok(engine.container_behind(&id)?));
        let container = found.map_err(|fault| Fault {
            message: format!("could not get container for {name}: {}", fault.message),
            ..fault
        })?;
        let Some(container) = container else {
            return Err(Fault::invalid(
                "conflicting options: host type networking can't be used with links. This would result in undefined behavior",
            ));
        };
        let name = engine.container_inspect(&container)?.name.clone();
        // A name means the last that it was given to.
        links.retain(|link| link.alias != alias);
        links.push(ContainerLink { container, name, alias: alias.to_owned() });
    }
    Ok(links)
}

/// The links of a container as they are read back; those in a network of its own are told there.
pub(super) fn texts(container: &Container) -> Option<Vec<String>> {
    if matches!(container.spec.namespaces.network, NetworkMode::Network(_)) {
        return None;
    }
    let text = |link: &ContainerLink| format!("/{}:/{}/{}", link.name, container.name, link.alias);
    let texts: Vec<String> = container.links.iter().map(text).collect();
    (!texts.is_empty()).then_some(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<(&str, &str), &str>) {
        assert_eq!(parts(text).map_err(|fault| fault.message), expected.map_err(str::to_owned));
    }

    #[test]
    fn links_are_read_as_they_are_written_and_as_they_are_read_back() {
        check("db:postgres", Ok(("db", "postgres")));
        check("db", Ok(("db", "db")));
        check("/db", Ok(("db", "db")));
        check("/db:/web/postgres", Ok(("db", "postgres")));
        check("", Err("empty string specified for links"));
        check("a:b:c", Err("bad format for links: a:b:c"));
    }
}
