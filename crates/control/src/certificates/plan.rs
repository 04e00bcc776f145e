//! What is to become of a request.

use std::time::Duration;

use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};

use super::Asked;

/// The signers that are the cluster's own.
const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const NODE_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const NODE_SERVING: &str = "kubernetes.io/kubelet-serving";

/// The group that nodes are in, and what their names begin with.
const NODES: &str = "system:nodes";
const NODE: &str = "system:node:";

/// A certificate is good for so long at most, and where a request says nothing.
const LIFETIME: i64 = 365 * 24 * 3600;
/// And for so long at least.
const SHORTEST: i64 = 600;

const HOUR: i64 = 3600;
/// What nobody has decided on stays for so long, what has come to its end for an hour.
const PENDING: i64 = 24 * HOUR;

/// What is approved by nobody, if who asks may have that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Approval {
    /// The permission: to create this part of requests.
    pub(super) subresource: &'static str,
    /// What the condition says.
    pub(super) message: &'static str,
}

/// What the signer does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It is not for it to act.
    Nothing,
    /// The request is none that it signs, and never will be.
    Fail(String),
    /// It signs.
    Sign { usages: Vec<String>, lifetime: Duration },
}

/// Whether a request may be approved without anybody looking at it.
pub(super) fn approval(
    request: &CertificateSigningRequest,
    read: impl Fn(&[u8]) -> Option<Asked>,
) -> Option<Approval> {
    if has(request, "Approved") || has(request, "Denied") || is_issued(request) {
        return None;
    }
    if request.spec.signer_name != NODE_CLIENT {
        return None;
    }
    let asked = read(&request.spec.request.0)?;
    node_client(&asked, usages(request)).ok()?;
    let is_own = request.spec.username.as_deref() == Some(&asked.common_name);
    Some(if is_own {
        Approval {
            subresource: "selfnodeclient",
            message: "Auto approving self kubelet client certificate after SubjectAccessReview.",
        }
    } else {
        Approval {
            subresource: "nodeclient",
            message: "Auto approving kubelet client certificate after SubjectAccessReview.",
        }
    })
}

/// What the signer does with a request.
pub(super) fn signing(
    request: &CertificateSigningRequest,
    read: impl Fn(&[u8]) -> Result<Asked, String>,
) -> Step {
    let is_open = has(request, "Approved") && !has(request, "Denied") && !has(request, "Failed");
    let signer = request.spec.signer_name.as_str();
    if !is_open || is_issued(request) || ![CLIENT, NODE_CLIENT, NODE_SERVING].contains(&signer) {
        return Step::Nothing;
    }
    let usages = usages(request);
    let valid = read(&request.spec.request.0).and_then(|asked| match signer {
        CLIENT => client(usages),
        NODE_CLIENT => node_client(&asked, usages),
        _ => node_serving(&asked, usages),
    });
    if let Err(why) = valid {
        return Step::Fail(why);
    }
    let seconds = request.spec.expiration_seconds.map_or(LIFETIME, i64::from);
    let seconds = seconds.clamp(SHORTEST, LIFETIME).unsigned_abs();
    Step::Sign { usages: usages.to_vec(), lifetime: Duration::from_secs(seconds) }
}

/// When a request has been there for long enough, in seconds since 1970.
pub(super) fn cleaning(request: &CertificateSigningRequest, ends: impl Fn(&[u8]) -> Option<i64>) -> i64 {
    let made = request.metadata.creation_timestamp.as_ref().map_or(0, |at| at.0.as_second());
    let since = |kind: &str| {
        let told = conditions(request).iter().filter(|condition| condition.type_ == kind);
        let told = told.filter_map(|condition| condition.last_update_time.as_ref());
        told.map(|at| at.0.as_second()).min().map(|at| at + HOUR)
    };
    let mut ends_at = ["Approved", "Denied", "Failed"].into_iter().filter_map(since).min();
    if conditions(request).is_empty() {
        ends_at = Some(made + PENDING);
    }
    let certificate = request.status.as_ref().and_then(|status| status.certificate.as_ref());
    let expires = certificate.and_then(|certificate| ends(&certificate.0));
    [ends_at, expires].into_iter().flatten().min().unwrap_or(made + PENDING)
}

fn conditions(request: &CertificateSigningRequest) -> &[CertificateSigningRequestCondition] {
    request.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default()
}

fn has(request: &CertificateSigningRequest, kind: &str) -> bool {
    conditions(request).iter().any(|condition| condition.type_ == kind)
}

fn is_issued(request: &CertificateSigningRequest) -> bool {
    let certificate = request.status.as_ref().and_then(|status| status.certificate.as_ref());
    certificate.is_some_and(|certificate| !certificate.0.is_empty())
}

fn usages(request: &CertificateSigningRequest) -> &[String] {
    request.spec.usages.as_deref().unwrap_or_default()
}

/// Whether the usages are these, the last of which need not be among them.
fn are(usages: &[String], wanted: &[&str], optional: &str) -> Result<(), String> {
    let fits = usages.iter().all(|usage| wanted.contains(&usage.as_str()) || usage == optional)
        && wanted.iter().all(|wanted| usages.iter().any(|usage| usage == wanted));
    if fits {
        return Ok(());
    }
    let mut all = [wanted, &[optional]].concat();
    all.sort_unstable();
    Err(format!("usages did not match [{}]", all.join(" ")))
}

/// A certificate by which a node is known to the API.
fn node_client(asked: &Asked, usages: &[String]) -> Result<(), String> {
    if asked.organizations != [NODES] {
        return Err("subject organization is not system:nodes".to_owned());
    }
    let empty = [
        (asked.dns_names.is_empty(), "DNS"),
        (asked.emails.is_empty(), "Email"),
        (asked.addresses.is_empty(), "IP"),
        (asked.uris.is_empty(), "URI"),
    ];
    if let Some((_, kind)) = empty.into_iter().find(|(is_empty, _)| !is_empty) {
        return Err(format!("{kind} subjectAltNames are not allowed"));
    }
    is_node(asked)?;
    are(usages, &["client auth", "digital signature"], "key encipherment")
}

/// A certificate by which the API knows a node.
fn node_serving(asked: &Asked, usages: &[String]) -> Result<(), String> {
    if asked.organizations != [NODES] {
        return Err("subject organization is not system:nodes".to_owned());
    }
    if asked.dns_names.is_empty() && asked.addresses.is_empty() {
        return Err("DNS or IP subjectAltName is required".to_owned());
    }
    for (is_empty, kind) in [(asked.emails.is_empty(), "Email"), (asked.uris.is_empty(), "URI")] {
        if !is_empty {
            return Err(format!("{kind} subjectAltNames are not allowed"));
        }
    }
    are(usages, &["digital signature", "server auth"], "key encipherment")?;
    is_node(asked)
}

fn is_node(asked: &Asked) -> Result<(), String> {
    if asked.common_name.starts_with(NODE) {
        return Ok(());
    }
    Err("subject common name does not begin with system:node:".to_owned())
}

/// A certificate of a client of the API.
fn client(usages: &[String]) -> Result<(), String> {
    const CLIENT_AUTH: &str = "client auth";
    let known = ["digital signature", "key encipherment", CLIENT_AUTH];
    if let Some(other) = usages.iter().find(|usage| !known.contains(&usage.as_str())) {
        return Err(format!("invalid usage for client certificate: {other}"));
    }
    if !usages.iter().any(|usage| usage == CLIENT_AUTH) {
        return Err(format!("missing required usage for client certificate: {CLIENT_AUTH}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
