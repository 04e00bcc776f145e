//! Registries that are slow, silent or curious: what they may take, and whom they may hold up.

mod support;
#[path = "support/fake.rs"]
mod support_fake;
#[path = "support/remote.rs"]
mod support_remote;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use image::registry::{Client, Config, Credentials, Limits};
use image::{Kind, Progress, PullError, PullOptions, Pulled};
use oci::{Digest, Reference};
use support::{Archive, TestStore};
use support_fake::{Fake, Manner, Reply, claims, manifest};
use support_remote::{Content, image, index};

/// Longer than anything here takes that does not hang.
const HANGS: Duration = Duration::from_secs(60);

/// Waits as long as a test does, and looks often.
const LIMITS: Limits = Limits {
    silence: Duration::from_secs(2),
    document: Duration::from_secs(10),
    queue: HANGS,
    look: Duration::from_millis(100),
};

fn client(limits: Limits) -> Client {
    Client::new(Config { limits, ..Config::default() }).expect("client")
}

fn password() -> Credentials {
    Credentials::Password { user: "user".into(), password: "secret".into() }
}

/// The archive of a layer of `size` bytes that do not compress.
fn layer(name: &str, size: usize) -> Vec<u8> {
    let mut word = 0x9e37_79b9_7f4a_7c15_u64;
    let noise = std::iter::repeat_with(|| {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        word.to_le_bytes()
    });
    let content: Vec<u8> = noise.flatten().take(size).collect();
    Archive::new().file(name, &content).finish()
}

async fn pull(test: &TestStore, client: &Client, name: &Reference) -> Result<Pulled, PullError> {
    let pulling =
        async { test.store.image_pull(client, name, &PullOptions::default(), &Progress::none()).await };
    tokio::time::timeout(HANGS, pulling).await.expect("it neither ends nor gives up")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_stalls_holds_up_nobody_who_pulls_the_same_layer_from_another() {
    let layers = [layer("a", 300_000), layer("b", 100_000)];
    let stalled = Digest::sha256_of(&layers[0]).to_string();
    let slow = Fake::with_image(&layers, move |asked, reply| {
        if asked.target.ends_with(&stalled) { reply.how(Manner::Stall(10_000)) } else { reply }
    })
    .await;
    let honest = Fake::with_image(&layers, |_, reply| reply).await;
    let test = Arc::new(TestStore::new());
    let client = client(Limits { silence: HANGS, ..LIMITS });
    let first = {
        let (test, client, name) = (test.clone(), client.clone(), slow.image("app:1"));
        tokio::spawn(async move { pull(&test, &client, &name).await })
    };
    while slow.asked("/blobs/").len() < 3 {
        tokio::task::yield_now().await;
    }
    let pulled = pull(&test, &client, &honest.image("app:1")).await.expect("pull from the other");
    // The first takes what has come another way.
    let other = first.await.expect("no panic").expect("pull");
    assert_eq!(pulled.id, other.id);
    test.wait_until_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_is_here_in_another_form_holds_up_none_that_is_missing() {
    let platform = oci::Platform::host().to_string();
    let (lower, upper) = (layer("a", 1000), layer("b", 1000));
    let (first, second) = (image(&platform, &[&lower]), image(&platform, &[&lower, &upper]));
    let (lost, missing) = (first.layers[0].digest().clone(), second.layers[1].digest().to_string());
    let known: Vec<Content> =
        [&first, &second].iter().flat_map(|made| made.layers.iter().chain([&made.config]).cloned()).collect();
    let (stalled, stalls) = (lost.to_string(), Arc::new(AtomicUsize::new(0)));
    let stall = stalls.clone();
    let registry = Fake::start(move |asked| {
        let document = |made: &Content| {
            let kind = format!("Content-Type: {}\r\n", made.at.media_type);
            Reply::new(200, &kind, made.bytes.clone())
        };
        match known.iter().find(|blob| asked.target.ends_with(&blob.digest().to_string())) {
            Some(blob) if stall.load(Ordering::SeqCst) > 0 && blob.digest().to_string() == stalled => {
                Reply::ok(blob.bytes.clone()).how(Manner::Stall(10))
            }
            Some(blob) => Reply::ok(blob.bytes.clone()),
            None if asked.target.ends_with("/manifests/1") => document(&first.manifest),
            None if asked.target.contains("/manifests/") => document(&second.manifest),
            None => Reply::ok("{}"),
        }
    })
    .await;
    let (test, client) = (TestStore::new(), client(Limits { silence: HANGS, ..LIMITS }));
    pull(&test, &client, &registry.image("app:1")).await.expect("the lower layer");
    std::fs::remove_file(test.root().join("blobs/sha256").join(lost.hex())).expect("it was kept");
    stalls.store(1, Ordering::SeqCst);
    let name = registry.image("app:2");
    let came = async {
        while registry.asked(&missing).is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        pulled = pull(&test, &client, &name) => panic!("the other form never comes: {pulled:?}"),
        () = came => {}
    }
    test.wait_until_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_a_pull_that_makes_no_headway_goes_on_alone() {
    let layers = [layer("a", 300_000)];
    let stalls = AtomicUsize::new(1);
    let blob = Digest::sha256_of(&layers[0]).to_string();
    let registry = Fake::with_image(&layers, move |asked, reply| {
        let first = asked.target.ends_with(&blob)
            && stalls.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        if first { reply.how(Manner::Stall(10_000)) } else { reply }
    })
    .await;
    let (test, client) = (TestStore::new(), client(Limits { silence: HANGS, ..LIMITS }));
    let (one, other) = (registry.image("app:1"), registry.image("app:2"));
    let (one, other) = tokio::join!(pull(&test, &client, &one), pull(&test, &client, &other));
    assert_eq!(one.expect("pull").id, other.expect("pull").id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_is_what_it_contains_and_not_what_a_configuration_claims() {
    let (popular, other) = (layer("popular", 1000), layer("other", 1000));
    // Says that its only layer is the popular one, and sends another under that name.
    let config = claims(vec![Digest::sha256_of(&popular)]).to_bytes();
    let document = manifest(&config, &[&other]);
    let (config_id, blob) = (Digest::sha256_of(&config).to_string(), Digest::sha256_of(&other).to_string());
    let liar = Fake::start(move |asked| match &asked.target {
        target if target.contains("/manifests/") => Reply::ok(document.clone()),
        target if target.ends_with(&config_id) => Reply::ok(config.clone()),
        target if target.ends_with(&blob) => Reply::ok(other.clone()),
        _ => Reply::ok("{}"),
    })
    .await;
    let (test, client) = (TestStore::new(), client(LIMITS));
    let error = pull(&test, &client, &liar.image("app:1")).await.expect_err("it lies");
    assert!(matches!(error, PullError::Mismatch { .. }), "{error:?}");
    assert!(test.store.layer_hold(&Digest::sha256_of(&popular)).is_none());
    test.wait_until_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_trickles_in_is_given_up() {
    let layers = [layer("a", 100)];
    let registry = Fake::with_image(&layers, |asked, reply| match asked.target.contains("/manifests/") {
        true => reply.how(Manner::Trickle(Duration::from_millis(200))),
        false => reply,
    })
    .await;
    let limits = Limits { silence: Duration::from_secs(1), ..LIMITS };
    let error = pull(&TestStore::new(), &client(limits), &registry.image("app:1")).await.expect_err("slow");
    assert!(matches!(error, PullError::Slow { .. }), "{error:?}");
    assert_eq!(error.kind(), Kind::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_trickles_in_is_no_headway() {
    let layers = [layer("a", 100_000)];
    let blob = Digest::sha256_of(&layers[0]).to_string();
    let registry = Fake::with_image(&layers, move |asked, reply| match asked.target.ends_with(&blob) {
        true => reply.how(Manner::Trickle(Duration::from_millis(100))),
        false => reply,
    })
    .await;
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let progress = Progress::new(move |event| {
        if let image::Action::Retrying { seconds } = event.action {
            let _ = tell.send(seconds);
        }
    });
    let client = client(Limits { silence: Duration::from_secs(1), ..LIMITS });
    let (test, name, options) = (TestStore::new(), registry.image("app:1"), PullOptions::default());
    let pulling = test.store.image_pull(&client, &name, &options, &progress);
    tokio::select! {
        _ = pulling => panic!("it cannot end"),
        // With every failure it is tried later, though bytes have come each time.
        second = async { told.recv().await.and(told.recv().await) } => assert_eq!(second, Some(4)),
        () = tokio::time::sleep(HANGS) => panic!("it is not given up"),
    }
    test.wait_until_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_registry_s_layers_do_not_take_the_threads_of_another_s() {
    // Each pull of these moves three at a time.
    let layers: Vec<Vec<u8>> = (0..3).map(|at| layer(&format!("slow{at}"), 20_000)).collect();
    let slow = Fake::with_image(&layers, |asked, reply| match reply.body.len() > 20_000 {
        true if asked.target.contains("/blobs/") => reply.how(Manner::Stall(1000)),
        _ => reply,
    })
    .await;
    let honest = Fake::with_image(&[layer("quick", 1000)], |_, reply| reply).await;
    let test = Arc::new(TestStore::new());
    let client = client(Limits { silence: HANGS, ..LIMITS });
    let mut stuck = tokio::task::JoinSet::new();
    // Whoever waits for one of them in vain tries it once more.
    for _ in 0..40 {
        let (test, client, name) = (test.clone(), client.clone(), slow.image("app:1"));
        stuck.spawn(async move { pull(&test, &client, &name).await.map(drop) });
    }
    let layers_asked_for = || slow.asked("/blobs/").len().saturating_sub(40);
    while layers_asked_for() < 12 {
        tokio::task::yield_now().await;
    }
    pull(&test, &client, &honest.image("app:1")).await.expect("pull from the other");
    assert_eq!(layers_asked_for(), 12, "as many as one registry may have under way");
    stuck.shutdown().await;
    test.wait_until_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn more_layers_than_can_lie_on_each_other_are_refused_before_one_is_fetched() {
    let layers: Vec<Vec<u8>> = (0..128).map(|at| layer(&format!("f{at}"), 10)).collect();
    let registry = Fake::with_image(&layers, |_, reply| reply).await;
    let error = pull(&TestStore::new(), &client(LIMITS), &registry.image("app:1")).await.expect_err("many");
    let error = base::error::chain(&error).to_string();
    assert!(error.contains("128 layers"), "{error}");
    assert!(registry.asked("/blobs/").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_claims_to_last_for_ever_does_no_harm() {
    let layers = [layer("a", 100)];
    let me = Arc::new(AtomicUsize::new(0));
    let port = me.clone();
    let registry = Fake::with_image(&layers, move |asked, reply| {
        if asked.target.starts_with("/token") {
            return Reply::ok(format!(r#"{{"token":"good","expires_in":{}}}"#, u64::MAX));
        }
        if asked.head.contains("Bearer good") {
            return reply;
        }
        let realm = format!("http://127.0.0.1:{}/token", port.load(Ordering::SeqCst));
        Reply::new(401, &format!("WWW-Authenticate: Bearer realm=\"{realm}\"\r\n"), "{}")
    })
    .await;
    me.store(registry.address.port().into(), Ordering::SeqCst);
    pull(&TestStore::new(), &client(LIMITS), &registry.image("app:1")).await.expect("pull");
    assert_eq!(registry.asked("/token").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_a_registry_leads_to_does_not_get_its_password() {
    let curious = Fake::start(|asked| {
        let host =
            asked.head.lines().find_map(|line| line.to_lowercase().strip_prefix("host: ").map(str::to_owned));
        let realm = format!(
            "Basic realm=\"x\"\r\nWWW-Authenticate: Bearer realm=\"http://{}/token\"",
            host.unwrap_or_default()
        );
        Reply::new(401, &format!("WWW-Authenticate: {realm}\r\n"), "{}")
    })
    .await;
    let elsewhere = format!("Location: http://{}/x\r\n", curious.address);
    let registry = Fake::start(move |asked| match (&*asked.method, &*asked.target) {
        (_, "/v2/") => Reply::ok("{}"),
        _ => Reply::new(307, &elsewhere, ""),
    })
    .await;
    let options = PullOptions { credentials: password(), ..PullOptions::default() };
    let test = TestStore::new();
    let error =
        test.store.image_pull(&client(LIMITS), &registry.image("a:1"), &options, &Progress::none()).await;
    assert_eq!(error.expect_err("it is refused").kind(), Kind::Unauthorized);
    let asked = curious.asked("");
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(!asked[0].head.to_lowercase().contains("authorization"), "{asked:?}");
}

/// An image of one layer that does not compress, in the store under this name.
fn stored(test: &TestStore, name: &Reference, size: usize) {
    let options = image::ImportOptions { name: Some(name.clone()), ..image::ImportOptions::default() };
    test.store.image_import(&layer("noise", size)[..], options).expect("import");
}

async fn push(test: &TestStore, limits: Limits, name: &Reference) -> Result<Digest, String> {
    let client = client(limits);
    let pushing = async { test.store.image_push(&client, name, &password(), &Progress::none()).await };
    let pushed = tokio::time::timeout(HANGS, pushing).await.expect("it neither ends nor gives up");
    pushed.map_err(|error| base::error::chain(&error).to_string())
}

/// A registry that wants a password, and takes uploads as `upload` says.
async fn taking(upload: impl Fn() -> Reply + Send + Sync + 'static) -> Fake {
    Fake::start(move |asked| match &*asked.method {
        "GET" if asked.target == "/v2/" => Reply::ok("{}"),
        // dXNlcjpzZWNyZXQ= is user:secret.
        _ if asked.target.starts_with("/v2/") && !asked.head.contains("Basic dXNlcjpzZWNyZXQ=") => {
            Reply::new(401, "WWW-Authenticate: Basic realm=\"x\"\r\n", "{}")
        }
        "HEAD" => Reply::missing(),
        "PATCH" => upload(),
        "POST" => Reply::new(202, "Location: /v2/upload\r\n", ""),
        _ => Reply::new(201, "", ""),
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_may_take_longer_than_a_registry_may_be_silent() {
    let limits = Limits { silence: Duration::from_millis(500), ..LIMITS };
    let late = Manner::Late(limits.silence * 4);
    let registry = taking(move || Reply::new(202, "Location: /v2/upload\r\n", "").how(late)).await;
    let (test, name) = (TestStore::new(), registry.image("app:1"));
    stored(&test, &name, 1000);
    push(&test, limits, &name).await.expect("push");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_takes_nothing_is_given_up() {
    let registry = taking(|| Reply::ok("").how(Manner::Deaf)).await;
    let (test, name) = (TestStore::new(), registry.image("app:1"));
    // More than fits into the buffers of a connection.
    stored(&test, &name, 24 << 20);
    let error = push(&test, LIMITS, &name).await.expect_err("it takes nothing");
    assert!(error.contains("taken next to nothing"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_s_address_elsewhere_does_not_get_the_registry_s_password() {
    let curious = Fake::start(|_| Reply::new(202, "Location: /x\r\n", "")).await;
    let elsewhere = format!("Location: http://{}/x\r\n", curious.address);
    let registry = Fake::start(move |asked| match &*asked.method {
        "GET" => Reply::ok("{}"),
        _ if !asked.head.contains("Basic dXNlcjpzZWNyZXQ=") => {
            Reply::new(401, "WWW-Authenticate: Basic realm=\"x\"\r\n", "{}")
        }
        "HEAD" => Reply::missing(),
        "POST" => Reply::new(202, &elsewhere, ""),
        _ => Reply::new(201, "", ""),
    })
    .await;
    let (test, name) = (TestStore::new(), registry.image("app:1"));
    stored(&test, &name, 1000);
    push(&test, LIMITS, &name).await.expect("push");
    let asked = curious.asked("/x");
    assert!(asked.len() >= 2, "the layer and its end, at least: {asked:?}");
    assert!(asked.iter().all(|asked| !asked.head.to_lowercase().contains("authorization")), "{asked:?}");
}

/// Pulls an image that a registry answers for with this content, each under its digest and `named` under its
/// name; gives the complaint. Nothing is left of it.
async fn refused(named: &[u8], contents: &[Content]) -> String {
    let (named, contents) = (named.to_vec(), contents.to_vec());
    let registry = Fake::start(move |asked| {
        let content = contents.iter().find(|content| asked.target.ends_with(&content.digest().to_string()));
        match content {
            Some(content) => Reply::ok(content.bytes.clone()),
            None if asked.target.ends_with("/manifests/1") => Reply::ok(named.clone()),
            None if asked.target == "/v2/" => Reply::ok("{}"),
            None => Reply::missing(),
        }
    })
    .await;
    let test = TestStore::new();
    let patient = client(Limits { silence: HANGS, ..LIMITS });
    let error = pull(&test, &patient, &registry.image("app:1")).await.expect_err("it is refused");
    test.wait_until_clean();
    assert_eq!((test.names("layers"), test.names("blobs/sha256")), (Vec::new(), Vec::new()));
    assert!(test.store.image_list().is_empty());
    base::error::chain(&error).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_that_are_not_what_was_said_are_refused() {
    let archive = layer("f", 1000);
    let made = image(&oci::Platform::host().to_string(), &[&archive]);
    let said = |change: &dyn Fn(&mut Content)| {
        let mut manifest = made.manifest.clone();
        change(&mut manifest);
        index(&[&manifest]).bytes
    };
    let contents = made.contents();
    let check = async |named: Vec<u8>, contents: &[Content], complaint: &str| {
        let error = refused(&named, contents).await;
        assert!(error.contains(complaint), "`{error}` does not say `{complaint}`");
    };

    // CVE-2021-41190: one document, two meanings.
    let text = String::from_utf8(made.manifest.bytes.clone()).expect("JSON");
    let both = text.replacen('{', r#"{"manifests":[],"#, 1);
    check(both.into_bytes(), &contents, "both or neither of manifests and layers").await;
    let as_index = said(&|manifest| manifest.at.media_type = oci::media_type::OCI_INDEX.to_owned());
    check(as_index, &contents, "its content is of another kind").await;
    let longer = said(&|manifest| manifest.at.size += 1);
    check(longer, &contents, "were promised").await;

    // Under the digest of the manifest lies something else.
    let mut other = contents.clone();
    other.iter_mut().find(|content| content.digest() == made.manifest.digest()).expect("it").bytes.push(b' ');
    check(said(&|_| {}), &other, "content has digest sha256:").await;

    let changed = |from: &str, to: &str| text.replacen(from, to, 1).into_bytes();
    let helm = changed(oci::media_type::OCI_CONFIG, "application/vnd.cncf.helm.config.v1+json");
    check(helm, &contents, "it is no image: its configuration is of type `application/vnd.cncf.helm").await;
    let wasm = changed(oci::media_type::OCI_LAYER_GZIP, "application/vnd.wasm.content.layer.v1+wasm");
    check(wasm, &contents, "is no layer, but of type `application/vnd.wasm").await;
    let size = |of: &Content, by: i64| {
        let size = i64::try_from(of.at.size).expect("small");
        changed(&format!("\"size\":{size}"), &format!("\"size\":{}", size + by))
    };
    check(size(&made.config, -1), &contents, "were promised").await;
    check(size(&made.layers[0], -1), &contents, "is longer than its").await;
    let mut wrong = contents.clone();
    let blob = &mut wrong[0].bytes;
    blob.reverse();
    check(made.manifest.bytes.clone(), &wrong, "sha256:").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_leads_to_an_image_in_a_few_steps_or_not_at_all() {
    let made = image(&oci::Platform::host().to_string(), &[&layer("f", 1000)]);
    let host = oci::Platform::host().to_string();
    let within = |content: &Content| index(&[content]).on(&host);
    let (one, two) = (within(&made.manifest), within(&within(&made.manifest)));
    let three = within(&two);
    let mut contents = made.contents();
    contents.extend([one.clone(), two.clone(), three.clone()]);
    let error = refused(&three.bytes, &contents).await;
    assert!(error.contains("its indexes are nested too deeply"), "{error}");
    // One that the registry answers with whatever is asked for lies in itself, but not by its digest.
    let mut itself = two.clone();
    itself.at = one.at.clone();
    let error = refused(&two.bytes, &[itself]).await;
    assert!(error.contains("content has digest sha256:"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_of_a_hundred_megabytes_is_not_read_to_its_end() {
    let made = image(&oci::Platform::host().to_string(), &[&layer("f", 1000)]);
    let mut large = made.manifest.bytes.clone();
    large.resize(100 << 20, b' ');
    let error = refused(&large, &made.contents()).await;
    assert!(error.contains("a document is larger than 8388608 bytes"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_are_held_to_the_same() {
    let made = image(&oci::Platform::host().to_string(), &[&layer("f", 1000)]);
    let check = |top: &Content, contents: &[Content], complaint: &str| {
        let mut archive = Archive::new();
        for content in contents.iter().chain([top]) {
            archive = archive.file(&format!("blobs/sha256/{}", content.digest().hex()), &content.bytes);
        }
        let entry = serde_json::to_string(&top.at).expect("JSON");
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{entry}]}}"#);
        let archive = archive.file("index.json", index.as_bytes()).finish();
        let test = TestStore::new();
        let error = test.store.image_load(&archive[..], &Progress::none()).expect_err("it is refused");
        let error = base::error::chain(&error).to_string();
        assert!(error.contains(complaint), "`{error}` does not say `{complaint}`");
        test.wait_until_clean();
        assert_eq!((test.names("layers"), test.names("blobs/sha256")), (Vec::new(), Vec::new()));
    };
    let text = String::from_utf8(made.manifest.bytes.clone()).expect("JSON");
    let parts: Vec<Content> = made.layers.iter().chain([&made.config]).cloned().collect();
    let both = Content::new(oci::media_type::OCI_MANIFEST, text.replacen('{', r#"{"manifests":[],"#, 1));
    check(&both, &parts, "both or neither of manifests and layers");
    let mut as_index = made.manifest.clone();
    as_index.at.media_type = oci::media_type::OCI_INDEX.to_owned();
    check(&as_index, &parts, "its content is of another kind");
    let mut longer = made.manifest.clone();
    longer.at.size += 1;
    check(&longer, &parts, "were promised");
    check(&made.manifest, &parts[..1], "is missing");
    let empty = index(&[]);
    check(&empty, &parts, "has no manifest of an image in it");
    let mut nested = index(&[&made.manifest]);
    let mut contents = made.contents();
    for _ in 0..3 {
        contents.push(nested.clone());
        nested = index(&[&nested]);
    }
    check(&nested, &contents, "is an index in an index");
}

/// An archive that says of `top` that it is an image, with these members, some of which are links.
fn linked(top: &Content, members: &[(&str, &[u8])], links: &[(&str, &str)], is_symbolic: bool) -> Vec<u8> {
    let mut archive = Archive::new();
    for (path, bytes) in members {
        archive = archive.file(path, bytes);
    }
    for (path, target) in links {
        let up = format!("../../{target}");
        archive = match is_symbolic {
            true => archive.symlink(path, &up),
            false => archive.link(path, target),
        };
    }
    let entry = serde_json::to_string(&top.at).expect("JSON");
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{entry}]}}"#);
    archive.file("index.json", index.as_bytes()).finish()
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// The same descriptor, as long as other content is.
fn as_long_as(content: &Content, other: &[u8]) -> Content {
    let mut content = content.clone();
    content.at.size = other.len() as u64;
    content
}

#[test]
fn links_in_an_archive_give_no_content_under_the_digest_of_other_content() {
    let host = oci::Platform::host().to_string();
    let made = image(&host, &[&layer("f", 1000)]);
    let evil = image(&host, &[&layer("evil", 1000)]);
    let (config, archive) = (made.config.digest(), made.layers[0].digest());
    let parts = |made: &support_remote::Made| -> Vec<(String, Vec<u8>)> {
        made.contents().into_iter().map(|part| (blob_path(part.digest()), part.bytes)).collect()
    };
    let (good, bad) = (parts(&made), parts(&evil));
    // The manifest of the one is the other's.
    let manifest = {
        let mut members: Vec<(&str, &[u8])> = bad.iter().map(|(path, part)| (&path[..], &part[..])).collect();
        members.push(("evil", &evil.manifest.bytes));
        (as_long_as(&made.manifest, &evil.manifest.bytes), members, vec![blob_path(made.manifest.digest())])
    };
    // The configuration is another, of the same layers.
    let mut runs_evil = support::config_of(&[&layer("f", 1000)]);
    runs_evil.config.cmd = Some(vec!["/evil".to_owned()]);
    let runs_evil = runs_evil.to_bytes();
    let other_config = {
        let members = good.iter().filter(|(path, _)| *path != blob_path(config));
        let mut members: Vec<(&str, &[u8])> = members.map(|(path, part)| (&path[..], &part[..])).collect();
        members.push(("evil", &runs_evil));
        (made.manifest.clone(), members, vec![blob_path(config)])
    };
    // Another platform's configuration is, which nobody looks at here.
    let elsewhere = image("linux/s390x", &[&layer("elsewhere", 1000)]);
    let of_other = as_long_as(&elsewhere.config, &runs_evil);
    let other = support_remote::manifest(&of_other, &elsewhere.layers).on("linux/s390x");
    let both = index(&[&made.manifest, &other]);
    let elsewhere_parts = [(blob_path(both.digest()), both.bytes.clone())]
        .into_iter()
        .chain([(blob_path(other.digest()), other.bytes.clone())])
        .chain([(blob_path(elsewhere.layers[0].digest()), elsewhere.layers[0].bytes.clone())])
        .collect::<Vec<_>>();
    let not_looked_at = {
        let members = good.iter().chain(&elsewhere_parts);
        let mut members: Vec<(&str, &[u8])> = members.map(|(path, part)| (&path[..], &part[..])).collect();
        members.push(("evil", &runs_evil));
        (both, members, vec![blob_path(elsewhere.config.digest())])
    };
    for is_symbolic in [false, true] {
        for (top, members, names) in [&manifest, &other_config, &not_looked_at] {
            let links: Vec<(&str, &str)> = names.iter().map(|name| (&name[..], "evil")).collect();
            let hostile = linked(top, members, &links, is_symbolic);
            // To an empty store, and to one that has the real content.
            for has_it in [false, true] {
                let test = TestStore::new();
                if has_it {
                    let (members, real) = (&good, &made.manifest);
                    let members: Vec<(&str, &[u8])> =
                        members.iter().map(|(path, part)| (&path[..], &part[..])).collect();
                    let archive = linked(real, &members, &[], false);
                    test.store.image_load(&archive[..], &Progress::none()).expect("load the real one");
                }
                let before = (test.names("blobs/sha256"), test.store.image_list().len());
                let error = test.store.image_load(&hostile[..], &Progress::none()).expect_err("it lies");
                assert_eq!(error.kind(), Kind::Invalid);
                let shown = base::error::chain(&error).to_string();
                assert!(shown.contains("content has digest sha256:"), "{shown}");
                test.wait_until_clean();
                assert_eq!((test.names("blobs/sha256"), test.store.image_list().len()), before);
                for name in test.names("blobs/sha256") {
                    let bytes = std::fs::read(test.root().join("blobs/sha256").join(&name)).expect("read");
                    assert_eq!(Digest::sha256_of(&bytes).hex(), name);
                }
            }
        }
    }
    // A link to what it is called by is as good as the content.
    let members: Vec<(&str, &[u8])> = good
        .iter()
        .map(
            |(path, part)| {
                if *path == blob_path(archive) { ("it", &part[..]) } else { (&path[..], &part[..]) }
            },
        )
        .collect();
    let honest = linked(&made.manifest, &members, &[(&blob_path(archive), "it")], false);
    let test = TestStore::new();
    test.store.image_load(&honest[..], &Progress::none()).expect("load");
    assert_eq!(test.store.image_list()[0].id.0, *config);
}

#[test]
fn a_configuration_of_docker_s_archive_is_what_it_is_called_by() {
    let archive = layer("f", 1000);
    let honest = support::config_of(&[&archive]).to_bytes();
    let mut evil = support::config_of(&[&archive]);
    evil.config.cmd = Some(vec!["/evil".to_owned()]);
    let name = format!("{}.json", Digest::sha256_of(&honest).hex());
    let manifest = format!(r#"[{{"Config":"{name}","RepoTags":["app:1"],"Layers":["layer.tar"]}}]"#);
    let hostile = Archive::new()
        .file("layer.tar", &archive)
        .file("evil", &evil.to_bytes())
        .link(&name, "evil")
        .file("manifest.json", manifest.as_bytes())
        .finish();
    let test = TestStore::new();
    let error = test.store.image_load(&hostile[..], &Progress::none()).expect_err("it lies");
    let shown = base::error::chain(&error).to_string();
    assert!(shown.contains("content has digest sha256:"), "{shown}");
    assert!(test.store.image_list().is_empty());
}

#[test]
fn members_of_an_archive_are_what_they_are_called_by_whatever_they_look_like() {
    let host = oci::Platform::host().to_string();
    let made = image(&host, &[&layer("f", 1000)]);
    // Small, a layer, and too large for a document; what another platform's manifest names.
    for of_other in [b"small".to_vec(), layer("other", 1000), vec![7; 9 << 20]] {
        let config = Content::new(oci::media_type::OCI_CONFIG, "{}");
        let real = Content::new("application/octet-stream", of_other.clone());
        let other = support_remote::manifest(&config, std::slice::from_ref(&real)).on("linux/s390x");
        let both = index(&[&made.manifest, &other]);
        let mut damaged = of_other;
        let end = damaged.len() - 1;
        damaged[end] ^= 1;
        let mut contents = made.contents();
        contents.extend([config, other, both.clone()]);
        let mut members: Vec<(String, Vec<u8>)> =
            contents.into_iter().map(|part| (blob_path(part.digest()), part.bytes)).collect();
        members.push((blob_path(real.digest()), damaged));
        let members: Vec<(&str, &[u8])> = members.iter().map(|(path, part)| (&path[..], &part[..])).collect();
        let test = TestStore::new();
        let archive = linked(&both, &members, &[], false);
        let error = test.store.image_load(&archive[..], &Progress::none()).expect_err("it is damaged");
        let shown = base::error::chain(&error).to_string();
        assert!(shown.contains("content has digest sha256:"), "{shown}");
        test.wait_until_clean();
        assert_eq!((test.names("layers"), test.names("blobs/sha256")), (Vec::new(), Vec::new()));
    }
}

/// A manifest that says something about another: a statement of its own, which claims to be so long.
fn statement(about: &Content, text: &str, size: Option<u64>) -> support_remote::Made {
    let mut made = support_remote::attestation(about);
    let mut layer = Content::new("application/vnd.in-toto+json", text);
    layer.at.size = size.unwrap_or(layer.at.size);
    let annotations = made.manifest.at.annotations.clone();
    made.manifest =
        support_remote::manifest(&made.config, std::slice::from_ref(&layer)).on("unknown/unknown");
    made.manifest.at.annotations = annotations;
    made.layers = vec![layer];
    made
}

/// A registry that has an image `1` with what is said about it, as `change` has it.
async fn with_statements(
    made: &support_remote::Made,
    entries: &[&Content],
    statements: &[support_remote::Made],
    change: impl Fn(&str, Reply) -> Reply + Send + Sync + 'static,
) -> Fake {
    let named = index(entries).bytes;
    let mut contents = made.contents();
    contents.extend(statements.iter().flat_map(support_remote::Made::contents));
    Fake::start(move |asked| {
        let content = contents.iter().find(|content| asked.target.ends_with(&content.digest().to_string()));
        let reply = match content {
            Some(content) => Reply::ok(content.bytes.clone()),
            None if asked.target.ends_with("/manifests/1") => Reply::ok(named.clone()),
            None if asked.target == "/v2/" => Reply::ok("{}"),
            None => Reply::missing(),
        };
        change(&asked.target, reply)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_about_an_image_is_taken_within_bounds() {
    let made = image(&oci::Platform::host().to_string(), &[&layer("f", 1000)]);
    // Each says something else; the first of them a hundred times.
    let statements: Vec<_> = (0..40).map(|n| statement(&made.manifest, &format!("said {n}"), None)).collect();
    let mut entries = vec![&made.manifest];
    entries.extend(std::iter::repeat_n(&statements[0].manifest, 100));
    entries.extend(statements.iter().map(|said| &said.manifest));
    let registry = with_statements(&made, &entries, &statements, |_, reply| reply).await;
    let test = TestStore::new();
    pull(&test, &client(LIMITS), &registry.image("app:1")).await.expect("pull");
    let asked = |what: &Digest| registry.asked(&what.to_string()).len();
    let came: Vec<usize> = statements.iter().map(|said| asked(said.manifest.digest())).collect();
    assert_eq!(came, [vec![1; 16], vec![0; 24]].concat());
    assert_eq!(statements.iter().map(|said| asked(said.layers[0].digest())).sum::<usize>(), 16);
    // Index, manifest, configuration, layer; a configuration that all share, and two for each.
    assert_eq!(test.names("blobs/sha256").len(), 4 + 1 + 2 * 16);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_said_about_an_image_has_one_budget() {
    let made = image(&oci::Platform::host().to_string(), &[&layer("f", 1000)]);
    let claims = [("much", 200 << 20), ("more", 100 << 20), ("a little", 8)];
    let statements = claims.map(|(text, size)| statement(&made.manifest, text, Some(size)));
    let mut entries = vec![&made.manifest];
    entries.extend(statements.iter().map(|said| &said.manifest));
    let gone = statements[0].layers[0].digest().to_string();
    let registry = with_statements(&made, &entries, &statements, move |target, reply| {
        if target.ends_with(&gone) { Reply::missing() } else { reply }
    })
    .await;
    let test = TestStore::new();
    pull(&test, &client(LIMITS), &registry.image("app:1")).await.expect("pull");
    let asked = statements.each_ref().map(|said| registry.asked(&said.layers[0].digest().to_string()).len());
    assert_eq!(asked, [1, 0, 1], "the second does not fit beside the first");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_comes_though_what_is_said_about_it_does_not() {
    type Change = fn(Reply) -> Reply;
    let made = image(&oci::Platform::host().to_string(), &[&layer("f", 1000)]);
    let changes: [Change; 6] = [
        |_| Reply::missing(),
        |_| Reply::new(403, "", "{}"),
        |_| Reply::new(500, "", "{}"),
        |_| Reply::ok("{}"),
        |reply| Reply::ok([&reply.body[..], b" "].concat()),
        |reply| reply.how(Manner::Stall(1)),
    ];
    for (at, change) in changes.into_iter().enumerate() {
        for of_blob in [false, true] {
            let statements = [statement(&made.manifest, "said", None)];
            let entries = [&made.manifest, &statements[0].manifest];
            let hurt = if of_blob { &statements[0].layers[0] } else { &statements[0].manifest };
            let hurt = hurt.digest().to_string();
            let registry = with_statements(&made, &entries, &statements, move |target, reply| {
                if target.ends_with(&hurt) { change(reply) } else { reply }
            })
            .await;
            let test = TestStore::new();
            let pulled = pull(&test, &client(LIMITS), &registry.image("app:1")).await;
            let pulled = pulled.unwrap_or_else(|error| panic!("{at}: {}", base::error::chain(&error)));
            assert_eq!(pulled.id.0, *made.config.digest());
            // Nothing is left of what did not come.
            assert_eq!(test.names("blobs/sha256").len(), 4, "{at}: {:?}", test.names("blobs/sha256"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_with_a_link_above_its_root_is_pulled_and_saved_with_it() {
    let up = "../".repeat(40);
    let layer =
        Archive::new().symlink("up", &up[..99]).dir("d/", 0o755).symlink("d/up", "../../etc").finish();
    let registry = Fake::with_image(std::slice::from_ref(&layer), |_, reply| reply).await;
    let test = TestStore::new();
    let pulled = pull(&test, &client(LIMITS), &registry.image("app:1")).await.expect("pull");
    let snapshot = test.store.snapshot_create("c", Some(&pulled.id)).expect("snapshot");
    let said = support::in_container(&snapshot, "readlink d/up; readlink up");
    assert_eq!(said, format!("../../etc\n{}", &up[..99]));
    // It comes out again as it went in.
    test.store.image_save(&[pulled.id.to_string()], std::io::sink()).expect("save");
}
