//! What is filled in where a request for devices leaves it out.

use model::default::{Fields, each, existing, inside, is_zero, text, unset};

/// The fields of a claim's spec.
pub(crate) fn claim(spec: &mut Fields) {
    let devices = inside(spec, "devices");
    for request in each(devices, "requests") {
        if let Some(exactly) = existing(request, "exactly") {
            amount(exactly);
        }
        for alternative in each(request, "firstAvailable") {
            amount(alternative);
        }
    }
}

fn amount(request: &mut Fields) {
    unset(request, "allocationMode", "ExactCount");
    if text(request, "allocationMode") == "ExactCount" && is_zero(request.get("count")) {
        request.insert("count".into(), 1.into());
    }
    for toleration in each(request, "tolerations") {
        unset(toleration, "operator", "Equal");
    }
}
