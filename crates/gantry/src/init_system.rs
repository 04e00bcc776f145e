//! systemd, where it runs the daemon: telling it how things stand, and asking whether the host goes down.
//!
//! Where something else runs the daemon, all of this does nothing.

use std::time::Duration;

use sd_notify::NotifyState;

/// How long systemd may take to say how it fares.
const PATIENCE: Duration = Duration::from_secs(5);

/// The daemon serves.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The daemon ends; it may take `longest` until it has.
pub(crate) fn stopping(longest: Duration) {
    let micros = u32::try_from(longest.as_micros()).unwrap_or(u32::MAX);
    tell(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(micros)]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "tell systemd how the daemon fares");
    }
}

/// Whether the whole host is being shut down or rebooted, rather than that the daemon alone is stopped.
///
/// A signal does not tell: systemd sends the same for both.
pub(crate) async fn host_goes_down() -> bool {
    // As sd_booted(3) asks.
    if !tokio::fs::try_exists("/run/systemd/system").await.unwrap_or_default() {
        return false;
    }
    match tokio::time::timeout(PATIENCE, system_state()).await {
        Ok(Ok(state)) => state == "stopping",
        Ok(Err(error)) => {
            tracing::warn!(%error, "systemd does not say whether the host goes down");
            false
        }
        Err(_) => {
            tracing::warn!("systemd does not say in time whether the host goes down");
            false
        }
    }
}

/// What `systemctl is-system-running` prints.
async fn system_state() -> zbus::Result<String> {
    let connection = zbus::Connection::system().await?;
    let reply = connection
        .call_method(
            Some("org.freedesktop.systemd1"),
            "/org/freedesktop/systemd1",
            Some("org.freedesktop.DBus.Properties"),
            "Get",
            &("org.freedesktop.systemd1.Manager", "SystemState"),
        )
        .await?;
    let value: zbus::OwnedVariant = reply.body().deserialize()?;
    String::try_from(value)
}
