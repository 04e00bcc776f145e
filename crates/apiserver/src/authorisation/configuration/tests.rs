use std::path::Path as FilePath;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response, Uri};

use super::*;
use crate::outside::{Peer, PeerError};

const HEAD: &str = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\n";

/// Takes every kubeconfig; nobody is asked here.
struct Known;

impl Peer for Known {
    fn ask(&self, _: Request<Bytes>, most: usize) -> BoxFuture<'static, Result<Response<Bytes>, PeerError>> {
        Box::pin(async move { Err(PeerError::TooLong { server: String::new(), most }) })
    }
}

impl Outside for Known {
    fn dial(
        &self,
        host: &str,
        port: u16,
    ) -> futures::future::BoxFuture<'static, std::io::Result<Box<dyn crate::node::Duplex>>> {
        crate::outside::Nobody.dial(host, port)
    }

    fn authorities(&self) -> Vec<u8> {
        Vec::new()
    }

    fn vouched_for(&self, _: Option<&[u8]>) -> Result<Arc<dyn Peer>, String> {
        Ok(Arc::new(Self))
    }

    fn of_kubeconfig(&self, path: &FilePath) -> Result<(Uri, Arc<dyn Peer>), String> {
        if path.ends_with("gone") {
            return Err("it is gone".to_owned());
        }
        Ok((Uri::from_static("https://a.example/authorize"), Arc::new(Self)))
    }
}

fn parse(body: &str) -> Result<Vec<AuthorizationMode>, ModesError> {
    let clock: Arc<dyn Clock> = Arc::new(base::SystemClock::new());
    AuthorizationMode::parse(&format!("{HEAD}{body}"), &Known, &clock)
}

#[track_caller]
fn check(body: &str, expected: &str) {
    assert_eq!(parse(body).expect_err(body).to_string(), expected, "{body}");
}

const HOOK: &str = "timeout: 3s, subjectAccessReviewVersion: v1, failurePolicy: Deny, \
                    connectionInfo: {type: KubeConfigFile, kubeConfigFile: /k}";

#[test]
fn those_who_decide_are_named_in_order() {
    let modes = parse(&format!(
        "authorizers:\n- {{type: Webhook, name: first, webhook: {{{HOOK}, cacheUnauthorizedRequests: false}}}}\n\
         - {{type: Node, name: node}}\n- {{type: RBAC, name: rbac}}\n\
         - {{type: Webhook, name: second, webhook: {{{HOOK}, authorizedTTL: 0s, unauthorizedTTL: 1m}}}}"
    ));
    let modes = modes.expect("a configuration");
    let shown: Vec<String> = modes
        .iter()
        .map(|mode| match mode {
            AuthorizationMode::Webhook(webhook) => format!("{webhook:?}"),
            other => format!("{other:?}"),
        })
        .collect();
    assert!(shown[0].contains("authorized: Some(300s), unauthorized: None"), "{shown:?}");
    assert_eq!((shown[1].as_str(), shown[2].as_str()), ("Node", "Rbac"));
    assert!(shown[3].contains("authorized: Some(300s), unauthorized: Some(60s)"), "{shown:?}");
}

#[test]
fn what_is_wrong_is_told_in_kubernetes_words() {
    check("", "authorizers: Required value: at least one authorization mode must be defined");
    check("authorizers: [{name: a}]", "authorizers[0].type: Required value");
    check(
        "authorizers: [{type: ABAC, name: a}]",
        "authorizers[0].type: Unsupported value: \"ABAC\": supported values: \"AlwaysAllow\", \"AlwaysDeny\", \"Node\", \"RBAC\", \"Webhook\"",
    );
    check(
        "authorizers: [{type: RBAC, name: a}, {type: RBAC, name: b}]",
        "authorizers[1].type: Duplicate value: \"RBAC\"",
    );
    check(
        "authorizers: [{type: RBAC, name: a}, {type: Node, name: a}, {type: AlwaysDeny}]",
        "[authorizers[1].name: Duplicate value: \"a\", authorizers[2].name: Required value]",
    );
    check(
        "authorizers: [{type: Node, name: a, webhook: {}}]",
        "authorizers[0].webhook: Invalid value: \"non-null\": may only be specified when type=Webhook",
    );
    check(
        "authorizers: [{type: Webhook, name: a}]",
        "authorizers[0].webhook: Required value: required when type=Webhook",
    );
    check(
        "authorizers: [{type: Webhook, name: a, webhook: {}}]",
        "[authorizers[0].timeout: Required value, authorizers[0].subjectAccessReviewVersion: Required value, \
         authorizers[0].failurePolicy: Required value, authorizers[0].connectionInfo.type: Required value]",
    );
    let hook = |from: &str, to: &str| {
        format!("authorizers: [{{type: Webhook, name: a, webhook: {{{}}}}}]", HOOK.replace(from, to))
    };
    check(&hook("3s", "31s"), "authorizers[0].timeout: Invalid value: \"31s\": must be > 0s and <= 30s");
    check(
        &hook("3s", "3s, authorizedTTL: -1s"),
        "authorizers[0].authorizedTTL: Invalid value: \"-1s\": must be > 0s",
    );
    check(
        &hook("Version: v1", "Version: v2"),
        "authorizers[0].subjectAccessReviewVersion: Unsupported value: \"v2\": supported values: \"v1\", \"v1beta1\"",
    );
    check(
        &hook("Deny", "Allow"),
        "authorizers[0].failurePolicy: Unsupported value: \"Allow\": supported values: \"NoOpinion\", \"Deny\"",
    );
    check(
        &hook("/k", "k"),
        "authorizers[0].connectionInfo.kubeConfigFile: Invalid value: \"k\": must be an absolute path",
    );
    check(&hook("/k", "/gone"), "authorizer \"a\": it is gone");
    check(
        &hook(
            "3s",
            "3s, matchConditions: [{expression: request.user}, {expression: a}, {expression: a}], matchConditionSubjectAccessReviewVersion: v1",
        ),
        "[authorizers[0].matchConditions[0].expression: Invalid value: \"request.user\": must evaluate to bool but got string, \
         authorizers[0].matchConditions[1].expression: Invalid value: \"a\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'a' (in container '')\n | a\n | ^, \
         authorizers[0].matchConditions[2].expression: Duplicate value: \"a\"]",
    );
    let many: Vec<String> = (0..65).map(|n| format!("{{expression: request.user == '{n}'}}")).collect();
    let many =
        format!("3s, matchConditions: [{}], matchConditionSubjectAccessReviewVersion: v1", many.join(", "));
    check(&hook("3s", &many), "authorizers[0].matchConditions: Too many: 65: must have at most 64 items");
    check(
        &hook("3s", "3s, matchConditions: [{}]"),
        "[authorizers[0].matchConditionSubjectAccessReviewVersion: Required value: required if match conditions are specified, \
         authorizers[0].matchConditions[0].expression: Required value]",
    );
}

#[test]
fn modes_can_be_named_alone() {
    let named = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        AuthorizationMode::named(&names, None)
            .map(|modes| format!("{modes:?}"))
            .map_err(|error| error.to_string())
    };
    assert_eq!(named(&["Node", "RBAC"]).as_deref(), Ok("[Node, Rbac]"));
    for (names, why) in [
        (&[][..], "at least one authorization-mode must be passed"),
        (&["RBAC", "RBAC"], "authorization-mode \"RBAC\" has mode specified more than once"),
        (&["ABAC"], "authorization-mode \"ABAC\" is not a valid mode"),
        (&["Webhook"], "authorization-mode Webhook's authorization config file not passed"),
    ] {
        assert_eq!(named(names).expect_err("refused"), why);
    }
}
