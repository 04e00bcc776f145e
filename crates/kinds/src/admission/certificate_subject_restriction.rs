//! Nobody asks for a certificate of those who may do everything.

use apiserver::pki::CertificateRequest;
use apiserver::{ADMINISTRATORS, Admission, Admitting, Write, at_once};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::Object;

/// Refuses requests for clients of the administrators' group.
pub(super) struct CertificateSubjectRestriction;

const SIGNER: &str = "kubernetes.io/kube-apiserver-client";

impl Admission for CertificateSubjectRestriction {
    fn validate<'a>(&'a self, write: &'a Write<'a>, object: Option<&'a Object>) -> Admitting<'a> {
        let made = object.filter(|_| write.makes("certificates.k8s.io", "certificatesigningrequests"));
        let Some(request) = made.filter(|it| it.get_str(&["spec", "signerName"]) == Some(SIGNER)) else {
            return at_once(Ok(()));
        };
        let pem = STANDARD.decode(request.get_str(&["spec", "request"]).unwrap_or_default());
        let organizations = pem
            .ok()
            .and_then(|pem| CertificateRequest::parse(&pem).ok())
            .map(|parsed| parsed.organizations)
            .unwrap_or_default();
        at_once(if organizations.iter().any(|group| group == ADMINISTRATORS) {
            let why = format!("use of {SIGNER} signer with {ADMINISTRATORS} group is not allowed");
            Err(write.context.forbidden(request, why))
        } else {
            Ok(())
        })
    }

    fn keeps_form(&self) -> bool {
        true
    }
}
