//! Defaults of Node: all that it has may be given to pods unless it says otherwise.

use super::{Fields, inside};

pub(super) fn object(fields: &mut Fields) {
    let status = inside(fields, "status");
    if let (None, Some(capacity)) = (status.get("allocatable"), status.get("capacity").cloned()) {
        status.insert("allocatable".into(), capacity);
    }
    inside(fields, "spec");
}
