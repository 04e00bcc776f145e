//! Rules of CertificateSigningRequests.

use std::collections::HashSet;

use apiserver::pki::{CertificateRequest, check_certificates};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::Object;
use model::field::{FieldError, Path};
use model::validate::{Errors, Rules, format, list, number, text};
use serde_json::Value;

use super::DECISIONS;

/// What a certificate may be for.
const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];
/// The signer of requests that named none, when that was allowed.
const LEGACY: &str = "kubernetes.io/legacy-unknown";
/// A certificate is good for so many seconds at least.
const SHORTEST: i64 = 600;
/// What, once said, holds.
const FINAL: [&str; 3] = ["Approved", "Denied", "Failed"];
const STATUSES: [&str; 3] = ["False", "True", "Unknown"];
const CERTIFICATE: &[&str] = &["status", "certificate"];

/// The rules.
pub(super) struct Requests;

impl Rules for Requests {
    fn name(&self, name: &str) -> Vec<String> {
        model::names::path_segment(name)
    }

    fn object(&self, object: &Object, errors: &mut Errors) {
        spec(object, errors);
        conditions(object, errors);
        certificate(object, errors);
    }

    fn part(&self, part: &str, object: &Object, old: &Object, errors: &mut Errors) {
        spec(object, errors);
        conditions(object, errors);
        if object.get(CERTIFICATE) != old.get(CERTIFICATE) {
            certificate(object, errors);
        }
        kept(part, object, old, errors);
        if part == "status" {
            issued_once(object, old, errors);
        }
    }
}

fn spec(object: &Object, errors: &mut Errors) {
    let path = Path::root("spec");
    let empty = Value::Null;
    let spec = object.get(&["spec"]).unwrap_or(&empty);
    let request = text(spec, "request");
    let pem = STANDARD.decode(request).unwrap_or_default();
    if let Err(error) = CertificateRequest::parse(&pem) {
        errors.push(FieldError::invalid(&path.child("request"), request, error.to_string()));
    }
    let usages_path = path.child("usages");
    let usages: Vec<&str> = list(spec, "usages").iter().filter_map(Value::as_str).collect();
    if usages.is_empty() {
        errors.push(FieldError::required(&usages_path, ""));
    }
    for (index, usage) in usages.iter().enumerate().filter(|(_, usage)| !USAGES.contains(usage)) {
        errors.push(FieldError::not_supported(&usages_path.index(index), *usage, &USAGES));
    }
    for (index, usage) in usages.iter().enumerate().filter(|(index, usage)| usages[..*index].contains(usage))
    {
        errors.push(FieldError::duplicate(&usages_path.index(index), *usage));
    }
    let (signer, signer_path) = (text(spec, "signerName"), path.child("signerName"));
    if signer == LEGACY {
        let message = "the legacy signerName is not allowed via this API version";
        errors.push(FieldError::invalid(&signer_path, signer, message));
    } else {
        format::signer(errors, &signer_path, signer);
    }
    if let Some(seconds) = number(spec, "expirationSeconds").filter(|seconds| *seconds < SHORTEST) {
        let message = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.push(FieldError::invalid(&path.child("expirationSeconds"), seconds, message));
    }
}

fn conditions(object: &Object, errors: &mut Errors) {
    let path = Path::root("status");
    let path = path.child("conditions");
    let mut seen = HashSet::new();
    for (index, condition) in object.get_list(&["status", "conditions"]).iter().enumerate() {
        let path = path.index(index);
        let (kind, status) = (text(condition, "type"), text(condition, "status"));
        if kind.is_empty() {
            errors.push(FieldError::required(&path.child("type"), ""));
        }
        let allowed = if FINAL.contains(&kind) { &["True"][..] } else { &STATUSES };
        if status.is_empty() {
            errors.push(FieldError::required(&path.child("status"), ""));
        } else if !allowed.contains(&status) {
            errors.push(FieldError::not_supported(&path.child("status"), status, allowed));
        }
        let other = match kind {
            "Approved" => "Denied",
            "Denied" => "Approved",
            _ => "",
        };
        if seen.contains(other) {
            let message = "Approved and Denied conditions are mutually exclusive";
            errors.push(FieldError::invalid(&path.child("type"), kind, message));
        }
        if !seen.insert(kind) {
            errors.push(FieldError::duplicate(&path.child("type"), kind));
        }
    }
}

fn certificate(object: &Object, errors: &mut Errors) {
    let Some(certificate) = object.get_str(CERTIFICATE).filter(|it| !it.is_empty()) else { return };
    let pem = STANDARD.decode(certificate).unwrap_or_default();
    if let Err(error) = check_certificates(&pem) {
        let path = Path::root("status");
        let path = path.child("certificate");
        errors.push(FieldError::invalid(&path, "<certificate data>", error.to_string()));
    }
}

/// What has been said holds, and only who decides may decide.
fn kept(part: &str, object: &Object, old: &Object, errors: &mut Errors) {
    let path = Path::root("status");
    let path = path.child("conditions");
    let of = |object: &Object, kind: &str| -> Vec<Value> {
        let all = object.get_list(&["status", "conditions"]).iter();
        all.filter(|condition| text(condition, "type") == kind).cloned().collect()
    };
    for kind in FINAL {
        if of(object, kind).len() < of(old, kind).len() {
            let message = format!("updates may not remove a condition of type \"{kind}\"");
            errors.push(FieldError::forbidden(&path, message));
        }
    }
    for kind in DECISIONS.into_iter().filter(|_| part != "approval") {
        let (now, before) = (of(object, kind), of(old, kind));
        if now.len() > before.len() {
            let message = format!("updates may not add a condition of type \"{kind}\"");
            errors.push(FieldError::forbidden(&path, message));
        } else if now.len() == before.len() && now != before {
            let message = format!("updates may not modify a condition of type \"{kind}\"");
            errors.push(FieldError::forbidden(&path, message));
        }
    }
}

fn issued_once(object: &Object, old: &Object, errors: &mut Errors) {
    let is_issued = old.get_str(CERTIFICATE).is_some_and(|it| !it.is_empty());
    if is_issued && object.get(CERTIFICATE) != old.get(CERTIFICATE) {
        let path = Path::root("status");
        let message = "updates may not modify existing certificate content";
        errors.push(FieldError::forbidden(&path.child("certificate"), message));
    }
}
