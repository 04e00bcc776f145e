//! Where a volume comes from: exactly one of the many kinds.

use serde_json::Value;

use model::Quantity;
use model::field::{FieldError, Path};
use model::names;
use model::validate::{Errors, entries, flag, invalid, list, number, text};

use super::super::rules::Whole;
use super::{claim, descending, files, no_backsteps, required, set};

/// Kinds of sources in the order in which Kubernetes looks for them, with the names that it uses for them
/// where there are too many: two of them are not spelled as the fields are.
const KINDS: [(&str, &str); 30] = [
    ("emptyDir", "emptyDir"),
    ("hostPath", "hostPath"),
    ("gitRepo", "gitRepo"),
    ("gcePersistentDisk", "gcePersistentDisk"),
    ("awsElasticBlockStore", "awsElasticBlockStore"),
    ("secret", "secret"),
    ("nfs", "nfs"),
    ("iscsi", "iscsi"),
    ("glusterfs", "glusterfs"),
    ("flocker", "flocker"),
    ("persistentVolumeClaim", "persistentVolumeClaim"),
    ("rbd", "rbd"),
    ("cinder", "cinder"),
    ("cephfs", "cephFS"),
    ("quobyte", "quobyte"),
    ("downwardAPI", "downwarAPI"),
    ("fc", "fc"),
    ("flexVolume", "flexVolume"),
    ("configMap", "configMap"),
    ("azureFile", "azureFile"),
    ("vsphereVolume", "vsphereVolume"),
    ("photonPersistentDisk", "photonPersistentDisk"),
    ("portworxVolume", "portworxVolume"),
    ("azureDisk", "azureDisk"),
    ("storageos", "storageos"),
    ("projected", "projected"),
    ("scaleIO", "scaleIO"),
    ("csi", "csi"),
    ("ephemeral", "ephemeral"),
    ("image", "image"),
];
const HOST_PATH_TYPES: [&str; 8] =
    ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
const PULL_POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];
const PARTITION: &str = "must be between 1 and 255, inclusive";
const LUN: &str = "must be between 0 and 255, inclusive";

/// The source of the volume `volume`, which is at `path`.
pub(super) fn one_of_all(volume: &Value, whole: Whole<'_>, path: &Path<'_>, errors: &mut Errors) {
    let mut given = false;
    for (kind, shown) in KINDS {
        let Some(source) = set(volume, kind) else { continue };
        if given {
            errors.push(FieldError::forbidden(&path.child(shown), "may not specify more than 1 volume type"));
        } else {
            given = true;
            // So it is called in Kubernetes.
            let name = if kind == "gcePersistentDisk" { "persistentDisk" } else { kind };
            check(kind, source, volume, whole, &path.child(name), errors);
        }
        if kind == "iscsi" && set(source, "initiatorName").is_some() {
            let name = text(volume, "name");
            if name.len() + 1 + text(source, "targetPortal").len() > 64 {
                let message = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";
                errors.push(FieldError::invalid(&path.child("name"), name, message));
            }
        }
        if kind == "ephemeral" {
            ephemeral_name(volume, whole, path, errors);
        }
    }
    if !given {
        errors.push(FieldError::required(path, "must specify a volume type"));
    }
}

fn check(kind: &str, source: &Value, volume: &Value, whole: Whole<'_>, path: &Path<'_>, errors: &mut Errors) {
    let fields = |errors: &mut Errors, names: &[&str]| {
        for name in names {
            required(errors, source, name, path);
        }
    };
    match kind {
        "emptyDir" => {
            let limit = set(source, "sizeLimit").and_then(Quantity::from_json);
            if limit.is_some_and(Quantity::is_negative) {
                let message = "SizeLimit field must be a valid resource quantity";
                errors.push(FieldError::forbidden(&path.child("sizeLimit"), message));
            }
        }
        "hostPath" => host_path(source, path, errors),
        "gitRepo" => {
            fields(errors, &["repository"]);
            descending(text(source, "directory"), &path.child("directory"), errors);
        }
        "gcePersistentDisk" => {
            fields(errors, &["pdName"]);
            within(source, "partition", PARTITION, path, errors);
        }
        "awsElasticBlockStore" => {
            fields(errors, &["volumeID"]);
            within(source, "partition", PARTITION, path, errors);
        }
        "secret" => files::of_object(source, "secretName", path, errors),
        "configMap" => files::of_object(source, "name", path, errors),
        "downwardAPI" => files::downward(source, path, errors),
        "projected" => files::projected(source, path, errors),
        "nfs" => {
            fields(errors, &["server", "path"]);
            let place = text(source, "path");
            if !place.starts_with('/') {
                errors.push(FieldError::invalid(&path.child("path"), place, "must be an absolute path"));
            }
        }
        "iscsi" => iscsi(source, path, errors),
        "glusterfs" => fields(errors, &["endpoints", "path"]),
        "flocker" => flocker(source, path, errors),
        "persistentVolumeClaim" => fields(errors, &["claimName"]),
        "rbd" => {
            some(source, "monitors", path, errors);
            fields(errors, &["image"]);
        }
        "cinder" => {
            fields(errors, &["volumeID"]);
            secret_name(source, "secretRef", path, errors);
        }
        "cephfs" => some(source, "monitors", path, errors),
        "quobyte" => quobyte(source, path, errors),
        "fc" => fibre_channel(source, path, errors),
        "flexVolume" => flex(source, path, errors),
        "azureFile" => fields(errors, &["secretName", "shareName"]),
        "vsphereVolume" => fields(errors, &["volumePath"]),
        "photonPersistentDisk" => fields(errors, &["pdID"]),
        "portworxVolume" => fields(errors, &["volumeID"]),
        "azureDisk" => azure_disk(source, path, errors),
        "storageos" => {
            fields(errors, &["volumeName"]);
            for name in ["volumeName", "volumeNamespace"] {
                let value = text(source, name);
                if !value.is_empty() {
                    invalid(errors, &path.child(name), value, names::dns1123_label(value));
                }
            }
            secret_name(source, "secretRef", path, errors);
        }
        "scaleIO" => fields(errors, &["gateway", "system", "volumeName"]),
        "csi" => csi(source, path, errors),
        "ephemeral" => match set(source, "volumeClaimTemplate") {
            None => errors.push(FieldError::required(&path.child("volumeClaimTemplate"), "")),
            Some(template) => claim::template(template, &path.child("volumeClaimTemplate"), errors),
        },
        "image" => {
            if whole.is_pod && text(source, "reference").is_empty() {
                errors.push(FieldError::required(&path.child("reference"), ""));
            }
            model::validate::one_of(errors, source, "pullPolicy", path, &PULL_POLICIES);
        }
        _ => debug_assert!(set(volume, kind).is_none(), "{kind} is no kind of source"),
    }
}

/// What the claim is called that is made for the volume must be a name.
fn ephemeral_name(volume: &Value, whole: Whole<'_>, path: &Path<'_>, errors: &mut Errors) {
    let name = text(volume, "name");
    let Some(pod) = whole.pod_name.filter(|pod| !pod.is_empty() && !name.is_empty()) else { return };
    let claim = format!("{pod}-{name}");
    for message in names::dns1123_subdomain(&claim) {
        let message = format!("PVC name {claim:?}: {message}");
        errors.push(FieldError::invalid(&path.child("name"), name, message));
    }
}

fn host_path(source: &Value, path: &Path<'_>, errors: &mut Errors) {
    let place = text(source, "path");
    if place.is_empty() {
        errors.push(FieldError::required(&path.child("path"), ""));
        return;
    }
    no_backsteps(place, &path.child("path"), errors);
    let kind = text(source, "type");
    if !HOST_PATH_TYPES.contains(&kind) {
        errors.push(FieldError::not_supported(&path.child("type"), kind, &HOST_PATH_TYPES));
    }
}

fn within(source: &Value, name: &str, message: &str, path: &Path<'_>, errors: &mut Errors) {
    if let Some(number) = number(source, name).filter(|number| !(0..=255).contains(number)) {
        errors.push(FieldError::invalid(&path.child(name), number, message));
    }
}

fn some(source: &Value, name: &str, path: &Path<'_>, errors: &mut Errors) {
    if list(source, name).is_empty() {
        errors.push(FieldError::required(&path.child(name), ""));
    }
}

fn secret_name(source: &Value, name: &str, path: &Path<'_>, errors: &mut Errors) {
    if let Some(secret) = set(source, name) {
        required(errors, secret, "name", &path.child(name));
    }
}

fn iscsi(source: &Value, path: &Path<'_>, errors: &mut Errors) {
    const START: &str = "must be valid format starting with iqn, eui, or naa";
    required(errors, source, "targetPortal", path);
    let name = text(source, "iqn");
    if name.is_empty() {
        errors.push(FieldError::required(&path.child("iqn"), ""));
    } else if !["iqn", "eui", "naa"].iter().any(|start| name.starts_with(start)) {
        errors.push(FieldError::invalid(&path.child("iqn"), name, START));
    } else if !is_initiator(name) {
        errors.push(FieldError::invalid(&path.child("iqn"), name, "must be valid format"));
    }
    within(source, "lun", LUN, path, errors);
    let authenticates = flag(source, "chapAuthDiscovery") || flag(source, "chapAuthSession");
    if authenticates && set(source, "secretRef").is_none() {
        errors.push(FieldError::required(&path.child("secretRef"), ""));
    }
    if let Some(name) = set(source, "initiatorName").and_then(Value::as_str) {
        let path = path.child("initiatorname");
        if !["iqn", "eui", "naa"].iter().any(|start| name.starts_with(start)) {
            errors.push(FieldError::invalid(&path, name, START));
        } else if !is_initiator(name) {
            errors.push(FieldError::invalid(&path, name, "must be valid format"));
        }
    }
}

/// Whether this is how an initiator may be called whose name has one of the three starts: `iqn.2024-01.org.example:x`,
/// or a number of 64 or 128 bits.
fn is_initiator(name: &str) -> bool {
    let plain = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    // The dot behind the start stands for any character.
    if let Some(rest) = name.strip_prefix("eui") {
        return rest.char_indices().nth(1).is_some_and(|(at, _)| plain(&rest[at..], 16));
    }
    if let Some(rest) = name.strip_prefix("naa") {
        return rest.char_indices().nth(1).is_some_and(|(at, _)| plain(&rest[at..], 32));
    }
    // `iqn.YEAR-MONTH.DOMAIN:NAME`, anywhere up to the end.
    name.match_indices("iqn.").any(|(at, start)| {
        let rest = &name[at + start.len()..];
        let Some((date, rest)) = rest.split_at_checked(7) else { return false };
        let is_date = date.bytes().enumerate().all(|(index, byte)| match index {
            4 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
        let Some(rest) = rest.strip_prefix('.').filter(|_| is_date) else { return false };
        let Some((domain, of_domain)) = rest.split_once(':') else { return false };
        !domain.is_empty()
            && domain.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.')
            && !of_domain.is_empty()
            && !of_domain.contains(|c: char| c.is_whitespace() || ",;*&$|".contains(c))
    })
}

fn flocker(source: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (name, uid) = (text(source, "datasetName"), text(source, "datasetUUID"));
    if name.is_empty() && uid.is_empty() {
        errors.push(FieldError::required(path, "one of datasetName and datasetUUID is required"));
    }
    if !name.is_empty() && !uid.is_empty() {
        let message = "datasetName and datasetUUID can not be specified simultaneously";
        errors.push(FieldError::invalid(path, "resource", message));
    }
    if name.contains('/') {
        errors.push(FieldError::invalid(&path.child("datasetName"), name, "must not contain '/'"));
    }
}

fn quobyte(source: &Value, path: &Path<'_>, errors: &mut Errors) {
    const PAIRS: &str = "must be a host:port pair or multiple pairs separated by commas";
    let registry = text(source, "registry");
    if registry.is_empty() {
        errors.push(FieldError::required(&path.child("registry"), PAIRS));
    } else if text(source, "tenant").len() >= 65 {
        let message = "must be a UUID and may not exceed a length of 64 characters";
        errors.push(FieldError::required(&path.child("tenant"), message));
    } else {
        let is_pair = |pair: &str| {
            pair.rsplit_once(':').is_some_and(|(host, _)| {
                !host.contains(':') || (host.starts_with('[') && host.ends_with(']'))
            })
        };
        for _ in registry.split(',').filter(|pair| !is_pair(pair)) {
            errors.push(FieldError::invalid(&path.child("registry"), registry, PAIRS));
        }
    }
    required(errors, source, "volume", path);
}

fn fibre_channel(source: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (targets, ids) = (list(source, "targetWWNs"), list(source, "wwids"));
    let of_targets = path.child("targetWWNs");
    if targets.is_empty() && ids.is_empty() {
        let message = "must specify either targetWWNs or wwids, but not both";
        errors.push(FieldError::required(&of_targets, message));
    }
    if !targets.is_empty() && !ids.is_empty() {
        let message = "targetWWNs and wwids can not be specified simultaneously";
        errors.push(FieldError::invalid(&of_targets, targets.to_vec(), message));
    }
    if !targets.is_empty() {
        match set(source, "lun") {
            None => {
                let message = "lun is required if targetWWNs is specified";
                errors.push(FieldError::required(&path.child("lun"), message));
            }
            Some(_) => within(source, "lun", LUN, path, errors),
        }
    }
}

fn flex(source: &Value, path: &Path<'_>, errors: &mut Errors) {
    required(errors, source, "driver", path);
    let options = path.child("options");
    for (key, _) in entries(source, "options") {
        let domain = key.split_once('/').map_or(key.as_str(), |(domain, _)| domain);
        let domain = format!(".{}", domain.to_lowercase());
        if domain.ends_with(".kubernetes.io") || domain.ends_with(".k8s.io") {
            let message = "kubernetes.io and k8s.io namespaces are reserved";
            errors.push(FieldError::invalid(&options.key(key), key.as_str(), message));
        }
    }
}

fn azure_disk(source: &Value, path: &Path<'_>, errors: &mut Errors) {
    const MANAGED: &str =
        "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}";
    const BLOB: &str = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd";
    required(errors, source, "diskName", path);
    required(errors, source, "diskURI", path);
    let words =
        [("cachingMode", ["None", "ReadOnly", "ReadWrite"]), ("kind", ["Dedicated", "Managed", "Shared"])];
    for (name, supported) in words {
        if let Some(word) = set(source, name).and_then(Value::as_str)
            && !supported.contains(&word)
        {
            errors.push(FieldError::not_supported(&path.child(name), word, &supported));
        }
    }
    let uri = text(source, "diskURI");
    let of_uri = path.child("diskURI");
    match set(source, "kind").and_then(Value::as_str) {
        Some("Managed") if !uri.starts_with("/subscriptions/") => {
            errors.push(FieldError::not_supported(&of_uri, uri, &[MANAGED]));
        }
        Some(kind) if kind != "Managed" && !uri.starts_with("https://") => {
            errors.push(FieldError::not_supported(&of_uri, uri, &[BLOB]));
        }
        _ => {}
    }
}

fn csi(source: &Value, path: &Path<'_>, errors: &mut Errors) {
    let driver = text(source, "driver");
    let of_driver = path.child("driver");
    if driver.is_empty() {
        errors.push(FieldError::required(&of_driver, ""));
    }
    if driver.len() > 63 {
        errors.push(FieldError::too_long(&of_driver, 63));
    }
    invalid(errors, &of_driver, driver, names::dns1123_subdomain(&driver.to_lowercase()));
    if let Some(secret) = set(source, "nodePublishSecretRef") {
        let name = text(secret, "name");
        if name.is_empty() {
            errors.push(FieldError::required(&path.child("nodePublishSecretRef").child("name"), ""));
        } else {
            invalid(errors, &path.child("name"), name, names::dns1123_subdomain(name));
        }
    }
}
