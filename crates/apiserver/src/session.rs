//! Conversations with a pod on its node: logs, commands, ports.
//!
//! Upgrades the client's connection and hands its streams to the node. What is asked for, and whether it
//! makes sense, is the kind's to say: see [`Call::command_session`], [`Call::port_session`], [`Call::log`].

use std::sync::Arc;

use futures::{FutureExt, StreamExt, TryFutureExt};
use http::{HeaderValue, Response, header};
use hyper_util::rt::TokioIo;

use crate::body::Body;
use crate::call::{Call, Takeover};
use crate::error::{Error, Result};
use crate::node::{LogOptions, PodTarget, StreamOptions};
use crate::stream::{self, Upgrade, Wanted};

/// A client that wants to talk to a command, in a protocol that both sides speak.
pub struct CommandSession {
    call: Call,
    upgrade: Option<Takeover>,
    chosen: Upgrade,
    wanted: Wanted,
}

/// A client that wants to reach ports, in a protocol that both sides speak.
pub struct PortSession {
    call: Call,
    upgrade: Option<Takeover>,
    chosen: Upgrade,
    /// The ports that the request names, where the protocol wants that.
    ports: Vec<u16>,
}

impl Call {
    /// Agrees with the client on a protocol for exec and attach. Fails where it does not ask to upgrade
    /// its connection, or wants no stream at all.
    pub fn command_session(self) -> Result<CommandSession> {
        self.command_session_by(["stdin", "stdout", "stderr", "tty"])
    }

    /// As [`Call::command_session`], where the parameters that say which streams are wanted have other names: those
    /// of the input, the output, errors, and of whether there is a terminal.
    pub fn command_session_by(mut self, names: [&str; 4]) -> Result<CommandSession> {
        let chosen = Upgrade::negotiate(&self.headers, &stream::COMMAND_WEBSOCKET, &stream::COMMAND_SPDY)?;
        let wanted = wanted(&self, names)?;
        let upgrade = self.upgrade.take();
        Ok(CommandSession { call: self, upgrade, chosen, wanted })
    }

    /// Agrees with the client on a protocol for port-forward.
    pub fn port_session(mut self) -> Result<PortSession> {
        let chosen =
            Upgrade::negotiate(&self.headers, &stream::PORT_FORWARD_WEBSOCKET, &stream::PORT_FORWARD_SPDY)?;
        let ports = stream::named_ports(chosen, self.query.all("ports")).map_err(Error::bad_request)?;
        let upgrade = self.upgrade.take();
        Ok(PortSession { call: self, upgrade, chosen, ports })
    }

    /// The log of a container: a body of text, or messages over a WebSocket.
    pub async fn log(mut self, target: PodTarget, options: LogOptions) -> Result<Response<Body>> {
        let upgrade = self.upgrade.take();
        let chosen = match self.headers.get(header::UPGRADE) {
            Some(_) => Some(Upgrade::negotiate(&self.headers, &stream::LOG_WEBSOCKET, &[])?),
            None => None,
        };
        let lines = self.state.nodes.logs(target, options).await?;
        let stop = self.state.stop.clone();
        let lines = lines.take_until(async move { stop.cancelled().await });
        if let Some(chosen) = chosen {
            return begin(&self, upgrade, chosen, move |_, connection| {
                stream::log(chosen, connection, lines)
            });
        }
        let mut response = Response::new(Body::stream(lines).patient());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
        Ok(response)
    }
}

impl CommandSession {
    /// The request.
    pub fn call(&self) -> &Call {
        &self.call
    }

    /// Whether a terminal is wanted.
    pub fn tty(&self) -> bool {
        self.wanted.tty
    }

    /// Runs a command.
    pub fn exec(self, target: PodTarget, options: StreamOptions) -> Result<Response<Body>> {
        self.begin(target, options, false)
    }

    /// Joins the streams of the container itself.
    pub fn attach(self, target: PodTarget, options: StreamOptions) -> Result<Response<Body>> {
        self.begin(target, options, true)
    }

    fn begin(self, target: PodTarget, options: StreamOptions, attach: bool) -> Result<Response<Body>> {
        let Self { call, upgrade, chosen, wanted } = self;
        begin(&call, upgrade, chosen, move |call, connection| {
            let command = command(call, target, options, attach);
            stream::remote_command(chosen, connection, wanted, command, call.state.stop.clone())
        })
    }
}

impl PortSession {
    /// Connects what the client asks for to ports of the pod.
    pub fn forward(self, target: PodTarget) -> Result<Response<Body>> {
        let Self { call, upgrade, chosen, ports } = self;
        begin(&call, upgrade, chosen, move |call, connection| {
            let nodes = call.state.nodes.clone();
            let connect: stream::Connect = Arc::new(move |port| {
                let (name, uid) = (target.name.clone(), target.uid.clone());
                let connecting = nodes.port_forward(target.clone(), port);
                let told =
                    move |error| format!("error forwarding port {port} to pod {name}, uid {uid}: {error}");
                connecting.map_err(told).boxed()
            });
            stream::port_forward(chosen, connection, ports, connect, call.state.stop.clone())
        })
    }
}

type Connection = TokioIo<hyper::upgrade::Upgraded>;

/// Answers with the switch of protocols, and serves the connection once it is ours.
fn begin<F>(
    call: &Call,
    upgrade: Option<Takeover>,
    chosen: Upgrade,
    serve: impl FnOnce(&Call, Connection) -> F + Send + 'static,
) -> Result<Response<Body>>
where
    F: Future<Output = ()> + Send + 'static,
{
    let Some(Takeover { connection, seat }) = upgrade else {
        return Err(Error::bad_request("this connection cannot be upgraded; streams need HTTP/1.1"));
    };
    let response = chosen.response(&call.headers)?;
    if let Some(seat) = &seat {
        seat.take_over();
    }
    let call = call.of_object(call.namespace(), &call.target.name);
    let (tasks, account) = (call.state.tasks.clone(), call.account.clone());
    tasks.spawn(async move {
        // Whose connection it is does not change by what it carries; the request goes on with it.
        let (_seat, _account) = (seat, account);
        match connection.await {
            Ok(connection) => serve(&call, TokioIo::new(connection)).await,
            Err(error) => tracing::debug!(%error, "a client left before its streams began"),
        }
    });
    Ok(response)
}

fn command(call: &Call, target: PodTarget, options: StreamOptions, attach: bool) -> stream::Command {
    let nodes = call.state.nodes.clone();
    Box::new(move |streams| {
        if attach { nodes.attach(target, options, streams) } else { nodes.exec(target, options, streams) }
    })
}

fn wanted(call: &Call, names: [&str; 4]) -> Result<Wanted> {
    let [stdin, stdout, stderr, tty] = names.map(|name| call.query.flag(name));
    if !stdin && !stdout && !stderr {
        return Err(Error::bad_request("you must specify at least 1 of stdin, stdout, stderr"));
    }
    Ok(Wanted { stdin, stdout, stderr, tty })
}
