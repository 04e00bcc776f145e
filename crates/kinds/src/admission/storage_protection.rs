//! Claims and volumes that are in use stay: a controller lets go of them when they are not.

use apiserver::{Admission, Admitting, Write, at_once};
use model::Object;

/// Gives claims and volumes the finalizers that hold them.
pub(super) struct StorageObjectInUseProtection;

impl Admission for StorageObjectInUseProtection {
    fn mutate<'a>(&'a self, write: &'a Write<'a>, object: &'a mut Object) -> Admitting<'a> {
        let kinds = [
            ("persistentvolumeclaims", "kubernetes.io/pvc-protection"),
            ("persistentvolumes", "kubernetes.io/pv-protection"),
        ];
        for (_, finalizer) in kinds.into_iter().filter(|(plural, _)| write.makes("", plural)) {
            protect(object, finalizer);
        }
        at_once(Ok(()))
    }

    fn keeps_form(&self) -> bool {
        true
    }
}

/// Gives an object a finalizer, unless it has it.
pub(super) fn protect(object: &mut Object, finalizer: &str) {
    let mut finalizers: Vec<String> = object.finalizers().map(str::to_owned).collect();
    if !finalizers.iter().any(|known| known == finalizer) {
        finalizers.push(finalizer.to_owned());
        object.set_finalizers(finalizers);
    }
}
