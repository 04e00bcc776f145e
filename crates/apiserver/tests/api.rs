//! The API as clients see it: a whole server on a temporary root, asked in process and over TLS.
#![forbid(unsafe_code)]
#![allow(unreachable_pub, reason = "the test's modules share the server among themselves")]

/// The store is the one in the process.
const ON_ETCD: bool = false;

#[path = "api/access.rs"]
mod access;
#[path = "api/admission.rs"]
mod admission;
#[path = "api/admission_of_others.rs"]
mod admission_of_others;
#[path = "api/aggregation.rs"]
mod aggregation;
#[path = "api/apply.rs"]
mod apply;
#[path = "api/audit.rs"]
mod audit;
#[path = "api/certificates.rs"]
mod certificates;
#[path = "api/changing_definitions.rs"]
mod changing_definitions;
#[path = "api/classes.rs"]
mod classes;
#[path = "api/cluster.rs"]
mod cluster;
#[path = "api/crowd.rs"]
mod crowd;
#[path = "api/deadline.rs"]
mod deadline;
#[path = "api/defaults.rs"]
mod defaults;
#[path = "api/definitions.rs"]
mod definitions;
#[path = "api/discovery.rs"]
mod discovery;
#[path = "api/durability.rs"]
mod durability;
#[path = "api/elsewhere.rs"]
mod elsewhere;
#[path = "api/encryption.rs"]
mod encryption;
#[path = "api/ephemeral.rs"]
mod ephemeral;
#[path = "api/every_kind.rs"]
mod every_kind;
#[path = "api/expressions.rs"]
mod expressions;
#[path = "api/fairness.rs"]
mod fairness;
#[path = "api/forms.rs"]
mod forms;
#[path = "api/hostile.rs"]
mod hostile;
#[path = "api/known_by_certificate.rs"]
mod known_by_certificate;
#[path = "api/kubectl.rs"]
mod kubectl;
#[path = "api/managers.rs"]
mod managers;
#[path = "api/metrics.rs"]
mod metrics;
#[path = "api/networks.rs"]
mod networks;
#[path = "api/nodes.rs"]
mod nodes;
#[path = "api/outside.rs"]
mod outside;
#[path = "api/plugins.rs"]
mod plugins;
#[path = "api/pod_security.rs"]
mod pod_security;
#[path = "api/proxy.rs"]
mod proxy;
#[path = "api/put.rs"]
mod put;
#[path = "api/renewal.rs"]
mod renewal;
#[path = "api/resize.rs"]
mod resize;
#[path = "api/roles.rs"]
mod roles;
#[path = "api/service_account_keys.rs"]
mod service_account_keys;
#[path = "api/services.rs"]
mod services;
#[path = "api/shared.rs"]
mod shared;
#[path = "api/status.rs"]
mod status;
#[path = "api/verbs.rs"]
mod verbs;
#[path = "api/versions.rs"]
mod versions;
#[path = "api/warnings.rs"]
mod warnings;
#[path = "api/watch.rs"]
mod watch;
#[path = "api/webhooks.rs"]
mod webhooks;
#[path = "api/websocket.rs"]
mod websocket;
#[path = "api/yaml.rs"]
mod yaml;
