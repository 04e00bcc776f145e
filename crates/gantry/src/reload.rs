//! Reading the configuration anew, as SIGHUP asks for.
//!
//! What is listened on, kept and numbered was settled when the daemon began: a key that says something else now is
//! told, and holds from the next start on. Containers live through one.

use std::collections::BTreeMap;

use engine::Engine;
use tokio::signal::unix::Signal;
use tracing::{error, info, warn};

use crate::config::{Config, ConfigError};

/// Reads the configuration with `again` whenever `hangup` comes, for ever; `running` is what is in force.
pub(crate) async fn run(
    running: &Config,
    again: &dyn Fn() -> Result<Config, ConfigError>,
    mut hangup: Signal,
    engine: Engine,
) -> &'static str {
    while hangup.recv().await.is_some() {
        match offload::in_place(again) {
            Ok(found) => {
                for (key, value) in changed(running, &found) {
                    warn!(
                        key,
                        value,
                        "the configuration has changed: this takes effect when the daemon is started again"
                    );
                }
                info!("the configuration was read again");
                engine.tell_reload(settings(&found));
            }
            Err(error) => {
                error!(error = %base::error::chain(&error), "the configuration cannot be read again: what is in force stays");
            }
        }
    }
    std::future::pending().await
}

/// The keys whose values are others now, with these.
fn changed<'a>(running: &Config, found: &'a Config) -> Vec<(&'static str, &'a str)> {
    let pairs = running.origins.iter().zip(&found.origins);
    let changed = pairs.filter(|((_, was, _), (_, is, _))| was != is);
    changed.map(|(_, (key, is, _))| (*key, is.as_str())).collect()
}

fn settings(config: &Config) -> BTreeMap<String, String> {
    config.origins.iter().map(|(key, value, _)| ((*key).to_owned(), value.clone())).collect()
}
