//! `gantry explain pod`: node by node, what stands between a pod and its node, and what would take it away.
//!
//! It asks the Kubernetes API for what the scheduler looks at, thinks as the scheduler does, and changes nothing.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use client::remote::{self, RemoteTransport};
use client::{Api, Change, Client, Error, ListOptions, Typed};
use control::scheduler::{Event, Explanation, Planner};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::scheduling::v1alpha2::PodGroup;
use serde::Serialize;

use super::output;
use crate::config::Config;

#[derive(clap::Subcommand)]
pub(super) enum ExplainCommand {
    /// What stands between a pod and its node
    Pod(Arguments),
}

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The pod
    name: String,
    /// Its namespace
    #[arg(short, long, default_value = "default")]
    namespace: String,
    #[command(flatten)]
    output: output::Arguments,
}

#[derive(Serialize)]
struct Row {
    node: String,
    fits: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    plugin: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cure: Option<String>,
}

pub(super) fn run(
    config: &Config,
    ExplainCommand::Pod(arguments): &ExplainCommand,
) -> anyhow::Result<ExitCode> {
    let path = &config.kubeconfig;
    let server = remote::Config::from_kubeconfig(path)
        .with_context(|| format!("read {}; is `gantry up` running?", path.display()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("start a runtime")?;
    let explanation = runtime.block_on(async {
        let transport = RemoteTransport::new(&server).context("prepare to talk to the Kubernetes API")?;
        explain(config, &Client::new(transport), &arguments.namespace, &arguments.name).await
    })?;
    eprintln!("pod {}/{}: {}", arguments.namespace, arguments.name, explanation.summary);
    if let Some(group) = &explanation.group {
        eprintln!("{group}");
    }
    let header = ["NODE", "FITS", "PLUGIN", "REASON", "WHAT WOULD HELP"];
    output::print(&arguments.output, &header, &rows(explanation), |row| {
        let said = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let fits = if row.fits { "yes" } else { "no" };
        vec![
            row.node.clone(),
            fits.to_owned(),
            said(row.plugin),
            said(row.reason.as_deref()),
            said(row.cure.as_deref()),
        ]
    })?;
    Ok(ExitCode::SUCCESS)
}

/// A row for each obstacle of a node, or one for a node without any.
fn rows(explanation: Explanation) -> Vec<Row> {
    let mut rows = Vec::new();
    for verdict in explanation.nodes {
        if verdict.obstacles.is_empty() {
            rows.push(Row { node: verdict.node, fits: true, plugin: None, reason: None, cure: None });
            continue;
        }
        rows.extend(verdict.obstacles.into_iter().map(|obstacle| Row {
            node: verdict.node.clone(),
            fits: false,
            plugin: Some(obstacle.plugin),
            reason: Some(obstacle.reason),
            cure: obstacle.cure,
        }));
    }
    rows
}

async fn explain(
    config: &Config,
    client: &Client,
    namespace: &str,
    name: &str,
) -> anyhow::Result<Explanation> {
    let pod = Api::<Pod>::namespaced(client, namespace).find(name).await.context("ask for the pod")?;
    let pod = pod.with_context(|| format!("there is no pod {namespace}/{name}"))?;
    let groups = Api::<PodGroup>::all(client).list_all(&ListOptions::default()).await;
    let groups = match groups {
        Ok(groups) => Some(groups.items),
        // Where they are switched off, and where whoever asks may not see them.
        Err(Error::NotFound(_) | Error::Forbidden(_)) => None,
        Err(error) => return Err(error).context("ask for all podgroups"),
    };
    let planner = Planner::with(&*crate::scheduler::open(config)?);
    let mut planner = planner.heeding_pod_groups(groups.is_some());
    for group in groups.into_iter().flatten() {
        planner.apply(Event::of_pod_group(&Change::Added(Arc::new(group))), Duration::ZERO);
    }
    let mut look = Look { client, planner: &mut planner };
    look.at(Event::of_namespace).await?;
    look.at(Event::of_class).await?;
    look.at(Event::of_csi_node).await?;
    look.at(Event::of_driver).await?;
    look.at(Event::of_capacity).await?;
    look.at(Event::of_volume).await?;
    look.at(Event::of_claim).await?;
    look.at(Event::of_device_class).await?;
    look.at(Event::of_slice).await?;
    look.at(Event::of_device_claim).await?;
    look.at(Event::of_service).await?;
    look.at(Event::of_replica_set).await?;
    look.at(Event::of_stateful_set).await?;
    look.at(Event::of_replication_controller).await?;
    look.at(Event::of_budget).await?;
    look.at(Event::of_node).await?;
    look.each(Event::of_pod).await?;
    Ok(planner.explain(&pod))
}

/// Shows a planner all that there is.
struct Look<'a> {
    client: &'a Client,
    planner: &'a mut Planner,
}

impl Look<'_> {
    async fn at<K: Typed>(&mut self, event: fn(&Change<K>) -> Event) -> anyhow::Result<()> {
        self.each(|change| std::iter::once(event(change))).await
    }

    async fn each<K: Typed, I: Iterator<Item = Event>>(
        &mut self,
        events: impl Fn(&Change<K>) -> I,
    ) -> anyhow::Result<()> {
        let api = Api::<K>::all(self.client);
        let listed = api.list_all(&ListOptions::default()).await;
        let listed = listed.with_context(|| format!("ask for all {}", api.kind().plural))?;
        for object in listed.items {
            let change = Change::Added(Arc::new(object));
            events(&change).for_each(|event| self.planner.apply(event, Duration::ZERO));
        }
        Ok(())
    }
}
