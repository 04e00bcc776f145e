//! Pull and push against a real registry: plain, with TLS, with passwords, with a bad line.

mod support;
#[path = "support/registry.rs"]
mod support_registry;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use image::registry::{Client, Config, Credentials};
use image::{Kind, Progress, PullError, PullOptions, PushError};
use oci::{Digest, Reference};
use support::{Archive, TestStore, in_container, reference};
use support_registry::{
    Registry, Setup, answering_front, counting_front, cutting_front, status_front, token_front,
};

fn client(config: Config) -> Client {
    Client::new(config).expect("client")
}

fn password() -> Credentials {
    Credentials::Password { user: "user".into(), password: "secret".into() }
}

/// An image of two layers, the upper one large enough to be cut in the middle.
fn image(test: &TestStore, name: &Reference) {
    let base = test.import(&testkit::rootfs::busybox_tar(), "base");
    let noise: Vec<u8> = (0..5_000u32)
        .flat_map(|n| Digest::sha256_of(&n.to_le_bytes()).hex()[..8].to_owned().into_bytes())
        .collect();
    let archive = Archive::new().file("hello", b"world\n").file("noise", &noise).finish();
    let layer = test.store.layer_unpack(base.layers.last(), &archive[..]).expect("unpack");
    let new = image::NewImage {
        layer: Some(layer),
        name: Some(name.clone()),
        ..image::NewImage::on(
            Some(base.id),
            base.config.config.clone(),
            base::Timestamp::UNIX_EPOCH,
            "ADD noise",
        )
    };
    test.store.image_create(new).expect("create");
}

async fn push(
    test: &TestStore,
    client: &Client,
    name: &Reference,
    credentials: &Credentials,
) -> Result<Digest, String> {
    let pushed = test.store.image_push(client, name, credentials, &Progress::none()).await;
    pushed.map_err(|error| base::error::chain(&error).to_string())
}

async fn pull(
    test: &TestStore,
    client: &Client,
    name: &Reference,
    credentials: &Credentials,
) -> Result<String, String> {
    let words = Arc::new(Mutex::new(Vec::new()));
    let sink = words.clone();
    let progress =
        Progress::new(move |event| sink.lock().expect("no holder panics").push(event.action.text()));
    let options = PullOptions { credentials: credentials.clone(), ..PullOptions::default() };
    let pulled = test.store.image_pull(client, name, &options, &progress).await;
    pulled.map_err(|error| base::error::chain(&error).to_string())?;
    Ok(words.lock().expect("no holder panics").join("\n"))
}

/// Pushes an image, pulls it into another store, and compares.
async fn check_round_trip(registry: &Registry, config: Config, credentials: &Credentials) {
    let name = registry.image("team/app:1");
    let (here, there) = (TestStore::new(), TestStore::new());
    image(&here, &name);
    let client = client(config);
    let digest = push(&here, &client, &name, credentials).await.expect("push");
    let words = pull(&there, &client, &name, credentials).await.expect("pull");
    assert!(words.contains(&format!("Digest: {digest}")), "{words}");
    assert!(words.ends_with(&format!("Status: Downloaded newer image for {}", name.familiar())), "{words}");
    let (a, b) = (here.store.image_get(&name.to_string()), there.store.image_get(&name.to_string()));
    let (a, b) = (a.expect("pushed image"), b.expect("pulled image"));
    assert_eq!((&a.id, &a.layers, a.size), (&b.id, &b.layers, b.size));
    assert_eq!(b.digests, [name.with_digest(digest)]);
    let snapshot = there.store.snapshot_create("c", Some(&b.id)).expect("snapshot");
    assert_eq!(in_container(&snapshot, "chroot . /bin/cat /hello"), "world");
    let again = pull(&there, &client, &name, credentials).await.expect("pull again");
    // Of what is here nothing is told but that it is.
    let digest = &b.digests[0].digest().expect("a digest");
    let status = format!("Status: Image is up to date for {}", name.familiar());
    assert_eq!(again, format!("Pulling from team/app\nDigest: {digest}\n{status}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_travels_over_a_plain_local_registry() {
    let registry = Registry::start(&Setup::default());
    check_round_trip(&registry, Config::default(), &Credentials::Anonymous).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_travels_with_tls_and_a_password() {
    let registry = Registry::start(&Setup { tls: true, basic_auth: true });
    let config = Config { authorities: vec![registry.certificate()], ..Config::default() };
    check_round_trip(&registry, config, &password()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_refused_and_a_right_one_logs_in() {
    let registry = Registry::start(&Setup { basic_auth: true, ..Setup::default() });
    let host = format!("localhost:{}", registry.address.port());
    let client = client(Config::default());
    assert_eq!(client.login(&host, &password()).await.expect("login"), None);
    let wrong = Credentials::Password { user: "user".into(), password: "wrong".into() };
    assert_eq!(client.login(&host, &wrong).await.expect_err("wrong password").kind(), Kind::Unauthorized);
    let test = TestStore::new();
    let error = test
        .store
        .image_pull(&client, &registry.image("app"), &PullOptions::default(), &Progress::none())
        .await
        .expect_err("no password");
    assert_eq!(error.kind(), Kind::Unauthorized);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_fetched_with_the_password_and_used_again() {
    let registry = Registry::start(&Setup::default());
    let name = registry.image("app:1");
    let test = TestStore::new();
    image(&test, &name);
    let client = client(Config::default());
    push(&test, &client, &name, &Credentials::Anonymous).await.expect("push");
    let (front, given) = token_front(registry.address).await;
    let name = reference(&format!("127.0.0.1:{}/app:1", front.port()));
    let other = TestStore::new();
    pull(&other, &client, &name, &password()).await.expect("pull with a token");
    assert_eq!(given.load(Ordering::SeqCst), 1);
    // Another client, since the first still has a connection that is past the front's check.
    let stranger = self::client(Config::default());
    let error = pull(&other, &stranger, &name, &Credentials::Anonymous).await.expect_err("no password");
    assert!(error.contains("wrong password"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_connection_is_taken_up_where_it_broke() {
    let registry = Registry::start(&Setup::default());
    let name = registry.image("app:1");
    let test = TestStore::new();
    image(&test, &name);
    let client = client(Config::default());
    push(&test, &client, &name, &Credentials::Anonymous).await.expect("push");
    let front = cutting_front(registry.address, 150_000).await;
    let name = reference(&format!("127.0.0.1:{}/app:1", front.port()));
    let other = TestStore::new();
    let words = pull(&other, &client, &name, &Credentials::Anonymous).await.expect("pull over a bad line");
    assert!(words.contains("Retrying in"), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_pulls_at_once_fetch_each_layer_once() {
    let registry = Registry::start(&Setup::default());
    let name = registry.image("app:1");
    let test = TestStore::new();
    image(&test, &name);
    let client = client(Config::default());
    push(&test, &client, &name, &Credentials::Anonymous).await.expect("push");
    let bytes_of_one = {
        let (front, counted) = counting_front(registry.address).await;
        let name = reference(&format!("127.0.0.1:{}/app:1", front.port()));
        pull(&TestStore::new(), &client, &name, &Credentials::Anonymous).await.expect("pull");
        -counted.load(Ordering::SeqCst)
    };
    let (front, counted) = counting_front(registry.address).await;
    let name = reference(&format!("127.0.0.1:{}/app:1", front.port()));
    let other = TestStore::new();
    let one = || pull(&other, &client, &name, &Credentials::Anonymous);
    let (a, b) = tokio::join!(one(), one());
    let words = a.expect("pull") + &b.expect("pull");
    assert!(words.contains("Already exists"), "{words}");
    let bytes_of_both = -counted.load(Ordering::SeqCst);
    assert!(bytes_of_both < bytes_of_one * 3 / 2, "{bytes_of_both} bytes instead of {bytes_of_one}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_goes_on_where_another_of_the_same_image_was_given_up() {
    let registry = Registry::start(&Setup::default());
    let name = registry.image("app:1");
    let test = TestStore::new();
    image(&test, &name);
    let client = client(Config::default());
    push(&test, &client, &name, &Credentials::Anonymous).await.expect("push");
    let other = Arc::new(TestStore::new());
    let first = {
        let (other, client, name) = (other.clone(), client.clone(), name.clone());
        tokio::spawn(async move { pull(&other, &client, &name, &Credentials::Anonymous).await })
    };
    let second = pull(&other, &client, &name, &Credentials::Anonymous);
    first.abort();
    second.await.expect("pull");
    other.wait_until_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_tells_what_a_name_leads_to() {
    let registry = Registry::start(&Setup::default());
    let name = registry.image("app:1");
    let test = TestStore::new();
    image(&test, &name);
    let client = client(Config::default());
    let digest = push(&test, &client, &name, &Credentials::Anonymous).await.expect("push");
    let remote = client.inspect(&name, &Credentials::Anonymous).await.expect("inspect");
    assert_eq!((&remote.descriptor.digest, &remote.platforms[..]), (&digest, &[oci::Platform::host()][..]));
    let by_digest = client.inspect(&name.with_digest(digest), &Credentials::Anonymous).await;
    assert_eq!(by_digest.expect("inspect"), remote);
    let missing = client.inspect(&registry.image("app:2"), &Credentials::Anonymous).await;
    assert_eq!(missing.expect_err("no such tag").kind(), Kind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_registry_lacks_is_not_found_and_leaves_nothing() {
    let registry = Registry::start(&Setup::default());
    let test = TestStore::new();
    let client = client(Config::default());
    let options = PullOptions::default();
    let error =
        test.store.image_pull(&client, &registry.image("no/such:1"), &options, &Progress::none()).await;
    let error = error.expect_err("no such image");
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(error.to_string().contains("manifest unknown"), "{error}");
    test.wait_until_clean();
    let nobody = reference("127.0.0.1:1/app:1");
    let error =
        test.store.image_pull(&client, &nobody, &options, &Progress::none()).await.expect_err("nobody there");
    assert_eq!(error.kind(), Kind::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_pull_leaves_nothing() {
    let registry = Registry::start(&Setup::default());
    let name = registry.image("app:1");
    let test = TestStore::new();
    image(&test, &name);
    let client = client(Config::default());
    push(&test, &client, &name, &Credentials::Anonymous).await.expect("push");
    let other = TestStore::new();
    let (begun, mut wait) = tokio::sync::mpsc::unbounded_channel();
    let progress = Progress::new(move |event| {
        if matches!(event.action, image::Action::Downloading { .. }) {
            let _ = begun.send(());
        }
    });
    let options = PullOptions::default();
    {
        let pull = other.store.image_pull(&client, &name, &options, &progress);
        tokio::select! {
            _ = pull => {}
            _ = wait.recv() => {}
        }
    }
    if other.store.image_list().is_empty() {
        other.wait_until_clean();
        assert_eq!(other.names("layers"), [""; 0]);
        assert_eq!(other.names("blobs/sha256"), [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_the_registry_has_is_not_sent_again() {
    let registry = Registry::start(&Setup::default());
    let (first, second) = (registry.image("one:1"), registry.image("two:1"));
    let test = TestStore::new();
    image(&test, &first);
    test.store.image_tag(&first.to_string(), &second).expect("tag");
    let client = client(Config::default());
    let digest = push(&test, &client, &first, &Credentials::Anonymous).await.expect("push");
    let words = Arc::new(Mutex::new(Vec::new()));
    let sink = words.clone();
    let progress =
        Progress::new(move |event| sink.lock().expect("no holder panics").push(event.action.text()));
    for (name, word) in [(&first, "Layer already exists"), (&second, "Mounted from one")] {
        words.lock().expect("no holder panics").clear();
        let pushed = test
            .store
            .image_push(&client, name, &Credentials::Anonymous, &progress)
            .await
            .expect("push again");
        assert_eq!(pushed, digest);
        let words = words.lock().expect("no holder panics");
        assert_eq!(words.iter().filter(|said| *said == word).count(), 2, "{words:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_in_a_registry_is_told_from_what_it_does_not_give() {
    let registry = Registry::start(&Setup::default());
    let test = TestStore::new();
    let client = client(Config::default());
    let options = PullOptions::default();
    let error = async |name: &Reference| {
        let pulled = test.store.image_pull(&client, name, &options, &Progress::none()).await;
        pulled.expect_err("there is none")
    };
    let missing = error(&registry.image("app:1")).await;
    assert_eq!(missing.kind(), Kind::NotFound);
    assert!(missing.to_string().contains("manifest unknown: manifest unknown"), "{missing}");
    let tags = client.tags(&registry.image("app"), &Credentials::Anonymous).await.expect_err("no repository");
    assert!(matches!(tags, PullError::NotFound { is_repository: true, .. }), "{tags}");
    let tokens = answering_front(|_| (String::new(), r#"{"token":"t"}"#.to_owned())).await;
    let scope =
        format!("WWW-Authenticate: Bearer realm=\"http://{tokens}/token\",error=\"insufficient_scope\"\r\n");
    let body = r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
    let hub = status_front("401 Unauthorized", scope, body).await;
    let denied = error(&reference(&format!("127.0.0.1:{}/app:1", hub.port()))).await;
    assert!(matches!(denied, PullError::Denied { .. }), "{denied:?}");
    assert!(denied.to_string().ends_with("denied: requested access to the resource is denied"), "{denied}");
    let body = r#"{"errors":[{"code":"DENIED","message":"not yours"}]}"#;
    let other = status_front("403 Forbidden", String::new(), body).await;
    let denied = error(&reference(&format!("127.0.0.1:{}/app:1", other.port()))).await;
    assert!(matches!(denied, PullError::Denied { .. }), "{denied:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_says_where_it_goes_and_which_tag_there_is_not() {
    let registry = Registry::start(&Setup::default());
    let name = registry.image("app:1");
    let test = TestStore::new();
    image(&test, &name);
    let client = client(Config::default());
    let words = Arc::new(Mutex::new(Vec::new()));
    let sink = words.clone();
    let progress =
        Progress::new(move |event| sink.lock().expect("no holder panics").push(event.action.text()));
    let push = async |name: &Reference| {
        test.store.image_push(&client, name, &Credentials::Anonymous, &progress).await
    };
    push(&name).await.expect("push");
    let said = words.lock().expect("no holder panics").clone();
    assert_eq!(said[0], format!("The push refers to repository [{}]", name.name()));
    let error = push(&registry.image("app:2")).await.expect_err("no such tag");
    assert!(matches!(error, PushError::NoTag { .. }), "{error}");
    let error = push(&registry.image("other:1")).await.expect_err("no such image");
    assert!(matches!(error, PushError::Find(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn repositories_are_found_where_a_registry_can_be_searched() {
    let found = r#"{"num_results":1,"results":[{"name":"team/app","description":"ours","star_count":3,"is_official":false,"is_automated":true}]}"#;
    let front = answering_front(|line| match line.starts_with("GET /v1/search?q=app&n=5 ") {
        true => ("Content-Type: application/json\r\n".to_owned(), found.to_owned()),
        false => (String::new(), "{}".to_owned()),
    })
    .await;
    let domain = format!("127.0.0.1:{}", front.port());
    let client = client(Config::default());
    let found = client.search(&domain, "app", 5, &Credentials::Anonymous).await.expect("an answer");
    assert_eq!(found.len(), 1);
    assert_eq!((&*found[0].name, found[0].star_count), ("team/app", 3));
}
