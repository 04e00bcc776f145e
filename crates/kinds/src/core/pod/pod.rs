//! Pods.

mod binding;
mod columns;
mod container;
mod defaults;
mod ephemeral;
mod eviction;
mod label_keys;
mod log;
mod proxy;
mod quality;
mod resize;
mod rules;
mod status;
mod streams;
mod update;

use std::borrow::Cow;
use std::time::Duration;

use apiserver::request::{DeleteOptions, Verb};
use apiserver::resource::status_and_metadata;
use apiserver::table::Columns;
use apiserver::{Admitting, Context, Graceful, Resource, Strategy, Subresource, at_once};
use k8s_openapi::api::core::v1::{Binding, Pod};
use k8s_openapi::api::policy::v1::Eviction;
use model::select::Selectable;
use model::{GroupResource, GroupVersionKind, Object};
use serde_json::{Value, json};

pub(crate) use binding::carry_out as bind;
pub(crate) use quality::class;

use crate::admission::service_account;
use crate::features::Features;
use crate::pod_spec::gates;
use crate::pod_spec::warnings::of_pod;
use crate::proxied::VERBS;

/// How long a pod may take to end where its spec does not say.
const GRACE_SECONDS: i64 = 30;

pub(crate) fn resource(features: &Features) -> Resource {
    let options = |kind: &str| GroupVersionKind::new("", "v1", kind);
    let both = [Verb::Create, Verb::Get];
    let mut resource = Resource::of::<Pod>()
        .short(&["po"])
        .category("all")
        .status()
        .subresource(
            Subresource::new("attach", &both, streams::attach).kind(options("PodAttachOptions")).stream(),
        )
        .subresource(Subresource::new("binding", &[Verb::Create], binding::handle).taking::<Binding>())
        .subresource(Subresource::new("eviction", &[Verb::Create], eviction::handle).taking::<Eviction>())
        .subresource(Subresource::part(ephemeral::PART))
        .subresource(Subresource::new("exec", &both, streams::exec).kind(options("PodExecOptions")).stream())
        .subresource(Subresource::new("log", &[Verb::Get], log::handle).stream())
        .subresource(
            Subresource::new("portforward", &both, streams::port_forward)
                .kind(options("PodPortForwardOptions"))
                .stream(),
        )
        .subresource(
            Subresource::new("proxy", &VERBS, proxy::handle).kind(options("PodProxyOptions")).stream(),
        )
        .subresource(Subresource::part(resize::PART))
        .defaults(defaults::object)
        .rules(rules::Pods)
        .warnings(of_pod)
        .selectable(selectable())
        .drops(gates::drops(features, &["spec"]))
        .strategy(Pods);
    resource.columns = Columns::new(columns::COLUMNS, columns::cells).conditions(columns::conditions);
    resource
}

fn selectable() -> Vec<Selectable> {
    let texts = [
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    ];
    let mut fields: Vec<Selectable> = texts.into_iter().map(Selectable::text).collect();
    // Every node's agent watches the pods of its own.
    fields.push(Selectable::text("spec.nodeName").indexed());
    fields.push(Selectable::flag("spec.hostNetwork"));
    fields.push(Selectable::by("status.podIPs", |pod| {
        let addresses = pod.get_list(&["status", "podIPs"]).iter();
        let addresses: Vec<&str> =
            addresses.filter_map(|address| address.get("ip").and_then(Value::as_str)).collect();
        Cow::Owned(addresses.join(","))
    }));
    fields
}

struct Pods;

impl Strategy for Pods {
    fn admit_create<'a>(&'a self, _context: &'a Context<'_>, pod: &'a mut Object) -> Admitting<'a> {
        label_keys::merge(pod);
        // What was filled in decides it too, so this comes last.
        let class = class(pod);
        pod.set(&["status"], json!({"phase": "Pending", "qosClass": class}));
        at_once(Ok(()))
    }

    fn awaits(&self, context: &Context<'_>, pod: &Object) -> Option<GroupResource> {
        service_account::awaits(context, pod)
    }

    fn counts_generations(&self) -> bool {
        true
    }

    fn kept_by_status(&self) -> &'static [&'static [&'static str]] {
        &[&["spec"], &["metadata", "ownerReferences"]]
    }

    fn kept_by_part(&self, part: &str) -> &'static [&'static [&'static str]] {
        // Whoever adds containers, or changes what they have, sets nothing else.
        if matches!(part, ephemeral::PART | resize::PART) { &[] } else { self.kept_by_status() }
    }

    fn part_update(&self, _: &Context<'_>, part: &str, new: Object, old: &Object) -> Object {
        if part == ephemeral::PART {
            return ephemeral::update(&new, old);
        }
        if part == resize::PART {
            return resize::update(&new, old);
        }
        let mut updated = status_and_metadata(new, old, self.kept_by_part(part));
        // What class a pod has was settled when it was made.
        if let Some(class) = old.get(&["status", "qosClass"]) {
            updated.set(&["status", "qosClass"], class.clone());
        }
        updated
    }

    fn begin_delete<'a>(
        &'a self,
        context: &'a Context<'_>,
        pod: &'a mut Object,
        options: &'a DeleteOptions,
    ) -> Admitting<'a, Graceful> {
        at_once(Ok(begin_delete(context, pod, options)))
    }

    fn answers_deleted_object(&self) -> bool {
        true
    }
}

fn begin_delete(context: &Context<'_>, pod: &mut Object, options: &DeleteOptions) -> Graceful {
    let seconds = grace(pod, options);
    if let (Some(already), Some(when)) = (pod.deletion_grace_period_seconds(), pod.deletion_timestamp()) {
        // A second deletion can only shorten the wait.
        if seconds == 0 {
            return Graceful::AtOnce;
        }
        if seconds < already {
            let earlier = Duration::from_secs((already - seconds).unsigned_abs());
            pod.set_deletion_timestamp(when.checked_sub(earlier).unwrap_or(when));
            pod.metadata_mut().insert("deletionGracePeriodSeconds".to_owned(), json!(seconds));
        }
        return Graceful::Within(seconds.min(already));
    }
    if seconds == 0 {
        return Graceful::AtOnce;
    }
    let wait = Duration::from_secs(seconds.unsigned_abs());
    pod.set_deletion_timestamp(context.now().checked_add(wait).unwrap_or(context.now()));
    pod.metadata_mut().insert("deletionGracePeriodSeconds".to_owned(), json!(seconds));
    // The change of plans counts as one of what is wanted, so that the node notices.
    pod.set_generation(pod.generation() + 1);
    Graceful::Within(seconds)
}

/// How long a pod may take to end. Nobody has to be waited for where nothing runs.
fn grace(pod: &Object, options: &DeleteOptions) -> i64 {
    let unscheduled = pod.get_str(&["spec", "nodeName"]).is_none_or(str::is_empty);
    let over = matches!(pod.get_str(&["status", "phase"]), Some("Succeeded" | "Failed"));
    if unscheduled || over {
        return 0;
    }
    options
        .grace_period_seconds
        .or_else(|| pod.get_i64(&["spec", "terminationGracePeriodSeconds"]))
        .map_or(GRACE_SECONDS, |s| s.max(0))
}
