//! What Kubernetes says of what the runtime found: the sentences that pods and their events show.

use std::time::Duration;

use crate::probe;
use crate::runtime::{Error, Fact};

/// A span of time as Kubernetes' messages have it, in milliseconds: `1m20s`, `1.5s`, `250ms`.
pub(crate) fn duration(span: Duration) -> String {
    let parts = Duration::from_nanos(u64::from(span.subsec_nanos() % 1_000_000));
    base::duration::text(span - parts)
}

/// Why a running container is killed, and its pod is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condemned {
    /// A probe has found it dead.
    Dead(probe::Kind),
    /// It is of another image now.
    Changed,
    /// It is to have other resources, and wants to be started anew for that.
    Resized,
}

/// The message of the event. `begins` says that the container is one that begins its pod, `again` that what
/// ends is started again.
pub(crate) fn kills(container: &str, why: Condemned, begins: bool, again: bool) -> String {
    let found = match why {
        Condemned::Dead(probe) => format!("failed {} probe", probe.as_str().to_lowercase()),
        Condemned::Changed => "definition changed".to_owned(),
        Condemned::Resized => return format!("Container {container} resize requires restart"),
    };
    match (begins, again || why == Condemned::Changed) {
        (true, _) => format!("Init container {container} {found}"),
        (false, true) => format!("Container {container} {found}, will be restarted"),
        (false, false) => format!("Container {container} {found}"),
    }
}

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
    fn spans_of_time_are_written_as_go_does() {
        let check = |milliseconds: u64, expected: &str| {
            assert_eq!(duration(Duration::from_millis(milliseconds)), expected);
        };
        check(0, "0s");
        check(250, "250ms");
        assert_eq!(duration(Duration::from_micros(250_999)), "250ms");
        assert_eq!(duration(Duration::from_micros(999)), "0s");
        check(1_000, "1s");
        check(1_070, "1.07s");
        check(10_000, "10s");
        check(80_000, "1m20s");
        check(300_000, "5m0s");
        check(3_661_500, "1h1m1.5s");
    }

    #[test]
    fn it_is_told_which_probe_has_killed_and_whether_that_is_the_end() {
        use probe::Kind::{Liveness, Startup};
        let kills = |why, begins, again| kills("c", why, begins, again);
        let dead = Condemned::Dead;
        assert_eq!(
            kills(dead(Liveness), false, true),
            "Container c failed liveness probe, will be restarted"
        );
        assert_eq!(kills(dead(Startup), false, false), "Container c failed startup probe");
        assert_eq!(kills(dead(Liveness), true, true), "Init container c failed liveness probe");
        let changed = "Container c definition changed, will be restarted";
        assert_eq!(kills(Condemned::Changed, false, false), changed);
        assert_eq!(kills(Condemned::Resized, true, true), "Container c resize requires restart");
    }

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
