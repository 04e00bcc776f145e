//! What a pod template uses of ConfigMaps and Secrets, and a hash of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use client::Resource as _;
use k8s_openapi::api::core::v1::{ConfigMap, Container, KeyToPath, PodTemplateSpec, Secret, Volume};
use sha2::{Digest as _, Sha256};

use super::plan::Hashes;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    ConfigMap,
    Secret,
}

/// Something that is used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Use {
    pub(super) kind: Kind,
    pub(super) name: String,
    /// One key of it; all where none is named.
    pub(super) key: Option<String>,
    /// Whether it need not be there.
    pub(super) optional: bool,
}

/// What a template uses: in variables and volumes. What images are pulled with is not.
pub(super) fn uses(template: &PodTemplateSpec) -> BTreeSet<Use> {
    let mut used = BTreeSet::new();
    let Some(spec) = &template.spec else { return used };
    for container in spec.containers.iter().chain(spec.init_containers.iter().flatten()) {
        of_container(container, &mut used);
    }
    for volume in spec.volumes.iter().flatten() {
        of_volume(volume, &mut used);
    }
    used.retain(|one| !one.name.is_empty());
    used
}

fn one(kind: Kind, name: &str, key: Option<&str>, optional: Option<bool>) -> Use {
    let (name, key) = (name.to_owned(), key.map(str::to_owned));
    Use { kind, name, key, optional: optional.unwrap_or_default() }
}

fn of_container(container: &Container, used: &mut BTreeSet<Use>) {
    for source in container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
        let map = source.config_map_key_ref.iter();
        used.extend(map.map(|of| one(Kind::ConfigMap, &of.name, Some(&of.key), of.optional)));
        let secret = source.secret_key_ref.iter();
        used.extend(secret.map(|of| one(Kind::Secret, &of.name, Some(&of.key), of.optional)));
    }
    for source in container.env_from.iter().flatten() {
        used.extend(source.config_map_ref.iter().map(|of| one(Kind::ConfigMap, &of.name, None, of.optional)));
        used.extend(source.secret_ref.iter().map(|of| one(Kind::Secret, &of.name, None, of.optional)));
    }
}

fn of_volume(volume: &Volume, used: &mut BTreeSet<Use>) {
    let mut add = |kind, name: &str, items: &Option<Vec<KeyToPath>>, optional| match items.as_deref() {
        None | Some([]) => drop(used.insert(one(kind, name, None, optional))),
        Some(items) => used.extend(items.iter().map(|item| one(kind, name, Some(&item.key), optional))),
    };
    if let Some(map) = &volume.config_map {
        add(Kind::ConfigMap, &map.name, &map.items, map.optional);
    }
    if let Some(secret) = &volume.secret {
        add(Kind::Secret, secret.secret_name.as_deref().unwrap_or_default(), &secret.items, secret.optional);
    }
    let projected = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
    for source in projected {
        if let Some(map) = &source.config_map {
            add(Kind::ConfigMap, &map.name, &map.items, map.optional);
        }
        if let Some(secret) = &source.secret {
            add(Kind::Secret, &secret.name, &secret.items, secret.optional);
        }
    }
}

/// A hash of which objects are used.
pub(super) fn fingerprint(used: &BTreeSet<Use>) -> String {
    let mut hash = Sha256::new();
    for one in used {
        let Use { kind, name, key, optional } = one;
        put(&mut hash, format!("{kind:?}").as_bytes());
        put(&mut hash, name.as_bytes());
        put(&mut hash, key.as_deref().unwrap_or("/").as_bytes());
        hash.update([u8::from(*optional)]);
    }
    text(&hash.finalize()[..8])
}

/// Hashes of the data that is used; nothing where something is not there that has to be.
///
/// What is shown has the uid of each Secret in it, which whoever may not read the Secret does not know: so
/// nobody can try what its data might be.
pub(super) fn hash_of(
    used: &BTreeSet<Use>,
    map: impl Fn(&str) -> Option<Arc<ConfigMap>>,
    secret: impl Fn(&str) -> Option<Arc<Secret>>,
) -> Option<Hashes> {
    let (mut shown, mut plain) = (Sha256::new(), Sha256::new());
    for one in used {
        let mut uid = String::new();
        let mut both = |bytes: &[u8]| {
            put(&mut shown, bytes);
            put(&mut plain, bytes);
        };
        let has = |key: &str| one.key.as_deref().is_none_or(|wanted| wanted == key);
        let mut found = 0;
        let is_there = match one.kind {
            Kind::ConfigMap => map(&one.name).is_some_and(|map| {
                for (key, value) in map.data.iter().flatten().filter(|(key, _)| has(key)) {
                    both(key.as_bytes());
                    both(value.as_bytes());
                    found += 1;
                }
                for (key, value) in map.binary_data.iter().flatten().filter(|(key, _)| has(key)) {
                    both(key.as_bytes());
                    both(&value.0);
                    found += 1;
                }
                true
            }),
            Kind::Secret => secret(&one.name).is_some_and(|secret| {
                for (key, value) in secret.data.iter().flatten().filter(|(key, _)| has(key)) {
                    both(key.as_bytes());
                    both(&value.0);
                    found += 1;
                }
                secret.uid().clone_into(&mut uid);
                true
            }),
        };
        if !one.optional && (!is_there || one.key.is_some() && found == 0) {
            return None;
        }
        put(&mut shown, uid.as_bytes());
        put(&mut shown, &[u8::from(is_there)]);
        put(&mut plain, &[u8::from(is_there)]);
    }
    Some(Hashes { shown: text(&shown.finalize()[..16]), plain: plain.finalize().into() })
}

/// With its length, so that what is joined differently is not the same.
fn put(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_be_bytes());
    hash.update(bytes);
}

fn text(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn template(spec: Value) -> PodTemplateSpec {
        serde_json::from_value(json!({ "spec": spec })).expect("a template")
    }

    #[test]
    fn what_variables_and_volumes_use_is_found() {
        let used = uses(&template(json!({
            "imagePullSecrets": [{"name": "pull"}],
            "initContainers": [{"name": "i", "envFrom": [{"configMapRef": {"name": "c1"}}]}],
            "containers": [{"name": "m",
                "env": [
                    {"name": "A", "valueFrom": {"secretKeyRef": {"name": "s1", "key": "k", "optional": true}}},
                    {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "c2", "key": "k"}}},
                    {"name": "C", "value": "c"},
                ],
                "envFrom": [{"secretRef": {"name": "s2"}}],
            }],
            "volumes": [
                {"name": "a", "configMap": {"name": "c3", "items": [{"key": "x", "path": "x"}]}},
                {"name": "b", "secret": {"secretName": "s3"}},
                {"name": "c", "projected": {"sources": [
                    {"configMap": {"name": "c4"}}, {"secret": {"name": "s4", "items": [{"key": "y", "path": "y"}]}},
                    {"serviceAccountToken": {"path": "t"}},
                ]}},
                {"name": "d", "emptyDir": {}},
            ],
        })));
        let words = used.iter().map(|one| {
            let key = one.key.as_deref().map(|key| format!(":{key}")).unwrap_or_default();
            format!("{}{key}{}", one.name, if one.optional { "?" } else { "" })
        });
        assert_eq!(words.collect::<Vec<_>>().join(" "), "c1 c2:k c3:x c4 s1:k? s2 s3 s4:y");
    }

    /// Hashes of a key `k` of a ConfigMap `c` that has to be there, and of all of a Secret `s` that need not.
    fn hashes(map: Value, secret: Value) -> Option<Hashes> {
        let used = uses(&template(json!({
            "containers": [{"name": "m", "env": [
                {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}]}],
            "volumes": [{"name": "s", "secret": {"secretName": "s", "optional": true}}],
        })));
        let map: Option<ConfigMap> = serde_json::from_value(map).expect("a map or none");
        let secret: Option<Secret> = serde_json::from_value(secret).expect("a secret or none");
        hash_of(&used, |_| map.clone().map(Arc::new), |_| secret.clone().map(Arc::new))
    }

    #[test]
    fn the_hash_is_of_what_is_used_alone() {
        let map = |value: &str, other: &str| json!({"metadata": {"labels": {"l": other}}, "data": {"k": value, "other": other}});
        let secret = |uid: &str, value: &str| json!({"metadata": {"uid": uid}, "data": {"a": value}});
        let before = hashes(map("1", "x"), secret("u", "MQ==")).expect("all is there");
        assert_eq!(hashes(map("1", "y"), secret("u", "MQ==")), Some(before.clone()), "another key changed");
        for other in [
            hashes(map("2", "x"), secret("u", "MQ==")),
            hashes(map("1", "x"), secret("u", "Mg==")),
            hashes(map("1", "x"), Value::Null),
        ] {
            let other = other.expect("all is there that has to be");
            assert!(other.shown != before.shown && other.plain != before.plain);
        }
        // Made anew: shown otherwise, the same data.
        let anew = hashes(map("1", "x"), secret("v", "MQ==")).expect("all is there");
        assert!(anew.shown != before.shown && anew.plain == before.plain);
        assert_eq!(hashes(Value::Null, secret("u", "MQ==")), None);
        assert_eq!(
            hashes(json!({"data": {"other": "1"}}), secret("u", "MQ==")),
            None,
            "the key is not there"
        );
    }
}
