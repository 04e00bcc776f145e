//! Jobs run their pods to the end and count each once, cron jobs make them in time, and what uses changed data is
//! rolled.
#![forbid(unsafe_code)]

mod support;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::clock::ManualClock;
use base::{Clock, SystemClock};
use client::api::{DeleteOptions, Patch, PatchOptions, Propagation};
use client::{Api, Change, Informer, ListOptions, Resource as _, Typed};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Pod};
use serde_json::{Value, json};
use support::{Cluster, object};
use testkit::wait_until_async;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const TRACKING: &str = "batch.kubernetes.io/job-tracking";

fn api<K: Typed>(cluster: &Cluster) -> Api<K> {
    Api::namespaced(&cluster.steady, "default")
}

fn job(name: &str, spec: &Value) -> Job {
    let mut all = json!({"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "m", "image": "i"}]}}});
    for (key, value) in spec.as_object().expect("fields") {
        all[key] = value.clone();
    }
    object(json!({"metadata": {"name": name, "namespace": "default"}, "spec": all}))
}

/// Ends a pod as its node would: long ago, so that nobody waits before the next.
async fn end(cluster: &Cluster, pod: &str, succeeds: bool) {
    let code = i32::from(!succeeds);
    let ended = json!({"exitCode": code, "finishedAt": "2020-01-01T00:00:00Z"});
    let status = json!({"status": {
        "phase": if succeeds { "Succeeded" } else { "Failed" },
        "containerStatuses": [{"name": "m", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": ended}}],
    }});
    let _ = api::<Pod>(cluster).patch_status(pod, &Patch::Strategic(status), &PatchOptions::default()).await;
}

async fn patch<K: Typed>(cluster: &Cluster, name: &str, patch: Value) {
    api::<K>(cluster).patch(name, &Patch::Merge(patch), &PatchOptions::default()).await.expect("patch");
}

async fn until<T>(cluster: &Cluster, name: &str, what: &str, find: impl Fn(&Job) -> Option<T>) -> T {
    wait_until_async(what, || async {
        let job = api::<Job>(cluster).get(name).await.expect("get");
        find(&job).ok_or_else(|| format!("{:?}", job.status))
    })
    .await
}

fn conditions(job: &Job) -> String {
    let all = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let held = all.filter(|condition| condition.status == "True").map(|condition| condition.type_.as_str());
    held.collect::<Vec<_>>().join(" ")
}

async fn pods_of(cluster: &Cluster, selector: &str) -> Vec<Pod> {
    let options = ListOptions::default().labels(selector.parse().expect("a selector"));
    api::<Pod>(cluster).list_all(&options).await.expect("list").items
}

async fn until_pods(cluster: &Cluster, selector: &str, count: usize) -> Vec<Pod> {
    wait_until_async("the pods", || async {
        let pods = pods_of(cluster, selector).await;
        if pods.len() == count { Ok(pods) } else { Err(format!("{} pods", pods.len())) }
    })
    .await
}

async fn until_told(cluster: &Cluster, name: &str, reason: &str) -> Event {
    wait_until_async(reason, || async {
        let events = api::<Event>(cluster).list_all(&ListOptions::default()).await.expect("list").items;
        let told = |event: &Event| event.involved_object.name.as_deref() == Some(name);
        let reasons: Vec<_> =
            events.iter().filter(|event| told(event)).map(|event| event.reason.clone()).collect();
        let found = events.into_iter().find(|event| told(event) && event.reason.as_deref() == Some(reason));
        found.ok_or(reasons)
    })
    .await
}

fn has_finalizer(pod: &Pod) -> bool {
    pod.metadata.finalizers.iter().flatten().any(|one| one == TRACKING)
}

/// The machine's clock, some seconds ahead or behind.
#[derive(Default)]
struct Ahead {
    clock: SystemClock,
    by: AtomicI64,
}

impl Clock for Ahead {
    fn now(&self) -> base::Timestamp {
        let (now, by) = (self.clock.now(), self.by.load(Ordering::SeqCst));
        let far = Duration::from_secs(by.unsigned_abs());
        if by < 0 { now - far } else { now + far }
    }

    fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_runs_waits_takes_over_and_lets_go() {
    let clock = Arc::new(Ahead::default());
    let cluster = Cluster::start_at(clock.clone()).await;
    let jobs = api::<Job>(&cluster);
    let indexed = json!({"completionMode": "Indexed", "completions": 3, "parallelism": 2});
    let made = jobs.create(&job("farm", &indexed)).await.expect("create");
    let first = until_pods(&cluster, "job-name=farm", 2).await;
    assert!(first.iter().all(has_finalizer));
    assert!(first.iter().all(|pod| pod.controller().is_some_and(|owner| owner.uid == made.uid())));
    let index = "batch.kubernetes.io/job-completion-index";
    let mut indexes: Vec<_> = first.iter().map(|pod| pod.label(index).unwrap_or_default()).collect();
    indexes.sort_unstable();
    assert_eq!(indexes, ["0", "1"]);
    let spec = first[0].spec.as_ref().expect("a spec");
    assert_eq!(
        spec.hostname.as_deref(),
        Some(&*format!("farm-{}", first[0].label(index).unwrap_or_default()))
    );

    // It waits: its pods go and count for nothing.
    patch::<Job>(&cluster, "farm", json!({"spec": {"suspend": true}})).await;
    until_pods(&cluster, "job-name=farm", 0).await;
    let began = until(&cluster, "farm", "it to wait", |job| {
        let status = job.status.clone()?;
        let idle = status.active.is_none() && status.failed.is_none() && status.terminating == Some(0);
        (conditions(job) == "Suspended" && idle).then_some(status.start_time)
    })
    .await;
    until_told(&cluster, "farm", "Suspended").await;
    clock.by.store(5, Ordering::SeqCst);
    patch::<Job>(&cluster, "farm", json!({"spec": {"suspend": false}})).await;
    let pods = until_pods(&cluster, "job-name=farm", 2).await;
    until_told(&cluster, "farm", "Resumed").await;
    until(&cluster, "farm", "its time to begin anew", |job| {
        let start = job.status.clone()?.start_time;
        (start > began && conditions(job).is_empty()).then_some(())
    })
    .await;

    for pod in &pods {
        end(&cluster, pod.name(), true).await;
    }
    let last = wait_until_async("the last pod", || async {
        let pods = pods_of(&cluster, "job-name=farm").await;
        pods.into_iter().find(|pod| pod.label(index) == Some("2")).ok_or("it is not there")
    })
    .await;
    end(&cluster, last.name(), true).await;
    let done = until(&cluster, "farm", "it to be complete", |job| {
        (conditions(job) == "SuccessCriteriaMet Complete").then(|| job.clone())
    })
    .await;
    let status = done.status.expect("a status");
    assert_eq!((status.succeeded, status.completed_indexes.as_deref()), (Some(3), Some("0-2")));
    assert!(status.completion_time.is_some() && status.active.is_none());
    until_told(&cluster, "farm", "Completed").await;
    let left = until_pods(&cluster, "job-name=farm", 3).await;
    assert!(!left.iter().any(has_finalizer), "they are counted");

    // One that leaves its pods behind lets them go, and another takes them over.
    let own = json!({
        "manualSelector": true, "selector": {"matchLabels": {"app": "own"}}, "parallelism": 1,
        "template": {"metadata": {"labels": {"app": "own"}},
            "spec": {"restartPolicy": "Never", "containers": [{"name": "m", "image": "i"}]}},
    });
    jobs.create(&job("one", &own)).await.expect("create");
    let pod = until_pods(&cluster, "app=own", 1).await.remove(0);
    jobs.delete("one", &DeleteOptions::default().propagation(Propagation::Orphan)).await.expect("delete");
    wait_until_async("the pod to be nobody's", || async {
        let pod = api::<Pod>(&cluster).get(pod.name()).await.expect("get");
        if pod.controller().is_none() && !has_finalizer(&pod) { Ok(()) } else { Err(pod.metadata) }
    })
    .await;
    let two = jobs.create(&job("two", &own)).await.expect("create");
    wait_until_async("the pod to be taken over", || async {
        let pod = api::<Pod>(&cluster).get(pod.name()).await.expect("get");
        let owner = pod.controller().map(|owner| owner.uid);
        if owner.as_deref() == Some(two.uid()) && has_finalizer(&pod) { Ok(()) } else { Err(pod.metadata) }
    })
    .await;
    assert_eq!(pods_of(&cluster, "app=own").await.len(), 1, "it needs no other");
    // One whose labels are changed is no longer its own, and is replaced.
    patch::<Pod>(&cluster, pod.name(), json!({"metadata": {"labels": {"app": "apart"}}})).await;
    until_pods(&cluster, "app=own", 1).await;
    let apart = api::<Pod>(&cluster).get(pod.name()).await.expect("get");
    assert!(apart.controller().is_none() && !has_finalizer(&apart));
}

/// What is seen of pods and jobs while they run.
#[derive(Default)]
struct Seen {
    /// The pods that were there, by uid, with the job they belong to.
    pods: HashMap<String, String>,
    succeeded: HashSet<String>,
    failed: HashSet<String>,
    /// The highest counts of each job so far.
    counts: BTreeMap<String, (i32, i32)>,
    wrong: Vec<String>,
}

impl Seen {
    fn pod(&mut self, pod: &Pod) {
        let owner = pod.label("job-name").unwrap_or_default().to_owned();
        self.pods.insert(pod.uid().to_owned(), owner);
        match pod.status.as_ref().and_then(|status| status.phase.as_deref()) {
            Some("Succeeded") => drop(self.succeeded.insert(pod.uid().to_owned())),
            Some("Failed") => drop(self.failed.insert(pod.uid().to_owned())),
            _ => {}
        }
    }

    fn job(&mut self, job: &Job) {
        let status = job.status.clone().unwrap_or_default();
        let now = (status.succeeded.unwrap_or_default(), status.failed.unwrap_or_default());
        let before = self.counts.insert(job.name().to_owned(), now).unwrap_or_default();
        if now.0 < before.0 || now.1 < before.1 {
            self.wrong.push(format!("{} counted {before:?} and then {now:?}", job.name()));
        }
    }

    fn is_known_to(&self, other: &Self) -> bool {
        self.pods.keys().all(|uid| other.pods.contains_key(uid))
            && self.succeeded.is_subset(&other.succeeded)
            && self.failed.is_subset(&other.failed)
            && self.counts == other.counts
    }

    fn of(&self, uids: &HashSet<String>, job: &str) -> usize {
        uids.iter().filter(|uid| self.pods.get(*uid).is_some_and(|owner| owner == job)).count()
    }
}

/// The pods of a job end as soon as they are there, every fifth of them badly; the controllers end at any of their
/// writes and begin anew, some of the time without being told what becomes of the jobs, or of the pods. The clock
/// jumps by a day, an hour, and back.
#[tokio::test(flavor = "multi_thread")]
async fn no_pod_is_counted_twice_or_lost_wherever_the_controllers_end() {
    let clock = Arc::new(Ahead::default());
    let mut cluster = Cluster::start_at(clock.clone()).await;
    let seen = Arc::new(Mutex::new(Seen::default()));
    let (pods, jobs) = (
        Informer::new(api::<Pod>(&cluster), ListOptions::default()),
        Informer::new(api::<Job>(&cluster), ListOptions::default()),
    );
    let (sender, mut started) = mpsc::unbounded_channel();
    let noticing = Arc::clone(&seen);
    pods.on_change(move |change: &Change<Pod>| {
        noticing.lock().expect("nobody panics").pod(change.object());
        if matches!(change, Change::Added(_)) {
            let _ = sender.send(change.object().name().to_owned());
        }
    });
    let noticing = Arc::clone(&seen);
    jobs.on_change(move |change: &Change<Job>| noticing.lock().expect("nobody panics").job(change.object()));
    let over = CancellationToken::new();
    let following = {
        let over = over.clone();
        tokio::spawn(async move { tokio::join!(pods.run(over.clone()), jobs.run(over.clone())) })
    };
    let steady = cluster.steady.clone();
    let node = tokio::spawn(async move {
        let mut count = 0_usize;
        while let Some(name) = started.recv().await {
            count += 1;
            let succeeds = !count.is_multiple_of(5);
            let ended = json!({"exitCode": i32::from(!succeeds), "finishedAt": "2020-01-01T00:00:00Z"});
            let status = json!({"status": {
                "phase": if succeeds { "Succeeded" } else { "Failed" },
                "containerStatuses": [{"name": "m", "image": "i", "imageID": "", "ready": false,
                    "restartCount": 0, "state": {"terminated": ended}}],
            }});
            let pods = Api::<Pod>::namespaced(&steady, "default");
            let _ = pods.patch_status(&name, &Patch::Strategic(status), &PatchOptions::default()).await;
        }
    });

    let names = ["plain", "indexed", "each"];
    let limits = json!({"parallelism": 5, "completions": 20, "backoffLimit": 1000});
    let indexed =
        json!({"parallelism": 5, "completions": 20, "backoffLimit": 1000, "completionMode": "Indexed"});
    let each =
        json!({"parallelism": 5, "completions": 20, "backoffLimitPerIndex": 20, "completionMode": "Indexed"});
    for (name, spec) in names.iter().zip([limits, indexed, each]) {
        api::<Job>(&cluster).create(&job(name, &spec)).await.expect("create");
    }
    let is_over = |cluster: &Cluster| {
        let jobs = api::<Job>(cluster);
        async move {
            let jobs = jobs.list_all(&ListOptions::default()).await.expect("list").items;
            jobs.iter().all(|job| conditions(job).contains("Complete"))
        }
    };
    let mut ends = 0_usize;
    for writes in [1, 2, 3, 5, 8, 7, 4, 9, 13, 6, 11, 17, 10, 23, 19, 14, 27, 31] {
        if is_over(&cluster).await {
            break;
        }
        cluster.end_writes_after(writes);
        clock.by.store([0, 86_400, -86_400, 3600][ends % 4], Ordering::SeqCst);
        if ends % 2 == 1 {
            cluster.stall_watches(if ends % 4 == 1 { "jobs" } else { "pods" });
        }
        let ended = async {
            while !cluster.have_writes_ended() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        // With the jobs out of sight, there may be nothing left to write.
        let _ = tokio::time::timeout(Duration::from_millis(300), ended).await;
        cluster.stop_controllers().await;
        cluster.stall_watches("");
        cluster.end_writes_after(i64::MAX);
        cluster.start_controllers();
        ends += 1;
    }
    assert!(ends > 5, "the controllers ended {ends} times");
    wait_until_async("all to be complete", || async {
        if is_over(&cluster).await { Ok(()) } else { Err("some are not") }
    })
    .await;
    let (live_jobs, live_pods) =
        (api::<Job>(&cluster).list_all(&ListOptions::default()).await, pods_of(&cluster, "job-name").await);
    let mut live = Seen::default();
    live_jobs.expect("list").items.iter().for_each(|job| live.job(job));
    live_pods.iter().for_each(|pod| live.pod(pod));
    wait_until_async("all to be seen", || async {
        let seen = seen.lock().expect("nobody panics");
        let is_all = live.is_known_to(&seen);
        if is_all { Ok(()) } else { Err(format!("{:?}", seen.counts)) }
    })
    .await;
    {
        let seen = seen.lock().expect("nobody panics");
        assert!(seen.wrong.is_empty(), "{:?}", seen.wrong);
        for name in names {
            let (succeeded, failed) = (seen.of(&seen.succeeded, name), seen.of(&seen.failed, name));
            let there_were = seen.pods.values().filter(|owner| *owner == name).count();
            let counts = seen.counts[name];
            assert_eq!(
                (counts.0, counts.1),
                (20, i32::try_from(failed).expect("a few")),
                "{name}: {succeeded} succeeded"
            );
            // No more are made than are needed; of those that were made none is missing.
            assert_eq!((succeeded, there_were), (20, 20 + failed), "{name}");
        }
    }
    let left = pods_of(&cluster, "job-name").await;
    assert!(!left.iter().any(has_finalizer), "all are counted");
    over.cancel();
    node.abort();
    following.await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cron_job_makes_jobs_when_their_time_has_come() {
    let clock = Arc::new(ManualClock::new(base::Timestamp::now()));
    let cluster = Cluster::start_at(clock.clone()).await;
    let cron: CronJob = object(json!({
        "metadata": {"name": "backup", "namespace": "default"},
        "spec": {
            "schedule": "* * * * *", "concurrencyPolicy": "Forbid",
            "jobTemplate": {"spec": {"ttlSecondsAfterFinished": 3600, "template": {
                "spec": {"restartPolicy": "Never", "containers": [{"name": "m", "image": "i"}]}}}},
        },
    }));
    let crons = api::<CronJob>(&cluster);
    let made = crons.create(&cron).await.expect("create");
    let mut looks = 0;
    let mut later = |seconds| {
        clock.advance(Duration::from_secs(seconds));
        looks += 1;
        patch::<CronJob>(
            &cluster,
            "backup",
            json!({"metadata": {"annotations": {"look": looks.to_string()}}}),
        )
    };
    later(61).await;
    let job = wait_until_async("a job", || async {
        let status = crons.get("backup").await.expect("get").status.unwrap_or_default();
        let active = status.active.and_then(|active| active.into_iter().next());
        active.and_then(|job| job.name).ok_or("there is none")
    })
    .await;
    let minutes = clock.now().as_second() / 60;
    assert_eq!(job, format!("backup-{minutes}"));
    let first = api::<Job>(&cluster).get(&job).await.expect("get");
    assert!(first.controller().is_some_and(|owner| owner.uid == made.uid()));
    let annotations = first.metadata.annotations.clone().unwrap_or_default();
    let scheduled = &annotations["batch.kubernetes.io/cronjob-scheduled-timestamp"];
    assert_eq!(scheduled.parse::<base::Timestamp>().expect("a time").as_second(), minutes * 60);
    until_told(&cluster, "backup", "SuccessfulCreate").await;
    // The next has to wait as long as this one runs.
    later(60).await;
    until_told(&cluster, "backup", "JobAlreadyActive").await;
    let pod = until_pods(&cluster, &format!("job-name={job}"), 1).await.remove(0);
    end(&cluster, pod.name(), true).await;
    wait_until_async("it to go well", || async {
        let status = crons.get("backup").await.expect("get").status.unwrap_or_default();
        let jobs = api::<Job>(&cluster).list_all(&ListOptions::default()).await.expect("list").items;
        if status.last_successful_time.is_some() && jobs.len() == 2 {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        }
    })
    .await;
    // What is over goes in time.
    patch::<CronJob>(&cluster, "backup", json!({"spec": {"suspend": true}})).await;
    later(3600).await;
    patch::<Job>(&cluster, &job, json!({"metadata": {"annotations": {"look": "1"}}})).await;
    wait_until_async("it to go", || async {
        let gone = api::<Job>(&cluster).find(&job).await.expect("find").is_none();
        let pod_gone = api::<Pod>(&cluster).find(pod.name()).await.expect("find").is_none();
        if gone && pod_gone { Ok(()) } else { Err((gone, pod_gone)) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_asks_for_it_is_rolled_once_for_changes_of_its_data() {
    let cluster = Cluster::start().await;
    let map: ConfigMap = object(
        json!({"metadata": {"name": "settings", "namespace": "default"}, "data": {"a": "1", "b": "1"}}),
    );
    api::<ConfigMap>(&cluster).create(&map).await.expect("create");
    let deployment: Deployment = object(json!({
        "metadata": {"name": "web", "namespace": "default", "annotations": {"gantry.dev/restart-on-change": "true"}},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "m", "image": "i", "env": [{"name": "A", "valueFrom": {
                "configMapKeyRef": {"name": "settings", "key": "a"}}}]}]},
        }},
    }));
    let deployments = api::<Deployment>(&cluster);
    deployments.create(&deployment).await.expect("create");
    let noted = |deployment: &Deployment| {
        deployment.metadata.annotations.clone().unwrap_or_default().get("gantry.dev/used-data").cloned()
    };
    let before = wait_until_async("what is used to be noted", || async {
        let web = deployments.get("web").await.expect("get");
        noted(&web).map(|noted| (noted, web.metadata.generation)).ok_or("it is not")
    })
    .await;
    // Neither labels nor what is not used count; of two changes the last one is gone for.
    patch::<ConfigMap>(&cluster, "settings", json!({"metadata": {"labels": {"l": "1"}}})).await;
    patch::<ConfigMap>(&cluster, "settings", json!({"data": {"b": "2"}})).await;
    patch::<ConfigMap>(&cluster, "settings", json!({"data": {"a": "2"}})).await;
    patch::<ConfigMap>(&cluster, "settings", json!({"data": {"a": "3"}})).await;
    let rolled = wait_until_async("it to be rolled", || async {
        let web = deployments.get("web").await.expect("get");
        let template = web.spec.clone().expect("a spec").template.metadata.unwrap_or_default();
        let rolled = template.annotations.unwrap_or_default().get("gantry.dev/restarted-for").cloned();
        match rolled {
            Some(rolled) => Ok((rolled, noted(&web), web.metadata.generation)),
            None => Err("it is not"),
        }
    })
    .await;
    let (rolled, noted, generation) = rolled;
    assert!(noted.as_ref().is_some_and(|noted| *noted != before.0 && noted.ends_with(&*rolled)), "{noted:?}");
    assert_eq!(generation, before.1.map(|generation| generation + 1), "once");
    until_told(&cluster, "web", "RestartedOnChange").await;
}
