//! The table of the configuration's keys.

use super::{Layers, bridge_name, instance_name, node_name};

/// One configuration key.
pub(crate) struct Key {
    /// Its name in the file and, with two dashes before it, on the command line.
    pub(crate) name: &'static str,
    /// What the help calls its value.
    pub(crate) value_name: &'static str,
    /// One line of help.
    pub(crate) help: &'static str,
    /// What holds when nobody says otherwise.
    pub(super) default: Default,
}

impl Key {
    /// Whether its value is a list.
    pub(crate) fn takes_several(&self) -> bool {
        self.value_name.contains("[,")
    }
}

/// Where a value comes from that nobody gives.
pub(super) enum Default {
    /// This one.
    Text(&'static str),
    /// A path below the root directory.
    BelowRoot(&'static str),
    /// A path below the run directory.
    BelowRun(&'static str),
    /// Made from the host or from other keys.
    Derived(fn(&Layers<'_>) -> String),
}

/// Every key, in the order in which `gantry config show` prints them.
pub(crate) const KEYS: &[Key] = &[
    Key { name: "root", value_name: "DIR", help: "Durable state", default: Default::Text("/var/lib/gantry") },
    Key {
        name: "run",
        value_name: "DIR",
        help: "Sockets and state that a reboot may erase",
        default: Default::Text("/run/gantry"),
    },
    Key {
        name: "instance",
        value_name: "NAME",
        help: "Name that this instance's cgroups, nftables table and bridges carry",
        default: Default::Derived(instance_name),
    },
    Key {
        name: "node-name",
        value_name: "NAME",
        help: "Name of this machine in the cluster",
        default: Default::Derived(node_name),
    },
    Key {
        name: "docker-socket",
        value_name: "PATH",
        help: "Where the Docker API listens",
        default: Default::BelowRun("docker.sock"),
    },
    Key {
        name: "docker-address",
        value_name: "ADDRESS",
        help: "Where the Docker API listens over TCP besides, to clients with a certificate of `<root>/docker-tls`; \
               at a loopback address to others too",
        default: Default::Text(""),
    },
    Key {
        name: "cri-socket",
        value_name: "PATH",
        help: "Where the container runtime interface listens",
        default: Default::BelowRun("cri.sock"),
    },
    Key {
        name: "api-address",
        value_name: "ADDRESS",
        help: "Where the Kubernetes API listens (TLS)",
        default: Default::Text("0.0.0.0:6443"),
    },
    Key {
        name: "write-kubeconfig",
        value_name: "PATH",
        help: "Where the administrator's kubeconfig is written",
        default: Default::BelowRoot("kubeconfig"),
    },
    Key {
        name: "registry-address",
        value_name: "ADDRESS",
        help: "Where the image registry listens",
        default: Default::Text("127.0.0.1:5000"),
    },
    Key {
        name: "pod-cidr",
        value_name: "CIDR",
        help: "Addresses of pods",
        default: Default::Text("10.42.0.0/16"),
    },
    Key {
        name: "service-cidr",
        value_name: "CIDR",
        help: "Addresses of services; the tenth is the cluster DNS",
        default: Default::Text("10.43.0.0/16"),
    },
    Key {
        name: "cluster-domain",
        value_name: "DOMAIN",
        help: "DNS domain of the cluster",
        default: Default::Text("cluster.local"),
    },
    Key {
        name: "encryption-provider-config",
        value_name: "PATH",
        help: "How Secrets and others are encrypted on disk, as Kubernetes' EncryptionConfiguration; Secrets with a key of the root's own where none is given",
        default: Default::Text(""),
    },
    Key {
        name: "etcd-servers",
        value_name: "URL[,URL]",
        help: "etcd that keeps the cluster's state instead of the root, so that several servers can stand on it",
        default: Default::Text(""),
    },
    Key {
        name: "etcd-cafile",
        value_name: "PATH",
        help: "Certificates of the authorities that vouch for etcd; the system's where none is given",
        default: Default::Text(""),
    },
    Key {
        name: "etcd-certfile",
        value_name: "PATH",
        help: "This server's certificate for etcd",
        default: Default::Text(""),
    },
    Key { name: "etcd-keyfile", value_name: "PATH", help: "Its key", default: Default::Text("") },
    Key {
        name: "etcd-prefix",
        value_name: "PREFIX",
        help: "What all keys in etcd begin with",
        default: Default::Text("/gantry"),
    },
    Key {
        name: "bridge",
        value_name: "NAME",
        help: "Docker's default bridge",
        default: Default::Derived(bridge_name),
    },
    Key {
        name: "bip",
        value_name: "CIDR",
        help: "Subnet of Docker's default bridge",
        default: Default::Text("172.17.0.0/16"),
    },
    Key {
        name: "insecure-registries",
        value_name: "HOST[,HOST]",
        help: "Registries to speak to without verified TLS",
        default: Default::Text(""),
    },
    Key {
        name: "image-blobs",
        value_name: "keep|remake",
        help: "Whether the compressed form of layers is kept as it came, so that images go out under the same digest",
        default: Default::Text("keep"),
    },
    Key {
        name: "system-reserved",
        value_name: "RESOURCE=QUANTITY[,…]",
        help: "What of this machine is kept for its own services: cpu, memory, ephemeral-storage, pid",
        default: Default::Text(""),
    },
    Key {
        name: "kube-reserved",
        value_name: "RESOURCE=QUANTITY[,…]",
        help: "The same for this daemon and what else makes the cluster",
        default: Default::Text(""),
    },
    Key {
        name: "eviction-hard",
        value_name: "SIGNAL<AMOUNT[,…]",
        help: "What must be free, or the node says that it is under pressure and is given no more pods: memory.available, nodefs.available, nodefs.inodesFree, pid.available",
        default: Default::Text("memory.available<100Mi,nodefs.available<5%,nodefs.inodesFree<5%"),
    },
    Key {
        name: "allowed-unsafe-sysctls",
        value_name: "NAME[,NAME]",
        help: "Kernel parameters that pods may set for themselves besides the safe ones; `net.core.*` are all that begin so",
        default: Default::Text(""),
    },
    Key {
        name: "scheduler-config",
        value_name: "PATH",
        help: "How the scheduler is set up, as Kubernetes' KubeSchedulerConfiguration; read at the start",
        default: Default::Text(""),
    },
    Key {
        name: "token-auth-file",
        value_name: "PATH",
        help: "Tokens of users of the Kubernetes API, one a line: `token,user,uid,\"group,group\"`; read at the start",
        default: Default::Text(""),
    },
    Key {
        name: "feature-gates",
        value_name: "NAME=BOOL[,…]",
        help: "What of Kubernetes' features that are off by default is on: GangScheduling, GenericWorkload, HPAScaleToZero, StorageVersionMigrator",
        default: Default::Text(""),
    },
    Key {
        name: "runtime-config",
        value_name: "VERSION=BOOL[,…]",
        help: "Which versions of the Kubernetes API are served that are off by default: scheduling.k8s.io/v1alpha2, storagemigration.k8s.io/v1beta1",
        default: Default::Text(""),
    },
    Key {
        name: "enable-admission-plugins",
        value_name: "NAME[,NAME]",
        help: "What is asked of writes to the Kubernetes API besides what always is, by the names of Kubernetes' admission plugins",
        default: Default::Text(""),
    },
    Key {
        name: "disable-admission-plugins",
        value_name: "NAME[,NAME]",
        help: "What is not asked of them",
        default: Default::Text(""),
    },
    Key {
        name: "admission-control-config-file",
        value_name: "PATH",
        help: "How that is configured, as Kubernetes' AdmissionConfiguration: PodSecurity, ResourceQuota, PodNodeSelector, PodTolerationRestriction; read at the start",
        default: Default::Text(""),
    },
    Key {
        name: "max-requests-inflight",
        value_name: "COUNT",
        help: "Requests of the Kubernetes API that read and are served at once; with the next one, the seats that priority levels share",
        default: Default::Text("400"),
    },
    Key {
        name: "max-mutating-requests-inflight",
        value_name: "COUNT",
        help: "The same of those that write",
        default: Default::Text("200"),
    },
    Key {
        name: "enable-priority-and-fairness",
        value_name: "true|false",
        help: "Whether flow schemas and priority levels say who is served first; otherwise the two counts alone are kept to, 0 being none",
        default: Default::Text("true"),
    },
    Key {
        name: "request-timeout",
        value_name: "DURATION",
        help: "How long a request of the Kubernetes API may take, watches and streams aside; a quarter of it, it may wait for others",
        default: Default::Text("1m0s"),
    },
    Key {
        name: "service-account-key-file",
        value_name: "PATH[,PATH]",
        help: "Keys that tokens of service accounts are checked by, private or public, PEM; the root's own where none is given",
        default: Default::Text(""),
    },
    Key {
        name: "service-account-signing-key-file",
        value_name: "PATH",
        help: "The key that signs them; the first private one of service-account-key-file where none is given",
        default: Default::Text(""),
    },
    Key {
        name: "service-account-issuer",
        value_name: "ISSUER[,ISSUER]",
        help: "Who issues them: the first in what is signed, each in what is checked; `https://kubernetes.default.svc.<cluster-domain>` where none is given",
        default: Default::Text(""),
    },
    Key {
        name: "service-account-jwks-uri",
        value_name: "URL",
        help: "Where others find the keys, if not below the issuer",
        default: Default::Text(""),
    },
    Key {
        name: "api-audiences",
        value_name: "NAME[,NAME]",
        help: "Whom tokens have to be for to be good for this API; the issuers where nobody is given",
        default: Default::Text(""),
    },
    Key {
        name: "service-account-max-token-expiration",
        value_name: "DURATION",
        help: "How long a token is good at most, for example `24h`",
        default: Default::Text("0"),
    },
    Key {
        name: "service-account-extend-token-expiration",
        value_name: "true|false",
        help: "Whether tokens of pods are good for a year, for programs that read them once",
        default: Default::Text("true"),
    },
    Key {
        name: "authentication-config",
        value_name: "PATH",
        help: "Whose tokens of others are good, as Kubernetes' AuthenticationConfiguration; read again when it changes",
        default: Default::Text(""),
    },
    Key {
        name: "anonymous-auth",
        value_name: "true|false",
        help: "Whether those are `system:anonymous` who show nothing; refused otherwise",
        default: Default::Text("true"),
    },
    Key {
        name: "oidc-issuer-url",
        value_name: "URL",
        help: "One issuer of tokens, instead of authentication-config",
        default: Default::Text(""),
    },
    Key {
        name: "oidc-client-id",
        value_name: "NAME",
        help: "Whom its tokens have to be for",
        default: Default::Text(""),
    },
    Key {
        name: "oidc-ca-file",
        value_name: "PATH",
        help: "The authorities that vouch for it; the system's where none is given",
        default: Default::Text(""),
    },
    Key {
        name: "oidc-username-claim",
        value_name: "CLAIM",
        help: "What names the user",
        default: Default::Text("sub"),
    },
    Key {
        name: "oidc-username-prefix",
        value_name: "PREFIX",
        help: "What is put before that; the issuer's address and `#` unless it is an email, nothing for `-`",
        default: Default::Text(""),
    },
    Key {
        name: "oidc-groups-claim",
        value_name: "CLAIM",
        help: "What names the groups",
        default: Default::Text(""),
    },
    Key {
        name: "oidc-groups-prefix",
        value_name: "PREFIX",
        help: "What is put before them",
        default: Default::Text(""),
    },
    Key {
        name: "oidc-signing-algs",
        value_name: "NAME[,NAME]",
        help: "How its tokens may be signed",
        default: Default::Text("RS256"),
    },
    Key {
        name: "oidc-required-claim",
        value_name: "CLAIM=VALUE[,…]",
        help: "What its tokens have to say",
        default: Default::Text(""),
    },
    Key {
        name: "authentication-token-webhook-config-file",
        value_name: "PATH",
        help: "Kubeconfig of a webhook that knows tokens which nobody else does",
        default: Default::Text(""),
    },
    Key {
        name: "authentication-token-webhook-version",
        value_name: "v1|v1beta1",
        help: "The version of TokenReview that it is asked in",
        default: Default::Text("v1beta1"),
    },
    Key {
        name: "authentication-token-webhook-cache-ttl",
        value_name: "DURATION",
        help: "How long its answers are remembered",
        default: Default::Text("2m"),
    },
    Key {
        name: "requestheader-client-ca-file",
        value_name: "PATH",
        help: "Authorities of a proxy in front of the API that says in headers who its callers are",
        default: Default::Text(""),
    },
    Key {
        name: "requestheader-allowed-names",
        value_name: "NAME[,NAME]",
        help: "Common names that it may have; any where none is given",
        default: Default::Text(""),
    },
    Key {
        name: "requestheader-username-headers",
        value_name: "NAME[,NAME]",
        help: "Headers that name the user",
        default: Default::Text("X-Remote-User"),
    },
    Key {
        name: "requestheader-group-headers",
        value_name: "NAME[,NAME]",
        help: "Headers that name its groups",
        default: Default::Text("X-Remote-Group"),
    },
    Key {
        name: "requestheader-uid-headers",
        value_name: "NAME[,NAME]",
        help: "Headers that name its uid",
        default: Default::Text("X-Remote-Uid"),
    },
    Key {
        name: "requestheader-extra-headers-prefix",
        value_name: "PREFIX[,PREFIX]",
        help: "What headers begin with that say more of it",
        default: Default::Text("X-Remote-Extra-"),
    },
    Key {
        name: "authorization-mode",
        value_name: "MODE[,MODE]",
        help: "Who decides what callers may, in this order: Node, RBAC, Webhook, AlwaysAllow, AlwaysDeny",
        default: Default::Text("Node,RBAC"),
    },
    Key {
        name: "authorization-config",
        value_name: "PATH",
        help: "The same, as Kubernetes' AuthorizationConfiguration",
        default: Default::Text(""),
    },
    Key {
        name: "authorization-webhook-config-file",
        value_name: "PATH",
        help: "Kubeconfig of the webhook of authorization-mode",
        default: Default::Text(""),
    },
    Key {
        name: "authorization-webhook-version",
        value_name: "v1|v1beta1",
        help: "The version of SubjectAccessReview that it is asked in",
        default: Default::Text("v1beta1"),
    },
    Key {
        name: "authorization-webhook-cache-authorized-ttl",
        value_name: "DURATION",
        help: "How long it is remembered what it allows",
        default: Default::Text("5m"),
    },
    Key {
        name: "authorization-webhook-cache-unauthorized-ttl",
        value_name: "DURATION",
        help: "How long it is remembered what it does not",
        default: Default::Text("30s"),
    },
    Key {
        name: "audit-policy-file",
        value_name: "PATH",
        help: "What is noted in the audit log of requests to the Kubernetes API, as Kubernetes' Policy of audit.k8s.io/v1; nothing where none is given",
        default: Default::Text(""),
    },
    Key {
        name: "audit-log-path",
        value_name: "PATH",
        help: "The audit log; `-` is standard output",
        default: Default::Text(""),
    },
    Key {
        name: "audit-log-format",
        value_name: "json|legacy",
        help: "How events are written there",
        default: Default::Text("json"),
    },
    Key {
        name: "audit-log-mode",
        value_name: "blocking|blocking-strict|batch",
        help: "Whether answers wait until their events are written, and requests are refused whose events cannot be",
        default: Default::Text("blocking"),
    },
    Key {
        name: "audit-log-maxsize",
        value_name: "MEGABYTES",
        help: "How large the audit log gets before it is rotated; 0 is 100",
        default: Default::Text("0"),
    },
    Key {
        name: "audit-log-maxbackup",
        value_name: "NUMBER",
        help: "How many old audit logs are kept; 0 is all",
        default: Default::Text("0"),
    },
    Key {
        name: "audit-log-maxage",
        value_name: "DAYS",
        help: "How long old audit logs are kept; 0 is for ever",
        default: Default::Text("0"),
    },
    Key {
        name: "audit-log-compress",
        value_name: "true|false",
        help: "Whether old audit logs are compressed (gzip)",
        default: Default::Text("false"),
    },
    Key {
        name: "audit-webhook-config-file",
        value_name: "PATH",
        help: "The kubeconfig file that says who is sent what is noted, and as whom",
        default: Default::Text(""),
    },
    Key {
        name: "audit-webhook-mode",
        value_name: "batch|blocking|blocking-strict",
        help: "Whether answers wait until their events are sent, and requests are refused whose events cannot be",
        default: Default::Text("batch"),
    },
    Key {
        name: "audit-webhook-initial-backoff",
        value_name: "DURATION",
        help: "How long before what could not be sent is sent again, the first time",
        default: Default::Text("10s"),
    },
    Key {
        name: "audit-webhook-batch-buffer-size",
        value_name: "NUMBER",
        help: "How many events wait to be sent at most; in the mode batch only, as what follows",
        default: Default::Text("10000"),
    },
    Key {
        name: "audit-webhook-batch-max-size",
        value_name: "NUMBER",
        help: "How many events are sent at a time at most",
        default: Default::Text("400"),
    },
    Key {
        name: "audit-webhook-batch-max-wait",
        value_name: "DURATION",
        help: "How long until fewer are sent",
        default: Default::Text("30s"),
    },
    Key {
        name: "audit-webhook-batch-throttle-enable",
        value_name: "true|false",
        help: "Whether it is bounded how often something is sent",
        default: Default::Text("true"),
    },
    Key {
        name: "audit-webhook-batch-throttle-qps",
        value_name: "NUMBER",
        help: "How often a second something is sent",
        default: Default::Text("10"),
    },
    Key {
        name: "audit-webhook-batch-throttle-burst",
        value_name: "NUMBER",
        help: "How often at once where nothing was sent before",
        default: Default::Text("15"),
    },
    Key {
        name: "shutdown-delay-duration",
        value_name: "DURATION",
        help: "How long the Kubernetes API goes on when the daemon is to stop, though `/readyz` fails, for example `5s`",
        default: Default::Text("0s"),
    },
    Key {
        name: "log",
        value_name: "FILTER",
        help: "What the daemon logs, for example `info` or `info,net=debug`",
        default: Default::Text("info"),
    },
];
