//! Rules of the addresses of a service in the cluster, and of their families.

use std::collections::HashSet;

use serde_json::Value;

use model::field::{FieldError, Path};
use model::validate::{Errors, address as check_address, list, text};

use crate::pod_spec::volume::set;

const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];
const POLICIES: [&str; 3] = ["PreferDualStack", "RequireDualStack", "SingleStack"];

/// What is wrong with the addresses of a service, be they those that it asks for.
pub(in super::super) fn cluster_addresses(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    if text(spec, "type") == "ExternalName" {
        return;
    }
    let (first, all) = (text(spec, "clusterIP"), list(spec, "clusterIPs"));
    let (of_all, of_families) = (path.child("clusterIPs"), path.child("ipFamilies"));
    match all.first() {
        None if !first.is_empty() => errors.push(FieldError::required(&of_all, "")),
        Some(_) if first.is_empty() => {
            let message = "must be empty when `clusterIP` is not specified";
            errors.push(FieldError::invalid(&of_all, all.to_vec(), message));
        }
        Some(one) if one != first => {
            errors.push(FieldError::invalid(&of_all, all.to_vec(), "first value must match `clusterIP`"));
        }
        _ => {}
    }
    let families: Vec<&str> = list(spec, "ipFamilies").iter().filter_map(Value::as_str).collect();
    let mut known = HashSet::new();
    for (index, family) in families.iter().enumerate() {
        if !FAMILIES.contains(family) {
            errors.push(FieldError::not_supported(&of_families.index(index), *family, &FAMILIES));
        }
        if !known.insert(family) {
            errors.push(FieldError::duplicate(&of_families.index(index), *family));
        }
    }
    if let Some(policy) = set(spec, "ipFamilyPolicy").and_then(Value::as_str)
        && !POLICIES.contains(&policy)
    {
        errors.push(FieldError::not_supported(&path.child("ipFamilyPolicy"), policy, &POLICIES));
    }
    let before = errors.len();
    for (index, address) in all.iter().enumerate() {
        match address.as_str().unwrap_or_default() {
            "None" if index == 0 && all.len() > 1 => {
                let message = "'None' must be the first and only value";
                errors.push(FieldError::invalid(&of_all, all.to_vec(), message));
            }
            "None" if index == 0 => {}
            address => check_address(errors, &of_all.index(index), address),
        }
    }
    let has_bad = errors.len() > before;
    if all.len() > 2 {
        errors.push(FieldError::invalid(&of_all, all.to_vec(), "may only hold up to 2 values"));
    }
    if has_bad {
        return;
    }
    let is_six = |address: &Value| address.as_str().is_some_and(|address| address.contains(':'));
    if all.len() > 1 && all.iter().any(is_six) == all.iter().all(is_six) {
        let message = "may specify no more than one IP for each IP family";
        errors.push(FieldError::invalid(&of_all, all.to_vec(), message));
    }
    if matches!(all, [one] if one == "None") {
        return;
    }
    for (index, (address, family)) in all.iter().zip(families).enumerate() {
        let of_address = if is_six(address) { "IPv6" } else { "IPv4" };
        if FAMILIES.contains(&family) && family != of_address {
            let message = format!("expected an {family} value as indicated by `ipFamilies[{index}]`");
            errors.push(FieldError::invalid(&of_all.index(index), address.clone(), message));
        }
    }
}
