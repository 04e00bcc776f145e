//! `gantry kubeconfig`: the administrator's credentials for the Kubernetes API.

use std::process::ExitCode;

use anyhow::Context as _;

use crate::config::Config;

pub(super) fn run(config: &Config) -> anyhow::Result<ExitCode> {
    let path = &config.kubeconfig;
    let text = std::fs::read_to_string(path).with_context(|| {
        format!("read {}: it is written by the first `gantry up` with this --root; is it running, and are you root?", path.display())
    })?;
    super::output::write(&text)?;
    Ok(ExitCode::SUCCESS)
}
