//! What is asked of writes to the Kubernetes API, as the configuration says.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use kinds::Plugins;
use offload::in_place;

use crate::config::Admission;

/// Makes it; fails where something is asked for that there is not, or the file cannot be read.
pub(crate) fn of(configured: &Admission) -> anyhow::Result<Vec<Arc<dyn apiserver::Admission>>> {
    let mut plugins = Plugins {
        enabled: configured.enabled.clone(),
        disabled: configured.disabled.clone(),
        ..Plugins::default()
    };
    if let Some(path) = &configured.file {
        let named = || format!("read what --admission-control-config-file names, {}", path.display());
        let text = in_place(|| std::fs::read_to_string(path)).with_context(named)?;
        // Files that it names are beside it.
        let directory = path.parent().unwrap_or(Path::new("/"));
        let beside = |name: &str| {
            in_place(|| std::fs::read_to_string(directory.join(name))).map_err(|error| error.to_string())
        };
        plugins.configure(&text, beside).map_err(anyhow::Error::msg).with_context(named)?;
    }
    kinds::admission_of(&plugins).context("ask of writes what --enable-admission-plugins and others say")
}
