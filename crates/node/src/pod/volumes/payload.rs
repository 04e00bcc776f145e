//! The files that a volume shows: pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    ConfigMap, Container, DownwardAPIVolumeFile, KeyToPath, ObjectFieldSelector, Pod, Secret, Volume,
    VolumeProjection,
};

use super::Context;
use crate::pod::downward;
use crate::pod::expand::{Room, TooLarge};

/// Files by path relative to the volume.
pub type Payload = BTreeMap<String, File>;

/// Bytes of all files of a pod that are made here, most of them in the node's memory: the same
/// object may be shown any number of times.
pub const MOST_BYTES: usize = 64 << 20;
/// What a file takes besides its content: a page, and its names.
const OF_A_FILE: usize = 4096;

/// Service-account tokens by volume and path, fetched beforehand.
pub type Tokens = BTreeMap<(String, String), String>;

/// One file of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its content.
    pub bytes: Vec<u8>,
    /// Its permission bits.
    pub mode: u32,
    /// Whose it is, where not root's.
    pub user: Option<u32>,
}

/// What a volume should show, and is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// A ConfigMap that is not optional.
    #[error("configmap \"{0}\" not found")]
    NoConfigMap(String),
    /// A Secret that is not optional.
    #[error("secret \"{0}\" not found")]
    NoSecret(String),
    /// A key that is not optional.
    #[error("references non-existent {kind} key: {key}")]
    NoKey {
        /// `config` or `secret`.
        kind: &'static str,
        /// The key.
        key: String,
    },
    /// A field that a pod does not have.
    #[error("unsupported field {0}")]
    NoField(String),
    /// A service-account token that was not fetched.
    #[error("no service account token for {0}")]
    NoToken(String),
    /// The pod has more in such volumes than a node keeps for it.
    #[error(
        "what the pod's volumes show of ConfigMaps, Secrets, tokens and its own fields is larger than {most} bytes together, each file counting 4096 more",
        most = MOST_BYTES
    )]
    TooLarge,
}

impl From<TooLarge> for PayloadError {
    fn from(TooLarge: TooLarge) -> Self {
        Self::TooLarge
    }
}

/// Files in the making.
struct Files<'r> {
    files: Payload,
    room: &'r mut Room,
}

impl Files<'_> {
    /// Adds a file, in place of an earlier one at its path.
    fn add(&mut self, path: &str, bytes: &[u8], mode: u32) -> Result<(), TooLarge> {
        self.add_of(None, path, bytes, mode)
    }

    /// The same, with an owner.
    fn add_of(&mut self, user: Option<u32>, path: &str, bytes: &[u8], mode: u32) -> Result<(), TooLarge> {
        if let Some(known) = self.files.get(path) {
            self.room.give_back(OF_A_FILE + known.bytes.len());
        }
        self.room.take(OF_A_FILE + bytes.len())?;
        self.files.insert(path.to_owned(), File { bytes: bytes.to_owned(), mode, user });
        Ok(())
    }
}

const DEFAULT_MODE: i32 = 0o644;

/// The files of `volume`, which are taken of `room`; `None` for kinds of volume that are not made of
/// files.
pub fn payload(
    context: &Context<'_>,
    volume: &Volume,
    room: &mut Room,
) -> Result<Option<Payload>, PayloadError> {
    let mut files = Files { files: Payload::new(), room };
    if let Some(source) = &volume.config_map {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        config_map(context, &source.name, source.optional, source.items.as_deref(), mode, &mut files)?;
    } else if let Some(source) = &volume.secret {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        let name = source.secret_name.as_deref().unwrap_or_default();
        secret(context, name, source.optional, source.items.as_deref(), mode, &mut files)?;
    } else if let Some(source) = &volume.downward_api {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        downward_files(context, source.items.as_deref().unwrap_or_default(), mode, &mut files)?;
    } else if let Some(source) = &volume.projected {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        for part in source.sources.iter().flatten() {
            project(context, &volume.name, part, mode, &mut files)?;
        }
    } else {
        return Ok(None);
    }
    Ok(Some(files.files))
}

fn project(
    context: &Context<'_>,
    volume: &str,
    part: &VolumeProjection,
    mode: i32,
    files: &mut Files<'_>,
) -> Result<(), PayloadError> {
    if let Some(source) = &part.config_map {
        config_map(context, &source.name, source.optional, source.items.as_deref(), mode, files)?;
    }
    if let Some(source) = &part.secret {
        secret(context, &source.name, source.optional, source.items.as_deref(), mode, files)?;
    }
    if let Some(source) = &part.downward_api {
        downward_files(context, source.items.as_deref().unwrap_or_default(), mode, files)?;
    }
    if let Some(source) = &part.service_account_token {
        let token = context.tokens.get(&(volume.to_owned(), source.path.clone()));
        let token = token.ok_or_else(|| PayloadError::NoToken(source.path.clone()))?;
        // Whoever it is for can read it, and nobody else.
        let user = only_user(context.pod);
        let narrow = user.is_some() || fs_group(context.pod).is_some();
        let mode = if narrow { 0o600 } else { mode.cast_unsigned() & 0o777 };
        files.add_of(user, &source.path, token.as_bytes(), mode)?;
    }
    Ok(())
}

/// The user as which all containers of the pod run, where each says which it is.
fn only_user(pod: &Pod) -> Option<u32> {
    let spec = pod.spec.as_ref()?;
    let of_pod = spec.security_context.as_ref().and_then(|security| security.run_as_user);
    let user_of = |container: &Container| {
        container.security_context.as_ref().and_then(|security| security.run_as_user).or(of_pod)
    };
    let mut users = spec.init_containers.iter().flatten().chain(&spec.containers).map(user_of);
    let first = users.next()??;
    users.all(|user| user == Some(first)).then(|| u32::try_from(first).ok())?
}

/// The group that the pod's volumes are for.
pub fn fs_group(pod: &Pod) -> Option<u32> {
    i32::try_from(pod.spec.as_ref()?.security_context.as_ref()?.fs_group?).ok()?.try_into().ok()
}

fn config_map(
    context: &Context<'_>,
    name: &str,
    optional: Option<bool>,
    items: Option<&[KeyToPath]>,
    mode: i32,
    files: &mut Files<'_>,
) -> Result<(), PayloadError> {
    let optional = optional.unwrap_or(false);
    let object: &ConfigMap = match context.sources.config_maps.get(name).and_then(Option::as_ref) {
        Some(object) => object,
        None if optional => return Ok(()),
        None => return Err(PayloadError::NoConfigMap(name.to_owned())),
    };
    let text = object.data.iter().flatten().map(|(key, value)| (key.as_str(), value.as_bytes()));
    let binary = object.binary_data.iter().flatten().map(|(key, value)| (key.as_str(), value.0.as_slice()));
    keys(&text.chain(binary).collect(), items, optional, mode, "config", files)
}

fn secret(
    context: &Context<'_>,
    name: &str,
    optional: Option<bool>,
    items: Option<&[KeyToPath]>,
    mode: i32,
    files: &mut Files<'_>,
) -> Result<(), PayloadError> {
    let optional = optional.unwrap_or(false);
    let object: &Secret = match context.sources.secrets.get(name).and_then(Option::as_ref) {
        Some(object) => object,
        None if optional => return Ok(()),
        None => return Err(PayloadError::NoSecret(name.to_owned())),
    };
    let data = object.data.iter().flatten().map(|(key, value)| (key.as_str(), value.0.as_slice()));
    keys(&data.collect(), items, optional, mode, "secret", files)
}

/// All keys under their own names, or those that `items` names under the paths that it gives them.
fn keys(
    data: &BTreeMap<&str, &[u8]>,
    items: Option<&[KeyToPath]>,
    optional: bool,
    mode: i32,
    kind: &'static str,
    files: &mut Files<'_>,
) -> Result<(), PayloadError> {
    let bits = |mode: i32| mode.cast_unsigned() & 0o777;
    match items {
        None | Some([]) => {
            for (key, bytes) in data {
                files.add(key, bytes, bits(mode))?;
            }
        }
        Some(items) => {
            for item in items {
                match data.get(item.key.as_str()) {
                    Some(bytes) => files.add(&item.path, bytes, bits(item.mode.unwrap_or(mode)))?,
                    None if optional => {}
                    None => return Err(PayloadError::NoKey { kind, key: item.key.clone() }),
                }
            }
        }
    }
    Ok(())
}

fn downward_files(
    context: &Context<'_>,
    items: &[DownwardAPIVolumeFile],
    mode: i32,
    files: &mut Files<'_>,
) -> Result<(), PayloadError> {
    for item in items {
        let (value, named) = match (&item.field_ref, &item.resource_field_ref) {
            (Some(ObjectFieldSelector { field_path, .. }), _) => {
                (downward::field(context.pod, field_path), field_path.clone())
            }
            (None, Some(reference)) => {
                let first = context.pod.spec.as_ref().and_then(|spec| spec.containers.first());
                let of = |first| downward::resource(context.pod, first, reference, context.node);
                (first.and_then(of), reference.resource.clone())
            }
            (None, None) => continue,
        };
        let value = value.ok_or(PayloadError::NoField(named))?;
        let mode = item.mode.unwrap_or(mode).cast_unsigned() & 0o777;
        files.add(&item.path, value.as_bytes(), mode)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::downward::NodeCapacity;
    use crate::pod::env::Sources;
    use serde_json::{Value, json};

    /// The paths and bytes of what the volumes show, or why they cannot.
    fn show(volumes: Value, room: usize) -> Result<Vec<String>, PayloadError> {
        let pod = json!({
            "metadata": {"name": "p", "annotations": {"large": "x".repeat(200 << 10)}},
            "spec": {"containers": [{"name": "c"}], "volumes": volumes},
        });
        let pod: Pod = serde_json::from_value(pod).expect("a pod");
        let large = json!({"data": {"k": "x".repeat(1 << 20), "color": "blue"}});
        let large: ConfigMap = serde_json::from_value(large).expect("a ConfigMap");
        let sources = Sources {
            config_maps: BTreeMap::from([("large".to_owned(), Some(large))]),
            ..Sources::default()
        };
        let context = Context {
            pod: &pod,
            sources: &sources,
            tokens: &Tokens::new(),
            node: NodeCapacity::default(),
            claims: &BTreeMap::new(),
            devices: &BTreeMap::new(),
        };
        let mut room = Room::new(room);
        let mut shown = Vec::new();
        for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
            let files = payload(&context, volume, &mut room)?.expect("it is made of files");
            shown.extend(files.iter().map(|(path, file)| format!("{path} {}", file.bytes.len())));
        }
        Ok(shown)
    }

    #[test]
    fn a_key_may_be_shown_at_several_paths() {
        let items = json!([{"key": "color", "path": "a"}, {"key": "color", "path": "b/c"}]);
        let found = show(json!([{"name": "v", "configMap": {"name": "large", "items": items}}]), MOST_BYTES);
        assert_eq!(found, Ok(vec!["a 4".to_owned(), "b/c 4".to_owned()]));
    }

    #[test]
    fn all_volumes_of_a_pod_together_have_so_much_room() {
        let volume = |number: i32| json!({"name": format!("v{number}"), "configMap": {"name": "large"}});
        let of = |count: i32| (0..count).map(volume).collect::<Value>();
        assert_eq!(show(of(60), MOST_BYTES).map(|shown| shown.len()), Ok(120));
        assert_eq!(show(of(70), MOST_BYTES), Err(PayloadError::TooLarge));
        let parts: Vec<_> = (0..1000).map(|_| json!({"configMap": {"name": "large"}})).collect();
        let projected = json!([{"name": "v", "projected": {"sources": parts}}]);
        assert_eq!(show(projected, 2 << 20).map(|shown| shown.len()), Ok(2), "the same files once more");
        let fields: Vec<_> = (0..1000)
            .map(|number| json!({"path": format!("f{number}"), "fieldRef": {"fieldPath": "metadata.annotations"}}))
            .collect();
        let fields = json!([{"name": "v", "downwardAPI": {"items": fields}}]);
        assert_eq!(show(fields, MOST_BYTES), Err(PayloadError::TooLarge));
    }

    /// The mode and owner of a token that is shown with the mode 0644.
    #[track_caller]
    fn check_token(pod: Value, containers: Value, mode: u32, user: Option<u32>) {
        let sources = json!([{"serviceAccountToken": {"path": "token"}}]);
        let volumes = json!([{"name": "v", "projected": {"sources": sources}}]);
        let spec = json!({"securityContext": pod, "containers": containers, "volumes": volumes});
        let pod: Pod =
            serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).expect("a pod");
        let tokens = Tokens::from([(("v".to_owned(), "token".to_owned()), "secret".to_owned())]);
        let (sources, node) = (Sources::default(), NodeCapacity::default());
        let (claims, devices) = (BTreeMap::new(), BTreeMap::new());
        let context = Context {
            pod: &pod,
            sources: &sources,
            tokens: &tokens,
            node,
            claims: &claims,
            devices: &devices,
        };
        let volume = &pod.spec.as_ref().and_then(|spec| spec.volumes.as_ref()).expect("volumes")[0];
        let files = payload(&context, volume, &mut Room::new(MOST_BYTES)).expect("shown").expect("files");
        assert_eq!((files["token"].mode, files["token"].user), (mode, user));
    }

    #[test]
    fn a_token_is_for_the_one_user_of_the_pod_or_for_its_group() {
        let user = |id: i64| json!({"name": format!("c{id}"), "securityContext": {"runAsUser": id}});
        let plain = json!({"name": "plain"});
        check_token(json!({}), json!([plain]), 0o644, None);
        check_token(json!({"runAsUser": 1000}), json!([plain]), 0o600, Some(1000));
        check_token(json!({}), json!([user(1000), user(1000)]), 0o600, Some(1000));
        check_token(json!({"runAsUser": 1000}), json!([plain, user(1001)]), 0o644, None);
        check_token(json!({}), json!([plain, user(1000)]), 0o644, None);
        check_token(json!({"fsGroup": 2000}), json!([plain, user(1000)]), 0o600, None);
    }
}
