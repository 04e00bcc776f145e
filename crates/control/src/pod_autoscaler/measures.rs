//! What is measured, asked of the API: of resources, of what pods tell, of other objects, and of what is outside.

use std::time::Duration;

use base::Timestamp;
use client::{Client, Error, ResourceKind};
use model::Quantity;
use model::select::LabelSelector;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::replicas::{Measure, Measures};

/// Over so long a time something was measured of which nothing else is said.
const WINDOW: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
struct List<T> {
    items: Vec<T>,
}

#[derive(Deserialize)]
struct PodMetrics {
    metadata: Named,
    timestamp: String,
    window: String,
    containers: Vec<ContainerMetrics>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
struct ContainerMetrics {
    name: String,
    usage: std::collections::BTreeMap<String, Quantity>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Value {
    described_object: Named,
    timestamp: String,
    window_seconds: Option<u64>,
    value: Quantity,
}

#[derive(Deserialize)]
struct External {
    value: Quantity,
}

/// What pods use of a resource, or one of their containers where that has a name.
pub(super) async fn of_resource(
    client: &Client,
    namespace: &str,
    pods: &LabelSelector,
    resource: &str,
    container: &str,
) -> Result<Measures, String> {
    let selector = escaped(&pods.to_string());
    let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods?labelSelector={selector}");
    let list: List<PodMetrics> = get(client, &path, "resource").await?;
    if list.items.is_empty() {
        return Err("no metrics returned from resource metrics API".to_owned());
    }
    let mut measures = Measures::new();
    for pod in list.items {
        let mut sum = 0_i64;
        let mut whole = true;
        let mut containers = pod.containers.iter();
        if container.is_empty() {
            for of in containers {
                match of.usage.get(resource) {
                    Some(amount) => sum = sum.saturating_add(amount.millis()),
                    None => whole = false,
                }
            }
        } else {
            let found = containers.find(|of| of.name == container);
            let Some(found) = found else {
                let name = &pod.metadata.name;
                return Err(format!(
                    "container {container} not present in metrics for pod {namespace}/{name}"
                ));
            };
            match found.usage.get(resource) {
                Some(amount) => sum = amount.millis(),
                None => whole = false,
            }
        }
        if whole {
            let measure = Measure {
                value: sum,
                at: time(&pod.timestamp),
                window: window(&pod.window).unwrap_or(WINDOW),
            };
            measures.insert(pod.metadata.name, measure);
        }
    }
    Ok(measures)
}

/// What pods tell by a name.
pub(super) async fn of_pods(
    client: &Client,
    namespace: &str,
    pods: &LabelSelector,
    metric: &str,
    series: &LabelSelector,
) -> Result<Measures, String> {
    let (pods, series) = (escaped(&pods.to_string()), escaped(&series.to_string()));
    let path = format!(
        "/apis/custom.metrics.k8s.io/v1beta2/namespaces/{namespace}/pods/*/{}?labelSelector={pods}&metricLabelSelector={series}",
        escaped(metric)
    );
    let list: List<Value> = get(client, &path, "custom").await?;
    if list.items.is_empty() {
        return Err("no metrics returned from custom metrics API".to_owned());
    }
    let measure = |value: Value| {
        let window = value.window_seconds.map_or(WINDOW, Duration::from_secs);
        let measure = Measure { value: value.value.millis(), at: time(&value.timestamp), window };
        (value.described_object.name, measure)
    };
    Ok(list.items.into_iter().map(measure).collect())
}

/// What is told of an object; of the namespace where `kind` is none.
pub(super) async fn of_object(
    client: &Client,
    namespace: &str,
    kind: Option<&ResourceKind>,
    name: &str,
    metric: &str,
    series: &LabelSelector,
) -> Result<i64, String> {
    let path = format!(
        "/apis/custom.metrics.k8s.io/v1beta2/namespaces/{}/{}?metricLabelSelector={}",
        place(namespace, kind, name),
        escaped(metric),
        escaped(&series.to_string())
    );
    let list: List<Value> = get(client, &path, "custom").await?;
    let first = list.items.into_iter().next();
    first
        .map(|value| value.value.millis())
        .ok_or_else(|| "no metrics returned from custom metrics API".to_owned())
}

/// Where an object is among those of whom something is told. Of namespaces it is the autoscaler's own, whatever name
/// is said, as in Kubernetes: nobody is to scale by what another's namespace tells.
fn place(namespace: &str, kind: Option<&ResourceKind>, name: &str) -> String {
    match kind {
        None => format!("{namespace}/metrics"),
        Some(kind) if kind.group.is_empty() => format!("{namespace}/{}/{}", kind.plural, escaped(name)),
        Some(kind) => format!("{namespace}/{}.{}/{}", kind.plural, kind.group, escaped(name)),
    }
}

/// What is told of something outside, all series together.
pub(super) async fn external(
    client: &Client,
    namespace: &str,
    metric: &str,
    series: &LabelSelector,
) -> Result<i64, String> {
    let path = format!(
        "/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{}?labelSelector={}",
        escaped(metric),
        escaped(&series.to_string())
    );
    let list: List<External> = get(client, &path, "external").await?;
    if list.items.is_empty() {
        return Err("no metrics returned from external metrics API".to_owned());
    }
    Ok(list.items.iter().fold(0_i64, |sum, item| sum.saturating_add(item.value.millis())))
}

async fn get<T: DeserializeOwned>(client: &Client, path: &str, which: &str) -> Result<T, String> {
    client.get(path).await.map_err(|error: Error| {
        format!("unable to fetch metrics from {which} metrics API: {}", base::error::chain(&error))
    })
}

fn time(text: &str) -> Timestamp {
    model::time::parse(text).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Reads a time as Kubernetes writes it: `1h2m3.5s`.
fn window(text: &str) -> Option<Duration> {
    let (mut rest, mut sum) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let seconds = match &rest[..unit] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "µs" | "us" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        sum = sum.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = &rest[unit..];
    }
    Some(sum)
}

/// A text as a part of an address.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_one_of_the_autoscalers_own_namespace() {
        let kind = |group: &str| ResourceKind {
            group: group.to_owned().into(),
            version: "v1".to_owned().into(),
            kind: "It".to_owned().into(),
            plural: "its".to_owned().into(),
            namespaced: true,
        };
        for (kind, name, expected) in [
            (None, "other", "own/metrics"),
            (Some(kind("")), "../x", "own/its/..%2Fx"),
            (Some(kind("g.io")), "x", "own/its.g.io/x"),
        ] {
            assert_eq!(place("own", kind.as_ref(), name), expected);
        }
    }

    #[test]
    fn times_and_names_are_read_and_written() {
        for (text, millis) in [
            ("15.035s", Some(15_035)),
            ("1m0s", Some(60_000)),
            ("1h0m1.5s", Some(3_601_500)),
            ("5ms", Some(5)),
            ("x", None),
            ("5", None),
        ] {
            assert_eq!(window(text).map(|time| time.as_millis()), millis, "{text}");
        }
        assert_eq!(escaped("a b=c,d/é"), "a%20b%3Dc%2Cd%2F%C3%A9");
    }
}
