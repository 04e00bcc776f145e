//! Tokens of service accounts, on request (`TokenRequest`).

use std::time::Duration;

use apiserver::{Body, Bound, Call, Error, Lifetime, Result};
use http::{Response, StatusCode};
use model::field::{FieldError, Path};
use model::{GroupKind, GroupResource, GroupVersionKind, Object, Status};
use serde_json::{Value, json};

use crate::admission::node_restriction::may_have_token;

const SHORTEST: i64 = 600;
const DEFAULT: i64 = 3600;
const LONGEST: i64 = 1 << 32;
/// What tokens of pods ask for where nobody says anything else, and how long they are good then.
const IN_PODS: i64 = 3607;
const EXTENDED: Duration = Duration::from_secs(365 * 24 * 60 * 60);

pub(super) async fn handle(call: Call) -> Result<Response<Body>> {
    let gvk = GroupVersionKind::new("authentication.k8s.io", "v1", "TokenRequest");
    let account = call.current().await?;
    let mut request = if call.has_no_body() { Object::new(&gvk, "") } else { call.decode_as(&gvk)? };
    let (admitted, mut warnings) = call.admit(&call.write_options()?, request).await?;
    request = admitted;
    may_have_token(&call.context(), &account, &request)?;
    let seconds = match request.get(&["spec", "expirationSeconds"]) {
        None | Some(Value::Null) => DEFAULT,
        Some(value) => value.as_i64().unwrap_or_default(),
    };
    check_lifetime(&call, seconds)?;
    let longest = call.tokens().longest.map(|longest| longest.as_secs().cast_signed());
    let seconds = match longest.filter(|longest| seconds > *longest) {
        Some(longest) => {
            warnings
                .push(format!("requested expiration of {seconds} seconds shortened to {longest} seconds"));
            longest
        }
        None => seconds,
    };
    let mut audiences: Vec<String> = request
        .get_list(&["spec", "audiences"])
        .iter()
        .filter_map(|a| a.as_str().map(str::to_owned))
        .collect();
    if audiences.is_empty() {
        audiences.extend_from_slice(call.audiences());
    }
    let bound = bound_object(&call, &account, &request)?;
    let asked = Duration::from_secs(seconds.unsigned_abs());
    // Programs of before, which read the token of their pod once, go on for a year.
    let extends = !call.tokens().ends_early
        && seconds == IN_PODS
        && bound.as_ref().is_some_and(|bound| bound.kind == "pod")
        && audiences.iter().all(|audience| call.audiences().contains(audience));
    let lifetime = if extends {
        Lifetime { lasts: EXTENDED, warns: Some(asked) }
    } else {
        Lifetime { lasts: asked, warns: None }
    };
    let token = call.issue_token(&account, &audiences, lifetime, bound.as_ref())?;
    let expires = call.now().checked_add(asked).unwrap_or(call.now());
    request.set(&["spec", "audiences"], json!(audiences));
    request.set(&["spec", "expirationSeconds"], seconds);
    request.set(&["metadata", "name"], account.name());
    request.set(&["metadata", "namespace"], account.namespace().unwrap_or_default());
    request.set_creation_timestamp(call.now());
    request.set(&["status"], json!({"token": token, "expirationTimestamp": model::time::format(expires)}));
    Ok(call.answer_other(StatusCode::CREATED, &request, &warnings))
}

fn check_lifetime(call: &Call, seconds: i64) -> Result<()> {
    let why = if seconds < SHORTEST {
        "may not specify a duration less than 10 minutes"
    } else if seconds > LONGEST {
        "may not specify a duration larger than 2^32 seconds"
    } else {
        return Ok(());
    };
    let spec = Path::root("spec");
    let error = FieldError::invalid(&spec.child("expirationSeconds"), seconds, why);
    let kind = GroupKind::new("authentication.k8s.io", "TokenRequest");
    Err(Status::invalid(&kind, call.name(), &[error]).into())
}

/// The object that the token is to be bound to, which must exist and, if it is a pod, run as that
/// account.
fn bound_object(call: &Call, account: &Object, request: &Object) -> Result<Option<Bound>> {
    let Some(reference) = request.get(&["spec", "boundObjectRef"]).filter(|r| !r.is_null()) else {
        return Ok(None);
    };
    let text = |field: &str| reference[field].as_str().unwrap_or_default().to_owned();
    let (name, uid) = (text("name"), text("uid"));
    let (kind, plural) = match text("kind").as_str() {
        "Pod" => ("pod", "pods"),
        "Secret" => ("secret", "secrets"),
        "Node" => ("node", "nodes"),
        other => {
            let why = format!("cannot bind token to object of type {other}");
            return Err(Error::bad_request(why));
        }
    };
    let resource = GroupResource::new("", plural);
    let namespace = if kind == "node" { "" } else { call.namespace() };
    let Some(object) = call.context().find(&resource, namespace, &name) else {
        return Err(Status::not_found(&resource, &name).into());
    };
    if !uid.is_empty() && object.uid() != uid {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might \
             have been deleted and then recreated"
        );
        return Err(Status::conflict(&resource, &name, why).into());
    }
    if kind == "pod" && object.get_str(&["spec", "serviceAccountName"]) != Some(account.name()) {
        let why = format!(
            "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
            account.name()
        );
        return Err(Status::forbidden(&resource, &name, why).into());
    }
    let on = object.get_str(&["spec", "nodeName"]).filter(|node| kind == "pod" && !node.is_empty());
    let nodes = GroupResource::new("", "nodes");
    let node = on.map(|node| {
        let known = call.context().find(&nodes, "", node);
        (node.to_owned(), known.map(|known| known.uid().to_owned()).unwrap_or_default())
    });
    Ok(Some(Bound { kind, name, uid: object.uid().to_owned(), node }))
}
