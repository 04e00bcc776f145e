//! What must hold for any pod at all that can be decoded.

use model::validate::{self, Scope};
use model::{GroupVersionKind, decode, schema};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::resource;

const NAMES: [&str; 8] = ["containers", "name", "image", "ports", "port", "env", "volumes", "restartPolicy"];

/// Any JSON, not too deep, with names that pods have.
fn any_json() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z0-9%./-]{0,8}".prop_map(Value::from),
    ];
    let name = prop_oneof![prop::sample::select(&NAMES[..]).prop_map(str::to_owned), "[a-z]{1,3}"];
    scalar.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(name.clone(), inner, 0..5).prop_map(|fields| fields.into_iter().collect()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_pod_is_defaulted_once_and_judged(spec in any_json()) {
        let pod = schema::builtin(&GroupVersionKind::new("", "v1", "Pod")).expect("built in");
        let text = json!({"apiVersion": "v1", "kind": "Pod", "spec": spec}).to_string();
        if let Ok(decoded) = decode::slice(&pod, text.as_bytes()) {
            let resource = resource("v1", "Pod");
            let mut object = decoded.object;
            resource.apply_defaults(&mut object).expect("there is room");
            let once = object.clone();
            resource.apply_defaults(&mut object).expect("there is room");
            prop_assert_eq!(&object, &once);
            let _ = validate::create(&*resource.rules, &object, Scope::Namespaced);
            let unchanged = validate::update(&*resource.rules, &object, &object, Scope::Namespaced);
            let refused = |text: &str| text.contains("immutable") || text.contains("updates");
            prop_assert_eq!(unchanged.iter().filter(|error| refused(&error.detail)).count(), 0);
        }
    }
}
