//! What of a service may change.

use serde_json::Value;

use model::field::{FieldError, Path};
use model::object::Object;
use model::validate::{Errors, list, number, text};

use super::is_headless;
use crate::pod_spec::volume::set;

/// Rules of the change of a service.
pub(in super::super) fn change(object: &Object, old: &Object, errors: &mut Errors) {
    let empty = Value::Null;
    let (new, old) = (object.get(&["spec"]).unwrap_or(&empty), old.get(&["spec"]).unwrap_or(&empty));
    let path = Path::root("spec");
    if text(new, "type") != "ExternalName" && text(old, "type") != "ExternalName" {
        addresses(new, old, &path, errors);
        families(new, old, &path, errors);
    }
    let is_balanced = |spec: &Value| text(spec, "type") == "LoadBalancer";
    if is_balanced(new) && is_balanced(old) {
        let class = |spec: &'_ Value| set(spec, "loadBalancerClass").cloned();
        if class(new) != class(old) {
            let value = class(new).unwrap_or(Value::Null);
            errors.push(FieldError::invalid(
                &path.child("loadBalancerClass"),
                value,
                "may not change once set",
            ));
        }
    }
    let is_checked = |spec: &Value| is_balanced(spec) && text(spec, "externalTrafficPolicy") == "Local";
    let port = |spec: &Value| number(spec, "healthCheckNodePort").unwrap_or_default();
    if is_checked(new) && is_checked(old) && port(new) != port(old) {
        errors.push(FieldError::forbidden(&path.child("healthCheckNodePort"), "field is immutable"));
    }
}

const ONCE: &str = "may not change once set";

fn addresses(new: &Value, old: &Value, path: &Path<'_>, errors: &mut Errors) {
    if is_headless(new) && is_headless(old) {
        return;
    }
    let spec = new;
    let (new, old) = (list(new, "clusterIPs"), list(old, "clusterIPs"));
    let of_all = path.child("clusterIPs");
    let mut refuse = |index: usize, why: &str| {
        errors.push(FieldError::invalid(&of_all.index(index), new.to_vec(), why));
    };
    if new.len() == old.len() {
        for (index, _) in new.iter().zip(old).enumerate().filter(|(_, (new, old))| new != old) {
            refuse(index, ONCE);
        }
        return;
    }
    if old.len() > new.len() && new.is_empty() {
        refuse(0, "primary clusterIP can not be unset");
    }
    if let (Some(new), Some(old)) = (new.first(), old.first())
        && new != old
    {
        refuse(0, ONCE);
    }
    if old.len() > new.len() && new.len() == 1 {
        released(spec, "secondary clusterIP", path, errors);
    }
}

fn families(new: &Value, old: &Value, path: &Path<'_>, errors: &mut Errors) {
    if is_headless(new) || is_headless(old) {
        return;
    }
    let (spec, addresses) = (new, list(new, "clusterIPs"));
    let (new, old) = (list(new, "ipFamilies"), list(old, "ipFamilies"));
    let of_all = path.child("ipFamilies");
    let mut refuse = |value: &[Value], why: &str| {
        errors.push(FieldError::invalid(&of_all.index(0), value.to_vec(), why));
    };
    if new.len() == old.len() {
        for _ in new.iter().zip(old).filter(|(new, old)| new != old) {
            refuse(new, ONCE);
        }
        return;
    }
    if old.len() > new.len() && addresses.is_empty() {
        refuse(new, "primary ipFamily can not be unset");
    }
    if let (Some(one), Some(old)) = (new.first(), old.first())
        && one != old
    {
        refuse(addresses, ONCE);
    }
    if old.len() > new.len() && new.len() == 1 {
        released(spec, "secondary ipFamily", path, errors);
    }
}

/// Whoever gives up the second says that there is one only.
fn released(spec: &Value, what: &str, path: &Path<'_>, errors: &mut Errors) {
    let policy = set(spec, "ipFamilyPolicy");
    if policy.and_then(Value::as_str) != Some("SingleStack") {
        let value = policy.cloned().unwrap_or(Value::Null);
        let message = format!("must be set to 'SingleStack' when releasing the {what}");
        errors.push(FieldError::invalid(&path.child("ipFamilyPolicy"), value, message));
    }
}
