//! Defaults of Endpoints and EndpointSlice.

use super::{Fields, each, missing, unset};

pub(super) fn endpoints(fields: &mut Fields) {
    for subset in each(fields, "subsets") {
        for port in each(subset, "ports") {
            unset(port, "protocol", "TCP");
        }
    }
}

pub(super) fn endpoint_slice(fields: &mut Fields) {
    for port in each(fields, "ports") {
        missing(port, "name", "");
        missing(port, "protocol", "TCP");
    }
}
