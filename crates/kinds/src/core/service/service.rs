//! Services: cluster addresses and node ports are allocated while they are admitted.

mod allocating;
mod columns;
mod defaults;
mod keeping;
mod proxy;
mod rules;
mod warnings;

use apiserver::resource::{Installation, Permanent};
use apiserver::{Admitting, Claim, Context, Resource, Strategy, Subresource, at_once};
use k8s_openapi::api::core::v1::Service;
use model::names::dns1035_label;
use model::select::Selectable;
use model::validate::Functions;
use model::{GroupVersionKind, Object};
use serde_json::{Value, json};

use crate::proxied::VERBS;

pub(crate) fn resource() -> Resource {
    Resource::of::<Service>()
        .short(&["svc"])
        .category("all")
        .status()
        .subresource(
            Subresource::new("proxy", &VERBS, proxy::handle)
                .kind(GroupVersionKind::new("", "v1", "ServiceProxyOptions"))
                .stream(),
        )
        .defaults(defaults::object)
        .rules(Functions::of(rules::object).name(dns1035_label).change(rules::change).status(rules::status))
        .warnings(warnings::object)
        .made_by_update()
        .columns(columns::COLUMNS, columns::cells)
        .selectable(["spec.clusterIP", "spec.type"].map(Selectable::text))
        .hook("bootstrap-controller")
        .permanent(permanent)
        .strategy(Services)
}

/// The service by which pods reach the server.
fn permanent(installation: &Installation) -> Vec<Permanent> {
    vec![Permanent::Made(json!({
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "clusterIP": installation.service_address,
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": installation.port}],
        },
    }))]
}

struct Services;

impl Strategy for Services {
    fn admit_create<'a>(&'a self, context: &'a Context<'_>, object: &'a mut Object) -> Admitting<'a> {
        object.set(&["status"], json!({"loadBalancer": {}}));
        at_once(allocating::allocate(context, object, &[]))
    }

    fn admit_update<'a>(
        &'a self,
        context: &'a Context<'_>,
        object: &'a mut Object,
        old: &'a Object,
    ) -> Admitting<'a> {
        keeping::keep_allocated(object, old);
        at_once(allocating::allocate(context, object, &claims(old)))
    }

    fn has_claims(&self) -> bool {
        true
    }

    fn claims(&self, object: &Object) -> Vec<Claim> {
        claims(object)
    }

    fn answers_deleted_object(&self) -> bool {
        true
    }
}

/// What a service holds: its cluster address and its node ports.
fn claims(service: &Object) -> Vec<Claim> {
    let address = service.get_str(&["spec", "clusterIP"]).and_then(|a| a.parse().ok()).map(Claim::Address);
    let ports = service.get_list(&["spec", "ports"]).iter().filter_map(|p| named(p, "nodePort"));
    let ports = ports.chain(named_health_port(service)).filter_map(|number| u16::try_from(number).ok());
    let mut claims: Vec<Claim> = address.into_iter().chain(ports.map(Claim::Port)).collect();
    // One number may serve a port in several protocols.
    claims.sort_unstable();
    claims.dedup();
    claims
}

fn kind(service: &Object) -> &str {
    service.get_str(&["spec", "type"]).unwrap_or("ClusterIP")
}

fn has_node_ports(service: &Object) -> bool {
    match kind(service) {
        "NodePort" => true,
        "LoadBalancer" => {
            service.get(&["spec", "allocateLoadBalancerNodePorts"]).and_then(Value::as_bool).unwrap_or(true)
        }
        _ => false,
    }
}

/// Whether nodes tell balancers outside on a port of its own whether they have endpoints.
fn has_health_port(service: &Object) -> bool {
    kind(service) == "LoadBalancer" && service.get_str(&["spec", "externalTrafficPolicy"]) == Some("Local")
}

fn named_health_port(service: &Object) -> Option<i64> {
    service.get(&["spec"]).and_then(|spec| named(spec, "healthCheckNodePort"))
}

/// The number that a field names, whatever it is; none where that is left open.
fn named(of: &Value, field: &str) -> Option<i64> {
    of.get(field).and_then(Value::as_i64).filter(|number| *number != 0)
}
