//! ServiceCIDRs: the networks that services' addresses are of.

use apiserver::Resource;
use apiserver::resource::{Installation, Permanent};
use apiserver::table::{AGE, Column, NAME, age, text};
use base::Timestamp;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use model::Object;
use model::default::{Fields, inside};
use model::field::{FieldError, Path};
use model::validate::{Errors, Functions, format};
use serde_json::{Value, json};

use crate::spec_and_status::SpecAndStatus;

pub(crate) fn resource() -> Resource {
    Resource::of::<ServiceCIDR>()
        .status()
        .defaults(defaults)
        .rules(Functions::named(model::names::dns1123_subdomain).creation(creation).change(change))
        .without_effect("no service gets an address of it")
        .columns(COLUMNS, cells)
        .hook("start-kubernetes-service-cidr-controller")
        .permanent(permanent)
        .strategy(SpecAndStatus::default().with_status())
}

const COLUMNS: &[Column] = &[NAME, text("CIDRs", "The networks, one of each kind of address."), AGE];
const IMMUTABLE: &str = "field is immutable";

/// The network that the server gives addresses of.
fn permanent(installation: &Installation) -> Vec<Permanent> {
    vec![Permanent::Made(json!({
        "metadata": {"name": "kubernetes"},
        "spec": {"cidrs": [installation.service_network.to_string()]},
    }))]
}

fn defaults(fields: &mut Fields) {
    inside(fields, "spec");
    inside(fields, "status");
}

fn creation(object: &Object, errors: &mut Errors) {
    cidrs(object, errors);
}

fn cidrs(object: &Object, errors: &mut Errors) {
    let path = Path::root("spec");
    let path = path.child("cidrs");
    let cidrs = object.get_list(&["spec", "cidrs"]);
    if cidrs.is_empty() {
        errors.push(FieldError::required(&path, "at least one CIDR required"));
        return;
    }
    if cidrs.len() > 2 {
        let value = object.get(&["spec"]).cloned().unwrap_or_default();
        errors.push(FieldError::invalid(&path, value, "may only hold up to 2 values"));
        return;
    }
    let mut families = Vec::new();
    for (index, cidr) in cidrs.iter().enumerate() {
        let cidr = cidr.as_str().unwrap_or_default();
        families.push(format::canonical_cidr(errors, &path.index(index), cidr).map(|(it, _)| it.is_ipv4()));
    }
    if let [Some(first), Some(second)] = families[..]
        && first == second
    {
        let message =
            "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        errors.push(FieldError::invalid(&path, cidrs.to_vec(), message));
    }
}

/// A network of the other kind of address may be added to one, and nothing else.
fn change(object: &Object, old: &Object, errors: &mut Errors) {
    const CIDRS: &[&str] = &["spec", "cidrs"];
    let (new, old) = (object.get_list(CIDRS), old.get_list(CIDRS));
    let path = Path::root("spec");
    let path = path.child("cidrs");
    let mut refuse = |index: usize| {
        errors.push(FieldError::invalid(&path.index(index), new[index].clone(), IMMUTABLE));
    };
    match (old.len(), new.len()) {
        (before, after) if before == after => {
            (0..after).filter(|index| new[*index] != old[*index]).for_each(refuse);
        }
        (1, 2) => {
            if new[0] != old[0] {
                refuse(0);
            }
            cidrs(object, errors);
        }
        _ => errors.push(FieldError::invalid(&path, new.to_vec(), IMMUTABLE)),
    }
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let cidrs: Vec<&str> = object.get_list(&["spec", "cidrs"]).iter().filter_map(Value::as_str).collect();
    vec![object.name().into(), cidrs.join(",").into(), age(object, now)]
}
