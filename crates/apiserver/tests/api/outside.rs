//! Users of whom others say who they are: issuers of tokens, webhooks.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use apiserver::{
    AccessWebhook, AccessWebhookOptions, AuthorizationMode, Config, Identity, OidcOptions, Structured,
    TokenWebhook,
};
use base::Clock;
use base::clock::ManualClock;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::StreamExt;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};

use crate::access::{ask, message};
use crate::cluster::Cluster;
use crate::elsewhere::{OverHttps, Pages, Site, json as answer};
use crate::roles::grant;

const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
const PODS: &str = "/api/v1/namespaces/default/pods";
const OWN: &str = "https://kubernetes.default.svc.cluster.local";

/// A key of an issuer.
struct Key {
    id: &'static str,
    pair: EcdsaKeyPair,
}

impl Key {
    fn new(id: &'static str) -> Self {
        let made = rcgen::KeyPair::generate().expect("a key").serialize_der();
        let random = ring::rand::SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &made, &random);
        Self { id, pair: pair.expect("a key") }
    }

    fn jwk(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
        json!({"kty": "EC", "crv": "P-256", "kid": self.id, "use": "sig", "alg": "ES256", "x": x, "y": y})
    }

    fn sign(&self, claims: &Value) -> String {
        self.sign_with(&json!({"alg": "ES256", "kid": self.id}).to_string(), &claims.to_string())
    }

    fn sign_with(&self, head: &str, claims: &str) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(head), URL_SAFE_NO_PAD.encode(claims));
        let signature = self.pair.sign(&ring::rand::SystemRandom::new(), signed.as_bytes()).expect("signed");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// An issuer of tokens, and the server that knows it.
struct Known {
    cluster: Cluster,
    site: Site,
    pages: Pages,
    structured: Arc<Structured>,
    clock: Arc<ManualClock>,
}

impl Known {
    /// A server that is told of the issuer as `more` says besides its address and authority.
    async fn start(more: &str) -> Self {
        let pages = Pages::default();
        let site = Site::start(pages.answers()).await;
        let structured = Arc::new(Structured::new(Arc::new(OverHttps), true));
        let clock = Arc::new(ManualClock::new(base::SystemClock::new().now()));
        let own = structured.clone();
        let clock_of = clock.clone();
        let change = move |config: &mut Config| {
            config.structured = own.clone();
            config.clock = clock_of.clone();
        };
        let root = tempfile::tempdir().expect("temporary directory");
        let store = Arc::new(crate::cluster::open_store(&root).await);
        let cluster = Cluster::with(root, store, kinds::all(), change).await;
        let known = Self { cluster, site, pages, structured, clock };
        known.configure(more).expect("a configuration");
        known
    }

    fn configure(&self, more: &str) -> Result<(), String> {
        let authority = self.site.authority.replace('\n', "\n        ");
        let url = self.site.url();
        let text = format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n- issuer:\n    url: {url}\n    \
             audiences: [gantry]\n    certificateAuthority: |\n        {authority}\n{more}"
        );
        self.structured.replace(&text, &[OWN.to_owned()]).map(drop).map_err(|error| error.to_string())
    }

    /// The issuer shows these keys.
    fn show(&self, keys: &[&Key]) {
        let url = self.site.url();
        self.pages.set(
            "/.well-known/openid-configuration",
            &json!({"issuer": url, "jwks_uri": format!("{url}/keys")}),
        );
        let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
        self.pages.set("/keys", &json!({"keys": keys}));
    }

    /// Claims that are good, with some others.
    fn claims(&self, change: Value) -> Value {
        let now = self.clock.now().as_second();
        let mut claims = json!({
            "iss": self.site.url(), "aud": "gantry", "sub": "jane", "exp": now + 600, "iat": now,
            "teams": ["a", "b"], "hd": "example.com",
        });
        for (name, value) in change.as_object().expect("claims") {
            if value.is_null() {
                claims.as_object_mut().expect("claims").remove(name);
            } else {
                claims[name] = value.clone();
            }
        }
        claims
    }

    /// The status of a review of a token.
    async fn review(&self, token: &str) -> Value {
        review(&self.cluster, token).await
    }
}

async fn review(cluster: &Cluster, token: &str) -> Value {
    let review =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
    cluster.ok("POST", REVIEWS, &review).await["status"].clone()
}

const MAPPED: &str = "  claimMappings:\n    username: {claim: sub, prefix: 'o:'}\n    groups: {claim: teams, prefix: 'o:'}\n    \
                      uid: {claim: sub}\n  claimValidationRules: [{claim: hd, requiredValue: example.com}]\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_an_issuer_elsewhere_says_who_one_is() {
    let known = Known::start(MAPPED).await;
    let key = Key::new("k1");
    known.show(&[&key]);
    let token = key.sign(&known.claims(json!({"jti": "7"})));
    let status = known.review(&token).await;
    assert_eq!(status["authenticated"], true, "{status}");
    assert_eq!(
        status["user"],
        json!({
            "username": "o:jane", "uid": "jane", "groups": ["o:a", "o:b", "system:authenticated"],
            "extra": {"authentication.kubernetes.io/credential-id": ["JTI=7"]},
        })
    );
    assert_eq!(status["audiences"], json!([OWN]));
    // The same over TLS, as clients come.
    let (code, body) = ask(&known.cluster, None, Some(&token), PODS).await;
    assert_eq!(code, 403);
    assert!(message(&body).contains("User \"o:jane\" cannot list resource \"pods\""), "{body}");
    // One group as a text is one group, and none is none.
    let one = known.review(&key.sign(&known.claims(json!({"teams": "c"})))).await;
    assert_eq!(one["user"]["groups"], json!(["o:c", "system:authenticated"]));
    let none = known.review(&key.sign(&known.claims(json!({"teams": null})))).await;
    assert_eq!(none["user"]["groups"], json!(["system:authenticated"]));
    // All of that asked the issuer twice: for what it says of itself, and for its keys.
    assert_eq!(known.site.asked(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn expressions_say_who_one_is_and_who_is_taken() {
    let mapped = "  claimMappings:\n    username: {expression: \"'o:' + claims.sub\"}\n    \
                  groups: {expression: \"claims.teams.map(t, 'o:' + t)\"}\n    \
                  extra: [{key: acme.com/home, valueExpression: claims.hd}]\n  \
                  claimValidationRules: [{expression: \"claims.hd.endsWith('.com')\", message: not ours}]\n  \
                  userValidationRules: [{expression: \"user.groups.all(g, !g.startsWith('system:'))\"}]\n";
    let known = Known::start(mapped).await;
    let key = Key::new("k1");
    known.show(&[&key]);
    let status = known.review(&key.sign(&known.claims(json!({})))).await;
    assert_eq!(
        status["user"],
        json!({
            "username": "o:jane", "groups": ["o:a", "o:b", "system:authenticated"],
            "extra": {"acme.com/home": ["example.com"]},
        })
    );
    for (claims, why) in [
        (json!({"hd": "example.org"}), "a rule is not met"),
        (json!({"hd": null}), "an expression fails"),
        (json!({"teams": [7]}), "a group is no text"),
    ] {
        let status = known.review(&key.sign(&known.claims(claims))).await;
        assert!(status["authenticated"].is_null(), "{why}: {status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_not_quite_right_is_refused() {
    let known = Known::start(MAPPED).await;
    let (key, other) = (Key::new("k1"), Key::new("k1"));
    known.show(&[&key]);
    let now = known.clock.now().as_second();
    assert_eq!(known.review(&key.sign(&known.claims(json!({})))).await["authenticated"], true);
    let refused = async |token: String, why: &str| {
        let status = known.review(&token).await;
        assert!(status["authenticated"].is_null(), "{why}: {status}");
        assert_eq!(status["user"], json!({}), "{why}");
        assert_eq!(ask(&known.cluster, None, Some(&token), "/livez").await.0, 401, "{why}");
    };
    for (claims, why) in [
        (json!({"aud": "another"}), "for another"),
        (json!({"aud": null}), "for nobody"),
        (json!({"aud": ["another", "others"]}), "for others"),
        (json!({"iss": "https://another.example"}), "of another issuer"),
        (json!({"iss": OWN}), "as if of the server itself"),
        (json!({"iss": "kubernetes/serviceaccount"}), "as if of the server itself, before"),
        (json!({"exp": now - 1}), "over"),
        (json!({"exp": null}), "without an end"),
        (json!({"exp": "never"}), "with an end that is none"),
        (json!({"nbf": now + 3600}), "of tomorrow"),
        (json!({"sub": null}), "of nobody"),
        (json!({"sub": 7}), "of a number"),
        (json!({"sub": {"a": "b"}}), "of an object"),
        (json!({"teams": 7}), "with groups that are none"),
        (json!({"teams": ["a", 7]}), "with a group that is none"),
        (
            json!({"teams": null, "_claim_names": {"teams": "x"}, "_claim_sources": {"x": {"endpoint": "https://evil.example"}}}),
            "with groups elsewhere",
        ),
        (json!({"hd": "evil.example"}), "with another claim than is needed"),
        (json!({"hd": null}), "without a claim that is needed"),
    ] {
        refused(key.sign(&known.claims(claims)), why).await;
    }
    let good = known.claims(json!({})).to_string();
    refused(other.sign(&known.claims(json!({}))), "signed by another key of that name").await;
    let public = key.jwk().to_string();
    for head in [
        r#"{"alg":"none","kid":"k1"}"#,
        r#"{"alg":"HS256","kid":"k1"}"#,
        r#"{"alg":"RS256","kid":"k1"}"#,
        r#"{"alg":"ES256","kid":"k1","crit":["exp"]}"#,
        r#"{"alg":"none","alg":"ES256","kid":"k1"}"#,
        r#"{"alg":"ES256","kid":"../../keys"}"#,
        r#"{"alg":"ES256","kid":"https://evil.example/keys"}"#,
        r#"{"alg":"ES256","kid":["k1"]}"#,
    ] {
        refused(key.sign_with(head, &good), head).await;
    }
    let brought = json!({"alg": "ES256", "kid": "k1", "jwk": other.jwk(), "jku": "https://evil.example/k"});
    refused(other.sign_with(&brought.to_string(), &good), "with a key of its own").await;
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","kid":"k1"}"#),
        URL_SAFE_NO_PAD.encode(&good)
    );
    let mac = ring::hmac::sign(
        &ring::hmac::Key::new(ring::hmac::HMAC_SHA256, public.as_bytes()),
        signed.as_bytes(),
    );
    refused(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac)), "with the public key as a secret").await;
    refused(format!("{signed}."), "without a signature").await;
    refused("x".repeat(60_000), "long").await;
    refused(key.sign(&known.claims(json!({"x": "y".repeat(30_000), "exp": now - 1}))), "long and over").await;
    let twice = good.replacen('{', "{\"sub\":\"admin\",", 1);
    refused(key.sign_with(r#"{"alg":"ES256","kid":"k1"}"#, &twice), "with two names").await;
    // However many of them come, the issuer was asked for its keys once.
    assert_eq!(known.site.asked(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_email_that_is_not_verified_is_no_name() {
    let known = Known::start("  claimMappings: {username: {claim: email, prefix: ''}}\n").await;
    let key = Key::new("k1");
    known.show(&[&key]);
    let name = async |claims: Value| {
        let status = known.review(&key.sign(&known.claims(claims))).await;
        status["user"]["username"].as_str().map(str::to_owned)
    };
    let jane = Some("jane@example.com".to_owned());
    assert_eq!(name(json!({"email": "jane@example.com"})).await, jane);
    assert_eq!(name(json!({"email": "jane@example.com", "email_verified": true})).await, jane);
    for value in [json!(false), json!("true"), json!(1)] {
        assert_eq!(name(json!({"email": "jane@example.com", "email_verified": value})).await, None);
    }
    assert_eq!(name(json!({"email": ""})).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_changes_its_keys_and_is_asked_for_them_now_and_then() {
    let known = Known::start(MAPPED).await;
    let (first, second) = (Key::new("k1"), Key::new("k2"));
    known.show(&[&first]);
    let is_good =
        async |key: &Key| known.review(&key.sign(&known.claims(json!({})))).await["authenticated"] == true;
    assert!(is_good(&first).await);
    known.show(&[&second]);
    for _ in 0..50 {
        assert!(!is_good(&second).await, "asked a moment ago");
    }
    assert_eq!(known.site.asked(), 2);
    known.clock.advance(Duration::from_secs(11));
    assert!(is_good(&second).await);
    assert_eq!(known.site.asked(), 4);
    assert!(!is_good(&first).await, "it is no key of the issuer any more");
    // While it cannot say, its keys are what they were.
    known.clock.advance(Duration::from_secs(11));
    known.pages.put("/keys", Some((500, String::new())));
    assert!(!is_good(&Key::new("k3")).await);
    assert!(is_good(&second).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_lies_about_itself_is_not_believed() {
    let known = Known::start(MAPPED).await;
    let key = Key::new("k1");
    let url = known.site.url();
    let token = key.sign(&known.claims(json!({"exp": known.clock.now().as_second() + 100_000})));
    let about = "/.well-known/openid-configuration";
    let keys = json!({"keys": [key.jwk()]});
    let elsewhere = Site::start(known.pages.answers()).await;
    let long = json!({"keys": [key.jwk()], "x": "x".repeat(2 << 20)});
    let many: Vec<Value> = vec![key.jwk(); 257];
    let good = json!({"issuer": url, "jwks_uri": format!("{url}/keys")});
    type Page = (u16, String);
    let cases: [(&str, Page, Page); 9] = [
        ("it is not there", (404, String::new()), (200, keys.to_string())),
        (
            "another issuer",
            (200, json!({"issuer": "https://a.example", "jwks_uri": format!("{url}/keys")}).to_string()),
            (200, keys.to_string()),
        ),
        (
            "keys in clear",
            (200, json!({"issuer": url, "jwks_uri": url.replace("https", "http")}).to_string()),
            (200, keys.to_string()),
        ),
        (
            "keys of another authority",
            (200, json!({"issuer": url, "jwks_uri": format!("{}/keys", elsewhere.url())}).to_string()),
            (200, keys.to_string()),
        ),
        ("sent elsewhere", (302, format!("{url}/other")), (200, keys.to_string())),
        ("keys elsewhere", (200, good.to_string()), (301, format!("{url}/other-keys"))),
        ("too long", (200, good.to_string()), (200, long.to_string())),
        ("too many", (200, good.to_string()), (200, json!({"keys": many}).to_string())),
        ("no JSON", (200, "<html>".to_owned()), (200, keys.to_string())),
    ];
    known.pages.set("/other", &good);
    known.pages.set("/other-keys", &keys);
    for (what, said, shown) in cases {
        known.pages.put(about, Some(said));
        known.pages.put("/keys", Some(shown));
        known.clock.advance(Duration::from_secs(11));
        let status = known.review(&token).await;
        assert!(status["authenticated"].is_null(), "{what}: {status}");
        assert!(
            status["error"].as_str().is_some_and(|why| why.contains("not initialized")),
            "{what}: {status}"
        );
    }
    assert_eq!(elsewhere.asked(), 0);
    known.show(&[&key]);
    known.clock.advance(Duration::from_secs(11));
    assert_eq!(known.review(&token).await["authenticated"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_hangs_holds_up_nobody_else() {
    let known = Known::start(MAPPED).await;
    known.pages.put("/.well-known/openid-configuration", None);
    let key = Key::new("k1");
    let token = key.sign(&known.claims(json!({})));
    let mut reviews: futures::stream::FuturesUnordered<_> = (0..80).map(|_| known.review(&token)).collect();
    // So many may wait for it; the others are told so at once.
    for _ in 64..80 {
        let status = reviews.next().await.expect("a review");
        let why = status["error"].as_str().unwrap_or_default().to_owned();
        assert!(why.contains("too many wait"), "{status}");
    }
    let others = async {
        for _ in 0..5 {
            assert_eq!(known.cluster.get("/api/v1/pods").await.0, 200);
            assert_eq!(ask(&known.cluster, None, None, "/readyz").await.0, 200);
        }
    };
    let waiting = async {
        while let Some(status) = reviews.next().await {
            assert!(status["authenticated"].is_null(), "{status}");
        }
        std::future::pending::<()>().await
    };
    tokio::select! {
        () = others => {}
        () = waiting => {}
    }
    assert_eq!(known.site.asked(), 1, "one asks for all");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_is_replaced_by_a_good_one_only() {
    let known = Known::start(MAPPED).await;
    let key = Key::new("k1");
    known.show(&[&key]);
    let user = async || known.review(&key.sign(&known.claims(json!({})))).await["user"]["username"].clone();
    assert_eq!(user().await, "o:jane");
    let error = known.configure("  claimMappings: {username: {claim: sub}}\n").expect_err("no prefix");
    assert!(error.contains("jwt[0].claimMappings.username.prefix: Required value"), "{error}");
    assert!(known.configure("  nonsense: 7\n").is_err());
    assert_eq!(user().await, "o:jane", "the one before is in force");
    known.configure("  claimMappings: {username: {claim: sub, prefix: 'n:'}}\n").expect("a good one");
    assert_eq!(user().await, "n:jane");
    let none = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n";
    known.structured.replace(none, &[]).expect("no issuer at all");
    assert_eq!(user().await, Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_issuer_can_be_told_of_by_options() {
    let known = Known::start(MAPPED).await;
    let key = Key::new("k1");
    known.show(&[&key]);
    let options = |algorithm: &str| OidcOptions {
        issuer_url: known.site.url(),
        client_id: "gantry".to_owned(),
        authority: known.site.authority.clone(),
        username_claim: "sub".to_owned(),
        groups_claim: "teams".to_owned(),
        signing_algorithms: vec![algorithm.to_owned()],
        ..OidcOptions::default()
    };
    let user = async || known.review(&key.sign(&known.claims(json!({})))).await["user"].clone();
    known.structured.set_options(&options("RS256"), &[]).expect("options");
    assert_eq!(user().await, json!({}), "not signed as it has to be");
    assert_eq!(known.site.asked(), 0);
    known.structured.set_options(&options("ES256"), &[]).expect("options");
    let jane = user().await;
    assert_eq!(jane["username"], format!("{}#jane", known.site.url()));
    assert_eq!(jane["groups"], json!(["a", "b", "system:authenticated"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_show_nothing_are_let_where_the_configuration_says() {
    let known =
        Known::start(&format!("{MAPPED}anonymous: {{enabled: true, conditions: [{{path: /livez}}]}}\n"))
            .await;
    let ask_as = async |who: Option<&Identity>, path: &str| ask(&known.cluster, who, None, path).await.0;
    assert_eq!(ask_as(None, "/livez").await, 200);
    for path in ["/readyz", "/livez/", "/livez/ping", "/version", "/api/v1/pods", "//livez"] {
        assert_eq!(ask_as(None, path).await, 401, "{path}");
    }
    let administrator = Identity::administrator();
    assert_eq!(ask_as(Some(&administrator), "/version").await, 200);
    // That stays as the first configuration has said it.
    for other in ["", "anonymous: {enabled: false}\n", "anonymous: {enabled: true}\n"] {
        let error = known.configure(&format!("{MAPPED}{other}")).expect_err("it says otherwise");
        assert_eq!(error, "anonymous: Forbidden: changed from initial configuration file");
        assert_eq!(ask_as(None, "/livez").await, 200);
        assert_eq!(ask_as(None, "/version").await, 401);
    }
    assert!(known.structured.is_open());
    known.structured.close();
    assert!(!known.structured.is_open());
    assert_eq!(ask_as(None, "/livez").await, 401);
    assert_eq!(ask_as(Some(&administrator), "/livez").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_knows_tokens_that_nobody_else_does() {
    type Asked = (Option<String>, Value);
    let seen: Arc<Mutex<Vec<Asked>>> = Arc::default();
    let log = seen.clone();
    let site = Site::start(Arc::new(move |request| {
        let question: Value = serde_json::from_slice(request.body()).expect("JSON");
        let authorization = request.headers().get("authorization").map(|value| value.to_str().expect("text").to_owned());
        log.lock().expect("no holder panics").push((authorization, question.clone()));
        let masters = json!({"username": "admin", "groups": ["system:masters"]});
        let status = match question["spec"]["token"].as_str().expect("a token") {
            "good" => json!({"authenticated": true, "user": {"username": "jane", "uid": "7", "groups": ["a"], "extra": {"k": ["v"]}}}),
            // Of what one does not know one may say null.
            "plain" => json!({
                "authenticated": true, "user": {"username": "joe", "uid": null, "groups": null, "extra": null},
                "audiences": null, "error": null,
            }),
            "others" => json!({"authenticated": true, "user": {"username": "jane"}, "audiences": ["another"]}),
            "nobody" => json!({"authenticated": true, "user": {}}),
            "error" => json!({"authenticated": false, "error": "no such thing", "user": masters}),
            "broken" => return answer(400, &json!({"status": {"authenticated": true, "user": masters}})),
            "text" => return answer(200, &json!("authenticated")),
            // Whom it names it does not know.
            _ => json!({"authenticated": false, "user": masters}),
        };
        answer(200, &json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status}))
    }))
    .await;
    let clock = Arc::new(ManualClock::new(base::SystemClock::new().now()));
    let kubeconfig = site.kubeconfig("/tokens?who=x");
    let webhook =
        TokenWebhook::new(&OverHttps, &kubeconfig, "v1", Duration::from_secs(120)).expect("a webhook");
    assert!(TokenWebhook::new(&OverHttps, &kubeconfig, "v2", Duration::ZERO).is_err());
    let (webhook, own) = (Arc::new(webhook), clock.clone());
    let root = tempfile::tempdir().expect("temporary directory");
    let store = Arc::new(crate::cluster::open_store(&root).await);
    let change = |config: &mut Config| {
        config.token_webhook = Some(webhook);
        config.clock = own;
    };
    let cluster = Cluster::with(root, store, kinds::all(), change).await;
    let status = review(&cluster, "good").await;
    let jane = json!({"username": "jane", "uid": "7", "groups": ["a", "system:authenticated"], "extra": {"k": ["v"]}});
    assert_eq!((&status["authenticated"], &status["user"]), (&json!(true), &jane));
    let (code, body) = ask(&cluster, None, Some("good"), PODS).await;
    assert_eq!(code, 403);
    assert!(message(&body).contains("User \"jane\""), "{body}");
    {
        let seen = seen.lock().expect("no holder panics");
        assert_eq!(seen.len(), 1, "what it said is remembered");
        assert_eq!(seen[0].0.as_deref(), Some("Bearer of-the-server"));
        assert_eq!(seen[0].1["spec"], json!({"token": "good", "audiences": [OWN]}));
        assert_eq!(seen[0].1["apiVersion"], "authentication.k8s.io/v1");
    }
    clock.advance(Duration::from_secs(121));
    assert_eq!(review(&cluster, "good").await["authenticated"], true);
    assert_eq!(seen.lock().expect("no holder panics").len(), 2, "not for ever");
    assert_eq!(review(&cluster, "plain").await["user"]["username"], "joe");
    for token in ["garbage", "others", "nobody", "error", "broken", "text"] {
        let status = review(&cluster, token).await;
        assert!(status["authenticated"].is_null() && status["user"] == json!({}), "{token}: {status}");
        assert_eq!(ask(&cluster, None, Some(token), "/livez").await.0, 401, "{token}");
    }
    // What the server knows itself it asks nobody about.
    let before = site.asked();
    assert_eq!(ask(&cluster, Some(&Identity::administrator()), None, PODS).await.0, 200);
    assert_eq!(ask(&cluster, None, None, "/livez").await.0, 200);
    assert_eq!(site.asked(), before);
}

/// A server of which a webhook, then roles, decide what one may.
async fn decided(site: &Site, denies_on_failure: bool, clock: &Arc<ManualClock>) -> Cluster {
    let options = AccessWebhookOptions {
        name: "policy".to_owned(),
        version: "v1".to_owned(),
        timeout: Duration::from_secs(5),
        authorized: Some(Duration::from_secs(300)),
        unauthorized: Some(Duration::from_secs(30)),
        denies_on_failure,
    };
    let webhook = AccessWebhook::new(&OverHttps, &site.kubeconfig("/access"), options, clock.clone());
    let webhook = AuthorizationMode::Webhook(Arc::new(webhook.expect("a webhook")));
    decided_by(vec![webhook, AuthorizationMode::Rbac], clock).await
}

async fn decided_by(modes: Vec<AuthorizationMode>, clock: &Arc<ManualClock>) -> Cluster {
    let root = tempfile::tempdir().expect("temporary directory");
    let store = Arc::new(crate::cluster::open_store(&root).await);
    let own = clock.clone();
    let change = |config: &mut Config| {
        config.authorization = kinds::authorization_by(modes);
        config.clock = own;
    };
    Cluster::with(root, store, kinds::all(), change).await
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_nobody_knows_make_none_be_forgotten() {
    let site = Site::start(Arc::new(move |request| {
        let question: Value = serde_json::from_slice(request.body()).expect("JSON");
        let status = match question["spec"]["token"].as_str().expect("a token") {
            "good" => json!({"authenticated": true, "user": {"username": "jane"}}),
            "large" => {
                json!({"authenticated": true, "user": {"username": "large", "groups": ["g".repeat(20_000)]}})
            }
            _ => json!({"authenticated": false}),
        };
        answer(
            200,
            &json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status}),
        )
    }))
    .await;
    let webhook = TokenWebhook::new(&OverHttps, &site.kubeconfig("/tokens"), "v1", Duration::from_secs(3600));
    let webhook = Arc::new(webhook.expect("a webhook"));
    let cluster = Cluster::configured(|config| config.token_webhook = Some(webhook.clone())).await;
    let good = async |token: &str| review(&cluster, token).await["authenticated"] == true;
    assert!(good("good").await && good("large").await);
    assert_eq!(site.asked(), 2);
    let mut reviews = futures::stream::iter(0..9000)
        .map(|number| {
            let cluster = &cluster;
            async move { review(cluster, &format!("stranger-{number}")).await }
        })
        .buffer_unordered(32);
    while let Some(status) = reviews.next().await {
        assert!(status["authenticated"].is_null(), "{status}");
    }
    let before = site.asked();
    assert!(good("good").await);
    assert_eq!(site.asked(), before, "it is remembered");
    assert!(good("large").await);
    assert_eq!(site.asked(), before + 1, "too much to be remembered");
    assert!(!good("stranger-8999").await);
    assert_eq!(site.asked(), before + 1, "the newest of those is remembered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_asked_where_its_conditions_hold() {
    let site = Site::start(Arc::new(|_| {
        let status = json!({"allowed": false, "denied": true, "reason": "asked"});
        answer(200, &json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "status": status}))
    }))
    .await;
    let text = format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizers:\n\
         - {{type: Webhook, name: policy, webhook: {{timeout: 5s, subjectAccessReviewVersion: v1, failurePolicy: Deny, \
         matchConditionSubjectAccessReviewVersion: v1, connectionInfo: {{type: KubeConfigFile, kubeConfigFile: {:?}}}, \
         matchConditions: [{{expression: 'has(request.resourceAttributes)'}}, \
         {{expression: \"request.resourceAttributes.namespace == 'default' && request.extra['acme.com/a'] != ['b']\"}}]}}}}\n\
         - {{type: RBAC, name: rbac}}\n",
        site.kubeconfig("/access"),
    );
    let clock = Arc::new(ManualClock::new(base::SystemClock::new().now()));
    let own: Arc<dyn Clock> = clock.clone();
    let modes = AuthorizationMode::parse(&text, &OverHttps, &own).expect("a good file");
    let cluster = decided_by(modes, &clock).await;
    let mut jane = Identity::new("jane", ["g"]);
    let list = async |identity: &Identity, path: &str| {
        let (code, body) = cluster.send_by(identity, "GET", path, "").await;
        (code, body["message"].as_str().unwrap_or_default().to_owned())
    };
    // One does not hold: what roles say is what counts, and nobody is asked.
    let elsewhere = "/api/v1/namespaces/kube-system/pods";
    let (code, why) = list(&jane, elsewhere).await;
    assert!(code == 403 && why.ends_with("in the namespace \"kube-system\""), "{why}");
    assert_eq!(list(&jane, "/livez").await.0, 200);
    assert_eq!(site.asked(), 0);
    // It cannot be told whether one holds: that is as if nobody could be asked.
    let (code, why) = list(&jane, PODS).await;
    assert!(
        code == 403 && why.ends_with("the conditions of the webhook authorizer policy cannot be evaluated"),
        "{why}"
    );
    assert_eq!(site.asked(), 0);
    jane.extra.insert("acme.com/a".to_owned(), vec!["c".to_owned()]);
    let (code, why) = list(&jane, PODS).await;
    assert!(code == 403 && why.ends_with(": asked"), "{why}");
    assert_eq!(site.asked(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_decides_before_roles_do() {
    let seen: Arc<Mutex<Vec<Value>>> = Arc::default();
    let log = seen.clone();
    let site = Site::start(Arc::new(move |request| {
        let question: Value = serde_json::from_slice(request.body()).expect("JSON");
        log.lock().expect("no holder panics").push(question["spec"].clone());
        let status = match question["spec"]["user"].as_str().expect("a user") {
            "allowed" => json!({"allowed": true, "denied": null, "reason": null}),
            "denied" => json!({"allowed": false, "denied": true, "reason": "it is Sunday"}),
            "both" => json!({"allowed": true, "denied": true, "reason": "both"}),
            "broken" => return answer(400, &json!({"status": {"allowed": true}})),
            _ => json!({"allowed": false, "reason": "never heard of"}),
        };
        answer(200, &json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "status": status}))
    }))
    .await;
    let clock = Arc::new(ManualClock::new(base::SystemClock::new().now()));
    let cluster = decided(&site, true, &clock).await;
    let rules = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["*"]}]);
    for user in ["denied", "other", "broken", "both"] {
        grant(&cluster, user, rules.clone()).await;
    }
    let list = async |cluster: &Cluster, user: &str| {
        let path = format!("{PODS}?labelSelector=a%3Db,c&fieldSelector=spec.nodeName%21%3Dn");
        let identity = Identity::new(user, ["g"]);
        let (code, body) = cluster.send_by(&identity, "GET", &path, "").await;
        (code, body["message"].as_str().unwrap_or_default().to_owned())
    };
    seen.lock().expect("no holder panics").clear();
    assert_eq!(list(&cluster, "allowed").await.0, 200);
    assert_eq!(
        seen.lock().expect("no holder panics").concat_one(),
        json!({
            "resourceAttributes": {
                "namespace": "default", "verb": "list", "version": "v1", "resource": "pods",
                "fieldSelector": {"requirements": [{"key": "spec.nodeName", "operator": "NotIn", "values": ["n"]}]},
                "labelSelector": {"requirements": [
                    {"key": "a", "operator": "In", "values": ["b"]}, {"key": "c", "operator": "Exists"},
                ]},
            },
            "user": "allowed", "groups": ["g", "system:authenticated"],
        })
    );
    let (code, why) = list(&cluster, "denied").await;
    assert!(code == 403 && why.ends_with(": it is Sunday"), "{why}");
    assert_eq!(list(&cluster, "both").await.0, 403, "a denial wins");
    assert_eq!(list(&cluster, "other").await.0, 200, "a role decides");
    let (code, why) = list(&cluster, "nobody").await;
    assert!(code == 403 && why.contains("never heard of"), "{why}");
    let (code, why) = list(&cluster, "broken").await;
    assert!(code == 403 && why.contains("policy cannot be asked"), "{why}");
    // Answers are remembered, those that allow for longer; failures are not.
    let asked = |site: &Site| site.asked();
    let before = asked(&site);
    for user in ["allowed", "denied", "other", "nobody"] {
        list(&cluster, user).await;
    }
    assert_eq!(asked(&site), before);
    list(&cluster, "broken").await;
    assert_eq!(asked(&site), before + 1);
    clock.advance(Duration::from_secs(31));
    list(&cluster, "allowed").await;
    assert_eq!(asked(&site), before + 1);
    list(&cluster, "denied").await;
    assert_eq!(asked(&site), before + 2);
    // Administrators are not asked about.
    assert_eq!(cluster.get(PODS).await.0, 200);
    assert_eq!(asked(&site), before + 2);
    // Where it fails, and that is to say nothing, roles decide.
    let lenient = decided(&site, false, &clock).await;
    grant(&lenient, "broken", rules).await;
    assert_eq!(list(&lenient, "broken").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_decide_are_replaced_while_the_server_runs() {
    let deciders =
        Arc::new(kinds::Deciders::new(vec![AuthorizationMode::AlwaysAllow, AuthorizationMode::Rbac]));
    let own = deciders.clone();
    let cluster =
        Cluster::configured(move |config| config.authorization = kinds::authorization_of(own.clone())).await;
    let jane = Identity::new("jane", ["g"]);
    let code = async || cluster.send_by(&jane, "GET", PODS, "").await.0;
    assert_eq!(code().await, 200);
    deciders.replace(vec![AuthorizationMode::Rbac]);
    assert_eq!(code().await, 403);
    grant(&cluster, "jane", json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}])).await;
    assert_eq!(code().await, 200);
    deciders.replace(vec![AuthorizationMode::AlwaysDeny]);
    assert_eq!(code().await, 403);
}

trait One {
    /// The only one.
    fn concat_one(&self) -> Value;
}

impl One for Vec<Value> {
    fn concat_one(&self) -> Value {
        assert_eq!(self.len(), 1, "{self:?}");
        self[0].clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_or_nothing_can_be_allowed() {
    for (mode, code) in [(AuthorizationMode::AlwaysAllow, 200), (AuthorizationMode::AlwaysDeny, 403)] {
        let cluster = Cluster::configured(|config| {
            config.authorization = kinds::authorization_by(vec![mode.clone()]);
        })
        .await;
        let (found, body) = cluster.send_by(&Identity::new("jane", ["g"]), "GET", PODS, "").await;
        assert_eq!(found, code, "{body}");
        assert_eq!(cluster.get(PODS).await.0, 200, "administrators may");
        if code == 403 {
            assert!(body["message"].as_str().expect("why").ends_with(": Everything is forbidden."), "{body}");
        }
    }
}
