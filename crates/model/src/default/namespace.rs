//! Defaults of Namespace: its name as a label, so that selectors can name it.

use super::{Fields, inside, text, unset};

pub(super) fn object(fields: &mut Fields) {
    let metadata = inside(fields, "metadata");
    let name = text(metadata, "name").to_owned();
    // A name that is still to be generated comes later, and the label with it.
    if !name.is_empty() {
        inside(metadata, "labels").insert("kubernetes.io/metadata.name".into(), name.into());
    }
    inside(fields, "spec");
    unset(inside(fields, "status"), "phase", "Active");
}
