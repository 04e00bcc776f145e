//! A registry for a daemon.

use crate::{Daemon, Running};

/// A registry on the daemon's host, at `localhost:5000`, until it is dropped.
#[track_caller]
pub fn registry(daemon: &Daemon) -> Running {
    let files = daemon.scratch("registry");
    let config = files.join("config.yml");
    let text = format!(
        "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '127.0.0.1:5000'}}\n",
        files.join("data").display()
    );
    std::fs::write(&config, text).expect("write");
    let registry =
        Running::start(daemon.on_host("docker-registry", &["serve", &config.display().to_string()]));
    registry.wait_for("listening on");
    registry
}
