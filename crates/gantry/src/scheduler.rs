//! How the scheduler is set up: the file that the configuration names, read once.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use control::scheduler::Configuration;

use crate::config::Config;

/// Longer than any such file is.
const LONGEST: u64 = 1 << 20;

/// Reads what the configuration names; what Kubernetes' scheduler does by default where it names nothing.
pub(crate) fn open(config: &Config) -> anyhow::Result<Arc<Configuration>> {
    let Some(path) = &config.scheduler else { return Ok(Arc::default()) };
    let read = read(path).with_context(|| format!("use the scheduler's configuration {}", path.display()))?;
    Ok(Arc::new(read))
}

fn read(path: &Path) -> anyhow::Result<Configuration> {
    let file = std::fs::File::open(path).context("open it")?;
    let mut text = String::new();
    file.take(LONGEST + 1).read_to_string(&mut text).context("read it")?;
    anyhow::ensure!(text.len() as u64 <= LONGEST, "it is longer than {LONGEST} bytes");
    let document: serde_json::Value = serde_saphyr::from_str(&text).context("it is no YAML")?;
    Ok(Configuration::read(document)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_or_refused_with_a_reason() {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("scheduler.yaml");
        let check = |text: &str| {
            std::fs::write(&path, text).expect("write");
            read(&path).map(drop).map_err(|error| format!("{error:#}"))
        };
        let head = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n";
        assert_eq!(check(&format!("{head}profiles:\n- schedulerName: mine\n")), Ok(()));
        let refused = check(&format!("{head}colour: red\n")).expect_err("it is unknown");
        assert!(refused.contains("unknown field `colour`"), "{refused}");
        assert!(check("a: [").expect_err("it is broken").starts_with("it is no YAML"));
    }
}
