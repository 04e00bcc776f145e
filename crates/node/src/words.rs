//! What Kubernetes says of what the engine found: the sentences that pods and their events show.

use engine::{Error, Fact};

/// An error with all its causes, in Kubernetes' words where it has some.
pub(crate) fn message(error: &Error) -> String {
    let own = match error.fact() {
        Some(Fact::NoManifest { reference }) => format!("manifest for {reference} not found"),
        Some(Fact::PullDenied { repository }) => format!(
            "pull access denied for {repository}, repository does not exist or may require authorization"
        ),
        Some(Fact::NoImage { reference }) => format!("No such image: {reference}"),
        _ => return error.full_message(),
    };
    match std::error::Error::source(error) {
        Some(source) => format!("{own}: {}", base::error::chain(source)),
        None => own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_not_told_what_to_type_into_docker() {
        let check = |fact: Fact, expected: &str| {
            let error = Error::from(fact).with_source(std::io::Error::other("401"));
            assert_eq!(message(&error), expected);
        };
        check(
            Fact::PullDenied { repository: "mine".to_owned() },
            "pull access denied for mine, repository does not exist or may require authorization: 401",
        );
        check(
            Fact::NoManifest { reference: "nginx:none".to_owned() },
            "manifest for nginx:none not found: 401",
        );
    }
}
