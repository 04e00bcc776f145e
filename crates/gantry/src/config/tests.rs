//! Layers in, effective values and errors out.

use super::*;

fn layers<'a>(
    flags: &[(&'a str, &str)],
    environment: &[(&'a str, &str)],
    file: &[(&str, &str)],
) -> Layers<'a> {
    let texts =
        |pairs: &[(&'a str, &str)]| pairs.iter().map(|&(key, value)| (key, value.to_owned())).collect();
    let file = file.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
    Layers {
        flags: texts(flags),
        environment: texts(environment),
        file: Some((PathBuf::from("/etc/gantry/gantry.toml"), file)),
    }
}

#[track_caller]
fn check(layers: &Layers<'_>, key: &str, value: &str, origin: &str) {
    let config = Config::new(layers).expect("a valid configuration");
    let (_, found, from) = config.origins.iter().find(|(name, ..)| *name == key).expect("the key is shown");
    assert_eq!((found.as_str(), from.to_string().as_str()), (value, origin));
}

#[test]
fn a_flag_wins_over_the_environment_the_file_and_the_default() {
    let all = layers(&[("bip", "10.1.0.0/16")], &[("bip", "10.2.0.0/16")], &[("bip", "10.3.0.0/16")]);
    check(&all, "bip", "10.1.0.0/16", "flag");
    check(
        &layers(&[], &[("bip", "10.2.0.0/16")], &[("bip", "10.3.0.0/16")]),
        "bip",
        "10.2.0.0/16",
        "environment",
    );
    check(&layers(&[], &[], &[("bip", "10.3.0.0/16")]), "bip", "10.3.0.0/16", "/etc/gantry/gantry.toml");
    check(&layers(&[], &[], &[]), "bip", "172.17.0.0/16", "default");
}

#[test]
fn paths_follow_the_root_and_run_directories() {
    let moved = layers(&[("root", "/srv/g/"), ("run", "/tmp/g")], &[], &[]);
    check(&moved, "write-kubeconfig", "/srv/g/kubeconfig", "default");
    check(&moved, "docker-address", "", "default");
    check(&moved, "docker-socket", "/tmp/g/docker.sock", "default");
}

#[test]
fn another_root_gets_kernel_names_of_its_own() {
    check(&layers(&[], &[], &[]), "instance", "gantry", "default");
    check(&layers(&[], &[], &[]), "bridge", "gantry0", "default");
    let one = Config::new(&layers(&[("root", "/srv/one")], &[], &[])).expect("valid");
    let two = Config::new(&layers(&[("root", "/srv/two")], &[], &[])).expect("valid");
    assert_ne!(one.instance, two.instance);
    assert_ne!(one.bridge, two.bridge);
    assert!(one.bridge.len() <= 15);
}

#[test]
fn a_wrong_value_names_its_key_its_origin_and_what_would_be_right() {
    let error = Config::new(&layers(&[], &[("pod-cidr", "ten")], &[])).expect_err("not a network");
    assert_eq!(
        error.to_string(),
        "`pod-cidr` is `ten` (from environment): must be an IPv4 network, for example `10.42.0.0/16`"
    );
}

#[test]
fn an_unknown_key_is_an_error_wherever_it_stands() {
    let variables = [("GANTRY_POD_CIRD".to_owned(), "x".to_owned())];
    let error = read_environment(variables.into_iter()).expect_err("a misspelt variable");
    assert!(
        error
            .to_string()
            .starts_with("unknown key `GANTRY_POD_CIRD` in the environment; known keys: root, run")
    );

    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("gantry.toml");
    std::fs::write(&path, "pod-cird = \"10.0.0.0/8\"\n").expect("write");
    let error = read_file(&path, true).expect_err("a misspelt key");
    assert!(error.to_string().starts_with("unknown key `pod-cird` in /"), "{error}");
}

#[test]
fn a_file_is_missed_only_when_it_was_named() {
    let absent = Path::new("/nonexistent/gantry.toml");
    assert!(read_file(absent, false).expect("silently absent").is_none());
    assert_eq!(
        read_file(absent, true).expect_err("named but absent").to_string(),
        "read the configuration file /nonexistent/gantry.toml"
    );
}

#[test]
fn reserves_are_pairs_and_what_is_wrong_with_them_is_told() {
    let flag = |value| Config::new(&layers(&[("system-reserved", value)], &[], &[]));
    let config = flag("cpu=500m,memory=1Gi,ephemeral-storage=1G,pid=100").expect("valid");
    assert_eq!((config.reserves.system.cpu, config.reserves.system.memory), (500, 1 << 30));
    assert_eq!(config.reserves.kube, node::reserves::Amounts::default());
    assert_eq!(
        flag("gpu=1").expect_err("not to be reserved").to_string(),
        "`system-reserved` is `gpu=1` (from flag): cannot reserve \"gpu\" resource: cpu, memory, ephemeral-storage and pid can be"
    );
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("gantry.toml");
    std::fs::write(&path, "kube-reserved = { cpu = 1, memory = \"1Gi\" }\n").expect("write");
    let (_, values) = read_file(&path, true).expect("it is read").expect("it is there");
    assert_eq!(values["kube-reserved"], "cpu=1,memory=1Gi");
    std::fs::write(&path, "eviction-hard = { \"nodefs.available\" = \"1Gi\" }\n").expect("write");
    let (_, values) = read_file(&path, true).expect("it is read").expect("it is there");
    assert_eq!(values["eviction-hard"], "nodefs.available=1Gi");
    let flag = |value| Config::new(&layers(&[("eviction-hard", value)], &[], &[]));
    assert_eq!(
        flag("nodefs.available").expect_err("no threshold").to_string(),
        "`eviction-hard` is `nodefs.available` (from flag): invalid eviction threshold syntax nodefs.available, expected <signal><operator><value>"
    );
    assert_eq!(flag("").expect("none").reserves.thresholds, node::Thresholds::default());
}

#[test]
fn what_is_off_by_default_is_switched_on_by_name() {
    let config = |gates, versions| {
        Config::new(&layers(&[("feature-gates", gates)], &[("runtime-config", versions)], &[]))
    };
    assert_eq!(config("", "").expect("nothing").features, kinds::Features::default());
    let on = config("StorageVersionMigrator=true", "api/beta=true").expect("valid");
    assert!(on.features.migrates() && !on.features.has(kinds::Feature::HpaScaleToZero));
    assert!(!config("StorageVersionMigrator=true", "").expect("valid").features.migrates());
    assert_eq!(
        config("Turbo=true", "").expect_err("no gate").to_string(),
        "`feature-gates` is `Turbo=true` (from flag): unrecognized feature gate: Turbo; those that can be switched are \
         GangScheduling, GenericWorkload, HPAScaleToZero, StorageVersionMigrator"
    );
    assert_eq!(
        config("", "apps/v1=false").expect_err("needed").to_string(),
        "`runtime-config` is `apps/v1=false` (from environment): apps/v1 is always served"
    );
}

#[test]
fn etcd_is_named_with_what_is_shown_to_it_or_not_at_all() {
    let config = |flags: &[(&'static str, &str)]| Config::new(&layers(flags, &[], &[]));
    assert_eq!(config(&[]).expect("valid").etcd, None);
    let servers = ("etcd-servers", "https://10.0.0.1:2379, https://10.0.0.2:2379");
    let etcd = config(&[servers, ("etcd-certfile", "/c"), ("etcd-keyfile", "/k")]).expect("valid").etcd;
    let expected = Etcd {
        servers: vec!["https://10.0.0.1:2379".to_owned(), "https://10.0.0.2:2379".to_owned()],
        prefix: "/gantry".to_owned(),
        authority: None,
        identity: Some(("/c".into(), "/k".into())),
    };
    assert_eq!(etcd, Some(expected));
    for (flags, why) in [
        (&[("etcd-servers", "10.0.0.1:2379")][..], "must be URLs, for example `https://10.0.0.1:2379`"),
        (&[servers, ("etcd-certfile", "/c")], "etcd-keyfile must name its key"),
        (&[servers, ("etcd-keyfile", "/k")], "etcd-certfile must name its certificate"),
        (&[("etcd-cafile", "/ca")], "etcd-servers names no etcd that it is for"),
    ] {
        let error = config(flags).expect_err("refused").to_string();
        assert!(error.ends_with(why), "{error}");
    }
}

#[test]
fn options_of_access_that_do_not_go_together_are_refused() {
    let refused = |flags: &[(&str, &str)], why: &str| {
        let error = Config::new(&layers(flags, &[], &[])).expect_err(why).to_string();
        assert!(error.contains(why), "{error}");
    };
    refused(&[("service-account-max-token-expiration", "30m")], "must be between 1 hour and 2^32 seconds");
    refused(&[("service-account-max-token-expiration", "1d")], "unknown unit");
    refused(&[("service-account-signing-key-file", "/k")], "service-account-key-file must name");
    refused(&[("service-account-jwks-uri", "http://a")], "requires https scheme");
    refused(&[("anonymous-auth", "perhaps")], "must be `true` or `false`");
    refused(
        &[("authentication-config", "/a"), ("oidc-groups-claim", "g")],
        "oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags are set",
    );
    refused(
        &[("authentication-config", "/a"), ("oidc-issuer-url", "https://a"), ("oidc-client-id", "b")],
        "authentication-config file and oidc-* flags are mutually exclusive",
    );
    refused(
        &[("oidc-issuer-url", "https://a"), ("oidc-client-id", "b"), ("oidc-required-claim", "c")],
        "must be pairs `claim=value`",
    );
    for other in [("authorization-mode", "RBAC"), ("authorization-webhook-version", "v1")] {
        refused(&[("authorization-config", "/a"), other], "--authorization-config can not be specified when");
    }
}

#[test]
fn options_of_access_are_read_as_kubernetes_writes_them() {
    let flags = [
        ("service-account-key-file", "/a, /b"),
        ("service-account-max-token-expiration", "24h"),
        ("requestheader-client-ca-file", "/c"),
        ("requestheader-allowed-names", "front"),
        ("authentication-token-webhook-config-file", "/d"),
    ];
    let access = Config::new(&layers(&flags, &[], &[])).expect("valid").access;
    assert_eq!(access.key_files, [PathBuf::from("/a"), PathBuf::from("/b")]);
    assert_eq!(access.longest, Some(std::time::Duration::from_secs(86400)));
    let proxy = access.front_proxy.expect("a proxy");
    assert_eq!(proxy.options.allowed_names, ["front"]);
    assert_eq!(proxy.options.username_headers, ["X-Remote-User"]);
    let webhook = access.token_webhook.expect("a webhook");
    assert_eq!((webhook.version.as_str(), webhook.lifetime.as_secs()), ("v1beta1", 120));
    assert!(matches!(&access.deciders, Deciders::Named(names, None) if names == &["Node", "RBAC"]));
    let none = Config::new(&layers(&[], &[], &[])).expect("valid").access;
    assert!(none.front_proxy.is_none() && none.oidc.is_none() && none.longest.is_none());
    assert_eq!(none.anonymous, (true, false));
}

#[test]
fn what_the_api_serves_at_once_is_said_in_kubernetes_words_and_never_nothing() {
    let config = |flags: &[(&'static str, &str)]| Config::new(&layers(flags, &[], &[]));
    let limits = config(&[]).expect("valid").limits;
    assert_eq!(limits, apiserver::fairness::Limits::default());
    let limits = config(&[
        ("max-requests-inflight", "3000"),
        ("max-mutating-requests-inflight", "0"),
        ("enable-priority-and-fairness", "false"),
        ("request-timeout", "1m30s"),
    ]);
    let limits = limits.expect("valid").limits;
    assert_eq!((limits.reading, limits.writing, limits.fair), (3000, 0, false));
    assert_eq!(limits.timeout.as_secs(), 90);
    let wrong = |flags: &[(&'static str, &str)]| config(flags).expect_err("wrong").to_string();
    assert_eq!(
        wrong(&[("max-requests-inflight", "-1")]),
        "`max-requests-inflight` is `-1` (from flag): must be a number of requests, not negative"
    );
    assert_eq!(
        wrong(&[("max-requests-inflight", "0"), ("max-mutating-requests-inflight", "0")]),
        "`max-requests-inflight` is `0` (from flag): with priority and fairness, this and max-mutating-requests-inflight must not both be 0"
    );
    assert_eq!(
        wrong(&[("request-timeout", "10")]),
        "`request-timeout` is `10` (from flag): time: missing unit in duration \"10\""
    );
    assert_eq!(
        wrong(&[("request-timeout", "-1s")]),
        "`request-timeout` is `-1s` (from flag): must be longer than nothing"
    );
}

#[test]
fn who_is_sent_what_is_noted_is_said_in_kubernetes_words_and_with_its_defaults() {
    use crate::audit::Mode;
    use crate::audit_webhook::{Batches, Options, Throttle};
    let config = |flags: &[(&'static str, &str)]| Config::new(&layers(flags, &[], &[]));
    assert_eq!(config(&[]).expect("valid").audit_webhook, None);
    let file = ("audit-webhook-config-file", "/etc/gantry/audit.kubeconfig");
    let usual = Options {
        kubeconfig: "/etc/gantry/audit.kubeconfig".into(),
        mode: Mode::Batch,
        first_back_off: Duration::from_secs(10),
        batches: Batches {
            buffer: 10_000,
            size: 400,
            wait: Duration::from_secs(30),
            throttle: Some(Throttle { rate: 10.0, burst: 15 }),
        },
    };
    assert_eq!(config(&[file]).expect("valid").audit_webhook, Some(usual.clone()));
    let found = config(&[
        file,
        ("audit-webhook-mode", "blocking-strict"),
        ("audit-webhook-initial-backoff", "1.5s"),
        ("audit-webhook-batch-max-size", "0"),
        ("audit-webhook-batch-throttle-enable", "false"),
    ]);
    let found = found.expect("what a batch may be is for nothing").audit_webhook.expect("one");
    assert_eq!((found.mode, found.first_back_off.as_millis()), (Mode::BlockingStrict, 1500));
    assert_eq!(found.batches.throttle, None);
    let wrong = |flags: &[(&'static str, &str)]| config(flags).expect_err("wrong").to_string();
    assert_eq!(
        wrong(&[("audit-webhook-mode", "later")]),
        "`audit-webhook-mode` is `later` (from flag): invalid audit webhook mode later, allowed modes are \
         \"batch,blocking,blocking-strict\""
    );
    assert_eq!(
        wrong(&[("audit-webhook-batch-max-size", "0")]),
        "`audit-webhook-batch-max-size` is `0` (from flag): invalid audit batch webhook max batch size 0, must be a \
         positive number"
    );
    for rate in ["-1", "0", "NaN"] {
        assert!(wrong(&[("audit-webhook-batch-throttle-qps", rate)]).contains("throttle QPS"), "{rate}");
    }
}
