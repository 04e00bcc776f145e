//! What the server counts of itself, under the names that Kubernetes' API server has for it.
//!
//! Labels have values that are known: a resource that is not served, a path or a verb that somebody made up
//! is counted under none. Source: Kubernetes, "Kubernetes Metrics Reference", 1.36.

pub(crate) mod admitting;
pub(crate) mod flow_control;
pub(crate) mod policies;
mod uses;
mod webhooks;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderMap, Method, header};
use metrics::{Counter, Family, Gauge, Histogram, Kind, Text};
use parking_lot::Mutex;

use crate::audit::Level;
use crate::authorisation::Decision;
use crate::identity::Identity;
use crate::request::{Query, ResourceTarget, Target, Verb};
use crate::resource::Resource;

const REQUEST_SECONDS: &[f64] = &[
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0,
    20.0, 30.0, 45.0, 60.0,
];
const RESPONSE_BYTES: &[f64] = &[1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
const ADMISSION_SECONDS: &[f64] = &[0.005, 0.025, 0.1, 0.5, 1.0, 2.5];
const AUTH_SECONDS: &[f64] = &[
    0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384,
];
const EVENT_BYTES: &[f64] = &[1024.0, 2048.0, 4096.0, 8192.0, 16384.0, 32768.0, 65536.0, 131072.0];
const COMPONENT: &str = "apiserver";

/// The codes that have a place of their own; others share a table.
const CODES: [u16; 32] = [
    101, 200, 201, 202, 204, 206, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 406, 408, 409, 410,
    412, 413, 415, 422, 429, 431, 500, 501, 502, 503, 504,
];

/// All that is counted.
pub(crate) struct Meters {
    requests: Family<Requests, 8>,
    long_running: Family<Gauge, 7>,
    /// Of requests that read, and of requests that write.
    in_flight: [InFlight; 2],
    pub(crate) admission: Family<Histogram, 4>,
    pub(crate) admission_steps: Family<Histogram, 3>,
    pub(crate) uses: uses::Uses,
    pub(crate) webhooks: webhooks::Webhooks,
    pub(crate) policies: policies::Policies,
    watch_events: Family<Counter, 3>,
    watch_sizes: Family<Histogram, 3>,
    authentication: Family<Counter, 1>,
    authentication_took: Family<Histogram, 1>,
    users: Family<Counter, 1>,
    authorization: Family<Counter, 1>,
    authorization_took: Family<Histogram, 1>,
    pub(crate) audit_events: Counter,
    pub(crate) audit_rejected: Counter,
    audit_levels: [Counter; 4],
    pub(crate) health: Family<Gauge, 2>,
    pub(crate) health_checks: Family<Counter, 3>,
}

/// What is counted of requests that are alike.
pub(crate) struct Requests {
    codes: [Counter; CODES.len()],
    other_codes: Mutex<Vec<(u16, u64)>>,
    took: Histogram,
    /// Of those that read.
    sizes: Histogram,
    reads: std::sync::atomic::AtomicBool,
}

/// How many there are, and how many there were at once lately.
#[derive(Default)]
struct InFlight {
    now: Gauge,
    /// A second, and the most there were in it.
    most: AtomicU64,
}

/// What a request is counted under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Labels<'a> {
    pub(crate) verb: &'static str,
    pub(crate) dry_run: &'static str,
    pub(crate) group: &'a str,
    pub(crate) version: &'a str,
    pub(crate) resource: &'a str,
    pub(crate) subresource: &'a str,
    pub(crate) scope: &'static str,
    /// It goes on for as long as its client likes.
    pub(crate) long_running: bool,
    /// Of what it is in flight: 0 for those that read, 1 for those that write.
    kind: usize,
}

/// A request that is under way, until it is dropped.
pub(crate) struct UnderWay {
    meters: Arc<Meters>,
    requests: Arc<Requests>,
    long_running: Option<Arc<Gauge>>,
    kind: usize,
}

/// What is counted of those who follow one resource.
#[derive(Clone)]
pub(crate) struct WatchMeter {
    events: Arc<Counter>,
    sizes: Arc<Histogram>,
}

impl Meters {
    pub(crate) fn new() -> Self {
        let seconds = || Histogram::of_seconds(AUTH_SECONDS);
        Self {
            requests: Family::new(
                ["component", "dry_run", "group", "resource", "scope", "subresource", "verb", "version"],
                Requests::new,
            ),
            long_running: Family::new(
                ["component", "group", "resource", "scope", "subresource", "verb", "version"],
                Gauge::default,
            ),
            in_flight: Default::default(),
            admission: Family::new(["name", "operation", "rejected", "type"], || {
                Histogram::of_seconds(ADMISSION_SECONDS)
            }),
            admission_steps: Family::new(["operation", "rejected", "type"], || {
                Histogram::of_seconds(ADMISSION_SECONDS)
            }),
            uses: uses::Uses::new(),
            webhooks: webhooks::Webhooks::new(),
            policies: policies::Policies::new(),
            watch_events: Family::new(["group", "resource", "version"], Counter::default),
            watch_sizes: Family::new(["group", "resource", "version"], || Histogram::of_amounts(EVENT_BYTES)),
            authentication: Family::new(["result"], Counter::default),
            authentication_took: Family::new(["result"], seconds),
            users: Family::new(["username"], Counter::default),
            authorization: Family::new(["result"], Counter::default),
            authorization_took: Family::new(["result"], seconds),
            audit_events: Counter::default(),
            audit_rejected: Counter::default(),
            audit_levels: Default::default(),
            health: Family::new(["name", "type"], Gauge::default),
            health_checks: Family::new(["name", "status", "type"], Counter::default),
        }
    }

    /// A request that is counted under these labels begins.
    pub(crate) fn begin(self: &Arc<Self>, labels: &Labels<'_>, now: Duration) -> UnderWay {
        let Labels { verb, dry_run, group, version, resource, subresource, scope, .. } = *labels;
        let requests =
            self.requests.with([COMPONENT, dry_run, group, resource, scope, subresource, verb, version]);
        let long_running = labels.long_running.then(|| {
            let gauge =
                self.long_running.with([COMPONENT, group, resource, scope, subresource, verb, version]);
            gauge.add(1);
            gauge
        });
        if long_running.is_none() {
            self.in_flight[labels.kind].enter(now);
        }
        if matches!(verb, "GET" | "LIST") {
            requests.reads.store(true, Ordering::Relaxed);
        }
        UnderWay { meters: self.clone(), requests, long_running, kind: labels.kind }
    }

    /// Somebody has shown who he is, or tried to.
    pub(crate) fn authenticated(&self, result: &'static str, who: Option<&Identity>, took: Duration) {
        self.authentication.with([result]).increment();
        self.authentication_took.with([result]).observe(took);
        if let Some(who) = who {
            self.users.with([known_user(&who.user)]).increment();
        }
    }

    /// Something was decided.
    pub(crate) fn decided(&self, decision: &Decision, took: Duration) {
        let result = match decision {
            Decision::Allowed(_) => "allowed",
            Decision::Denied(_) => "denied",
            Decision::NoOpinion(_) => "no-opinion",
        };
        self.authorization.with([result]).increment();
        self.authorization_took.with([result]).observe(took);
    }

    /// A request is noted at this level.
    pub(crate) fn audited(&self, level: Level) {
        self.audit_levels[level as usize].increment();
    }

    /// Somebody follows a resource.
    pub(crate) fn watch(&self, resource: &Resource) -> WatchMeter {
        let labels = [resource.group.as_str(), resource.plural.as_str(), resource.version.as_str()];
        WatchMeter { events: self.watch_events.with(labels), sizes: self.watch_sizes.with(labels) }
    }

    /// The outcome of a check of the server's health.
    pub(crate) fn checked(&self, endpoint: &str, name: &str, passes: bool) {
        self.health.with([name, endpoint]).set(i64::from(passes));
        let status = if passes { "success" } else { "error" };
        self.health_checks.with([name, status, endpoint]).increment();
    }

    /// What is told of the server's health alone.
    pub(crate) fn write_health(&self, text: &mut Text) {
        let help = "[STABLE] This metric records the result of a single healthcheck.";
        self.health.write(text, "kubernetes_healthcheck", help);
        let help = "[STABLE] This metric records the results of all healthcheck.";
        self.health_checks.write(text, "kubernetes_healthchecks_total", help);
    }

    fn write_requests(&self, text: &mut Text) {
        let block = text.block(
            "apiserver_request_total",
            Kind::Counter,
            "[STABLE] Counter of apiserver requests broken out for each verb, dry run value, group, version, \
             resource, scope, component, and HTTP response code.",
        );
        self.requests.each(|labels, requests| {
            for (code, count) in requests.counts() {
                let code = code.to_string();
                let labels: Vec<(&str, &str)> =
                    std::iter::once(("code", code.as_str())).chain(labels.iter().copied()).collect();
                block.value(&labels, count);
            }
        });
        let block = text.block(
            "apiserver_request_duration_seconds",
            Kind::Histogram,
            "[STABLE] Response latency distribution in seconds for each verb, dry run value, group, version, \
             resource, subresource, scope and component.",
        );
        self.requests.each(|labels, requests| block.histogram(labels, &requests.took));
        let block = text.block(
            "apiserver_response_sizes",
            Kind::Histogram,
            "[STABLE] Response size distribution in bytes for each group, version, verb, resource, subresource, \
             scope and component.",
        );
        self.requests.each(|labels, requests| {
            let dry = labels.iter().any(|(name, value)| *name == "dry_run" && !value.is_empty());
            if requests.reads.load(Ordering::Relaxed) && !dry {
                let labels: Vec<(&str, &str)> =
                    labels.iter().copied().filter(|(name, _)| *name != "dry_run").collect();
                block.histogram(&labels, &requests.sizes);
            }
        });
        self.long_running.write(
            text,
            "apiserver_longrunning_requests",
            "[STABLE] Gauge of all active long-running apiserver requests broken out by verb, group, version, \
             resource, scope and component. Not all requests are tracked this way.",
        );
    }

    /// Writes what is counted; `now` is the steady clock's.
    pub(crate) fn write(&self, text: &mut Text, now: Duration) {
        self.write_requests(text);
        self.uses.write(text);
        let block = text.block(
            "apiserver_current_inflight_requests",
            Kind::Gauge,
            "[STABLE] Maximal number of currently used inflight request limit of this apiserver per request kind \
             in last second.",
        );
        for (kind, in_flight) in [("mutating", &self.in_flight[1]), ("readOnly", &self.in_flight[0])] {
            block.value(&[("request_kind", kind)], in_flight.most(now));
        }
        self.admission.write(
            text,
            "apiserver_admission_controller_admission_duration_seconds",
            "[STABLE] Admission controller latency histogram in seconds, identified by name and broken out for \
             each operation and API resource and type (validate or admit).",
        );
        self.admission_steps.write(
            text,
            "apiserver_admission_step_admission_duration_seconds",
            "[STABLE] Admission sub-step latency histogram in seconds, broken out for each operation and API \
             resource and step type (validate or admit).",
        );
        self.webhooks.write(text);
        self.policies.write(text);
        let help = "[ALPHA] Number of events sent in watch clients";
        self.watch_events.write(text, "apiserver_watch_events_total", help);
        let help = "[ALPHA] Watch event size distribution in bytes";
        self.watch_sizes.write(text, "apiserver_watch_events_sizes", help);
        let help = "[ALPHA] Counter of authenticated attempts.";
        self.authentication.write(text, "authentication_attempts", help);
        let help = "[ALPHA] Authentication duration in seconds broken out by result.";
        self.authentication_took.write(text, "authentication_duration_seconds", help);
        let help = "[ALPHA] Counter of authenticated requests broken out by username.";
        self.users.write(text, "authenticated_user_requests", help);
        let help = "[ALPHA] Counter of authorization attempts broken down by result. It can be either 'allowed', \
                    'denied', 'no-opinion' or 'error'.";
        self.authorization.write(text, "authorization_attempts_total", help);
        let help = "[ALPHA] Authorization duration in seconds broken out by result.";
        self.authorization_took.write(text, "authorization_duration_seconds", help);
        let help = "[ALPHA] Counter of audit events generated and sent to the audit backend.";
        text.single("apiserver_audit_event_total", Kind::Counter, help, self.audit_events.get());
        let help = "[ALPHA] Counter of apiserver requests rejected due to an error in audit logging backend.";
        text.single(
            "apiserver_audit_requests_rejected_total",
            Kind::Counter,
            help,
            self.audit_rejected.get(),
        );
        let help = "[ALPHA] Counter of policy levels for audit events (1 per request).";
        let block = text.block("apiserver_audit_level_total", Kind::Counter, help);
        for level in [Level::Metadata, Level::None, Level::Request, Level::RequestResponse] {
            let count = self.audit_levels[level as usize].get();
            if count > 0 {
                block.value(&[("level", level.as_str())], count);
            }
        }
        self.write_health(text);
    }
}

impl Requests {
    fn new() -> Self {
        Self {
            codes: Default::default(),
            other_codes: Mutex::default(),
            took: Histogram::of_seconds(REQUEST_SECONDS),
            sizes: Histogram::of_amounts(RESPONSE_BYTES),
            reads: false.into(),
        }
    }

    fn count(&self, code: u16) {
        match CODES.binary_search(&code) {
            Ok(at) => self.codes[at].increment(),
            // What is answered by others may have any of three digits.
            Err(_) => {
                let mut others = self.other_codes.lock();
                match others.iter_mut().find(|(known, _)| *known == code) {
                    Some((_, count)) => *count += 1,
                    None => others.push((code, 1)),
                }
            }
        }
    }

    fn counts(&self) -> Vec<(u16, u64)> {
        let own = CODES.iter().zip(&self.codes).map(|(code, counter)| (*code, counter.get()));
        let mut all: Vec<_> = own.filter(|(_, count)| *count > 0).collect();
        all.extend(self.other_codes.lock().iter());
        all.sort_unstable();
        all
    }
}

impl UnderWay {
    /// It is over.
    pub(crate) fn end(&self, code: u16, took: Duration, sent: u64) {
        self.requests.count(code);
        self.requests.took.observe(took);
        if self.requests.reads.load(Ordering::Relaxed) {
            self.requests.sizes.observe_amount(sent);
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        match &self.long_running {
            Some(gauge) => gauge.add(-1),
            None => self.meters.in_flight[self.kind].now.add(-1),
        }
    }
}

impl InFlight {
    fn enter(&self, now: Duration) {
        self.now.add(1);
        let (second, there) = (now.as_secs() & 0xffff_ffff, self.count());
        let _ = self.most.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |known| {
            let same = known >> 32 == second;
            let most = if same { (known & 0xffff_ffff).max(there) } else { there };
            Some(second << 32 | most)
        });
    }

    fn count(&self) -> u64 {
        u64::try_from(self.now.get()).unwrap_or_default().min(u64::from(u32::MAX))
    }

    fn most(&self, now: Duration) -> u64 {
        let known = self.most.load(Ordering::Relaxed);
        let lately = (now.as_secs() & 0xffff_ffff).wrapping_sub(known >> 32) <= 1;
        if lately { (known & 0xffff_ffff).max(self.count()) } else { self.count() }
    }
}

impl WatchMeter {
    /// Something is told.
    pub(crate) fn tell(&self, size: usize) {
        self.events.increment();
        self.sizes.observe_amount(size as u64);
    }
}

impl<'a> Labels<'a> {
    /// What a request is counted under. `found` is the resource that it names, if it is served.
    pub(crate) fn of(
        target: Option<&'a Target>,
        found: Option<&'a Resource>,
        method: &Method,
        headers: &HeaderMap,
        query: &Query,
    ) -> Self {
        let writes = !matches!(*method, Method::GET | Method::HEAD);
        let none = Labels {
            verb: path_verb(method),
            dry_run: "",
            group: "",
            version: "",
            resource: "",
            subresource: "",
            scope: "",
            long_running: false,
            kind: usize::from(writes),
        };
        match target {
            None => none,
            Some(Target::Path(path)) => Labels { subresource: known_path(path), ..none },
            Some(Target::Resource(target)) => {
                Labels { dry_run: dry_run(query), ..Self::of_resource(target, found, headers, none) }
            }
        }
    }

    fn of_resource(
        target: &'a ResourceTarget,
        found: Option<&'a Resource>,
        headers: &HeaderMap,
        none: Self,
    ) -> Self {
        let known = found.map(|r| (r.group.as_str(), r.version.as_str(), r.plural.as_str()));
        let part = found.and_then(|resource| resource.find_subresource(&target.subresource));
        let is_stream = part.is_some_and(|part| part.is_stream);
        let connects = is_stream && target.subresource != "log";
        let verb = match target.verb {
            _ if connects => "CONNECT",
            Verb::Get => "GET",
            Verb::List => "LIST",
            Verb::Watch => "WATCH",
            Verb::Create => "POST",
            Verb::Update => "PUT",
            Verb::Patch if applies(headers) => "APPLY",
            Verb::Patch => "PATCH",
            Verb::Delete => "DELETE",
            Verb::DeleteCollection => "DELETECOLLECTION",
        };
        let scope = if !target.name.is_empty() || target.verb == Verb::Create {
            "resource"
        } else if !target.namespace.is_empty() {
            "namespace"
        } else {
            "cluster"
        };
        let (group, version, resource) = known.unwrap_or_default();
        Labels {
            verb,
            group,
            version,
            resource,
            subresource: if part.is_some() { target.subresource.as_str() } else { "" },
            scope,
            long_running: target.verb == Verb::Watch || is_stream,
            ..none
        }
    }
}

fn applies(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("application/apply-patch"))
}

fn dry_run(query: &Query) -> &'static str {
    let mut values = query.all("dryRun").peekable();
    if values.peek().is_none() {
        return "";
    }
    if values.all(|value| value == "All") { "All" } else { "invalid" }
}

fn path_verb(method: &Method) -> &'static str {
    match *method {
        Method::GET | Method::HEAD => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

/// Paths that are told apart.
fn known_path(path: &str) -> &str {
    match path.trim_end_matches('/') {
        known @ ("/healthz" | "/livez" | "/readyz" | "/metrics" | "/version" | "/api" | "/apis"
        | "/openapi/v2" | "/openapi/v3") => known,
        _ => "",
    }
}

/// Users that are told apart, as Kubernetes does it.
fn known_user(user: &str) -> &str {
    match user {
        "admin" | "client" | "kube_proxy" | "kubelet" | "system:serviceaccount:kube-system:default" => user,
        _ if user.contains('@') => "email_id",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(request: &str, content_type: &'static str, expected: &str) {
        let (method, uri) = request.split_once(' ').expect("method and path");
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let query = Query::parse(query);
        let target = Target::parse(&method, path, &query);
        let kind = model::GroupVersionKind::new("apps", "v1", "Thing");
        let thing = Resource::new(&kind, "things");
        let named =
            matches!(&target, Some(Target::Resource(t)) if t.group == "apps" && t.resource == "things");
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, content_type.parse().expect("a value"));
        let labels = Labels::of(target.as_ref(), named.then_some(&thing), &method, &headers, &query);
        let Labels { verb, dry_run, group, version, resource, subresource, scope, long_running, kind } =
            labels;
        let scope = if scope.is_empty() { "nowhere" } else { scope };
        let long = if long_running { "long " } else { "" };
        let kind = ["reads", "writes"][kind];
        let found =
            format!("{verb} [{dry_run}] {group}/{version} {resource}/{subresource} {scope} {long}{kind}");
        assert_eq!(found, expected, "{request}");
    }

    #[test]
    fn requests_are_counted_under_what_is_known() {
        check("GET /apis/apps/v1/things", "x", "LIST [] apps/v1 things/ cluster reads");
        check(
            "GET /apis/apps/v1/namespaces/a/things?watch=1",
            "x",
            "WATCH [] apps/v1 things/ namespace long reads",
        );
        check("HEAD /apis/apps/v1/namespaces/a/things/b", "x", "GET [] apps/v1 things/ resource reads");
        check(
            "POST /apis/apps/v1/namespaces/a/things?dryRun=All",
            "x",
            "POST [All] apps/v1 things/ resource writes",
        );
        check(
            "PATCH /apis/apps/v1/namespaces/a/things/b?dryRun=Some",
            "application/apply-patch+yaml",
            "APPLY [invalid] apps/v1 things/ resource writes",
        );
        check(
            "PATCH /apis/apps/v1/namespaces/a/things/b",
            "application/merge-patch+json",
            "PATCH [] apps/v1 things/ resource writes",
        );
        check(
            "DELETE /apis/apps/v1/namespaces/a/things",
            "x",
            "DELETECOLLECTION [] apps/v1 things/ namespace writes",
        );
        // What somebody made up.
        check("GET /apis/apps/v1/namespaces/a/things/b/odd", "x", "GET [] apps/v1 things/ resource reads");
        check("GET /apis/made.up/v7/nothings", "x", "LIST [] / / cluster reads");
        check("BREW /apis/apps/v1/things", "x", "other [] / / nowhere writes");
        check("BREW /coffee", "x", "other [] / / nowhere writes");
        check("GET /coffee/1", "x", "GET [] / / nowhere reads");
        check("GET /readyz", "x", "GET [] / //readyz nowhere reads");
    }

    #[test]
    fn the_most_there_were_at_once_is_told_for_a_second() {
        let meters = Arc::new(Meters::new());
        let labels = Labels::of(None, None, &Method::GET, &HeaderMap::new(), &Query::default());
        let at = Duration::from_secs;
        let all: Vec<UnderWay> = (0..5).map(|_| meters.begin(&labels, at(7))).collect();
        drop(all);
        let most = |now| meters.in_flight[0].most(now);
        assert_eq!((most(at(7)), most(at(8)), most(at(9))), (5, 5, 0));
        let _one = meters.begin(&labels, at(9));
        assert_eq!(most(at(9)), 1);
    }

    #[test]
    fn what_others_answer_is_counted_whatever_it_is() {
        let requests = Requests::new();
        for code in [200, 299, 299, 599, 200] {
            requests.count(code);
        }
        assert_eq!(requests.counts(), [(200, 2), (299, 2), (599, 1)]);
        assert!(CODES.is_sorted());
    }
}
