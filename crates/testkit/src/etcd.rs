//! A real etcd of one member, on ports of its own, gone with the test.
//!
//! The program is that of [`PLACE`], where `scripts/etcd` puts it, or the system's. Without one the test
//! fails: what was never tried does not pass.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::wait_until;

/// Where `scripts/etcd` puts the program.
pub const PLACE: &str = "/opt/etcd-for-tests/etcd";

/// Ends etcd when its own input does: whatever becomes of the test, nothing stays behind.
const KEEPER: &str = r#""$@" & pid=$!; cat >/dev/null; kill -9 "$pid"; wait"#;

/// A running etcd.
pub struct Server {
    dir: tempfile::TempDir,
    /// Whether what it has acknowledged outlives its being killed.
    durable: bool,
    secured: Option<Secured>,
    ports: Ports,
    running: Option<Child>,
    endpoint: String,
}

struct Ports {
    clients: u16,
    peers: u16,
}

/// Certificates of a server that wants one of its clients.
struct Secured {
    authority: String,
    client: (String, String),
}

impl Server {
    /// A fresh one that flushes nothing, which is quicker.
    pub fn start() -> Self {
        Self::with(false, false)
    }

    /// A fresh one that can be killed and started again.
    pub fn start_durable() -> Self {
        Self::with(true, false)
    }

    /// A fresh one that speaks TLS, and wants its clients' certificates.
    pub fn start_secured() -> Self {
        Self::with(false, true)
    }

    fn with(durable: bool, secured: bool) -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let secured = secured.then(|| secure(dir.path()));
        let ports = Ports { clients: free_port(), peers: free_port() };
        let endpoint = String::new();
        let mut server = Self { dir, durable, secured, ports, running: None, endpoint };
        server.start_again();
        server
    }

    /// Where clients find it.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The certificate of the authority of one that speaks TLS, PEM.
    pub fn authority(&self) -> &str {
        &self.secured.as_ref().expect("it speaks TLS").authority
    }

    /// A certificate that it lets in, and its key, PEM.
    pub fn identity(&self) -> (Vec<u8>, Vec<u8>) {
        let (certificate, key) = &self.secured.as_ref().expect("it speaks TLS").client;
        (certificate.clone().into_bytes(), key.clone().into_bytes())
    }

    /// Ends it as SIGKILL does.
    pub fn kill(&mut self) {
        if let Some(mut keeper) = self.running.take() {
            drop(keeper.stdin.take());
            keeper.wait().expect("wait for etcd's end");
        }
    }

    /// Starts it on what it left, where its clients look for it.
    pub fn start_again(&mut self) {
        self.run(self.ports.clients);
    }

    /// Starts it on what it left, where its old clients do not look for it.
    pub fn start_elsewhere(&mut self) {
        self.run(free_port());
    }

    fn run(&mut self, port: u16) {
        assert!(self.running.is_none(), "it runs already");
        let scheme = if self.secured.is_some() { "https" } else { "http" };
        self.endpoint = format!("{scheme}://127.0.0.1:{port}");
        let peers = format!("http://127.0.0.1:{}", self.ports.peers);
        let path = |name: &str| self.dir.path().join(name).display().to_string();
        let log = std::fs::File::create(path("log")).expect("make etcd's log");
        let mut command = Command::new("sh");
        command.args(["-c", KEEPER, "sh"]).arg(program());
        command.args(["--name", "test", "--log-level", "error", "--data-dir", &path("data")]);
        command.args(["--listen-client-urls", &self.endpoint, "--advertise-client-urls", &self.endpoint]);
        command.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
        command.args(["--initial-cluster", &format!("test={peers}")]);
        if !self.durable {
            command.arg("--unsafe-no-fsync");
        }
        if self.secured.is_some() {
            command.args(["--cert-file", &path("server.crt"), "--key-file", &path("server.key")]);
            command.args(["--client-cert-auth", "--trusted-ca-file", &path("ca.crt")]);
        }
        let output = log.try_clone().expect("share the log");
        command.stdin(Stdio::piped()).stdout(output).stderr(log);
        self.running = Some(command.spawn().expect("run sh"));
        wait_until("etcd to listen", || {
            TcpStream::connect(("127.0.0.1", port)).map(drop).map_err(|error| {
                let log = std::fs::read_to_string(path("log")).unwrap_or_default();
                format!("{error}; {log}")
            })
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The certificate of an authority that nobody knows, PEM.
pub fn authority() -> String {
    Authority::new().0.pem()
}

struct Authority(rcgen::Certificate, rcgen::Issuer<'static, rcgen::KeyPair>);

impl Authority {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().expect("make a key");
        let mut parameters = rcgen::CertificateParams::default();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = parameters.self_signed(&key).expect("sign");
        Self(certificate, rcgen::Issuer::new(parameters, key))
    }

    /// A certificate for the loopback address, and its key.
    fn issue(&self) -> (String, String) {
        let key = rcgen::KeyPair::generate().expect("make a key");
        let mut parameters =
            rcgen::CertificateParams::new(["127.0.0.1".to_owned(), "localhost".to_owned()]).expect("names");
        parameters.extended_key_usages =
            vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth, rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = parameters.signed_by(&key, &self.1).expect("sign");
        (certificate.pem(), key.serialize_pem())
    }
}

/// Makes the certificates of a server and of a client.
fn secure(dir: &Path) -> Secured {
    let authority = Authority::new();
    let (certificate, key) = authority.issue();
    let pem = authority.0.pem();
    for (name, text) in [("ca.crt", &pem), ("server.crt", &certificate), ("server.key", &key)] {
        std::fs::write(dir.join(name), text).expect("write a certificate");
    }
    Secured { client: authority.issue(), authority: pem }
}

fn program() -> PathBuf {
    if Path::new(PLACE).exists() {
        return PathBuf::from(PLACE);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join("etcd")).find(|path| path.exists());
    found.unwrap_or_else(|| {
        panic!("there is no etcd for the tests: run scripts/etcd, which puts it into {PLACE}")
    })
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("bind a port");
    listener.local_addr().expect("it has an address").port()
}
