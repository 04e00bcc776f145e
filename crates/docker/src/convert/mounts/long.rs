//! The long form: a document with a type.

use engine::container::{Mount, MountSource};

use super::{check_target, propagation};
use crate::fault::Fault;
use crate::wire::container::MountSpec;
use crate::wire::container::mount::{BindOptions, TmpfsOptions, VolumeOptions};

/// Reads the long form.
pub(super) fn read(document: &MountSpec) -> Result<Mount, Fault> {
    let invalid =
        |why: &str| Fault::invalid(format!("invalid mount config for type \"{}\": {why}", document.kind));
    let foreign = [
        ("VolumeOptions", document.volume_options.is_some(), "volume"),
        ("BindOptions", document.bind_options.is_some(), "bind"),
        ("TmpfsOptions", document.tmpfs_options.is_some(), "tmpfs"),
        ("ImageOptions", document.image_options.is_some(), "image"),
    ];
    for (name, given, kind) in foreign {
        if given && kind != document.kind {
            return Err(Fault::invalid(format!(
                "{name} must not be specified on mount type \"{}\"",
                document.kind
            )));
        }
    }
    if document.target.is_empty() {
        return Err(invalid("field Target must not be empty"));
    }
    check_target(&document.target, &document.target)?;
    let source = match document.kind.as_str() {
        "bind" => bind(document, &invalid)?,
        "volume" => volume(document, &invalid)?,
        "tmpfs" => {
            if !document.source.is_empty() {
                return Err(invalid("field Source must not be specified"));
            }
            tmpfs(document.tmpfs_options.as_ref())
        }
        "image" => image(document, &invalid)?,
        "npipe" | "cluster" => {
            return Err(Fault::unsupported(format!("mount type \"{}\" is not supported", document.kind)));
        }
        _ => return Err(invalid("mount type unknown")),
    };
    Ok(Mount { target: document.target.clone(), read_only: document.read_only, source })
}

fn bind(document: &MountSpec, invalid: &dyn Fn(&str) -> Fault) -> Result<MountSource, Fault> {
    if document.source.is_empty() {
        return Err(invalid("field Source must not be empty"));
    }
    if !document.source.starts_with('/') {
        return Err(invalid(&format!(
            "invalid mount path: '{}' mount path must be absolute",
            document.source
        )));
    }
    let usual = BindOptions::default();
    let options = document.bind_options.as_ref().unwrap_or(&usual);
    let propagation = match options.propagation.as_str() {
        "" => Default::default(),
        text => propagation(text).ok_or_else(|| invalid(&format!("invalid propagation mode: {text}")))?,
    };
    if options.read_only_non_recursive && options.read_only_force_recursive {
        return Err(invalid("mount options conflict: ReadOnlyNonRecursive and ReadOnlyForceRecursive"));
    }
    if !document.read_only && (options.read_only_non_recursive || options.read_only_force_recursive) {
        return Err(invalid("ReadOnlyNonRecursive and ReadOnlyForceRecursive need ReadOnly"));
    }
    Ok(MountSource::Bind {
        path: document.source.as_str().into(),
        propagation,
        create: options.create_mountpoint,
        non_recursive: options.non_recursive,
        writable_below: options.read_only_non_recursive,
        subpath: None,
        must_be: None,
    })
}

fn image(document: &MountSpec, invalid: &dyn Fn(&str) -> Fault) -> Result<MountSource, Fault> {
    if document.source.is_empty() {
        return Err(invalid("field Source must not be empty"));
    }
    let part = document.image_options.as_ref().map(|options| options.subpath.as_str()).unwrap_or_default();
    Ok(MountSource::Image { reference: document.source.clone(), subpath: subpath(part, invalid)? })
}

/// A part of a volume or an image, without dots.
fn subpath(text: &str, invalid: &dyn Fn(&str) -> Fault) -> Result<Option<String>, Fault> {
    let mut parts: Vec<&str> = Vec::new();
    let outside = || invalid("subpath must be a relative path within the volume");
    if text.starts_with('/') {
        return Err(outside());
    }
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop().ok_or_else(outside)?),
            part => parts.push(part),
        }
    }
    Ok((!parts.is_empty()).then(|| parts.join("/")))
}

fn volume(document: &MountSpec, invalid: &dyn Fn(&str) -> Fault) -> Result<MountSource, Fault> {
    let usual = VolumeOptions::default();
    let options = document.volume_options.as_ref().unwrap_or(&usual);
    let driver = options.driver_config.clone().unwrap_or_default();
    if document.source.is_empty() && !options.subpath.is_empty() {
        return Err(invalid("must not set Subpath when using anonymous volumes"));
    }
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Ok(MountSource::Volume {
        name: some(&document.source),
        no_copy: options.no_copy,
        subpath: subpath(&options.subpath, invalid)?,
        driver: some(&driver.name),
        labels: options.labels.clone(),
        options: driver.options,
    })
}

fn tmpfs(options: Option<&TmpfsOptions>) -> MountSource {
    let usual = TmpfsOptions::default();
    let options = options.unwrap_or(&usual);
    MountSource::Tmpfs {
        size: u64::try_from(options.size_bytes).ok().filter(|&size| size > 0),
        mode: Some(options.mode).filter(|&mode| mode != 0),
        options: options.options.iter().map(|words| words.join("=")).collect(),
    }
}
