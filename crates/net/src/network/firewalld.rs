//! Telling firewalld of our bridges.
//!
//! It sorts links into zones and refuses what comes from those that are in none; nothing in a table of
//! our own can save such a packet. As other engines do, we put our bridges into a zone that accepts, over
//! the system's bus: the running configuration only, since they are ours to make at every start. One that
//! the administrator has put into a zone stays there. A firewalld that is started or reloaded forgets
//! them and is told again.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use tokio::sync::Mutex;
use zbus::message::Type;
use zbus::{Connection, MatchRule, MessageStream};

use super::Inner;

const NAME: &str = "org.fedoraproject.FirewallD1";
const PATH: &str = "/org/fedoraproject/FirewallD1";
const ZONES: &str = "org.fedoraproject.FirewallD1.zone";
/// The zone of firewalld's that accepts everything.
const ZONE: &str = "trusted";
/// The bus itself.
const BUS_NAME: &str = "org.freedesktop.DBus";
/// Where the system's bus listens.
const BUS: &str = "/run/dbus/system_bus_socket";
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a bus is looked for where there is none, or it has gone.
const INTERVAL: Duration = Duration::from_secs(30);

/// The way to firewalld.
#[derive(Default)]
pub(super) struct Firewalld {
    connection: Mutex<Option<Connection>>,
}

impl Firewalld {
    /// Puts the bridges of all networks into the zone, if firewalld runs. What fails is told; the result is
    /// whether nothing did.
    pub(super) async fn register(&self, inner: &Inner) -> bool {
        let bridges: Vec<String> =
            inner.state.lock().networks().values().map(|network| network.bridge.clone()).collect();
        let connection = self.connection.lock().await;
        let Some(connection) = connection.as_ref() else { return true };
        let mut whole = true;
        for bridge in bridges {
            if let Err(error) = admit(connection, &bridge).await {
                tracing::warn!(bridge, %error, "firewalld does not take a bridge into its zone");
                whole = false;
            }
        }
        whole
    }

    /// Takes a bridge that is gone out of the zone.
    pub(super) async fn forget(&self, bridge: &str) {
        let connection = self.connection.lock().await;
        let Some(connection) = connection.as_ref() else { return };
        if let Ok(true) = runs(connection).await
            && let Err(error) = ask(connection, "removeInterface", &(ZONE, bridge)).await
        {
            tracing::debug!(bridge, %error, "take a bridge out of its zone");
        }
    }
}

/// Those of `bridges` that are in no zone of a firewalld that runs.
pub(super) async fn without_zone(bridges: &[String]) -> zbus::Result<Vec<String>> {
    let mut found = Vec::new();
    let Some(connection) = connect().await? else { return Ok(found) };
    if runs(&connection).await? {
        for bridge in bridges {
            if ask(&connection, "getZoneOfInterface", &(bridge,)).await?.is_empty() {
                found.push(bridge.clone());
            }
        }
    }
    Ok(found)
}

/// Keeps the bridges registered until the instance closes.
pub(super) async fn watch(inner: Arc<Inner>) {
    loop {
        match follow(&inner).await {
            Ok(()) => {}
            Err(error) => tracing::debug!(%error, "the system's bus is gone, or does not answer"),
        }
        *inner.firewalld.connection.lock().await = None;
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Registers now, and each time when firewalld begins anew; returns when the bus is gone.
async fn follow(inner: &Inner) -> zbus::Result<()> {
    let Some(connection) = connect().await? else { return Ok(()) };
    let signal = || MatchRule::builder().msg_type(Type::Signal);
    let owner =
        signal().sender(BUS_NAME).interface(BUS_NAME).member("NameOwnerChanged").arg(0, NAME).build()?;
    let reloaded = signal().interface(NAME).member("Reloaded").path(PATH).build()?;
    let mut events = futures::stream::select(
        MessageStream::for_match_rule(owner, &connection, None).await?,
        MessageStream::for_match_rule(reloaded, &connection, None).await?,
    );
    *inner.firewalld.connection.lock().await = Some(connection);
    loop {
        let whole = inner.firewalld.register(inner).await;
        let event = tokio::select! {
            event = events.next() => event,
            // One that is only just starting takes its time.
            () = tokio::time::sleep(INTERVAL), if !whole => continue,
        };
        match event {
            Some(event) => event?,
            None => return Ok(()),
        };
    }
}

async fn connect() -> zbus::Result<Option<Connection>> {
    if !tokio::fs::try_exists(BUS).await? {
        return Ok(None);
    }
    let connection = zbus::connection::Builder::address(format!("unix:path={BUS}").as_str())
        .method_timeout(PATIENCE)
        .build()
        .await?;
    Ok(Some(connection))
}

async fn runs(connection: &Connection) -> zbus::Result<bool> {
    let bus = Some(BUS_NAME);
    let reply = connection.call_method(bus, "/org/freedesktop/DBus", bus, "NameHasOwner", &(NAME,)).await?;
    reply.body().deserialize()
}

async fn admit(connection: &Connection, bridge: &str) -> zbus::Result<()> {
    if !runs(connection).await? || !ask(connection, "getZoneOfInterface", &(bridge,)).await?.is_empty() {
        return Ok(());
    }
    ask(connection, "addInterface", &(ZONE, bridge)).await?;
    tracing::info!(bridge, zone = ZONE, "firewalld takes a bridge into its zone");
    Ok(())
}

/// Calls a method of the zones, all of which answer with a zone's name.
async fn ask<B>(connection: &Connection, method: &str, arguments: &B) -> zbus::Result<String>
where
    B: serde::Serialize + zbus::DynamicType,
{
    connection.call_method(Some(NAME), PATH, Some(ZONES), method, arguments).await?.body().deserialize()
}
