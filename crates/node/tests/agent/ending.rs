//! Pods end though the API does not take it at first that they have.

use std::sync::atomic::Ordering;

use client::{Api, DeleteOptions};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use testkit::wait_until_async;

use crate::cluster::{Cluster, REFUSALS, object, on_a_network_of_its_own};

#[test]
fn a_deletion_that_the_api_does_not_take_is_confirmed_again() {
    on_a_network_of_its_own(|| async {
        let cluster = Cluster::start().await;
        let pods = Api::<Pod>::namespaced(&cluster.steady, "default");
        let pod: Pod = object(json!({
            "metadata": {"name": "going"},
            "spec": {"nodeName": "here", "automountServiceAccountToken": false,
                     "containers": [{"name": "main", "image": "app"}]},
        }));
        pods.create(&pod).await.expect("create");
        pods.delete("going", &DeleteOptions::default()).await.expect("delete");
        assert!(pods.find("going").await.expect("find").is_some(), "it waits for its node");
        let gone = wait_until_async("the pod to go", || async {
            match pods.find("going").await.expect("find") {
                None => Ok(()),
                Some(_) => Err(cluster.tries.load(Ordering::SeqCst)),
            }
        });
        cluster.run_agent_until(&cluster.refused, gone).await;
        assert_eq!(cluster.tries.load(Ordering::SeqCst) as usize, REFUSALS.len() + 1);
    });
}

#[test]
fn what_is_left_of_pods_that_the_api_does_not_know_is_taken_away() {
    on_a_network_of_its_own(|| async {
        let cluster = Cluster::start().await;
        let pods = cluster.root.path().join("pods");
        let uid =
            |digit: char| format!("{0}-{1}-{1}-{1}-{2}", digit.to_string().repeat(8), "4abc", "0".repeat(12));
        let place = |name: &str, volume: &str| pods.join(name).join("volumes").join(volume);
        // As a crash left it before there was a sandbox, and as an earlier version did, without a record.
        let (recorded, older, later) = (uid('a'), uid('b'), uid('c'));
        let record = |name: &str, text: &str| {
            std::fs::create_dir_all(place(name, "scratch")).expect("make a directory");
            std::fs::write(pods.join(name).join("volumes.json"), text).expect("write a record");
        };
        record(&recorded, r#"{"version":1,"volumes":{"scratch":{"kind":"directory","phase":"published"}}}"#);
        std::fs::create_dir_all(place(&older, "scratch/deep")).expect("make a directory");
        record(&later, r#"{"version":7,"volumes":{}}"#);
        std::fs::create_dir_all(pods.join("seccomp")).expect("make a directory");
        let gone = wait_until_async("what nobody knows to go", || async {
            let mut left: Vec<_> = std::fs::read_dir(&pods)
                .expect("list")
                .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
                .collect();
            left.sort();
            if left == [later.as_str(), "seccomp"] { Ok(()) } else { Err(left) }
        });
        cluster.run_agent_until(&cluster.steady, gone).await;
        assert!(place(&later, "scratch").is_dir(), "what is not understood is left alone");
    });
}
