//! What webhooks answer: reviews of admission, with their patches, and of conversion.

use kinds::fuzzing;
use model::merge::json_patch;
use serde_json::json;

use crate::target::texts;
use crate::{Shape, Target};

pub(super) const TARGET: Target = Target {
    name: "review",
    shape: Shape::Json,
    examples,
    words: &[
        "\"uid\":\"u\"",
        "\"allowed\":true",
        "\"patch\":\"W10=\"",
        "\"patchType\":\"JSONPatch\"",
        "\"warnings\":[\"w\"]",
        "\"auditAnnotations\":{\"a\":\"b\"}",
        "\"convertedObjects\":[{}]",
        "\"status\":\"Success\"",
        "\"code\":403",
        "null",
    ],
    read,
    turns: 3_000,
};

/// So much of an answer is told on at most.
const TOLD: usize = 64 << 10;

fn read(text: &[u8]) -> bool {
    let mut taken = false;
    for mutating in [true, false] {
        let Some((told, patch)) = fuzzing::admission_answer(text, "u", mutating) else { continue };
        taken = true;
        assert!(told <= TOLD, "{told} bytes are told");
        assert!(mutating || patch.is_none(), "who only looks changes nothing");
        if let Some(patch) = patch {
            let object =
                json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "labels": {"b": "c"}}});
            let before = object.clone();
            let _ = json_patch::apply(&object, &patch);
            assert_eq!(object, before, "the object is not changed by a patch that may yet fail");
        }
    }
    taken | fuzzing::conversion_answer(text, "u").is_some()
}

fn examples() -> Vec<Vec<u8>> {
    texts(&[
        r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","response":{"uid":"u","allowed":true,"patchType":"JSONPatch","patch":"W3sib3AiOiJhZGQiLCJwYXRoIjoiL21ldGFkYXRhL2xhYmVscy9hIiwidmFsdWUiOiJiIn1d","warnings":["w"],"auditAnnotations":{"a":"b"}}}"#,
        r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","response":{"uid":"u","allowed":false,"status":{"code":403,"message":"no","reason":"Never"}}}"#,
        r#"{"kind":"ConversionReview","apiVersion":"apiextensions.k8s.io/v1","response":{"uid":"u","result":{"status":"Success"},"convertedObjects":[{"apiVersion":"a.b/v1","kind":"C","metadata":{"name":"x","labels":{"a":"b"}}}]}}"#,
    ])
}
