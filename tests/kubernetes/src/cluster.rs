//! A daemon with its cluster, and `kubectl` for it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use docker_tests::{Daemon, Ran, run};

use crate::namespace::Namespace;

/// A running cluster of one node. It ends when dropped.
pub struct Cluster {
    /// The daemon, for what is not said with `kubectl`.
    pub daemon: Daemon,
}

impl Cluster {
    /// Starts a cluster whose node has the test image and is ready.
    #[track_caller]
    pub fn start() -> Self {
        let cluster = Self { daemon: Daemon::start() };
        cluster.wait_ready();
        cluster
    }

    /// The cluster that tests running side by side in this process share; the last one ends it.
    #[track_caller]
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
        // A test that failed to start it leaves nothing half done.
        let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let cluster = Arc::new(Self::start());
            *shared = Arc::downgrade(&cluster);
            cluster
        })
    }

    /// Waits until the node is ready.
    #[track_caller]
    pub fn wait_ready(&self) {
        let ready = r#"jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}"#;
        testkit::wait_until("the node to be ready", || {
            let ran = self.kubectl(&["get", "nodes", "-o", ready]);
            if ran.stdout == "True" { Ok(()) } else { Err(ran) }
        });
    }

    /// Makes a namespace for a test.
    #[track_caller]
    pub fn namespace(&self, name: &str) -> Namespace<'_> {
        self.ok(&["create", "namespace", name]);
        Namespace::of(self, name)
    }

    /// Runs `kubectl` to its end.
    #[track_caller]
    pub fn kubectl(&self, arguments: &[&str]) -> Ran {
        run(self.client(arguments), "")
    }

    /// Runs `kubectl`, which must succeed; gives its output without blanks around it.
    #[track_caller]
    pub fn ok(&self, arguments: &[&str]) -> String {
        let ran = self.kubectl(arguments);
        assert_eq!(ran.code, 0, "kubectl {}: {ran:?}", arguments.join(" "));
        ran.stdout.trim().to_owned()
    }

    /// A `kubectl` command for this cluster, run in its host's network.
    pub fn client(&self, arguments: &[&str]) -> Command {
        let kubeconfig = self.daemon.kubeconfig();
        let mut command = self.daemon.on_host(&kubectl().display().to_string(), arguments);
        command.env("KUBECACHEDIR", self.daemon.scratch("kubectl")).env("KUBECONFIG", kubeconfig);
        command
    }

    /// The name of the only node.
    #[track_caller]
    pub fn node(&self) -> String {
        self.ok(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"])
    }
}

/// The client. Where `kubectl` only chooses among versions beside it, the newest of these.
fn kubectl() -> &'static Path {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(|| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let plain = std::env::split_paths(&path)
            .map(|directory| directory.join("kubectl"))
            .find(|path| path.exists())
            .expect("`kubectl` is missing: install the package kubernetes-client");
        let target = plain.canonicalize().expect("kubectl exists");
        let beside = target.parent().into_iter().flat_map(std::fs::read_dir).flatten().flatten();
        let version =
            |path: &Path| path.file_name()?.to_str()?.strip_prefix("kubectl.1.")?.parse::<u32>().ok();
        beside
            .map(|entry| entry.path())
            .filter_map(|path| Some((version(&path)?, path)))
            .max()
            .map_or(plain, |(_, newest)| newest)
    })
}
