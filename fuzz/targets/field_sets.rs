//! An object with managed fields, and what is applied to it and patched into it: `[LIVE, APPLIED, PATCH]`.
#![no_main]

use model::merge::apply::{Manager, apply, settle, track};
use model::merge::{json_patch, merge_patch, strategic};
use model::{GroupVersionKind, Object};
use serde_json::Value;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((kind, text)) = data.split_first() else { return };
    let kinds = [("", "v1", "Pod"), ("apps", "v1", "Deployment"), ("", "v1", "Service"), ("", "v1", "ConfigMap")];
    let (group, version, kind) = kinds[usize::from(*kind) % kinds.len()];
    let schema = model::schema::builtin(&GroupVersionKind::new(group, version, kind)).expect("it is built in");
    let Ok([live, applied, patch]) = serde_json::from_slice::<[Value; 3]>(text) else { return };

    let _ = json_patch::apply(&live, &patch);
    let merged = merge_patch::apply(&live, &patch);
    assert_eq!(merge_patch::apply(&merged, &patch), merged, "a merge patch is idempotent");
    let _ = strategic::apply(&schema, &live, &patch);

    let (Ok(live), Ok(applied)) = (Object::from_value(live), Object::from_value(applied)) else { return };
    let now = "2026-01-02T03:04:05Z".parse().expect("a moment");
    let manager = || Manager { name: "fuzz", subresource: "", ignored: &[&["status"]], now };
    if let Ok(mut new) = apply(&schema, Some(&live), &applied, manager(), true) {
        settle(&live, &mut new);
        // What somebody owns already can be applied again without force.
        apply(&schema, Some(&new), &applied, manager(), false).expect("it is his own");
    }
    track(&schema, Some(&live), applied, manager());
});
