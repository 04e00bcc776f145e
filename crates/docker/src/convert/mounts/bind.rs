//! The short form: `[source:]target[:options]`.

use engine::container::{Mount, MountSource, Propagation};

use super::{check_target, propagation};
use crate::fault::Fault;
use crate::names;

/// Reads the short form; a source that is no path is a volume's name, and `driver` makes it.
pub(super) fn parse(text: &str, driver: &str) -> Result<Mount, Fault> {
    let invalid = |why: &str| Fault::invalid(format!("invalid volume specification: '{text}'{why}"));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [target] if !target.is_empty() => ("", *target, ""),
        [source, target] if !source.is_empty() && !target.is_empty() => (*source, *target, ""),
        [source, target, options] if !source.is_empty() && !target.is_empty() && !options.is_empty() => {
            (*source, *target, *options)
        }
        _ => return Err(invalid("")),
    };
    check_target(target, text)?;
    let options =
        Options::parse(options).ok_or_else(|| Fault::invalid(format!("invalid mode: {options}")))?;
    let source = if source.starts_with('/') {
        if options.no_copy {
            return Err(invalid(": invalid mount config: nocopy is for volumes"));
        }
        MountSource::Bind {
            path: source.into(),
            // As the real daemon does: what the host mounts below it later is seen too.
            propagation: options.propagation.unwrap_or(Propagation::Rprivate),
            create: true,
            non_recursive: false,
            writable_below: false,
            subpath: None,
            must_be: None,
        }
    } else {
        if options.propagation.is_some() {
            return Err(invalid(": invalid mount config: propagation is for binds"));
        }
        if !source.is_empty() && !names::is_restricted(source) {
            return Err(Fault::invalid(format!(
                "create {source}: \"{source}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
            )));
        }
        MountSource::Volume {
            name: (!source.is_empty()).then(|| source.to_owned()),
            no_copy: options.no_copy,
            subpath: None,
            driver: (!driver.is_empty()).then(|| driver.to_owned()),
            labels: Default::default(),
            options: Default::default(),
        }
    };
    Ok(Mount { target: target.to_owned(), read_only: options.read_only, source })
}

/// What stands after the second colon.
#[derive(Default)]
struct Options {
    read_only: bool,
    no_copy: bool,
    propagation: Option<Propagation>,
}

impl Options {
    fn parse(text: &str) -> Option<Self> {
        let mut options = Self::default();
        let mut seen_mode = false;
        for option in text.split(',').filter(|_| !text.is_empty()) {
            match option {
                "ro" | "rw" if seen_mode => return None,
                "ro" | "rw" => {
                    seen_mode = true;
                    options.read_only = option == "ro";
                }
                "nocopy" => options.no_copy = true,
                // Labels of SELinux and hints for other platforms have no effect here.
                "z" | "Z" | "cached" | "delegated" | "consistent" | "default" => {}
                other if options.propagation.is_none() => options.propagation = Some(propagation(other)?),
                _ => return None,
            }
        }
        Some(options)
    }
}
