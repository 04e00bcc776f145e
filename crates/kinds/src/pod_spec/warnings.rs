//! What is odd about a pod's spec but allowed, in Kubernetes' words: kubectl shows it.

use std::collections::{HashMap, HashSet};

use model::Quantity;
use model::field::{Path, quote};
use model::names;
use model::object::StringMap;
use model::validate::{list, number, text};
use model::{Object, validate};
use serde_json::Value;

/// So many are told of one object.
const MOST: usize = 100;
/// With so many other ports of the same number a port is compared.
const COMPARED: usize = 100;

/// Labels of nodes that had other names once.
const OLD_LABELS: [(&str, &str); 8] = [
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    (
        "failure-domain.beta.kubernetes.io/zone",
        "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
    ),
    (
        "beta.kubernetes.io/instance-type",
        "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead",
    ),
    ("app.kubernetes.io/created-by", "deprecated since v1.9"),
    (
        "scheduler.alpha.kubernetes.io/preferAvoidPods",
        "deprecated since v1.22; use Taints and Tolerations instead",
    ),
    ("node-role.kubernetes.io/master", "use \"node-role.kubernetes.io/control-plane\" instead"),
];

/// Annotations that say nothing any more.
const OLD_ANNOTATIONS: [(&str, &str); 3] = [
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    (
        "security.alpha.kubernetes.io/unsafe-sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
];

/// Kinds of volumes that are gone, or go.
const OLD_VOLUMES: [(&str, &str); 9] = [
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "deprecated in v1.11"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

/// Where containers are, in the order in which they are looked at.
const CONTAINERS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// Of a new pod. One that is changed says nothing: people do not change pods.
pub(crate) fn of_pod(pod: &Object, old: Option<&Object>) -> Vec<String> {
    if old.is_some() {
        return Vec::new();
    }
    let mut warnings = Warnings::default();
    name(pod, "the Pod's hostname", &mut warnings);
    let annotations = pod.annotations();
    if let Some(spec) = pod.get(&["spec"]) {
        of_spec(spec, annotations, &Path::EMPTY, &mut warnings);
    }
    warnings.0
}

/// Of the template of something that makes pods, where that is new or wants something else than before.
pub(crate) fn of_workload(object: &Object, old: Option<&Object>) -> Vec<String> {
    let mut warnings = Warnings::default();
    match old {
        None => name(object, "Pod names and hostnames", &mut warnings),
        Some(old) if old.generation() == object.generation() => return Vec::new(),
        Some(_) => {}
    }
    let (spec, annotations) = (
        object.get(&["spec", "template", "spec"]),
        object.get(&["spec", "template", "metadata", "annotations"]),
    );
    if let Some(spec) = spec {
        let path = Path::root("spec");
        let annotations = StringMap::new(annotations.and_then(Value::as_object));
        of_spec(spec, annotations, &path.child("template"), &mut warnings);
    }
    warnings.0
}

/// Of a template that stands at `place` of an object, where that is new or wants something else than before.
/// Kubernetes tells its place without what is before the last part.
pub(crate) fn of_template(object: &Object, old: Option<&Object>, place: &[&str]) -> Vec<String> {
    if old.is_some_and(|old| old.generation() == object.generation()) {
        return Vec::new();
    }
    let mut warnings = Warnings::default();
    let Some(template) = object.get(place) else { return Vec::new() };
    if let Some(spec) = template.get("spec") {
        let annotations = template.pointer("/metadata/annotations").and_then(Value::as_object);
        let path = Path::root(place.last().copied().unwrap_or_default());
        of_spec(spec, StringMap::new(annotations), &path, &mut warnings);
    }
    warnings.0
}

#[derive(Default)]
struct Warnings(Vec<String>);

impl Warnings {
    fn push(&mut self, path: &Path<'_>, what: impl std::fmt::Display) {
        if self.0.len() < MOST {
            self.0.push(format!("{path}: {what}"));
        }
    }
}

fn name(object: &Object, used_in: &str, warnings: &mut Warnings) {
    let messages = names::dns1123_label(object.name());
    if !messages.is_empty() {
        let what = format!(
            "this is used in {used_in}, which can result in surprising behavior; a DNS label is recommended: [{}]",
            messages.join(" ")
        );
        warnings.push(&Path::root("metadata").child("name"), what);
    }
}

fn of_spec(spec: &Value, annotations: StringMap<'_>, of: &Path<'_>, warnings: &mut Warnings) {
    let path = of.child("spec");
    labels(spec, &path, warnings);
    let (metadata, is_template) = (of.child("metadata"), !of.to_string().is_empty());
    let annotated = metadata.child("annotations");
    for (key, what) in OLD_ANNOTATIONS {
        if annotations.contains_key(key) {
            warnings.push(&annotated.key(key), what);
        }
    }
    volumes(spec, &path, warnings);
    duplicates(spec, "hostAliases", "ip", &path, warnings);
    duplicates(spec, "imagePullSecrets", "name", &path, warnings);
    let secrets = path.child("imagePullSecrets");
    for (index, _) in
        list(spec, "imagePullSecrets").iter().enumerate().filter(|(_, s)| text(s, "name").is_empty())
    {
        warnings.push(&secrets.index(index).child("name"), "invalid empty name \"\"");
    }
    for name in ["memory", "ephemeral-storage"] {
        fraction(spec.get("overhead"), name, &path.child("overhead"), warnings);
    }
    let context = |of: &Value, name: &str| of.get("securityContext").is_some_and(|c| c.get(name).is_some());
    let seccomp = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
    let key = "seccomp.security.alpha.kubernetes.io/pod";
    if !context(spec, "seccompProfile") && annotations.contains_key(key) {
        warnings.push(&annotated.key(key), seccomp);
    }
    each_container(spec, &path, |container, path| {
        let name = text(container, "name");
        let key = format!("container.seccomp.security.alpha.kubernetes.io/{name}");
        if !context(container, "seccompProfile") && annotations.contains_key(&key) {
            warnings.push(&annotated.key(&key), seccomp);
        }
        let key = format!("container.apparmor.security.beta.kubernetes.io/{name}");
        let has_profile = [spec, container].into_iter().any(|one| context(one, "appArmorProfile"));
        if is_template && !has_profile && annotations.contains_key(&key) {
            let what = "deprecated since v1.30; use the \"appArmorProfile\" field instead";
            warnings.push(&annotated.key(&key), what);
        }
        let resources = path.child("resources");
        for name in ["memory", "ephemeral-storage"] {
            for side in ["limits", "requests"] {
                let amounts = container.get("resources").and_then(|resources| resources.get(side));
                fraction(amounts, name, &resources.child(side), warnings);
            }
        }
        variables(container, path, warnings);
    });
    ports(spec, &path, warnings);
    if number(spec, "terminationGracePeriodSeconds").is_some_and(|seconds| seconds < 0) {
        let what = "must be >= 0; negative values are invalid and will be treated as 1";
        warnings.push(&path.child("terminationGracePeriodSeconds"), what);
    }
    affinities(spec, &path, warnings);
}

/// Calls `look` for each container and its place.
fn each_container<'a>(spec: &'a Value, path: &Path<'_>, mut look: impl FnMut(&'a Value, &Path<'_>)) {
    for kind in CONTAINERS {
        let of_kind = path.child(kind);
        for (index, container) in list(spec, kind).iter().enumerate() {
            look(container, &of_kind.index(index));
        }
    }
}

/// Labels of nodes that pods select by.
fn labels(spec: &Value, path: &Path<'_>, warnings: &mut Warnings) {
    let old = |key: &str| OLD_LABELS.iter().find(|(label, _)| *label == key).map(|(_, what)| *what);
    let selector = path.child("nodeSelector");
    for (key, _) in validate::entries(spec, "nodeSelector") {
        if let Some(what) = old(key) {
            warnings.push(&selector.key(key), what);
        }
    }
    let (affinity, node) = (path.child("affinity"), spec.pointer("/affinity/nodeAffinity"));
    let affinity = affinity.child("nodeAffinity");
    let mut term = |term: &Value, path: &Path<'_>| {
        let expressions = path.child("matchExpressions");
        for (index, expression) in list(term, "matchExpressions").iter().enumerate() {
            let key = text(expression, "key");
            if let Some(what) = old(key) {
                warnings.push(&expressions.index(index).child("key"), format!("{key} is {what}"));
            }
        }
    };
    let required = affinity.child("requiredDuringSchedulingIgnoredDuringExecution");
    let required = required.child("nodeSelectorTerms");
    let terms = node.and_then(|node| node.get("requiredDuringSchedulingIgnoredDuringExecution"));
    for (index, one) in terms.map_or(&[][..], |terms| list(terms, "nodeSelectorTerms")).iter().enumerate() {
        term(one, &required.index(index));
    }
    let preferred = affinity.child("preferredDuringSchedulingIgnoredDuringExecution");
    let terms = node.map_or(&[][..], |node| list(node, "preferredDuringSchedulingIgnoredDuringExecution"));
    for (index, one) in terms.iter().enumerate() {
        term(&one["preference"], &preferred.index(index).child("preference"));
    }
    let constraints = path.child("topologySpreadConstraints");
    for (index, constraint) in list(spec, "topologySpreadConstraints").iter().enumerate() {
        let key = text(constraint, "topologyKey");
        if let Some(what) = old(key) {
            warnings.push(&constraints.index(index).child("topologyKey"), format!("{key} is {what}"));
        }
        if constraint.get("labelSelector").is_none_or(Value::is_null) {
            let path = constraints.index(index);
            warnings.push(&path.child("labelSelector"), "a null labelSelector results in matching no pod");
        }
    }
}

fn volumes(spec: &Value, path: &Path<'_>, warnings: &mut Warnings) {
    let of_volumes = path.child("volumes");
    let mut tokens: HashSet<&str> = HashSet::new();
    for (index, volume) in list(spec, "volumes").iter().enumerate() {
        for (kind, what) in OLD_VOLUMES {
            if volume.get(kind).is_some() {
                // The field's name and the type's are written differently.
                let shown = if kind == "storageos" { "storageOS" } else { kind };
                warnings.push(&of_volumes.index(index).child(shown), what);
            }
        }
        let projected = sources(volume).iter().filter_map(|source| source.get("serviceAccountToken"));
        tokens.extend(projected.map(|token| text(token, "path")));
    }
    if tokens.is_empty() {
        return;
    }
    for (index, volume) in list(spec, "volumes").iter().enumerate() {
        let path = of_volumes.index(index);
        let path = path.child("projected");
        let path = path.child("sources");
        for source in sources(volume) {
            // Kubernetes names them so.
            for (kind, shown) in
                [("configMap", "configMap"), ("secret", "secrets"), ("downwardAPI", "downwardAPI")]
            {
                let items = source.get(kind).map_or(&[][..], |source| list(source, "items"));
                for (at, item) in items.iter().enumerate() {
                    let place = text(item, "path");
                    if tokens.contains(place) {
                        let what = format!("has duplicated path with ServiceAccountToken {}", quote(place));
                        warnings.push(&path.child(shown).index(at), what);
                    }
                }
            }
        }
    }
}

/// What a volume is projected from.
fn sources(volume: &Value) -> &[Value] {
    volume.get("projected").map_or(&[], |projected| list(projected, "sources"))
}

/// Items of a list that have the same in a field.
fn duplicates(spec: &Value, kind: &str, field: &str, path: &Path<'_>, warnings: &mut Warnings) {
    let (of_kind, mut seen) = (path.child(kind), HashSet::new());
    for (index, item) in list(spec, kind).iter().enumerate() {
        let value = text(item, field);
        if !seen.insert(value) {
            warnings.push(&of_kind.index(index).child(field), format!("duplicate {field} {}", quote(value)));
        }
    }
}

/// Bytes have no parts.
fn fraction(amounts: Option<&Value>, name: &str, path: &Path<'_>, warnings: &mut Warnings) {
    let Some(amount) = amounts.and_then(|amounts| amounts.get(name)).and_then(Quantity::from_json) else {
        return;
    };
    if !amount.is_whole() {
        let what =
            format!("fractional byte value {} is invalid, must be an integer", quote(&amount.to_string()));
        warnings.push(&path.key(name), what);
    }
}

/// Variables that hide others of the same name, but for those that go on with what there was.
fn variables(container: &Value, path: &Path<'_>, warnings: &mut Warnings) {
    let (variables, mut seen) = (path.child("env"), HashSet::new());
    for (index, variable) in list(container, "env").iter().enumerate() {
        let (name, value) = (text(variable, "name"), text(variable, "value"));
        if seen.insert(name) {
            continue;
        }
        let before = format!("$({name})");
        if variable.get("valueFrom").is_some() || value == before || !value.contains(&before) {
            let what = format!(
                "hides previous definition of {}, which may be dropped when using apply",
                quote(name)
            );
            warnings.push(&variables.index(index), what);
        }
    }
}

/// Ports of the same number, in all containers.
fn ports(spec: &Value, path: &Path<'_>, warnings: &mut Warnings) {
    let mut known: HashMap<(i64, &str), Vec<(String, &Value)>> = HashMap::new();
    each_container(spec, path, |container, path| {
        let ports = path.child("ports");
        for (index, port) in list(container, "ports").iter().enumerate() {
            let place = ports.index(index);
            let outside = |port: &Value| number(port, "hostPort").unwrap_or_default();
            let (address, host_port) = (text(port, "hostIP"), outside(port));
            let inside = number(port, "containerPort").unwrap_or_default();
            let protocol = text(port, "protocol");
            if !address.is_empty() && host_port == 0 {
                let what = format!(
                    "hostIP set without hostPort: {{Name:{} HostPort:0 ContainerPort:{inside} Protocol:{protocol} HostIP:{address}}}",
                    text(port, "name")
                );
                warnings.push(&place, what);
            }
            let others = known.entry((inside, protocol)).or_default();
            for (of_other, other) in others.iter() {
                let (other_address, other_port) = (text(other, "hostIP"), outside(other));
                let what = if address == other_address && host_port == other_port {
                    "duplicate"
                } else if host_port == 0 || other_port == 0 {
                    "overlapping"
                } else if host_port == other_port && address.is_empty() != other_address.is_empty() {
                    "dangerously ambiguous"
                } else {
                    continue;
                };
                warnings.push(&place, format!("{what} port definition with {of_other}"));
            }
            if others.len() < COMPARED {
                others.push((place.to_string(), port));
            }
        }
    });
}

/// Terms that match no pod.
fn affinities(spec: &Value, path: &Path<'_>, warnings: &mut Warnings) {
    let affinity = path.child("affinity");
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(terms) = spec.get("affinity").and_then(|affinity| affinity.get(kind)) else { continue };
        let of_kind = affinity.child(kind);
        let nothing = "a null labelSelector results in matching no pod";
        let required = "requiredDuringSchedulingIgnoredDuringExecution";
        let of_required = of_kind.child(required);
        for (index, term) in list(terms, required).iter().enumerate() {
            if term.get("labelSelector").is_none() {
                warnings.push(&of_required.index(index).child("labelSelector"), nothing);
            }
        }
        let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
        let of_preferred = of_kind.child(preferred);
        for (index, term) in list(terms, preferred).iter().enumerate() {
            if term["podAffinityTerm"].get("labelSelector").is_none() {
                let path = of_preferred.index(index);
                warnings.push(&path.child("podAffinityTerm").child("labelSelector"), nothing);
            }
        }
    }
}
