//! Who approves requests for certificates, and who signs them, for each signer.

use apiserver::{Admission, Admitting, Operation, ResourceAttributes, Write, at_once};
use futures::FutureExt as _;
use model::Object;
use model::field::quote;
use model::validate::text;
use serde_json::Value;

const GROUP: &str = "certificates.k8s.io";

/// Who approves or denies a request has to be let by its signer.
pub(super) struct CertificateApproval;

/// Who issues a certificate, or says that there is none, has to be let by its signer.
pub(super) struct CertificateSigning;

impl Admission for CertificateApproval {
    fn validate<'a>(&'a self, write: &'a Write<'a>, _: Option<&'a Object>) -> Admitting<'a> {
        if is_update(write, "approval") { ask(write, "approve") } else { at_once(Ok(())) }
    }

    fn keeps_form(&self) -> bool {
        true
    }
}

impl Admission for CertificateSigning {
    fn validate<'a>(&'a self, write: &'a Write<'a>, object: Option<&'a Object>) -> Admitting<'a> {
        let signs = is_update(write, "status")
            && object.zip(write.old).is_some_and(|(new, old)| issued(new) != issued(old));
        if signs { ask(write, "sign") } else { at_once(Ok(())) }
    }

    fn keeps_form(&self) -> bool {
        true
    }
}

fn is_update(write: &Write<'_>, subresource: &str) -> bool {
    let resource = write.context.resource();
    write.operation == Operation::Update
        && write.subresource == subresource
        && (resource.group.as_str(), resource.plural.as_str()) == (GROUP, "certificatesigningrequests")
}

/// What the signer has come to.
fn issued(request: &Object) -> (Option<&Value>, Option<&Value>) {
    let conditions = request.get_list(&["status", "conditions"]);
    let failed = conditions.iter().find(|condition| text(condition, "type") == "Failed");
    (request.get(&["status", "certificate"]), failed)
}

/// Asks for a verb on the signer of the request as it was, or on all signers of its domain.
fn ask<'a>(write: &'a Write<'a>, verb: &'static str) -> Admitting<'a> {
    let asking = async move {
        let Some(request) = write.old else { return Ok(()) };
        let signer = request.get_str(&["spec", "signerName"]).unwrap_or_default();
        let domain = format!("{}/*", signer.split_once('/').map_or(signer, |(domain, _)| domain));
        for name in [signer, &domain] {
            let asked = ResourceAttributes {
                verb,
                group: GROUP,
                version: "*",
                resource: "signers",
                name,
                ..ResourceAttributes::default()
            };
            if write.context.decide(asked).await.is_allowed() {
                return Ok(());
            }
        }
        let why = format!("user not permitted to {verb} requests with signerName {}", quote(signer));
        Err(write.context.forbidden(request, why))
    };
    Admitting::Right(asking.boxed())
}
