//! How long requests may take.

use std::sync::Arc;

use apiserver::{Admission, Admitting, Write, after_asking, at_once};
use model::Object;
use serde_json::{Value, json};

use crate::cluster::{Cluster, named};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// Never says anything of ConfigMaps.
struct Silent;

impl Admission for Silent {
    fn mutate<'a>(&'a self, write: &'a Write<'a>, _: &'a mut Object) -> Admitting<'a> {
        match write.is_of("", "configmaps") {
            true => after_asking(std::future::pending()),
            false => at_once(Ok(())),
        }
    }
}

fn told(answer: &(u16, Value)) -> (u16, &str, &str) {
    let text = |key: &str| answer.1[key].as_str().unwrap_or_default();
    (answer.0, text("reason"), text("message"))
}

#[tokio::test]
async fn a_request_ends_when_its_client_has_no_time_left() {
    let cluster = Cluster::configured(|config| config.admission = vec![Arc::new(Silent)]).await;
    let answer = cluster.send("POST", &format!("{MAPS}?timeout=20ms"), &named("ConfigMap", "m")).await;
    let over = "Timeout: request did not complete within the allotted timeout";
    assert_eq!(told(&answer), (504, "Timeout", over));
    assert_eq!(answer.1["details"].get("retryAfterSeconds"), None, "{}", answer.1);
    assert_eq!(cluster.get(&format!("{MAPS}/m")).await.0, 404);
    // What lasts does so all the same, and is not even asked what it means.
    let secrets = "/api/v1/namespaces/default/secrets";
    for time in ["1ns", "soon"] {
        let mut watch = cluster.watch(&format!("{secrets}?watch=1&timeout={time}")).await;
        cluster.ok("POST", secrets, &named("Secret", time)).await;
        while watch.next().await != format!("ADDED {time}") {}
    }
}

#[tokio::test]
async fn a_time_that_is_none_is_refused() {
    let cluster = Cluster::start().await;
    let why = "invalid timeout specified in the request URL - time: invalid duration \"soon\"";
    for path in [format!("{MAPS}?timeout=soon"), "/version?timeout=soon".to_owned()] {
        assert_eq!(told(&cluster.get(&path).await), (400, "BadRequest", why), "{path}");
    }
    assert_eq!(cluster.get(&format!("{MAPS}?timeout=30s")).await.0, 200);
    let made = cluster.ok("POST", &format!("{MAPS}?timeout=1m"), &json!({"metadata": {"name": "m"}})).await;
    assert_eq!(made["metadata"]["name"], "m");
}
