//! The files that a volume shows: pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    ConfigMap, DownwardAPIVolumeFile, KeyToPath, ObjectFieldSelector, Pod, Secret, Volume, VolumeProjection,
};

use super::Context;
use crate::pod::downward;

/// Files by path relative to the volume.
pub type Payload = BTreeMap<String, File>;

/// Service-account tokens by volume and path, fetched beforehand.
pub type Tokens = BTreeMap<(String, String), String>;

/// One file of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its content.
    pub bytes: Vec<u8>,
    /// Its permission bits.
    pub mode: u32,
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
}

const DEFAULT_MODE: i32 = 0o644;

/// The files of `volume`; `None` for kinds of volume that are not made of files.
pub fn payload(context: &Context<'_>, volume: &Volume) -> Result<Option<Payload>, PayloadError> {
    let mut files = Payload::new();
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
    Ok(Some(files))
}

fn project(
    context: &Context<'_>,
    volume: &str,
    part: &VolumeProjection,
    mode: i32,
    files: &mut Payload,
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
        // A container that does not run as root must be able to read its own token.
        let mode = if runs_as_user(context.pod) { 0o600 | (mode as u32 & 0o044) } else { mode as u32 };
        files.insert(source.path.clone(), File { bytes: token.clone().into_bytes(), mode });
    }
    Ok(())
}

fn runs_as_user(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref()).is_some_and(|s| s.run_as_user.is_some())
}

fn config_map(
    context: &Context<'_>,
    name: &str,
    optional: Option<bool>,
    items: Option<&[KeyToPath]>,
    mode: i32,
    files: &mut Payload,
) -> Result<(), PayloadError> {
    let optional = optional.unwrap_or(false);
    let object: &ConfigMap = match context.sources.config_maps.get(name).and_then(Option::as_ref) {
        Some(object) => object,
        None if optional => return Ok(()),
        None => return Err(PayloadError::NoConfigMap(name.to_owned())),
    };
    let text = object.data.iter().flatten().map(|(key, value)| (key.clone(), value.clone().into_bytes()));
    let binary = object.binary_data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone()));
    keys(text.chain(binary).collect(), items, optional, mode, "config", files)
}

fn secret(
    context: &Context<'_>,
    name: &str,
    optional: Option<bool>,
    items: Option<&[KeyToPath]>,
    mode: i32,
    files: &mut Payload,
) -> Result<(), PayloadError> {
    let optional = optional.unwrap_or(false);
    let object: &Secret = match context.sources.secrets.get(name).and_then(Option::as_ref) {
        Some(object) => object,
        None if optional => return Ok(()),
        None => return Err(PayloadError::NoSecret(name.to_owned())),
    };
    let data = object.data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone()));
    keys(data.collect(), items, optional, mode, "secret", files)
}

/// All keys under their own names, or those that `items` names under the paths that it gives them.
fn keys(
    mut data: BTreeMap<String, Vec<u8>>,
    items: Option<&[KeyToPath]>,
    optional: bool,
    mode: i32,
    kind: &'static str,
    files: &mut Payload,
) -> Result<(), PayloadError> {
    let bits = |mode: i32| mode.cast_unsigned() & 0o777;
    match items {
        None | Some([]) => {
            files.extend(data.into_iter().map(|(key, bytes)| (key, File { bytes, mode: bits(mode) })));
        }
        Some(items) => {
            for item in items {
                match data.remove(&item.key) {
                    Some(bytes) => {
                        let mode = bits(item.mode.unwrap_or(mode));
                        files.insert(item.path.clone(), File { bytes, mode });
                    }
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
    files: &mut Payload,
) -> Result<(), PayloadError> {
    for item in items {
        let (value, named) = match (&item.field_ref, &item.resource_field_ref) {
            (Some(ObjectFieldSelector { field_path, .. }), _) => {
                (downward::field(context.pod, field_path), field_path.clone())
            }
            (None, Some(reference)) => {
                let containers =
                    context.pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
                let first = containers.first().cloned().unwrap_or_default();
                (downward::resource(context.pod, &first, reference, context.node), reference.resource.clone())
            }
            (None, None) => continue,
        };
        let value = value.ok_or(PayloadError::NoField(named))?;
        let mode = item.mode.unwrap_or(mode).cast_unsigned() & 0o777;
        files.insert(item.path.clone(), File { bytes: value.into_bytes(), mode });
    }
    Ok(())
}
