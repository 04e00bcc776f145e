//! All that can be asked of writes, by the names that Kubernetes has for it: which of it is asked, in which order,
//! and how it is configured.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use apiserver::Admission;
use serde::Deserialize;
use serde_json::Value;

use super::{
    always_deny, always_pull_images, certificate_signers, certificate_subject_restriction, claim_resize,
    default_classes, default_tolerations, document, extended_resource_toleration, external_ips, limit_ranger,
    node_declared_features, node_restriction, owner_references, pod_anti_affinity, pod_group,
    pod_node_selector, pod_security, pod_toleration_restriction, pod_topology_labels, policies, priority,
    resource_quota, runtime_class, service_account, storage_protection, taint_nodes, webhooks,
};

/// Which of it is asked besides what always is, which is not, and how it is configured.
#[derive(Clone, Debug, Default)]
pub struct Plugins {
    /// The names of what is asked besides.
    pub enabled: Vec<String>,
    /// The names of what is not asked.
    pub disabled: Vec<String>,
    /// The documents by which it is configured, by its name; null where it has none.
    pub configurations: BTreeMap<String, Value>,
}

/// Why writes cannot be admitted as was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PluginsError {
    /// A name that nobody knows.
    #[error("{option} plugin {name:?} is unknown")]
    Unknown {
        /// The option that has it.
        option: &'static str,
        /// The name.
        name: String,
    },
    /// What is to be asked and not to be asked.
    #[error("[{}] in enable-admission-plugins and disable-admission-plugins overlapped", names.join(" "))]
    Both {
        /// The names.
        names: Vec<String>,
    },
    /// What is known and not there.
    #[error("the admission plugin {name} cannot be enabled: {why}")]
    Missing {
        /// Its name.
        name: &'static str,
        /// Why.
        why: &'static str,
    },
    /// What is a part of the server.
    #[error("the admission plugin {name} cannot be disabled: {why}")]
    Always {
        /// Its name.
        name: &'static str,
        /// Why.
        why: &'static str,
    },
    /// A configuration for what has nothing to configure.
    #[error("the admission plugin {name} has no configuration")]
    NotConfigurable {
        /// Its name.
        name: String,
    },
    /// A configuration that cannot be read.
    #[error("the configuration of the admission plugin {name}: {why}")]
    Configuration {
        /// Its name.
        name: String,
        /// What is wrong with it.
        why: String,
    },
}

const FORMS: [document::Form; 2] = [
    ("apiserver.config.k8s.io/v1", "AdmissionConfiguration"),
    ("apiserver.k8s.io/v1alpha1", "AdmissionConfiguration"),
];

/// A document that names the configurations of plugins: `AdmissionConfiguration` of `apiserver.config.k8s.io/v1`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    #[serde(default)]
    plugins: Vec<Entry>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    #[serde(default)]
    path: String,
    configuration: Option<Value>,
}

type Made = Arc<dyn Admission>;

/// How something is asked.
#[derive(Clone, Copy)]
enum Make {
    /// As it is.
    Plain(fn() -> Made),
    /// As its configuration says, if it has one.
    Configured(fn(Option<&Value>) -> Result<Made, String>),
    /// Nothing is there that it would be asked of.
    Idle,
    /// The server sees to it itself.
    Always(&'static str),
    /// Nobody does it.
    Missing(&'static str),
}

struct Plugin {
    name: &'static str,
    /// Whether it is asked unless it is disabled.
    is_on: bool,
    make: Make,
}

const fn on(name: &'static str, make: Make) -> Plugin {
    Plugin { name, is_on: true, make }
}

const fn off(name: &'static str, make: Make) -> Plugin {
    Plugin { name, is_on: false, make }
}

const BY_SERVER: &str = "the server checks the namespace itself";
const NOT_SERVED: &str = "this server does not have it";

macro_rules! plain {
    ($plugin:expr) => {
        Make::Plain(|| Arc::new($plugin))
    };
}

macro_rules! configured {
    ($plugin:ty) => {
        Make::Configured(|document| {
            let plugin = document.map(<$plugin>::configured).transpose()?.unwrap_or_default();
            Ok(Arc::new(plugin))
        })
    };
}

/// All of it, in the order in which it is asked.
const PLUGINS: [Plugin; 39] = [
    off("AlwaysAdmit", Make::Idle),
    off("NamespaceAutoProvision", Make::Missing(NOT_SERVED)),
    on("NamespaceLifecycle", Make::Always(BY_SERVER)),
    off("NamespaceExists", Make::Idle),
    off("LimitPodHardAntiAffinityTopology", plain!(pod_anti_affinity::LimitPodHardAntiAffinityTopology)),
    on("LimitRanger", plain!(limit_ranger::LimitRanger)),
    on("ServiceAccount", plain!(service_account::ServiceAccount)),
    // Kubernetes has it off; whoever sets up a cluster switches it on.
    on("NodeRestriction", plain!(node_restriction::NodeRestriction)),
    on("TaintNodesByCondition", plain!(taint_nodes::TaintNodesByCondition)),
    off("AlwaysPullImages", plain!(always_pull_images::AlwaysPullImages)),
    off("ImagePolicyWebhook", Make::Missing(NOT_SERVED)),
    on("PodSecurity", configured!(pod_security::PodSecurity)),
    off("PodNodeSelector", configured!(pod_node_selector::PodNodeSelector)),
    on("Priority", plain!(priority::Priority)),
    on("DefaultTolerationSeconds", plain!(default_tolerations::DefaultTolerationSeconds)),
    off("PodTolerationRestriction", configured!(pod_toleration_restriction::PodTolerationRestriction)),
    off("EventRateLimit", Make::Missing(NOT_SERVED)),
    off("ExtendedResourceToleration", plain!(extended_resource_toleration::ExtendedResourceToleration)),
    on("DefaultStorageClass", plain!(default_classes::DefaultStorageClass)),
    on("StorageObjectInUseProtection", plain!(storage_protection::StorageObjectInUseProtection)),
    on("PodGroupProtection", plain!(pod_group::PodGroupProtection)),
    off(
        "OwnerReferencesPermissionEnforcement",
        plain!(owner_references::OwnerReferencesPermissionEnforcement),
    ),
    on("PersistentVolumeClaimResize", plain!(claim_resize::PersistentVolumeClaimResize)),
    on("RuntimeClass", plain!(runtime_class::RuntimeClass)),
    on("CertificateApproval", plain!(certificate_signers::CertificateApproval)),
    on("CertificateSigning", plain!(certificate_signers::CertificateSigning)),
    // ClusterTrustBundles are no stable kind.
    on("ClusterTrustBundleAttest", Make::Idle),
    on(
        "CertificateSubjectRestriction",
        plain!(certificate_subject_restriction::CertificateSubjectRestriction),
    ),
    on("DefaultIngressClass", plain!(default_classes::DefaultIngressClass)),
    off("DenyServiceExternalIPs", plain!(external_ips::DenyServiceExternalIPs)),
    on("PodTopologyLabels", plain!(pod_topology_labels::PodTopologyLabels)),
    on("PodGroupWorkloadExists", plain!(pod_group::PodGroupWorkloadExists)),
    on("NodeDeclaredFeatureValidator", plain!(node_declared_features::NodeDeclaredFeatureValidator)),
    on("MutatingAdmissionPolicy", plain!(policies::MutatingAdmissionPolicy::default())),
    on("MutatingAdmissionWebhook", plain!(webhooks::MutatingAdmissionWebhook::default())),
    on("ValidatingAdmissionPolicy", plain!(policies::ValidatingAdmissionPolicy::default())),
    on("ValidatingAdmissionWebhook", plain!(webhooks::ValidatingAdmissionWebhook::default())),
    // Last of all, since it charges.
    on("ResourceQuota", configured!(resource_quota::ResourceQuota)),
    off("AlwaysDeny", plain!(always_deny::AlwaysDeny)),
];

fn is_known(name: &str) -> bool {
    PLUGINS.iter().any(|plugin| plugin.name == name)
}

/// What is asked of each write, in the order in which it is asked.
pub fn admission_of(plugins: &Plugins) -> Result<Vec<Made>, PluginsError> {
    check_names(plugins)?;
    let is_named = |names: &[String], plugin: &Plugin| names.iter().any(|name| name == plugin.name);
    let mut made = Vec::new();
    for plugin in &PLUGINS {
        let document = plugins.configurations.get(plugin.name).filter(|document| !document.is_null());
        if document.is_some() && !matches!(plugin.make, Make::Configured(_)) {
            return Err(PluginsError::NotConfigurable { name: plugin.name.to_owned() });
        }
        let is_disabled = is_named(&plugins.disabled, plugin);
        let is_asked = (plugin.is_on && !is_disabled) || is_named(&plugins.enabled, plugin);
        match plugin.make {
            Make::Plain(make) if is_asked => made.push(make()),
            // One that is not asked is read all the same: what is wrong with it is told.
            Make::Configured(make) => {
                let configuration = |why| PluginsError::Configuration { name: plugin.name.to_owned(), why };
                let configured = make(document).map_err(configuration)?;
                made.extend(is_asked.then_some(configured));
            }
            Make::Missing(why) if is_asked => return Err(PluginsError::Missing { name: plugin.name, why }),
            Make::Always(why) if is_disabled => return Err(PluginsError::Always { name: plugin.name, why }),
            Make::Plain(_) | Make::Idle | Make::Missing(_) | Make::Always(_) => {}
        }
    }
    Ok(made)
}

fn check_names(plugins: &Plugins) -> Result<(), PluginsError> {
    let lists = [
        ("enable-admission-plugins", plugins.enabled.iter().collect::<Vec<_>>()),
        ("disable-admission-plugins", plugins.disabled.iter().collect()),
        ("admission-control-config-file", plugins.configurations.keys().collect()),
    ];
    for (option, names) in lists {
        if let Some(name) = names.into_iter().find(|name| !is_known(name)) {
            return Err(PluginsError::Unknown { option, name: name.clone() });
        }
    }
    let enabled: BTreeSet<&String> = plugins.enabled.iter().collect();
    let both: BTreeSet<&String> = plugins.disabled.iter().filter(|name| enabled.contains(name)).collect();
    if both.is_empty() {
        return Ok(());
    }
    Err(PluginsError::Both { names: both.into_iter().cloned().collect() })
}

impl Plugins {
    /// Reads a document that names the configurations, in YAML or JSON; `read` reads the files that it names.
    pub fn configure(
        &mut self,
        text: &str,
        read: impl Fn(&str) -> Result<String, String>,
    ) -> Result<(), String> {
        let document: Value = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        let document: Document = document::read(&document, &FORMS)?;
        for (index, Entry { name, path, configuration }) in document.plugins.into_iter().enumerate() {
            let configuration = match path.as_str() {
                "" => configuration,
                path => {
                    let text = read(path).map_err(|why| format!("plugins[{index}].path: {why}"))?;
                    let parsed = serde_saphyr::from_str(&text).map_err(|error| error.to_string());
                    Some(parsed.map_err(|why| format!("plugins[{index}]: {path}: {why}"))?)
                }
            };
            // A name without a configuration is kept too: it has to be one that is known.
            if self.configurations.insert(name.clone(), configuration.unwrap_or_default()).is_some() {
                return Err(format!(
                    "plugins[{index}].name: Duplicate value: {}",
                    model::field::quote(&name)
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names(all: &[&str]) -> Vec<String> {
        all.iter().map(|name| (*name).to_owned()).collect()
    }

    /// How many are asked, or why none are.
    fn check(enabled: &[&str], disabled: &[&str], expected: Result<usize, &str>) {
        let plugins = Plugins { enabled: names(enabled), disabled: names(disabled), ..Plugins::default() };
        let made = admission_of(&plugins).map(|made| made.len()).map_err(|error| error.to_string());
        assert_eq!(made.as_ref().map_err(String::as_str).copied(), expected, "{enabled:?} {disabled:?}");
    }

    #[test]
    fn what_is_asked_is_said_by_names() {
        let usual = PLUGINS.iter().filter(|plugin| plugin.is_on);
        let usual =
            usual.filter(|plugin| matches!(plugin.make, Make::Plain(_) | Make::Configured(_))).count();
        check(&[], &[], Ok(usual));
        check(&["AlwaysPullImages", "PodNodeSelector", "PodSecurity"], &[], Ok(usual + 2));
        check(
            &["AlwaysAdmit", "NamespaceExists"],
            &["PodSecurity", "ResourceQuota", "AlwaysDeny"],
            Ok(usual - 2),
        );
        check(&["Nobody"], &[], Err("enable-admission-plugins plugin \"Nobody\" is unknown"));
        check(&[], &["podsecurity"], Err("disable-admission-plugins plugin \"podsecurity\" is unknown"));
        check(
            &["PodSecurity", "Priority"],
            &["Priority", "PodSecurity"],
            Err(
                "[PodSecurity Priority] in enable-admission-plugins and disable-admission-plugins overlapped",
            ),
        );
        check(
            &[],
            &["NamespaceLifecycle"],
            Err(
                "the admission plugin NamespaceLifecycle cannot be disabled: the server checks the namespace itself",
            ),
        );
        check(
            &["ImagePolicyWebhook"],
            &[],
            Err("the admission plugin ImagePolicyWebhook cannot be enabled: this server does not have it"),
        );
        check(&[], &["MutatingAdmissionWebhook"], Ok(usual - 1));
        check(&[], &["MutatingAdmissionPolicy"], Ok(usual - 1));
    }

    #[test]
    fn they_are_asked_in_the_order_of_kubernetes() {
        let place = |name: &str| PLUGINS.iter().position(|plugin| plugin.name == name);
        let order = [
            "ServiceAccount",
            "TaintNodesByCondition",
            "PodSecurity",
            "Priority",
            "RuntimeClass",
            "MutatingAdmissionPolicy",
            "MutatingAdmissionWebhook",
            "ValidatingAdmissionWebhook",
            "ResourceQuota",
        ];
        let places: Vec<_> = order.iter().map(|name| place(name)).collect();
        assert!(places.is_sorted() && places.iter().all(Option::is_some), "{places:?}");
    }

    #[test]
    fn configurations_are_in_the_document_or_in_files_beside_it() {
        let read = |path: &str| match path {
            "quota.yaml" => {
                Ok("apiVersion: apiserver.config.k8s.io/v1\nkind: ResourceQuotaConfiguration\n".to_owned())
            }
            path => Err(format!("no file {path}")),
        };
        let configure = |text: &str| {
            let mut plugins = Plugins::default();
            plugins.configure(text, read).and_then(|()| {
                admission_of(&plugins).map_err(|error| error.to_string())?;
                Ok(plugins.configurations.keys().cloned().collect::<Vec<_>>().join(" "))
            })
        };
        let head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n";
        let security = "- name: PodSecurity\n  configuration:\n    apiVersion: pod-security.admission.config.k8s.io/v1\n    kind: PodSecurityConfiguration\n";
        assert_eq!(
            configure(&format!("{head}{security}- name: ResourceQuota\n  path: quota.yaml\n")).as_deref(),
            Ok("PodSecurity ResourceQuota")
        );
        let fails = |text: &str, why: &str| assert_eq!(configure(text).err().as_deref(), Some(why), "{text}");
        fails(
            &format!("{head}- name: ResourceQuota\n  path: other.yaml\n"),
            "plugins[0].path: no file other.yaml",
        );
        fails(&format!("{head}{security}{security}"), "plugins[1].name: Duplicate value: \"PodSecurity\"");
        fails(
            &format!("{head}- name: Nobody\n  configuration: {{a: b}}\n"),
            "admission-control-config-file plugin \"Nobody\" is unknown",
        );
        fails(
            &format!("{head}- name: PodSecurtiy\n"),
            "admission-control-config-file plugin \"PodSecurtiy\" is unknown",
        );
        assert_eq!(configure(&format!("{head}- name: LimitRanger\n")).as_deref(), Ok("LimitRanger"));
        fails(
            &format!("{head}- name: LimitRanger\n  configuration: {{a: b}}\n"),
            "the admission plugin LimitRanger has no configuration",
        );
        fails(
            "apiVersion: v1\nkind: Pod\n",
            "it has to be an AdmissionConfiguration of apiserver.config.k8s.io/v1, not \"Pod\" of \"v1\"",
        );
        fails(
            &format!(
                "{head}- name: PodSecurity\n  configuration: {}\n",
                json!({"apiVersion": "v1", "kind": "Pod"})
            ),
            "the configuration of the admission plugin PodSecurity: it has to be a PodSecurityConfiguration of \
             pod-security.admission.config.k8s.io/v1, not \"Pod\" of \"v1\"",
        );
        assert!(configure("plugins: 3").is_err());
    }
}
