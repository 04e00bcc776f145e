//! What a test does in its namespace.

use std::process::Command;

use docker_tests::{Ran, Running, run};
use serde_json::Value;

use crate::cluster::Cluster;

/// A namespace of one test.
pub struct Namespace<'a> {
    cluster: &'a Cluster,
    name: String,
}

impl<'a> Namespace<'a> {
    /// A namespace that exists.
    pub fn of(cluster: &'a Cluster, name: &str) -> Self {
        Self { cluster, name: name.to_owned() }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A `kubectl` command in the namespace.
    pub fn client(&self, arguments: &[&str]) -> Command {
        self.cluster.client(&[&["--namespace", &self.name], arguments].concat())
    }

    /// Runs `kubectl` to its end.
    #[track_caller]
    pub fn kubectl(&self, arguments: &[&str]) -> Ran {
        run(self.client(arguments), "")
    }

    /// Runs `kubectl` to its end with `input`.
    #[track_caller]
    pub fn kubectl_with(&self, input: &str, arguments: &[&str]) -> Ran {
        run(self.client(arguments), input)
    }

    /// Starts `kubectl` and lets it run.
    #[track_caller]
    pub fn running(&self, arguments: &[&str]) -> Running {
        Running::start(self.client(arguments))
    }

    /// Runs `kubectl`, which must succeed; gives its output without blanks around it.
    #[track_caller]
    pub fn ok(&self, arguments: &[&str]) -> String {
        self.ok_with("", arguments)
    }

    /// Runs `kubectl` with `input`, which must succeed.
    #[track_caller]
    pub fn ok_with(&self, input: &str, arguments: &[&str]) -> String {
        let ran = self.kubectl_with(input, arguments);
        if ran.code != 0 {
            let events = self.kubectl(&["get", "pods,events"]).stdout;
            panic!("kubectl {}: {ran:?}\n{events}", arguments.join(" "));
        }
        ran.stdout.trim().to_owned()
    }

    /// Runs `kubectl` with `input`, which must fail and say `message`.
    #[track_caller]
    pub fn fails_with(&self, input: &str, arguments: &[&str], message: &str) {
        let ran = self.kubectl_with(input, arguments);
        assert_ne!(ran.code, 0, "kubectl {}: {ran:?}", arguments.join(" "));
        let line = arguments.join(" ");
        assert!(ran.stderr.contains(message), "kubectl {line}: {ran:?} does not say {message}");
    }

    /// Applies manifests.
    #[track_caller]
    pub fn apply(&self, manifests: &str) -> String {
        self.ok_with(manifests, &["apply", "-f", "-"])
    }

    /// Runs a command in a pod; gives its output.
    #[track_caller]
    pub fn exec(&self, pod: &str, command: &[&str]) -> String {
        self.ok(&[&["exec", pod, "--"], command].concat())
    }

    /// Waits until `kubectl get` of a thing prints `wanted` for a JSON path.
    #[track_caller]
    pub fn wait_for(&self, thing: &str, path: &str, wanted: &str) {
        let output = format!("jsonpath={path}");
        testkit::wait_until(&format!("{path} of {thing} to be {wanted}"), || {
            let ran = self.kubectl(&["get", thing, "-o", &output]);
            if ran.code == 0 && ran.stdout == wanted { Ok(()) } else { Err(ran) }
        });
    }

    /// Waits until things meet a condition.
    #[track_caller]
    pub fn wait(&self, condition: &str, things: &[&str]) {
        let condition = format!("--for={condition}");
        self.ok(&[&["wait", &condition, "--timeout=30s"], things].concat());
    }

    /// A field of a thing by its JSON path.
    #[track_caller]
    pub fn field(&self, thing: &str, path: &str) -> String {
        self.ok(&["get", thing, "-o", &format!("jsonpath={path}")])
    }

    /// A thing or a list of things, whole.
    #[track_caller]
    pub fn get(&self, arguments: &[&str]) -> Value {
        let text = self.ok(&[&["get", "-o", "json"], arguments].concat());
        serde_json::from_str(&text).expect("kubectl prints JSON")
    }

    /// What `docker inspect` says of a container in the words of `format`; nothing once it is gone.
    #[track_caller]
    pub fn inspect(&self, container: &str, format: &str) -> String {
        self.cluster.daemon.docker(&["inspect", "--format", format, container]).stdout.trim().to_owned()
    }

    /// The containers of the namespace's pods that Docker's side knows, running or not.
    #[track_caller]
    pub fn containers(&self) -> Vec<String> {
        let filter = format!("label=io.kubernetes.pod.namespace={}", self.name);
        let listed = self.cluster.daemon.ok(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &filter]);
        listed.lines().map(str::to_owned).collect()
    }
}
