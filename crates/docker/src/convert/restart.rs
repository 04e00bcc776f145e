//! Restart policies.

use engine::container::RestartPolicy;

use crate::fault::Fault;
use crate::wire::container as wire;

/// Reads a policy.
pub(crate) fn policy(document: &wire::RestartPolicy) -> Result<RestartPolicy, Fault> {
    let retries = document.maximum_retry_count;
    let policy = match document.name.as_str() {
        "" | "no" => RestartPolicy::No,
        "always" => RestartPolicy::Always,
        "unless-stopped" => RestartPolicy::UnlessStopped,
        "on-failure" => {
            let retries = u32::try_from(retries).map_err(|_| {
                Fault::invalid("invalid restart policy: maximum retry count cannot be negative")
            })?;
            return Ok(RestartPolicy::OnFailure { retries: (retries > 0).then_some(retries) });
        }
        other => {
            return Err(Fault::invalid(format!(
                "invalid restart policy: unknown policy '{other}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
            )));
        }
    };
    match retries {
        0 => Ok(policy),
        1.. => Err(Fault::invalid(
            "invalid restart policy: maximum retry count can only be used with 'on-failure'",
        )),
        _ => Err(Fault::invalid(
            "invalid restart policy: maximum retry count can only be used with 'on-failure' and cannot be negative",
        )),
    }
}

/// Writes a policy.
pub(crate) fn document(policy: RestartPolicy) -> wire::RestartPolicy {
    let (name, retries) = match policy {
        RestartPolicy::No => ("no", None),
        RestartPolicy::Always => ("always", None),
        RestartPolicy::UnlessStopped => ("unless-stopped", None),
        RestartPolicy::OnFailure { retries } => ("on-failure", retries),
    };
    wire::RestartPolicy { name: name.to_owned(), maximum_retry_count: retries.map_or(0, i64::from) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, retries: i64, expected: Result<RestartPolicy, &str>) {
        let read = policy(&wire::RestartPolicy { name: name.to_owned(), maximum_retry_count: retries });
        assert_eq!(read.map_err(|fault| fault.message), expected.map_err(str::to_owned), "{name}:{retries}");
    }

    #[test]
    fn policies_are_read() {
        check("", 0, Ok(RestartPolicy::No));
        check("always", 0, Ok(RestartPolicy::Always));
        check("unless-stopped", 0, Ok(RestartPolicy::UnlessStopped));
        check("on-failure", 0, Ok(RestartPolicy::OnFailure { retries: None }));
        check("on-failure", 3, Ok(RestartPolicy::OnFailure { retries: Some(3) }));
    }

    #[test]
    fn only_failures_can_be_counted() {
        check(
            "always",
            2,
            Err("invalid restart policy: maximum retry count can only be used with 'on-failure'"),
        );
        check("on-failure", -1, Err("invalid restart policy: maximum retry count cannot be negative"));
        let unknown = "invalid restart policy: unknown policy 'never'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'";
        check("never", 0, Err(unknown));
    }
}
