//! A claim gets more only where its class says that volumes can grow.

use apiserver::{Admission, Admitting, Operation, Result, Write, at_once};
use model::{GroupResource, Object, Quantity};
use serde_json::Value;

use crate::claims::class;

/// Refuses to grow what cannot.
pub(super) struct PersistentVolumeClaimResize;

impl Admission for PersistentVolumeClaimResize {
    fn validate<'a>(&'a self, write: &'a Write<'a>, object: Option<&'a Object>) -> Admitting<'a> {
        let changes = write.operation == Operation::Update && write.is_of("", "persistentvolumeclaims");
        at_once(match (object, write.old) {
            (Some(claim), Some(old)) if changes => check(write, claim, old),
            _ => Ok(()),
        })
    }

    fn keeps_form(&self) -> bool {
        true
    }
}

fn check(write: &Write<'_>, claim: &Object, old: &Object) -> Result<()> {
    let size = |claim: &Object| {
        let size = claim.get(&["spec", "resources", "requests", "storage"]);
        size.and_then(Quantity::from_json).unwrap_or(Quantity::ZERO)
    };
    if size(claim) <= size(old) {
        return Ok(());
    }
    if old.get_str(&["status", "phase"]) != Some("Bound") {
        let why = "Only bound persistent volume claims can be expanded";
        return Err(write.context.forbidden(claim, why));
    }
    let name = class(claim);
    let classes = GroupResource::new("storage.k8s.io", "storageclasses");
    let found = write.context.find(&classes, "", name).filter(|_| !name.is_empty() && name == class(old));
    if found.is_some_and(|class| class.get(&["allowVolumeExpansion"]) == Some(&Value::Bool(true))) {
        return Ok(());
    }
    let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must \
               support resize";
    Err(write.context.forbidden(claim, why))
}
