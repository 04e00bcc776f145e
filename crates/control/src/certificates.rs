//! Requests for certificates: those of nodes are approved, what is approved is signed, what is old goes.
//!
//! The three are Kubernetes' `csrapproving`, `csrsigning` and `csrcleaner`. What a request asks for, and how a
//! certificate is made, is behind [`Signer`]: nothing here knows of keys.

mod plan;

use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base::Clock;
use client::{Action, Api, Controller, DeleteOptions, Error, ObjectKey, Resource as _, ResourceKind};
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition, CertificateSigningRequestStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use model::Object;
use serde_json::json;

use crate::Context;
use plan::{Step, approval, cleaning, signing};

/// What a request asks a certificate for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The common name of the subject.
    pub common_name: String,
    /// The organisations of the subject.
    pub organizations: Vec<String>,
    /// DNS names.
    pub dns_names: Vec<String>,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
    /// Mail addresses.
    pub emails: Vec<String>,
    /// URIs.
    pub uris: Vec<String>,
}

/// Reads requests and signs certificates by the cluster's own authority, and tokens by its key.
pub trait Signer: Debug + Send + Sync + 'static {
    /// What a request, in PEM, asks for; why it cannot be read.
    fn read(&self, request: &[u8]) -> Result<Asked, String>;

    /// A certificate for it, in PEM, good for these usages and so long; why there is none.
    fn sign(&self, request: &[u8], usages: &[String], lifetime: Duration) -> Result<String, String>;

    /// When a certificate, in PEM, ends, in seconds since 1970.
    fn ends(&self, certificate: &[u8]) -> Option<i64>;

    /// A token with these claims, signed as those of service accounts are; why there is none.
    fn sign_token(&self, claims: &serde_json::Value) -> Result<String, String>;
}

/// Approves what nodes ask for themselves, where they may.
pub(crate) async fn approve(context: Context, signer: Arc<dyn Signer>) {
    each("csrapproving", &context, move |request, context| {
        let signer = Arc::clone(&signer);
        async move {
            let Some(wanted) = approval(&request, |pem| signer.read(pem).ok()) else {
                return Ok(Action::Done);
            };
            if !may(&context, &request, wanted.subresource).await? {
                // Who may what changes elsewhere.
                return Ok(Action::After(Duration::from_secs(60)));
            }
            let decision = condition("Approved", "AutoApproved", wanted.message, &*context.clock);
            let request = with_condition(request, decision);
            let api = Api::<CertificateSigningRequest>::all(&context.client);
            let name = request.name().to_owned();
            let written: Result<CertificateSigningRequest, Error> =
                api.update_subresource(&name, "approval", &request).await;
            settled(written)
        }
    })
    .await;
}

/// Signs what was approved, for the signers that are the cluster's own.
pub(crate) async fn sign(context: Context, signer: Arc<dyn Signer>) {
    each("csrsigning", &context, move |request, context| {
        let signer = Arc::clone(&signer);
        async move {
            let step = signing(&request, |pem| signer.read(pem));
            let api = Api::<CertificateSigningRequest>::all(&context.client);
            let request = match step {
                Step::Nothing => return Ok(Action::Done),
                Step::Fail(why) => {
                    let failed = condition("Failed", "SignerValidationFailure", &why, &*context.clock);
                    with_condition(request, failed)
                }
                Step::Sign { usages, lifetime } => {
                    match signer.sign(&request.spec.request.0, &usages, lifetime) {
                        Ok(certificate) => {
                            let mut request = request;
                            let status = request.status.get_or_insert_default();
                            status.certificate = Some(ByteString(certificate.into_bytes()));
                            request
                        }
                        Err(why) => {
                            tracing::warn!(
                                request = request.name(),
                                why,
                                "a certificate could not be signed"
                            );
                            return Ok(Action::After(Duration::from_secs(60)));
                        }
                    }
                }
            };
            settled(api.update_status(&request).await)
        }
    })
    .await;
}

/// Removes what has been decided, issued or forgotten for so long.
pub(crate) async fn clean(context: Context, signer: Arc<dyn Signer>) {
    each("csrcleaner", &context, move |request, context| {
        let signer = Arc::clone(&signer);
        async move {
            let now = context.clock.now().as_second();
            let ends = |pem: &[u8]| signer.ends(pem);
            let wait = cleaning(&request, ends) - now;
            if wait > 0 {
                return Ok(Action::After(Duration::from_secs(wait.unsigned_abs())));
            }
            let api = Api::<CertificateSigningRequest>::all(&context.client);
            let options = DeleteOptions::default().uid(request.uid());
            match api.delete(request.name(), &options).await {
                Ok(()) | Err(Error::NotFound(_) | Error::Conflict(_)) => Ok(Action::Done),
                Err(error) => Err(error),
            }
        }
    })
    .await;
}

/// Runs one of the three over the requests that are there.
async fn each<F>(
    name: &'static str,
    context: &Context,
    act: impl Fn(CertificateSigningRequest, Context) -> F + Send + Sync + 'static,
) where
    F: Future<Output = Result<Action, Error>> + Send + 'static,
{
    let requests = context.informers.of::<CertificateSigningRequest>();
    let store = requests.store();
    let of_all = context.clone();
    let reconcile = move |key: ObjectKey| {
        let found = store.get(&key).filter(|request| !request.is_being_deleted());
        let acting = found.map(|request| act((*request).clone(), of_all.clone()));
        async move {
            match acting {
                Some(acting) => acting.await,
                None => Ok(Action::Done),
            }
        }
    };
    Controller::new(name, &requests).run(reconcile, context.stop.clone()).await;
}

/// What others did in between is no error: a newer key comes.
fn settled(written: Result<CertificateSigningRequest, Error>) -> Result<Action, Error> {
    match written {
        Ok(_) | Err(Error::NotFound(_) | Error::Conflict(_)) => Ok(Action::Done),
        Err(error) => Err(error),
    }
}

fn condition(
    kind: &str,
    reason: &str,
    message: &str,
    clock: &dyn Clock,
) -> CertificateSigningRequestCondition {
    CertificateSigningRequestCondition {
        type_: kind.to_owned(),
        status: "True".to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_update_time: Some(Time(clock.now())),
        last_transition_time: None,
    }
}

fn with_condition(
    mut request: CertificateSigningRequest,
    condition: CertificateSigningRequestCondition,
) -> CertificateSigningRequest {
    let status: &mut CertificateSigningRequestStatus = request.status.get_or_insert_default();
    status.conditions.get_or_insert_default().push(condition);
    request
}

/// Whether who made a request may have such requests approved by nobody.
async fn may(
    context: &Context,
    request: &CertificateSigningRequest,
    subresource: &str,
) -> Result<bool, Error> {
    let kind = ResourceKind {
        group: "authorization.k8s.io".into(),
        version: "v1".into(),
        kind: "SubjectAccessReview".into(),
        plural: "subjectaccessreviews".into(),
        namespaced: false,
    };
    let spec = &request.spec;
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "metadata": {},
        "spec": {
            "user": spec.username, "uid": spec.uid, "groups": spec.groups, "extra": spec.extra,
            "resourceAttributes": {
                "group": "certificates.k8s.io", "resource": "certificatesigningrequests", "verb": "create",
                "subresource": subresource, "version": "*",
            },
        },
    });
    let Ok(review) = Object::from_value(review) else { return Ok(false) };
    let answer = Api::<Object>::dynamic(&context.client, &kind, None).create(&review).await?;
    Ok(answer.get(&["status", "allowed"]) == Some(&true.into()))
}
