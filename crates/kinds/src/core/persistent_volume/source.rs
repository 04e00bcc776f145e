//! Rules of where a volume's storage comes from.

use model::Object;
use model::field::{FieldError, Path};
use model::names::{dns1123_subdomain, in_range};
use model::validate::{Errors, invalid, list, number, text};
use serde_json::{Map, Value};

use crate::node_selector;

/// A kind of source: its field, what errors call it, and what it must say.
struct Source {
    field: &'static str,
    shown: &'static str,
    required: &'static [&'static str],
}

const fn source(field: &'static str, required: &'static [&'static str]) -> Source {
    Source { field, shown: field, required }
}

/// All kinds, in the order in which they are looked at.
const SOURCES: [Source; 22] = [
    source("hostPath", &["path"]),
    Source { field: "gcePersistentDisk", shown: "persistentDisk", required: &["pdName"] },
    source("awsElasticBlockStore", &["volumeID"]),
    source("glusterfs", &["endpoints", "path"]),
    source("flocker", &[]),
    source("nfs", &["server", "path"]),
    source("rbd", &["monitors", "image"]),
    source("quobyte", &["registry", "volume"]),
    source("cephfs", &["monitors"]),
    source("iscsi", &["targetPortal", "iqn"]),
    source("cinder", &["volumeID"]),
    source("fc", &[]),
    source("flexVolume", &["driver"]),
    source("azureFile", &["secretName", "shareName"]),
    source("vsphereVolume", &["volumePath"]),
    source("photonPersistentDisk", &["pdID"]),
    source("portworxVolume", &["volumeID"]),
    source("azureDisk", &["diskName", "diskURI"]),
    source("scaleIO", &["gateway", "system", "volumeName"]),
    source("local", &["path"]),
    source("storageos", &[]),
    source("csi", &[]),
];

const HOST_PATH_TYPES: [&str; 8] =
    ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
/// A driver's name is no longer.
const DRIVER_BYTES: usize = 63;
/// What the secrets of a driver are for.
const SECRETS: [&str; 5] = [
    "controllerPublishSecretRef",
    "controllerExpandSecretRef",
    "nodeStageSecretRef",
    "nodePublishSecretRef",
    "nodeExpandSecretRef",
];

/// The sources of a volume, which do not change.
pub(super) fn of(object: &Object) -> Value {
    let fields = SOURCES.iter().filter_map(|source| {
        let value = object.get(&["spec", source.field])?;
        Some((source.field.to_owned(), value.clone()))
    });
    Value::Object(fields.collect::<Map<String, Value>>())
}

/// There must be one source, and it must be whole.
pub(super) fn one(spec: &Value, is_bound_to_nodes: bool, path: &Path<'_>, errors: &mut Errors) {
    let given: Vec<&Source> = SOURCES.iter().filter(|source| spec.get(source.field).is_some()).collect();
    if given.is_empty() {
        errors.push(FieldError::required(path, "must specify a volume type"));
    }
    for (index, source) in given.into_iter().enumerate() {
        // Kubernetes never refuses this one.
        if index > 0 && source.field != "flexVolume" {
            let field = if source.field == "cephfs" { "cephFS" } else { source.field };
            errors.push(FieldError::forbidden(&path.child(field), "may not specify more than 1 volume type"));
            continue;
        }
        let value = &spec[source.field];
        let of_source = path.child(source.shown);
        for name in source.required {
            let is_there = match &value[*name] {
                Value::String(text) => !text.is_empty(),
                Value::Array(items) => !items.is_empty(),
                _ => false,
            };
            if !is_there {
                errors.push(FieldError::required(&of_source.child(name), ""));
            }
        }
        particular(source.field, value, &of_source, errors);
        if source.field == "local" && !is_bound_to_nodes {
            let message = "Local volume requires node affinity";
            errors.push(FieldError::required(&path.child("nodeAffinity"), message));
        }
    }
}

fn particular(field: &str, source: &Value, path: &Path<'_>, errors: &mut Errors) {
    match field {
        "hostPath" => {
            no_way_back(text(source, "path"), &path.child("path"), errors);
            let kind = text(source, "type");
            if !HOST_PATH_TYPES.contains(&kind) {
                errors.push(FieldError::not_supported(&path.child("type"), kind, &HOST_PATH_TYPES));
            }
        }
        "local" => no_way_back(text(source, "path"), &path.child("path"), errors),
        "gcePersistentDisk" | "awsElasticBlockStore" => small(source, "partition", path, errors),
        "nfs" => {
            let place = text(source, "path");
            if !place.is_empty() && !place.starts_with('/') {
                errors.push(FieldError::invalid(&path.child("path"), place, "must be an absolute path"));
            }
        }
        "flocker" => {
            let (name, id) = (text(source, "datasetName"), text(source, "datasetUUID"));
            if name.is_empty() && id.is_empty() {
                errors.push(FieldError::required(path, "one of datasetName and datasetUUID is required"));
            }
            if !name.is_empty() && !id.is_empty() {
                let message = "datasetName and datasetUUID can not be specified simultaneously";
                errors.push(FieldError::invalid(path, "resource", message));
            }
            if name.contains('/') {
                errors.push(FieldError::invalid(&path.child("datasetName"), name, "must not contain '/'"));
            }
        }
        "iscsi" => {
            let name = text(source, "iqn");
            if !name.is_empty() && !["iqn", "eui", "naa"].iter().any(|kind| name.starts_with(kind)) {
                errors.push(FieldError::invalid(&path.child("iqn"), name, "must be valid format"));
            }
            small(source, "lun", path, errors);
        }
        "fc" => fibre_channel(source, path, errors),
        "azureFile" if source.get("secretNamespace").is_some_and(|name| name == "") => {
            let path = path.child("secretNamespace");
            errors.push(FieldError::required(&path, "must not be empty"));
        }
        "azureDisk" => {
            let modes = ["None", "ReadOnly", "ReadWrite"];
            let mode = text(source, "cachingMode");
            if !mode.is_empty() && !modes.contains(&mode) {
                errors.push(FieldError::not_supported(&path.child("cachingMode"), mode, &modes));
            }
            let kinds = ["Dedicated", "Managed", "Shared"];
            let kind = text(source, "kind");
            if !kind.is_empty() && !kinds.contains(&kind) {
                errors.push(FieldError::not_supported(&path.child("kind"), kind, &kinds));
            }
        }
        "cinder" => {
            if let Some(secret) = source.get("secretRef") {
                reference(secret, &path.child("secretRef"), errors);
            }
        }
        "csi" => csi(source, path, errors),
        _ => {}
    }
}

fn csi(source: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (driver, of_driver) = (text(source, "driver"), path.child("driver"));
    if driver.is_empty() {
        errors.push(FieldError::required(&of_driver, ""));
    } else {
        if driver.len() > DRIVER_BYTES {
            errors.push(FieldError::too_long(&of_driver, DRIVER_BYTES));
        }
        invalid(errors, &of_driver, driver, dns1123_subdomain(&driver.to_lowercase()));
    }
    if text(source, "volumeHandle").is_empty() {
        errors.push(FieldError::required(&path.child("volumeHandle"), ""));
    }
    for name in SECRETS {
        if let Some(secret) = source.get(name) {
            reference(secret, &path.child(name), errors);
        }
    }
}

/// A secret in some namespace.
fn reference(secret: &Value, path: &Path<'_>, errors: &mut Errors) {
    for name in ["name", "namespace"] {
        if text(secret, name).is_empty() {
            errors.push(FieldError::required(&path.child(name), ""));
        }
    }
}

fn fibre_channel(source: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (targets, ids) = (list(source, "targetWWNs"), list(source, "wwids"));
    let of_targets = path.child("targetWWNs");
    match (targets.is_empty(), ids.is_empty()) {
        (true, true) => {
            let message = "must specify either targetWWNs or wwids, but not both";
            errors.push(FieldError::required(&of_targets, message));
        }
        (false, false) => {
            let message = "targetWWNs and wwids can not be specified simultaneously";
            errors.push(FieldError::invalid(&of_targets, targets.to_vec(), message));
        }
        _ => {}
    }
    if targets.is_empty() {
        return;
    }
    if number(source, "lun").is_none() {
        let message = "lun is required if targetWWNs is specified";
        errors.push(FieldError::required(&path.child("lun"), message));
    }
    small(source, "lun", path, errors);
}

/// A number that is one byte.
fn small(source: &Value, name: &str, path: &Path<'_>, errors: &mut Errors) {
    if let Some(value) = number(source, name) {
        invalid(errors, &path.child(name), value, in_range(value, 0, 255));
    }
}

fn no_way_back(place: &str, path: &Path<'_>, errors: &mut Errors) {
    if place.split('/').any(|part| part == "..") {
        errors.push(FieldError::invalid(path, place, "must not contain '..'"));
    }
}

/// Rules of the nodes that can use a volume; gives whether some are named.
pub(super) fn node_affinity(spec: &Value, path: &Path<'_>, errors: &mut Errors) -> bool {
    let Some(affinity) = spec.get("nodeAffinity") else { return false };
    let path = path.child("nodeAffinity");
    let path = path.child("required");
    let Some(required) = affinity.get("required") else {
        errors.push(FieldError::required(&path, "must specify required node constraints"));
        return true;
    };
    node_selector::rules(required, &path, errors);
    true
}
