//! Dockerfile instructions that change an image's configuration only (`docker commit --change`).

use engine::image::ImageConfig;

use crate::configure;

/// Why a change could not be applied.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ChangeError(String);

/// Applies instructions such as `CMD ["sh"]` or `ENV A=b` to a configuration. Only those that need
/// no file system and no base image are allowed: CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL,
/// ONBUILD, STOPSIGNAL, USER, VOLUME, WORKDIR.
pub fn apply_changes(config: &mut ImageConfig, changes: &[String]) -> Result<(), ChangeError> {
    if changes.is_empty() {
        return Ok(());
    }
    let mut changed = config.to_document();
    // As lines of one file: any of them may be several.
    configure::change(&mut changed, &changes.join("\n")).map_err(ChangeError)?;
    *config = ImageConfig::of_document(&changed);
    Ok(())
}
