use model::field::aggregate;

use super::*;

/// What labels ask for, as `enforce audit warn`, and what is wrong with them.
fn check(labels: &[(&str, &str)], expected: &str, wrong: &str) {
    let find = |label: &str| {
        let name = label.strip_prefix(PREFIX)?;
        labels.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    };
    let (Policy { enforce, audit, warn }, errors) = Policy::of(find, &Policy::PRIVILEGED);
    assert_eq!(format!("{enforce} {audit} {warn}"), expected, "{labels:?}");
    let said = if errors.is_empty() { String::new() } else { aggregate(&errors) };
    assert_eq!(said, wrong, "{labels:?}");
}

#[test]
fn labels_ask_for_a_level_in_a_version_by_mode() {
    check(&[], "privileged:latest privileged:latest privileged:latest", "");
    check(&[("enforce", "baseline")], "baseline:latest privileged:latest baseline:latest", "");
    check(
        &[("enforce", "restricted"), ("enforce-version", "v1.22")],
        "restricted:v1.22 privileged:latest restricted:v1.22",
        "",
    );
    check(
        &[("enforce", "restricted"), ("enforce-version", "v1.22"), ("warn-version", "v1.0")],
        "restricted:v1.22 privileged:latest restricted:v1.0",
        "",
    );
    check(
        &[
            ("enforce", "restricted"),
            ("warn", "privileged"),
            ("audit", "baseline"),
            ("audit-version", "v1.9"),
        ],
        "restricted:latest baseline:v1.9 privileged:latest",
        "",
    );
    check(
        &[("enforce", "baseline"), ("warn", "restricted")],
        "baseline:latest privileged:latest restricted:latest",
        "",
    );
}

#[test]
fn what_cannot_be_read_is_enforced_strictly_and_warned_of_by_nobody() {
    let level = "Invalid value: \"x\": must be one of privileged, baseline, restricted";
    check(
        &[("enforce", "x")],
        "restricted:latest privileged:latest privileged:latest",
        &format!("metadata.labels[pod-security.kubernetes.io/enforce]: {level}"),
    );
    check(
        &[("warn", "x"), ("audit", "x")],
        "privileged:latest privileged:latest privileged:latest",
        &format!(
            "[metadata.labels[pod-security.kubernetes.io/audit]: {level}, \
             metadata.labels[pod-security.kubernetes.io/warn]: {level}]"
        ),
    );
    for version in ["1.22", "v1.022", "v2.0", "v1.", "V1.2", "v1.-1", "", "v1.99999999999999999999"] {
        check(
            &[("enforce", "baseline"), ("enforce-version", version)],
            "baseline:latest privileged:latest baseline:latest",
            &format!(
                "metadata.labels[pod-security.kubernetes.io/enforce-version]: Invalid value: {version:?}: \
                 must be \"latest\" or \"v1.x\""
            ),
        );
    }
    check(
        &[("enforce", "baseline"), ("enforce-version", "v1.0")],
        "baseline:v1.0 privileged:latest baseline:v1.0",
        "",
    );
}
