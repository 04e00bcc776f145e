//! Rules of Secret.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use model::validate::{Errors, immutable, text};

use crate::content::{MAX_SIZE, frozen, keys};
use model::Object;
use model::field::{FieldError, Path};

pub(crate) fn object(object: &Object, errors: &mut Errors) {
    let data = Path::root("data");
    // Four characters of base64 stand for three bytes.
    if keys(object.value(), "data", errors) / 4 * 3 > MAX_SIZE {
        errors.push(FieldError::too_long(&data, MAX_SIZE));
    }
    let content = |key: &str| object.get_str(&["data", key]);
    let need = |key: &str, errors: &mut Errors| {
        if content(key).is_none() {
            errors.push(FieldError::required(&data.key(key), ""));
        }
    };
    match text(object.value(), "type") {
        "kubernetes.io/service-account-token" => {
            let name = "kubernetes.io/service-account.name";
            if object.annotation(name).is_none_or(str::is_empty) {
                let metadata = Path::root("metadata");
                let annotations = metadata.child("annotations");
                errors.push(FieldError::required(&annotations.key(name), ""));
            }
        }
        "kubernetes.io/dockerconfigjson" => {
            document(content(".dockerconfigjson"), ".dockerconfigjson", errors)
        }
        "kubernetes.io/dockercfg" => document(content(".dockercfg"), ".dockercfg", errors),
        "kubernetes.io/basic-auth" if content("username").is_none() && content("password").is_none() => {
            for key in ["username", "password"] {
                need(key, errors);
            }
        }
        "kubernetes.io/ssh-auth" if content("ssh-privatekey").is_none_or(str::is_empty) => {
            errors.push(FieldError::required(&data.key("ssh-privatekey"), ""));
        }
        "kubernetes.io/tls" => {
            need("tls.crt", errors);
            need("tls.key", errors);
        }
        _ => {}
    }
}

pub(crate) fn change(object: &Object, old: &Object, errors: &mut Errors) {
    immutable(errors, object.get(&["type"]), old.get(&["type"]), &Path::root("type"));
    frozen(object, old, &["data"], errors);
}

/// A key that must hold JSON.
fn document(content: Option<&str>, key: &str, errors: &mut Errors) {
    let data = Path::root("data");
    let Some(content) = content else {
        errors.push(FieldError::required(&data.key(key), ""));
        return;
    };
    let parsed = STANDARD.decode(content).ok().map(|bytes| serde_json::from_slice::<Value>(&bytes));
    if let Some(Err(error)) = parsed {
        errors.push(FieldError::invalid(&data.key(key), "<secret contents redacted>", error.to_string()));
    }
}
