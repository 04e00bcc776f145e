use super::*;

fn gates(text: &str) -> Result<Vec<Feature>, String> {
    text.parse::<Gates>().map(|gates| gates.0.into_iter().collect()).map_err(|error| error.to_string())
}

fn versions(text: &str) -> Result<Vec<&'static str>, String> {
    let read = text.parse::<Versions>();
    read.map(|versions| versions.0.into_iter().collect()).map_err(|error| error.to_string())
}

/// What cannot be switched is told in words that begin so.
#[track_caller]
fn refuses<T: std::fmt::Debug>(read: &Result<T, String>, expected: &str) {
    assert!(read.as_ref().is_err_and(|error| error.starts_with(expected)), "{read:?}");
}

#[test]
fn gates_are_switched_by_name_and_by_stage() {
    let (zero, migrator) = (Feature::HpaScaleToZero, Feature::StorageVersionMigrator);
    let (gangs, groups) = (Feature::GangScheduling, Feature::GenericWorkload);
    for (text, expected) in [
        ("", vec![]),
        ("HPAScaleToZero=true", vec![zero]),
        (" HPAScaleToZero = T , StorageVersionMigrator=false", vec![zero]),
        ("HPAScaleToZero=true,HPAScaleToZero=false", vec![]),
        ("AllAlpha=true", vec![gangs, groups, zero]),
        ("AllAlpha=true,GenericWorkload=false,HPAScaleToZero=false", vec![gangs]),
        ("AllBeta=true", vec![migrator]),
        ("StorageVersionMigrator=false,AllBeta=true,AllAlpha=1", vec![gangs, groups, zero]),
        ("HPAScaleToZero=true,AllAlpha=false", vec![zero]),
    ] {
        assert_eq!(gates(text), Ok(expected), "{text}");
    }
    for (text, expected) in [
        ("HPAScaleToZero", "missing bool value for HPAScaleToZero"),
        ("HPAScaleToZero=", "missing bool value for HPAScaleToZero"),
        ("HPAScaleToZero=yes", "invalid value of HPAScaleToZero=yes: it must be true or false"),
        ("InPlace=true", "unrecognized feature gate: InPlace; those that can be switched are GangScheduling"),
    ] {
        refuses(&gates(text), expected);
    }
}

#[test]
fn versions_are_switched_by_name_and_by_stage() {
    let migration = STORAGE_MIGRATION;
    for (text, expected) in [
        ("", vec![]),
        ("storagemigration.k8s.io/v1beta1=true", vec![migration]),
        ("storagemigration.k8s.io/v1beta1", vec![migration]),
        ("storagemigration.k8s.io/v1beta1=false,api/all=true", vec![SCHEDULING]),
        ("api/beta=false,api/all=true", vec![SCHEDULING]),
        ("api/beta=true", vec![migration]),
        ("api/alpha=true", vec![SCHEDULING]),
        ("api/ga=true,api/legacy=true,apps/v1=true,api/v1=true,v1=true", vec![]),
    ] {
        assert_eq!(versions(text), Ok(expected), "{text}");
    }
    for (text, expected) in [
        ("apps/v1=false", "apps/v1 is always served"),
        ("api/v1=false", "api/v1 is always served"),
        ("api/all=false", "api/all is always served"),
        ("api/ga=false", "api/ga is always served"),
        ("apps/v2", "unknown api versions apps/v2; those that can be switched on are scheduling"),
        ("api/beta=maybe", "invalid value of api/beta=maybe: it must be true or false"),
    ] {
        refuses(&versions(text), expected);
    }
}

#[test]
fn a_kind_of_a_version_that_is_off_is_there_where_it_is_asked_for() {
    let kinds = |features: &Features| {
        let all = crate::served(features).into_iter();
        all.filter(|kind| kind.group == "storagemigration.k8s.io").map(|kind| kind.kind).collect::<Vec<_>>()
    };
    assert_eq!(kinds(&Features::default()), [""; 0]);
    let versions = Versions::default().with(STORAGE_MIGRATION);
    assert_eq!(kinds(&Features { versions, ..Features::default() }), ["StorageVersionMigration"]);
}

#[test]
fn groups_of_pods_are_there_by_gate_and_version_and_what_lacks_is_told() {
    let (gate, gangs) = (Feature::GenericWorkload, Feature::GangScheduling);
    let (served, ungated) = (
        "--runtime-config lacks scheduling.k8s.io/v1alpha2=true: there are no groups of pods",
        "--feature-gates lacks GenericWorkload=true: there are no groups of pods",
    );
    for (gates, is_served, kinds, lacks) in [
        (vec![], false, 0, vec![]),
        (vec![gate], true, 2, vec![]),
        (vec![gate, gangs], true, 2, vec![]),
        (vec![gate], false, 0, vec![served]),
        (vec![gangs], true, 0, vec![ungated]),
        (vec![gangs], false, 0, vec![served, ungated]),
        (vec![], true, 0, vec![ungated]),
    ] {
        let versions = if is_served { Versions::default().with(SCHEDULING) } else { Versions::default() };
        let features = Features { gates: Gates(gates.iter().copied().collect()), versions };
        let all = crate::served(&features).into_iter();
        let found =
            all.filter(|kind| kind.group == "scheduling.k8s.io" && kind.version == "v1alpha2").count();
        assert_eq!((found, features.lacks()), (kinds, lacks), "{gates:?} {is_served}");
        assert_eq!(features.schedules_groups(), kinds == 2 && gates.contains(&gangs), "{gates:?}");
    }
}
