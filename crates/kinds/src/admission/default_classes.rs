//! Claims and ingresses that name no class are of the default one, where there is one.

use apiserver::{Admission, Admitting, Context, Write, at_once};
use model::{GroupResource, Object};

use crate::storage::storage_class;

/// Gives claims of volumes that name no class the default one.
pub(super) struct DefaultStorageClass;

/// Gives ingresses that name no class the default one.
pub(super) struct DefaultIngressClass;

impl Admission for DefaultStorageClass {
    fn mutate<'a>(&'a self, write: &'a Write<'a>, object: &'a mut Object) -> Admitting<'a> {
        /// By which the class was named before there was a field.
        const OLD: &str = "volume.beta.kubernetes.io/storage-class";
        const FIELD: &[&str] = &["spec", "storageClassName"];
        if write.makes("", "persistentvolumeclaims")
            && object.get(FIELD).is_none_or(serde_json::Value::is_null)
            && object.annotation(OLD).is_none()
        {
            let classes = GroupResource::new("storage.k8s.io", "storageclasses");
            if let Some(name) = newest(&write.context, &classes, storage_class::is_default) {
                object.set(FIELD, name);
            }
        }
        at_once(Ok(()))
    }

    fn keeps_form(&self) -> bool {
        true
    }
}

impl Admission for DefaultIngressClass {
    fn mutate<'a>(&'a self, write: &'a Write<'a>, object: &'a mut Object) -> Admitting<'a> {
        /// By which the class was named before there was a field.
        const OLD: &str = "kubernetes.io/ingress.class";
        const FIELD: &[&str] = &["spec", "ingressClassName"];
        const DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class";
        if write.makes("networking.k8s.io", "ingresses")
            && object.get(FIELD).is_none_or(serde_json::Value::is_null)
            && object.annotation(OLD).is_none()
        {
            let classes = GroupResource::new("networking.k8s.io", "ingressclasses");
            let is_default = |class: &Object| class.annotation(DEFAULT) == Some("true");
            if let Some(name) = newest(&write.context, &classes, is_default) {
                object.set(FIELD, name);
            }
        }
        at_once(Ok(()))
    }

    fn keeps_form(&self) -> bool {
        true
    }
}

/// The name of the default class; of several the one that was made last, and of those of one moment the first by
/// name.
fn newest(
    context: &Context<'_>,
    classes: &GroupResource,
    is_default: impl Fn(&Object) -> bool,
) -> Option<String> {
    let marked = context.all_containing(classes, "is-default-class").into_iter();
    let mut defaults: Vec<Object> = marked.filter(is_default).collect();
    defaults.sort_by(|a, b| {
        b.creation_timestamp().cmp(&a.creation_timestamp()).then_with(|| a.name().cmp(b.name()))
    });
    defaults.first().map(|class| class.name().to_owned())
}
