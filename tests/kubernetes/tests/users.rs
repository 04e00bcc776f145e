//! Users of whom an issuer elsewhere says who they are, and tokens that Secrets keep, as kubectl shows them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use docker_tests::run;
use kubernetes_tests::Cluster;
use serde_json::{Value, json};

/// An issuer of tokens beside the daemon: what `openssl` serves.
struct Issuer {
    directory: PathBuf,
    serving: Child,
}

const URL: &str = "https://127.0.0.1:8443";

impl Issuer {
    fn start(cluster: &Cluster) -> Self {
        let directory = cluster.daemon.scratch("issuer");
        let path = |name: &str| directory.join(name).display().to_string();
        openssl(&[
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "1",
            "-subj",
            "/CN=issuer",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-addext",
            "basicConstraints=critical,CA:false",
            "-keyout",
            &path("tls.key"),
            "-out",
            &path("tls.crt"),
        ]);
        openssl(&["genrsa", "-out", &path("sign.key"), "2048"]);
        let modulus = openssl(&["rsa", "-in", &path("sign.key"), "-noout", "-modulus"]);
        let modulus = String::from_utf8(modulus).expect("text");
        let modulus = modulus.trim().strip_prefix("Modulus=").expect("a modulus");
        let modulus: Vec<u8> = (0..modulus.len() / 2)
            .map(|at| u8::from_str_radix(&modulus[2 * at..2 * at + 2], 16).expect("hex"))
            .collect();
        let site = directory.join("site");
        std::fs::create_dir_all(site.join(".well-known")).expect("create a directory");
        let about = json!({"issuer": URL, "jwks_uri": format!("{URL}/keys")});
        std::fs::write(site.join(".well-known/openid-configuration"), about.to_string()).expect("write");
        let key = json!({"kty": "RSA", "kid": "k1", "alg": "RS256", "use": "sig", "n": URL_SAFE_NO_PAD.encode(modulus), "e": "AQAB"});
        std::fs::write(site.join("keys"), json!({"keys": [key]}).to_string()).expect("write");
        let arguments = [
            "s_server",
            "-quiet",
            "-WWW",
            "-accept",
            "8443",
            "-cert",
            &path("tls.crt"),
            "-key",
            &path("tls.key"),
        ];
        let mut command = cluster.daemon.on_host("openssl", &arguments);
        let quiet =
            command.current_dir(site).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let serving = quiet.spawn().expect("start the issuer");
        Self { directory, serving }
    }

    /// A token of somebody.
    fn token(&self, user: &str) -> String {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime).tv_sec;
        let head = json!({"alg": "RS256", "kid": "k1"});
        let claims = json!({"iss": URL, "aud": "gantry", "sub": user, "exp": now + 3600, "groups": ["team"]});
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(head.to_string()),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let text = self.directory.join("signed");
        std::fs::write(&text, &signed).expect("write");
        let key = self.directory.join("sign.key").display().to_string();
        let signature = openssl(&["dgst", "-sha256", "-sign", &key, "-binary", &text.display().to_string()]);
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// The daemon's configuration, where users have this prefix; written as files are that somebody else reads.
    fn configure(&self, prefix: &Value) -> String {
        let authority = std::fs::read_to_string(self.directory.join("tls.crt")).expect("read");
        let configuration = json!({
            "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration",
            "jwt": [{
                "issuer": {"url": URL, "audiences": ["gantry"], "certificateAuthority": authority},
                "claimMappings": {
                    "username": {"claim": "sub", "prefix": prefix}, "groups": {"claim": "groups", "prefix": "o:"},
                },
            }],
        });
        let path = self.directory.join("authentication.json");
        let new = self.directory.join("authentication.new");
        std::fs::write(&new, configuration.to_string()).expect("write");
        std::fs::rename(new, &path).expect("rename");
        path.display().to_string()
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        let _ = self.serving.kill();
        let _ = self.serving.wait();
    }
}

fn openssl(arguments: &[&str]) -> Vec<u8> {
    let done = Command::new("openssl").args(arguments).output().expect("openssl runs");
    assert!(done.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    done.stdout
}

/// Whom kubectl is told that it is, by a token; what it is told instead.
fn who(cluster: &Cluster, kubeconfig: &Path, token: &str) -> Result<Value, String> {
    let mut config: Value =
        serde_json::from_str(&cluster.ok(&["config", "view", "--raw", "-o", "json"])).expect("JSON");
    config["users"][0]["user"] = json!({"token": token});
    std::fs::write(kubeconfig, config.to_string()).expect("write");
    let kubeconfig = kubeconfig.display().to_string();
    let ran = cluster.kubectl(&["--kubeconfig", &kubeconfig, "auth", "whoami", "-o", "json"]);
    if ran.code != 0 {
        return Err(ran.stderr);
    }
    let answer: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    Ok(answer["status"]["userInfo"].clone())
}

#[test]
fn tokens_of_an_issuer_elsewhere_and_of_secrets_say_who_one_is() {
    let mut cluster = Cluster::start();
    let issuer = Issuer::start(&cluster);
    cluster.daemon.stop();
    let bad = issuer.configure(&Value::Null);
    let refused = run(cluster.daemon.gantry("", &["up", "--authentication-config", &bad]), "");
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("jwt[0].claimMappings.username.prefix: Required value"), "{refused:?}");
    let good = issuer.configure(&json!("o:"));
    cluster.daemon.launch_with(&["--authentication-config", &good]);
    cluster.wait_ready();

    let kubeconfig = cluster.daemon.scratch("issuer").join("kubeconfig");
    let token = issuer.token("jane");
    let jane = who(&cluster, &kubeconfig, &token).expect("somebody");
    assert_eq!(jane["username"], "o:jane");
    assert_eq!(jane["groups"], json!(["o:team", "system:authenticated"]));
    let forged = format!("{}x", &token[..token.len() - 1]);
    assert!(who(&cluster, &kubeconfig, &forged).expect_err("forged").contains("Unauthorized"));
    // A bad configuration is said to be one, and changes nothing; the next good one does.
    issuer.configure(&Value::Null);
    testkit::wait_until("the log to tell", || {
        let log = cluster.daemon.log();
        if log.contains("the one before stays") { Ok(()) } else { Err(log) }
    });
    assert_eq!(who(&cluster, &kubeconfig, &token).expect("somebody")["username"], "o:jane");
    issuer.configure(&json!("n:"));
    testkit::wait_until("the new one to be in force", || {
        let jane = who(&cluster, &kubeconfig, &token)?;
        if jane["username"] == "n:jane" { Ok(()) } else { Err(jane.to_string()) }
    });

    // A Secret is given a token of its account.
    let ours = cluster.namespace("users");
    ours.ok(&["create", "serviceaccount", "builder"]);
    ours.apply(
        &json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
            "metadata": {"name": "kept", "annotations": {"kubernetes.io/service-account.name": "builder"}},
        })
        .to_string(),
    );
    let kept = testkit::wait_until("the Secret to have a token", || {
        let kept = ours.field("secret/kept", "{.data.token}");
        if kept.is_empty() { Err("none") } else { Ok(kept) }
    });
    let kept = String::from_utf8(STANDARD.decode(kept).expect("base64")).expect("text");
    let builder = who(&cluster, &kubeconfig, &kept).expect("somebody");
    assert_eq!(builder["username"], "system:serviceaccount:users:builder");
    ours.ok(&["delete", "serviceaccount", "builder"]);
    assert!(who(&cluster, &kubeconfig, &kept).expect_err("gone").contains("Unauthorized"));
}
