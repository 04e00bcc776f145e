//! The environment of a container: from its spec, ConfigMaps, Secrets, the pod itself and services.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVarSource, Pod, Secret, Service};

use super::downward;
use super::ephemeral;
use super::expand::{Room, TooLarge, expand};

/// Bytes of a whole environment, names, values and what stands between them: no program can be started
/// with more.
pub const MOST_BYTES: usize = 2 << 20;

/// The objects that environments and volumes refer to, fetched beforehand.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// ConfigMaps of the pod's namespace by name; `None` where there is none of that name.
    pub config_maps: BTreeMap<String, Option<ConfigMap>>,
    /// Secrets of the pod's namespace by name; `None` where there is none of that name.
    pub secrets: BTreeMap<String, Option<Secret>>,
}

/// Why a container's environment cannot be made. The kubelet calls this `CreateContainerConfigError`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    /// A ConfigMap that is not optional is missing.
    #[error("configmap \"{0}\" not found")]
    NoConfigMap(String),
    /// A Secret that is not optional is missing.
    #[error("secret \"{0}\" not found")]
    NoSecret(String),
    /// A key that is not optional is missing.
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    NoKey {
        /// The key.
        key: String,
        /// `ConfigMap` or `Secret`.
        kind: &'static str,
        /// Where the object lives.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A value that is no text.
    #[error("key {key} of secret {name} is not valid UTF-8 and cannot be an environment variable")]
    NotText {
        /// The key.
        key: String,
        /// The Secret's name.
        name: String,
    },
    /// A field that a pod does not have.
    #[error("unsupported fieldPath: {0}")]
    NoField(String),
    /// More than a program can be started with.
    #[error(
        "the environment is larger than {most} bytes, what $(NAME) and envFrom stand for and the variables of services (enableServiceLinks) included; {name} does not fit any more",
        most = MOST_BYTES
    )]
    TooLarge {
        /// The variable that is one too many.
        name: String,
    },
}

/// An environment by name.
pub type Environment = BTreeMap<String, String>;

/// An environment in the making.
struct Builder {
    values: Environment,
    room: Room,
}

impl Builder {
    fn new() -> Self {
        Self { values: Environment::new(), room: Room::new(MOST_BYTES) }
    }

    /// Sets a variable, whatever it was before.
    fn set(&mut self, name: String, value: String) -> Result<(), EnvError> {
        let known = self.values.get(&name).map_or(0, |known| size(&name, known));
        self.room.give_back(known);
        if self.room.take(size(&name, &value)).is_err() {
            return Err(EnvError::TooLarge { name: shown(name) });
        }
        self.values.insert(name, value);
        Ok(())
    }

    /// `text` with the values that are known by now, which may take what is left.
    fn expand(&self, text: &str) -> Result<String, TooLarge> {
        let mut room = self.room;
        expand(text, &mut room, |name| self.values.get(name).map(String::as_str))
    }
}

/// Bytes of `NAME=value` and its end.
fn size(name: &str, value: &str) -> usize {
    name.len() + value.len() + 2
}

/// The beginning of a name, which may be as long as a manifest.
fn shown(mut name: String) -> String {
    name.truncate(name.floor_char_boundary(253));
    name
}

/// What an environment is made from, besides the container.
pub struct Context<'a> {
    /// The pod, with the addresses in its status filled in.
    pub pod: &'a Pod,
    /// What it refers to.
    pub sources: &'a Sources,
    /// Services of its namespace, and `kubernetes` of the default one.
    pub services: &'a [Arc<Service>],
    /// What the node can give, for `resourceFieldRef` of containers without limits.
    pub node: downward::NodeCapacity,
}

/// The whole environment of `container`.
pub fn environment(context: &Context<'_>, container: &Container) -> Result<Environment, EnvError> {
    let mut made = Builder::new();
    service_variables(context, &mut made)?;
    from_objects(context, container, &mut made)?;
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value_from, &variable.value) {
            (Some(source), _) => from_source(context, container, source)?,
            (None, Some(text)) => {
                let value = made.expand(text);
                Some(value.map_err(|TooLarge| EnvError::TooLarge { name: shown(variable.name.clone()) })?)
            }
            (None, None) => Some(String::new()),
        };
        if let Some(value) = value {
            made.set(variable.name.clone(), value)?;
        }
    }
    Ok(made.values)
}

/// The names of ConfigMaps and Secrets that the environment of any container of `pod` refers to.
pub fn references(pod: &Pod) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut config_maps, mut secrets) = (BTreeSet::new(), BTreeSet::new());
    let Some(spec) = &pod.spec else { return (config_maps, secrets) };
    let added = ephemeral::containers(pod);
    for container in spec.containers.iter().chain(spec.init_containers.iter().flatten()).chain(&added) {
        for source in container.env_from.iter().flatten() {
            config_maps.extend(source.config_map_ref.as_ref().map(|r| r.name.clone()));
            secrets.extend(source.secret_ref.as_ref().map(|r| r.name.clone()));
        }
        for source in container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
            config_maps.extend(source.config_map_key_ref.as_ref().map(|r| r.name.clone()));
            secrets.extend(source.secret_key_ref.as_ref().map(|r| r.name.clone()));
        }
    }
    (config_maps, secrets)
}

/// `envFrom`: every key of an object, with a prefix. Later sources win.
fn from_objects(context: &Context<'_>, container: &Container, made: &mut Builder) -> Result<(), EnvError> {
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or("");
        if let Some(reference) = &source.config_map_ref {
            let optional = reference.optional.unwrap_or(false);
            if let Some(object) = config_map(context, &reference.name, optional)? {
                for (key, value) in object.data.iter().flatten() {
                    made.set(format!("{prefix}{key}"), value.clone())?;
                }
            }
        }
        if let Some(reference) = &source.secret_ref {
            let optional = reference.optional.unwrap_or(false);
            if let Some(object) = secret(context, &reference.name, optional)? {
                for (key, value) in object.data.iter().flatten() {
                    made.set(format!("{prefix}{key}"), text(&reference.name, key, &value.0)?)?;
                }
            }
        }
    }
    Ok(())
}

/// `valueFrom`: one value, or none where an optional source is missing.
fn from_source(
    context: &Context<'_>,
    container: &Container,
    source: &EnvVarSource,
) -> Result<Option<String>, EnvError> {
    let namespace = || context.pod.metadata.namespace.clone().unwrap_or_default();
    let missing = |kind, key: &str, name: &str| EnvError::NoKey {
        key: key.to_owned(),
        kind,
        namespace: namespace(),
        name: name.to_owned(),
    };
    if let Some(field) = &source.field_ref {
        let value = downward::field(context.pod, &field.field_path);
        return value.map(Some).ok_or_else(|| EnvError::NoField(field.field_path.clone()));
    }
    if let Some(reference) = &source.resource_field_ref {
        let value = downward::resource(context.pod, container, reference, context.node);
        return value.map(Some).ok_or_else(|| EnvError::NoField(reference.resource.clone()));
    }
    if let Some(reference) = &source.config_map_key_ref {
        let optional = reference.optional.unwrap_or(false);
        let Some(object) = config_map(context, &reference.name, optional)? else { return Ok(None) };
        let value = object.data.as_ref().and_then(|data| data.get(&reference.key)).cloned();
        return if value.is_some() || optional {
            Ok(value)
        } else {
            Err(missing("ConfigMap", &reference.key, &reference.name))
        };
    }
    if let Some(reference) = &source.secret_key_ref {
        let optional = reference.optional.unwrap_or(false);
        let Some(object) = secret(context, &reference.name, optional)? else { return Ok(None) };
        return match object.data.as_ref().and_then(|data| data.get(&reference.key)) {
            Some(value) => text(&reference.name, &reference.key, &value.0).map(Some),
            None if optional => Ok(None),
            None => Err(missing("Secret", &reference.key, &reference.name)),
        };
    }
    Ok(Some(String::new()))
}

fn config_map<'a>(
    context: &Context<'a>,
    name: &str,
    optional: bool,
) -> Result<Option<&'a ConfigMap>, EnvError> {
    match context.sources.config_maps.get(name).and_then(Option::as_ref) {
        Some(object) => Ok(Some(object)),
        None if optional => Ok(None),
        None => Err(EnvError::NoConfigMap(name.to_owned())),
    }
}

fn secret<'a>(context: &Context<'a>, name: &str, optional: bool) -> Result<Option<&'a Secret>, EnvError> {
    match context.sources.secrets.get(name).and_then(Option::as_ref) {
        Some(object) => Ok(Some(object)),
        None if optional => Ok(None),
        None => Err(EnvError::NoSecret(name.to_owned())),
    }
}

fn text(name: &str, key: &str, value: &[u8]) -> Result<String, EnvError> {
    let not_text = |_| EnvError::NotText { key: key.to_owned(), name: name.to_owned() };
    String::from_utf8(value.to_vec()).map_err(not_text)
}

/// `REDIS_SERVICE_HOST` and the older link variables, for every service with a cluster address.
fn service_variables(context: &Context<'_>, made: &mut Builder) -> Result<(), EnvError> {
    let spec = context.pod.spec.as_ref();
    let links = spec.and_then(|spec| spec.enable_service_links).unwrap_or(true);
    for service in context.services {
        let is_api = service.metadata.namespace.as_deref() == Some("default")
            && service.metadata.name.as_deref() == Some("kubernetes");
        let of_pod = service.metadata.namespace == context.pod.metadata.namespace;
        if is_api || (links && of_pod) {
            add_service(made, service)?;
        }
    }
    Ok(())
}

fn add_service(made: &mut Builder, service: &Service) -> Result<(), EnvError> {
    let Some(spec) = &service.spec else { return Ok(()) };
    let Some(address) = spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty() && *ip != "None") else {
        return Ok(());
    };
    let ports = spec.ports.as_deref().unwrap_or_default();
    let Some(first) = ports.first() else { return Ok(()) };
    let name = service.metadata.name.as_deref().unwrap_or_default().to_uppercase().replace('-', "_");

    made.set(format!("{name}_SERVICE_HOST"), address.to_owned())?;
    made.set(format!("{name}_SERVICE_PORT"), first.port.to_string())?;
    for port in ports {
        if let Some(port_name) = &port.name {
            let port_name = port_name.to_uppercase().replace('-', "_");
            made.set(format!("{name}_SERVICE_PORT_{port_name}"), port.port.to_string())?;
        }
    }
    let url = |protocol: &str, port: i32| format!("{}://{address}:{port}", protocol.to_lowercase());
    let protocol = |port: &k8s_openapi::api::core::v1::ServicePort| {
        port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())
    };
    made.set(format!("{name}_PORT"), url(&protocol(first), first.port))?;
    for port in ports {
        let protocol = protocol(port);
        let prefix = format!("{name}_PORT_{}_{}", port.port, protocol.to_uppercase());
        made.set(prefix.clone(), url(&protocol, port.port))?;
        made.set(format!("{prefix}_PROTO"), protocol.to_lowercase())?;
        made.set(format!("{prefix}_PORT"), port.port.to_string())?;
        made.set(format!("{prefix}_ADDR"), address.to_owned())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sources() -> Sources {
        let config = json!({"data": {"color": "blue", "size": "xl"}});
        let secret = json!({"data": {"password": "aHVudGVyMg==", "raw": "/w=="}});
        Sources {
            config_maps: BTreeMap::from([(
                "c".to_owned(),
                serde_json::from_value(config).expect("a ConfigMap"),
            )]),
            secrets: BTreeMap::from([("s".to_owned(), serde_json::from_value(secret).expect("a Secret"))]),
        }
    }

    #[track_caller]
    fn check(container: serde_json::Value, expected: Result<&[(&str, &str)], &str>) {
        let pod = json!({
            "metadata": {"name": "p", "namespace": "n", "labels": {"app": "x"}},
            "spec": {"containers": [container]},
            "status": {"podIP": "10.42.0.7"},
        });
        let pod: Pod = serde_json::from_value(pod).expect("a pod");
        let sources = sources();
        let context =
            Context { pod: &pod, sources: &sources, services: &[], node: downward::NodeCapacity::default() };
        let found = environment(&context, &pod.spec.as_ref().expect("a spec").containers[0]);
        match (found, expected) {
            (Ok(found), Ok(expected)) => {
                let found: Vec<_> = found.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
                assert_eq!(found, expected);
            }
            (Err(found), Err(expected)) => assert_eq!(found.to_string(), expected),
            (found, expected) => panic!("found {found:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn values_may_refer_to_earlier_ones_and_to_the_pod() {
        check(
            json!({"name": "c", "env": [
                {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "URL", "value": "http://$(IP):80/$(UNKNOWN)"},
                {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
            ]}),
            Ok(&[("APP", "x"), ("IP", "10.42.0.7"), ("URL", "http://10.42.0.7:80/$(UNKNOWN)")]),
        );
    }

    #[test]
    fn whole_objects_and_single_keys_become_variables() {
        check(
            json!({"name": "c",
                "envFrom": [{"prefix": "C_", "configMapRef": {"name": "c"}}],
                "env": [{"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "s", "key": "password"}}}]}),
            Ok(&[("C_color", "blue"), ("C_size", "xl"), ("PASSWORD", "hunter2")]),
        );
    }

    #[test]
    fn a_missing_source_is_an_error_unless_it_is_optional() {
        let key = |name: &str, key: &str, optional| json!({"name": "c", "env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": name, "key": key, "optional": optional}}}]});
        check(key("c", "none", true), Ok(&[]));
        check(key("none", "x", true), Ok(&[]));
        check(key("c", "none", false), Err("couldn't find key none in ConfigMap n/c"));
        check(key("none", "x", false), Err("configmap \"none\" not found"));
    }

    /// A variable and thirty-five more, each twice the one before.
    fn doubling() -> Vec<serde_json::Value> {
        let first = json!({"name": "A0", "value": "x".repeat(1000)});
        let twice = (1..=35)
            .map(|place| json!({"name": format!("A{place}"), "value": "$(A#)$(A#)".replace('#', &(place - 1).to_string())}));
        std::iter::once(first).chain(twice).collect()
    }

    #[test]
    fn an_environment_that_doubles_ends_where_no_program_could_be_started_with_it() {
        let too_large = |name: &str| {
            format!(
                "the environment is larger than 2097152 bytes, what $(NAME) and envFrom stand for and the variables of services (enableServiceLinks) included; {name} does not fit any more"
            )
        };
        // 1000 and 2000 and so on: the eleventh doubling would be the one too many.
        check(json!({"name": "c", "env": doubling()}), Err(&too_large("A11")));
        let mut large = sources().config_maps["c"].clone().expect("it is there");
        large.data = Some(BTreeMap::from([("k".to_owned(), "x".repeat(1 << 20))]));
        let sources = Sources {
            config_maps: BTreeMap::from([("large".to_owned(), Some(large))]),
            ..Sources::default()
        };
        let often: Vec<_> = (0..5000)
            .map(|number| json!({"prefix": format!("P{number}_"), "configMapRef": {"name": "large"}}))
            .collect();
        let pod = json!({"metadata": {}, "spec": {"containers": [{"name": "c", "envFrom": often}]}});
        let pod: Pod = serde_json::from_value(pod).expect("a pod");
        let context =
            Context { pod: &pod, sources: &sources, services: &[], node: downward::NodeCapacity::default() };
        let found = environment(&context, &pod.spec.as_ref().expect("a spec").containers[0]);
        assert_eq!(found, Err(EnvError::TooLarge { name: "P1_k".to_owned() }));
    }

    #[test]
    fn a_variable_that_is_set_again_takes_the_room_of_the_last_one() {
        let again: Vec<_> = (0..10).map(|_| json!({"name": "A", "value": "x".repeat(1 << 19)})).collect();
        let value = "x".repeat(1 << 19);
        check(json!({"name": "c", "env": again}), Ok(&[("A", &value)]));
    }

    #[test]
    fn services_announce_themselves() {
        let service = json!({
            "metadata": {"name": "my-db", "namespace": "n"},
            "spec": {"clusterIP": "10.43.0.9", "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}]},
        });
        let service: Service = serde_json::from_value(service).expect("a service");
        let mut made = Builder::new();
        add_service(&mut made, &service).expect("it fits");
        let shown: Vec<String> = made.values.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            shown,
            [
                "MY_DB_PORT=tcp://10.43.0.9:5432",
                "MY_DB_PORT_5432_TCP=tcp://10.43.0.9:5432",
                "MY_DB_PORT_5432_TCP_ADDR=10.43.0.9",
                "MY_DB_PORT_5432_TCP_PORT=5432",
                "MY_DB_PORT_5432_TCP_PROTO=tcp",
                "MY_DB_SERVICE_HOST=10.43.0.9",
                "MY_DB_SERVICE_PORT=5432",
                "MY_DB_SERVICE_PORT_SQL=5432",
            ]
        );
    }
}
