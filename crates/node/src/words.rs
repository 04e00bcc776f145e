//! What Kubernetes says of what the runtime found: the sentences that pods and their events show.

use crate::runtime::{Error, Fact};

/// An error with all its causes, in Kubernetes' words where it has some.
pub(crate) fn message(error: &Error) -> String {
    let own = match error.fact() {
        Some(Fact::NoManifest { reference }) => format!("manifest for {reference} not found"),
        Some(Fact::PullDenied { repository }) => format!(
            "pull access denied for {repository}, repository does not exist or may require authorization"
        ),
        Some(Fact::NoImage { reference }) => format!("No such image: {reference}"),
        None => return error.full_message(),
    };
    match std::error::Error::source(error) {
        Some(source) => format!("{own}: {}", base::error::chain(source)),
        None => own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Kind;

    #[derive(Debug, thiserror::Error)]
    #[error("as the runtime says it")]
    struct Said(#[source] std::io::Error);

    #[test]
    fn a_pod_is_told_in_kubernetes_words_with_the_causes_of_the_runtime() {
        let check = |fact: Option<Fact>, expected: &str| {
            let error = Error::new(Kind::Failed, fact, Said(std::io::Error::other("401")));
            assert_eq!(message(&error), expected);
        };
        check(
            Some(Fact::PullDenied { repository: "mine".to_owned() }),
            "pull access denied for mine, repository does not exist or may require authorization: 401",
        );
        check(
            Some(Fact::NoManifest { reference: "nginx:none".to_owned() }),
            "manifest for nginx:none not found: 401",
        );
        check(None, "as the runtime says it: 401");
    }
}
