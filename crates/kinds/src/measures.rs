//! What is measured of nodes and pods, as autoscalers and `kubectl top` read it: groups of which nothing is stored.
//!
//! Nodes are asked for what containers use, pods for what their programs tell of themselves, when somebody asks for
//! it here; what was told is kept by [`observe`] for as long as somebody goes on to ask. The names are those of
//! Kubernetes' metrics APIs, which there are served by programs of their own.

mod custom;
mod external;
mod node_metrics;
mod pod_metrics;
mod scrape;

use std::sync::Arc;
use std::time::Duration;

use apiserver::request::ListOptions;
use apiserver::table::{Column, NAME, text};
use apiserver::{Bounds, Call, Error, Reach, Resource, Result};
use futures::StreamExt as _;
use futures::stream;
use model::object::StringMap;
use model::schema::{Builder, Field, ListKind, Scalar, Struct, Type};
use model::select::{FieldSelector, LabelSelector, SelectedFields};
use model::status::Status;
use model::{GroupVersionKind, Object, Quantity, Schema};
use observe::usage::{Look, Usage};
use observe::{Nodes, Pages};
use serde_json::{Value, json};

/// Where a node tells what is used on it.
const OF_NODE: &str = "/metrics/resource";
/// What it may tell, and how long it may take.
const BOUNDS: Bounds = Bounds { bytes: 16 << 20, time: Duration::from_secs(10) };
/// So many nodes are asked at once.
const AT_ONCE: usize = 16;
/// So long it may take to ask all pods that an answer is of.
const LIMIT: Duration = Duration::from_secs(30);

const COLUMNS: &[Column] = &[
    NAME,
    text("cpu", "Processors that are used."),
    text("memory", "Memory that is used."),
    text("Window", "Over how long a time processors were looked at."),
];

/// The resources, with what they keep in common.
pub(crate) fn resources() -> Vec<Resource> {
    let (nodes, pages) = (Arc::<Nodes>::default(), Arc::<Pages>::default());
    vec![
        node_metrics::resource(&nodes),
        pod_metrics::resource(&nodes),
        custom::resource(&pages),
        external::resource(&pages),
    ]
}

/// Two looks at a node, the later first.
type Looks = (Arc<Look>, Arc<Look>);

/// Looks at nodes; gives nothing for those that cannot be asked.
async fn look(nodes: &Nodes, reach: &Reach, names: Vec<String>) -> Vec<(String, Option<Looks>)> {
    let one = |name: String| async move {
        let looked = nodes.look(&name, || reach.elapsed(), || ask(reach, &name)).await;
        (name, looked.ok())
    };
    stream::iter(names).map(one).buffered(AT_ONCE).collect().await
}

async fn ask(reach: &Reach, node: &str) -> Result<Look> {
    let page = reach.node(node, OF_NODE, BOUNDS).await?;
    let page = std::str::from_utf8(&page).map_err(|error| Error::internal(&error))?;
    Look::read(page).map_err(|error| Error::internal(&error))
}

/// Which objects are meant.
struct Selection {
    labels: LabelSelector,
    fields: SelectedFields,
}

impl Selection {
    fn of(call: &Call) -> Result<Self> {
        let bad = |error: model::select::SelectorError| Error::bad_request(error.to_string());
        let options = ListOptions::parse(call.query())?;
        let fields: FieldSelector = options.field_selector.parse().map_err(bad)?;
        let labels = options.label_selector.parse().map_err(bad)?;
        Ok(Self { labels, fields: fields.among(&[]).map_err(bad)? })
    }

    fn takes(&self, object: &Object) -> bool {
        self.labels.matches(object) && self.fields.matches(object)
    }
}

/// An object of measures, named and labelled as what they are of.
fn measured(call: &Call, of: &Object) -> Object {
    let mut object = Object::new(&call.resource().gvk(), of.name());
    object.set_namespace(of.namespace());
    if let Some(labels) = of.get(&["metadata", "labels"]).filter(|labels| labels.is_object()) {
        object.set(&["metadata", "labels"], labels.clone());
    }
    object.set_creation_timestamp(call.now());
    object
}

fn time(object: &mut Object, usage: &Usage) {
    object.set(&["timestamp"], model::time::format(usage.at));
    object.set(&["window"], duration(usage.window));
}

fn amounts(cpu: u64, memory: u64) -> Value {
    let cpu: Quantity = format!("{cpu}n").parse().unwrap_or_default();
    json!({"cpu": cpu, "memory": Quantity::from_bytes(i64::try_from(memory).unwrap_or(i64::MAX))})
}

/// A time of at least a second, as Kubernetes writes it: `1m15.5s`.
fn duration(time: Duration) -> String {
    let (minutes, seconds) = (time.as_secs() / 60, time.as_secs() % 60);
    let (hours, minutes) = (minutes / 60, minutes % 60);
    let fraction = format!("{seconds}.{:09}", time.subsec_nanos());
    let seconds = fraction.trim_end_matches('0').trim_end_matches('.');
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// The cells of what is used, in the order of [`COLUMNS`].
fn cells(object: &Object, usages: &[&Value]) -> Vec<Value> {
    let sum = |name: &str| {
        let mut sum: Option<Quantity> = None;
        for amount in usages.iter().filter_map(|usage| Quantity::from_json(usage.get(name)?)) {
            match &mut sum {
                None => sum = Some(amount),
                Some(sum) => *sum += amount,
            }
        }
        Value::from(sum.unwrap_or_default().to_string())
    };
    let window = object.get_str(&["window"]).unwrap_or_default();
    vec![object.name().into(), sum("cpu"), sum("memory"), window.into()]
}

/// The types of the fields of measures; `of_pods` where they are told by container.
fn schema(kind: &GroupVersionKind, of_pods: bool) -> Schema {
    const PACKAGE: &str = "io.k8s.metrics.pkg.apis.metrics.v1beta1";
    let mut builder = Builder::with_structs(3);
    let text = builder.add(Type::Scalar(Scalar::String));
    let at = builder.add(Type::Scalar(Scalar::Time));
    let quantity = builder.add(Type::Scalar(Scalar::Quantity));
    let usage = builder.add(Type::Map { values: quantity, atomic: false });
    let (metadata, container) = (builder.struct_type(1), builder.struct_type(2));
    let containers = builder.add(Type::List { items: container, kind: ListKind::Atomic });
    let field = |name: &'static str, ty, required| Field {
        name: name.into(),
        ty,
        required,
        nullable: false,
        extra: None,
    };
    let labels = builder.add(Type::Map { values: text, atomic: false });
    builder.define(
        1,
        Struct {
            name: format!("{PACKAGE}.{}Metadata", kind.kind).into(),
            fields: vec![
                field("name", text, false),
                field("namespace", text, false),
                field("labels", labels, false),
                field("creationTimestamp", at, false),
            ],
            ..Struct::default()
        },
    );
    builder.define(
        2,
        Struct {
            name: format!("{PACKAGE}.ContainerMetrics").into(),
            fields: vec![field("name", text, true), field("usage", usage, true)],
            ..Struct::default()
        },
    );
    let mut fields = vec![
        field("apiVersion", text, false),
        field("kind", text, false),
        field("metadata", metadata, false),
        field("timestamp", at, true),
        field("window", text, true),
    ];
    fields.push(if of_pods { field("containers", containers, true) } else { field("usage", usage, true) });
    let name = format!("{PACKAGE}.{}", kind.kind).into();
    builder.define(0, Struct { name, kinds: vec![kind.clone()], fields, ..Struct::default() });
    builder.schema(0)
}

/// What is told in time, or that it is not.
async fn in_time<T>(limit: Duration, telling: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(limit, telling).await.unwrap_or_else(|_| {
        let message = format!("Timeout: the pods did not tell it in {} s", limit.as_secs());
        Err(Status::failure(504, "Timeout", message).into())
    })
}

/// Whether labels are taken by a selector.
fn takes(selector: &LabelSelector, labels: &[(String, String)]) -> bool {
    selector.match_values(|key| labels.iter().find(|(known, _)| known == key).map(|(_, value)| &**value))
}

/// The pods that an object stands for, as its selector says: of labels alone, or with expressions.
fn selector_of(object: &Object) -> Option<LabelSelector> {
    let selector = object.get(&["spec", "selector"]).filter(|selector| selector.is_object())?;
    let labels = selector.as_object().filter(|labels| labels.values().all(Value::is_string));
    match labels {
        Some(labels) => Some(LabelSelector::from_labels(StringMap::new(Some(labels)).iter())),
        None => LabelSelector::from_json(Some(selector)).ok(),
    }
}

/// A number as a quantity: to the thousandth, or to the billionth where that would be nothing.
fn quantity(value: f64) -> Quantity {
    // The cast holds what it can.
    let millis = (value * 1e3).round();
    if millis == 0.0 {
        return format!("{}n", (value * 1e9).round() as i64).parse().unwrap_or_default();
    }
    Quantity::from_millis(millis as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_does_not_end_is_told_to() {
        assert_eq!(in_time(LIMIT, std::future::ready(Ok(7))).await.expect("told"), 7);
        let late =
            in_time(Duration::ZERO, std::future::pending::<Result<()>>()).await.expect_err("it never ends");
        assert_eq!(late.to_string(), "Timeout: the pods did not tell it in 0 s");
    }

    #[test]
    fn numbers_and_times_are_written_as_kubernetes_writes_them() {
        for (millis, expected) in
            [(1000, "1s"), (15_035, "15.035s"), (75_500, "1m15.5s"), (3_600_000, "1h0m0s"), (60_000, "1m0s")]
        {
            assert_eq!(duration(Duration::from_millis(millis)), expected);
        }
        assert_eq!(amounts(1_234_567, 10 << 20), json!({"cpu": "1234567n", "memory": "10Mi"}));
        assert_eq!(amounts(250_000_000, 1000), json!({"cpu": "250m", "memory": "1k"}));
        for (value, expected) in [
            (0.0, "0"),
            (2.0, "2"),
            (1.5, "1500m"),
            (0.0001, "100u"),
            (-0.25, "-250m"),
            (1e300, "9223372036854775807m"),
        ] {
            assert_eq!(quantity(value).to_string(), expected);
        }
    }
}
