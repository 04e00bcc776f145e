use super::*;

fn pod() -> Schema {
    builtin(&GroupVersionKind::new("", "v1", "Pod")).expect("built in")
}

#[test]
fn every_built_in_kind_has_a_schema() {
    let kinds: Vec<&GroupVersionKind> = builtin_definitions().kinds().collect();
    assert!(kinds.len() > 150, "only {} kinds", kinds.len());
    for kind in kinds {
        let schema = builtin(kind).expect("it is listed");
        assert!(schema.root().structure().is_some_and(|structure| !structure.name.is_empty()), "{kind}");
    }
}

#[test]
fn fields_have_their_types_and_keys() {
    let schema = pod();
    let scalar = |path: &[&str], expected: Scalar| {
        let ty = schema.at(path).unwrap_or_else(|| panic!("{path:?}"));
        assert_eq!(ty.get(), &Type::Scalar(expected), "{path:?}");
    };
    scalar(&["metadata", "creationTimestamp"], Scalar::Time);
    scalar(&["metadata", "labels", "*"], Scalar::String);
    scalar(&["spec", "containers", "*", "ports", "*", "containerPort"], Scalar::Int32);
    scalar(&["spec", "containers", "*", "resources", "limits", "*"], Scalar::Quantity);
    scalar(&["spec", "containers", "*", "livenessProbe", "httpGet", "port"], Scalar::IntOrString);
    scalar(&["spec", "activeDeadlineSeconds"], Scalar::Int64);

    let spec = schema.at(&["spec"]).expect("a field");
    let (containers, ty) = spec.field("containers").expect("a field");
    assert!(containers.required);
    assert_eq!(containers.patch(), &Patch { merge: true, key: Some("name".into()), ..Patch::default() });
    let keyed = ListKind::Map(["name".into()].into());
    assert!(matches!(ty.get(), Type::List { kind, .. } if *kind == keyed));
    assert!(spec.field("volumes").expect("a field").0.patch().retain_keys);
    assert!(matches!(
        schema.at(&["spec", "nodeSelector"]).map(TypeRef::get),
        Some(Type::Map { atomic: true, .. })
    ));
    let port = schema.at(&["spec", "containers", "*", "ports", "*"]).expect("a type");
    assert_eq!(port.field("protocol").expect("a field").0.default(), Some(&Value::from("TCP")));
    assert!(schema.at(&["spec", "nothing"]).is_none());
}

#[test]
fn atomic_structs_can_be_overridden_where_they_are_used() {
    let volume = builtin(&GroupVersionKind::new("", "v1", "PersistentVolume")).expect("built in");
    let claim = volume.at(&["spec", "claimRef"]).expect("a field");
    assert!(matches!(claim.get(), Type::Struct { atomic: false, .. }));
    let event = builtin(&GroupVersionKind::new("", "v1", "Event")).expect("built in");
    let involved = event.at(&["involvedObject"]).expect("a field");
    assert!(matches!(involved.get(), Type::Struct { atomic: true, .. }));
}

#[test]
fn custom_kinds_build_their_own_definitions() {
    let kind = GroupVersionKind::new("example.com", "v1", "Thing");
    let mut builder = Builder::with_structs(1);
    let number = builder.add(Type::Scalar(Scalar::Int32));
    let field = Field { name: "size".into(), ty: number, required: true, nullable: false, extra: None };
    builder.define(0, Struct { kinds: vec![kind], fields: vec![field], ..Struct::default() });
    let schema = builder.schema(0);
    assert!(!schema.is_builtin());
    assert_eq!(schema.at(&["size"]).map(TypeRef::get), Some(&Type::Scalar(Scalar::Int32)));
}
