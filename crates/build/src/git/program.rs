//! Running the host's `git`.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use base::pace::Pace;
use base::space::Space;
use rustix::process::{Pid, Signal};
use tokio::process::Command;
use tokio::time::Instant;

use super::headway::Headway;

/// How often it is looked whether the disk has room still.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long a server may send nothing, or next to nothing.
const SILENCE: Duration = Duration::from_secs(2 * 60);
/// It is looked so often in that time how much has come.
const LOOKS: u32 = 60;
/// The longest complaint of git's that is passed on.
const COMPLAINT_MAX: usize = 4 << 10;

/// Settings of git's: no files of this host are fetched, and nothing goes on in the background, which would
/// hold its output.
const SETTINGS: [&str; 6] =
    ["-c", "protocol.file.allow=never", "-c", "gc.auto=0", "-c", "maintenance.auto=false"];

/// How git calls ssh: it asks nobody anything, takes no host that is not known, leads nowhere else, and
/// leaves nothing behind.
pub(super) const SSH: &str = "ssh -oBatchMode=yes -oPasswordAuthentication=no -oKbdInteractiveAuthentication=no \
                   -oNumberOfPasswordPrompts=0 -oStrictHostKeyChecking=yes -oForwardAgent=no \
                   -oClearAllForwardings=yes -oPermitLocalCommand=no -oControlMaster=no -oControlPath=none";

/// Why a repository could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// There is none.
    #[error("the program `git` is not on this host: install it to build from repositories")]
    Missing,
    /// It could not be started.
    #[error("start git")]
    Start(#[source] io::Error),
    /// It could not be waited for.
    #[error("wait for git")]
    Wait(#[source] io::Error),
    /// The disk is full.
    #[error(transparent)]
    Full(io::Error),
    /// The other side does not answer.
    #[error("the server has sent nothing, or next to nothing, for {} seconds", .0.as_secs())]
    Silent(Duration),
    /// What it says itself.
    #[error("{0}")]
    Failed(String),
}

/// The host's git, in a directory.
#[derive(Debug)]
pub(super) struct Git<'a> {
    pub(super) directory: &'a Path,
    /// How long a server may send next to nothing.
    pub(super) silence: Duration,
    /// What its environment says besides: who one is, and which agent has keys.
    pub(super) environment: Vec<(String, String)>,
}

/// The longest answer of git's that is read.
const ANSWER_MAX: u64 = 16 << 20;

/// Ends what git started when it is dropped, together with git itself: ssh and the like.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // Until somebody waits for it the number is its own, also if it has ended.
            let _ = rustix::process::kill_process_group(leader, Signal::KILL);
        }
    }
}

impl<'a> Git<'a> {
    pub(super) fn new(directory: &'a Path) -> Self {
        Self { directory, silence: SILENCE, environment: Vec::new() }
    }

    /// The same, with more in its environment.
    pub(super) fn with(directory: &'a Path, environment: Vec<(String, String)>) -> Self {
        Self { environment, ..Self::new(directory) }
    }

    /// Runs git. It ends, with all that it started, when this is dropped, when the disk is full, and when the
    /// other side is silent.
    pub(super) async fn run(&self, arguments: &[&str]) -> Result<(), GitError> {
        self.ask(arguments).await.map(drop)
    }

    /// As [`Git::run`]; gives what git answers.
    pub(super) async fn ask(&self, arguments: &[&str]) -> Result<String, GitError> {
        let answer = self.ask_bytes(arguments).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// As [`Git::ask`], of what need not be text.
    pub(super) async fn ask_bytes(&self, arguments: &[&str]) -> Result<Vec<u8>, GitError> {
        let mut command = Command::new("git");
        // What the daemon's environment says is about repositories of whoever started it.
        for name in std::env::vars_os().map(|(name, _)| name).filter(|name| steers(name)) {
            command.env_remove(name);
        }
        let spawned = command
            .args(SETTINGS)
            .args(arguments)
            .current_dir(self.directory)
            .env("GIT_PROTOCOL_FROM_USER", "0")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("HOME", "/dev/null")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ASKPASS", "true")
            .env("GIT_SSH_COMMAND", SSH)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn();
        let mut child = spawned.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => GitError::Missing,
            _ => GitError::Start(error),
        })?;
        let leader = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        // Goes before the child, which is waited for when it is dropped.
        let mut group = Group(leader);
        let said =
            futures::future::join(read_answer(child.stdout.take()), read_complaint(child.stderr.take()));
        let ended = async { (said.await, child.wait().await) };
        let ((answer, complaint), status) = tokio::select! {
            ended = ended => ended,
            error = self.full() => return Err(GitError::Full(error)),
            () = self.silent(leader) => return Err(GitError::Silent(self.silence)),
        };
        group.0 = None;
        let status = status.map_err(GitError::Wait)?;
        if status.success() { Ok(answer) } else { Err(self.failure(status, complaint)) }
    }

    /// Waits until the disk is full.
    async fn full(&self) -> io::Error {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if let Err(error) = self.look() {
                return error;
            }
        }
    }

    fn look(&self) -> io::Result<()> {
        offload::in_place(|| std::fs::File::open(self.directory).and_then(|place| Space::at(&place)?.take(1)))
    }

    /// Waits until the patience with the other side is at its end. Time in which git computes is none in which
    /// the other side keeps it waiting.
    async fn silent(&self, leader: Option<Pid>) {
        let Some(leader) = leader else { return std::future::pending().await };
        let (mut pace, mut headway) = (Pace::new(self.silence), Headway::default());
        while !pace.is_over() {
            let began = Instant::now();
            tokio::time::sleep(self.silence / LOOKS).await;
            let Some(made) = offload::in_place(|| headway.made(leader)) else { continue };
            pace.passed(began.elapsed().saturating_sub(made.computed), made.bytes);
        }
    }

    /// What a failure comes to. A disk may have been full and have room again, as git takes away what it could
    /// not finish: then there is what the kernel said to it.
    fn failure(&self, status: ExitStatus, complaint: String) -> GitError {
        let full = [rustix::io::Errno::NOSPC, rustix::io::Errno::DQUOT];
        let is_full = full.iter().any(|&error| complaint.contains(&words(error)));
        match self.look() {
            Err(error) => GitError::Full(error),
            Ok(()) if is_full => GitError::Full(io::Error::new(io::ErrorKind::StorageFull, complaint)),
            Ok(()) if complaint.is_empty() => GitError::Failed(format!("git ended with {status}")),
            Ok(()) => GitError::Failed(complaint),
        }
    }
}

/// What the kernel's error is called in the language that git speaks here.
fn words(error: rustix::io::Errno) -> String {
    let text = io::Error::from(error).to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// Whether a variable of the environment would have git do another thing, or ask somebody.
fn steers(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    ["GIT_", "SSH_ASKPASS"].iter().any(|prefix| name.starts_with(prefix))
        || matches!(&*name, "XDG_CONFIG_HOME" | "LANGUAGE" | "EMAIL" | "PREFIX")
}

async fn read_answer(stdout: Option<tokio::process::ChildStdout>) -> Vec<u8> {
    use tokio::io::AsyncReadExt;
    let Some(stdout) = stdout else { return Vec::new() };
    let mut answer = Vec::new();
    let mut limited = stdout.take(ANSWER_MAX);
    if limited.read_to_end(&mut answer).await.is_ok() {
        // What is more is read too: git would wait for it.
        let _ = tokio::io::copy(&mut limited.into_inner(), &mut tokio::io::sink()).await;
    }
    answer
}

async fn read_complaint(stderr: Option<tokio::process::ChildStderr>) -> String {
    use tokio::io::AsyncReadExt;
    let Some(mut stderr) = stderr else { return String::new() };
    let (mut kept, mut piece) = (Vec::new(), [0; 1024]);
    while let Ok(got @ 1..) = stderr.read(&mut piece).await {
        let room = COMPLAINT_MAX.saturating_sub(kept.len()).min(got);
        kept.extend_from_slice(&piece[..room]);
    }
    String::from_utf8_lossy(&kept).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs lines of a shell as git's own child.
    async fn shell(git: &Git<'_>, script: &str) -> Result<(), GitError> {
        git.run(&["-c", &format!("alias.x=!{script}"), "x"]).await
    }

    #[tokio::test]
    async fn what_git_started_ends_with_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let git = Git::new(directory.path());
        let file = directory.path().join("pid");
        {
            let running = shell(&git, "sleep 600 & echo $! > pid.new; mv pid.new pid; wait");
            tokio::pin!(running);
            while !file.exists() {
                let pause = tokio::time::sleep(Duration::from_millis(10));
                tokio::select! {
                    ended = &mut running => panic!("it has ended: {ended:?}"),
                    () = pause => {}
                }
            }
        }
        let pid = std::fs::read_to_string(file).expect("a number");
        let of = format!("/proc/{}/stat", pid.trim());
        testkit::wait_until("its end", || match std::fs::read_to_string(&of) {
            // Whoever takes up orphans may take its time.
            Ok(stat) if !stat.contains(") Z ") => Err(stat),
            _ => Ok(()),
        });
    }

    #[tokio::test]
    async fn a_full_disk_is_told_as_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let git = Git::new(directory.path());
        let script = "echo 'fatal: write error: No space left on device' >&2; exit 128; :";
        let error = shell(&git, script).await.expect_err("it failed");
        assert!(matches!(&error, GitError::Full(source) if source.kind() == io::ErrorKind::StorageFull));
        assert_eq!(error.to_string(), "fatal: write error: No space left on device");
        let error = shell(&git, "exit 128; :").await.expect_err("it failed");
        assert_eq!(error.to_string(), "git ended with exit status: 128");
    }

    /// Runs this test once more, with an environment that would have git make its repository elsewhere.
    #[tokio::test]
    async fn the_daemon_s_environment_does_not_steer_git() {
        let Some(place) = std::env::var_os("GIT_TEST_PLACE") else {
            let (place, other) = (tempfile::tempdir().expect("one"), tempfile::tempdir().expect("another"));
            let this = std::env::current_exe().expect("a path");
            let ran = std::process::Command::new(this)
                .args(["--exact", "git::program::tests::the_daemon_s_environment_does_not_steer_git"])
                .env("GIT_TEST_PLACE", place.path())
                .env("GIT_DIR", other.path())
                .output()
                .expect("run it");
            assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
            assert!(place.path().join(".git/HEAD").exists());
            return;
        };
        Git::new(Path::new(&place)).run(&["init", "--quiet"]).await.expect("it starts");
    }

    #[test]
    fn what_steers_git_is_kept_from_it_and_what_leads_to_the_network_is_not() {
        for name in
            ["GIT_DIR", "GIT_SSH", "GIT_CONFIG_COUNT", "GIT_EXEC_PATH", "SSH_ASKPASS", "XDG_CONFIG_HOME"]
        {
            assert!(steers(OsStr::new(name)), "{name}");
        }
        for name in ["PATH", "https_proxy", "NO_PROXY", "SSH_AUTH_SOCK", "SSL_CERT_FILE"] {
            assert!(!steers(OsStr::new(name)), "{name}");
        }
        for asks in ["BatchMode=yes", "StrictHostKeyChecking=yes", "PasswordAuthentication=no"] {
            assert!(SSH.split(' ').any(|word| word == format!("-o{asks}")), "{asks}");
        }
    }
}
