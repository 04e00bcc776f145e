//! Git repositories as build contexts.
//!
//! It is the host's `git` that fetches them, as with Docker. What it may do is what a stranger's repository may
//! make it do: no settings of this machine's, no questions, no protocol that runs programs or reads this host's
//! files (CVE-2022-39253).

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use base::space::Space;
use tokio::process::Command;

/// How often it is looked whether the disk has room still.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The longest complaint of git's that is passed on.
const COMPLAINT_MAX: usize = 4 << 10;

/// A repository, and what of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Repository {
    remote: String,
    /// A branch, tag or commit; what the repository has checked out itself if empty.
    reference: String,
    directory: String,
}

impl Repository {
    /// Reads `ADDRESS[#reference[:directory]]`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (remote, fragment) = text.split_once('#').unwrap_or((text, ""));
        let (reference, directory) = fragment.split_once(':').unwrap_or((fragment, ""));
        if reference.starts_with('-') {
            return Err(format!("invalid refspec: {reference}"));
        }
        let is_whole = remote.contains("://") || remote.starts_with("git@");
        let remote = if is_whole { remote.to_owned() } else { format!("https://{remote}") };
        Ok(Self { remote, reference: reference.to_owned(), directory: directory.to_owned() })
    }

    /// The directory in it that is meant; all if empty.
    pub(crate) fn directory(&self) -> &str {
        &self.directory
    }

    /// Brings the files, with those of its submodules, into a directory, which is empty.
    pub(crate) async fn clone_into(&self, directory: &Path) -> Result<(), String> {
        let git =
            |arguments: &[&str]| git(directory, arguments.iter().map(|&word| word.to_owned()).collect());
        let said = |tried: &str| {
            let tried = tried.to_owned();
            move |problem: String| format!("{tried}: {problem}")
        };
        git(&["init", "--quiet", "--template="]).await.map_err(said("failed to init repo"))?;
        git(&["remote", "add", "origin", &self.remote]).await.map_err(said("failed add origin repo"))?;
        let reference = if self.reference.is_empty() { "HEAD" } else { self.reference.as_str() };
        if git(&["fetch", "--depth", "1", "origin", "--", reference]).await.is_err() {
            // Servers that only have files know no depth.
            git(&["fetch", "origin", "--", reference]).await.map_err(said("error fetching"))?;
        }
        // A branch by its name, so that `.git/HEAD` says it.
        let by_name = match self.reference.as_str() {
            "" => false,
            reference => git(&["checkout", "--quiet", reference, "--"]).await.is_ok(),
        };
        if !by_name {
            let checked = git(&["checkout", "--quiet", "FETCH_HEAD", "--"]).await;
            checked.map_err(said(&format!("error checking out {reference}")))?;
        }
        git(&["submodule", "--quiet", "update", "--init", "--recursive", "--depth=1"])
            .await
            .map_err(said("error initializing submodules"))
    }
}

/// Runs git; its complaint if it fails. It ends when this is dropped, and when the disk is full.
async fn git(directory: &Path, arguments: Vec<String>) -> Result<(), String> {
    // What it began in the background would hold its output.
    let settings = ["-c", "protocol.file.allow=never", "-c", "gc.auto=0", "-c", "maintenance.auto=false"];
    let mut child = Command::new("git")
        .args(settings)
        .args(&arguments)
        .current_dir(directory)
        .env("GIT_PROTOCOL_FROM_USER", "0")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("HOME", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_ASKPASS", "true")
        .env("GIT_SSH_COMMAND", "ssh -oBatchMode=yes")
        // One that sends nothing for a minute is given up.
        .env("GIT_HTTP_LOW_SPEED_LIMIT", "1")
        .env("GIT_HTTP_LOW_SPEED_TIME", "60")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                "the program `git` is not on this host: install it to build from repositories".to_owned()
            }
            _ => format!("start git: {error}"),
        })?;
    let complaint = read_complaint(child.stderr.take());
    let full = async {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let look = || std::fs::File::open(directory).and_then(|place| Space::at(&place)?.take(1));
            let room = offload::in_place(look);
            if let Err(error) = room {
                return error;
            }
        }
    };
    tokio::select! {
        (complaint, status) = async { (complaint.await, child.wait().await) } => match status {
            Ok(status) if status.success() => Ok(()),
            Ok(_) => Err(complaint),
            Err(error) => Err(format!("wait for git: {error}")),
        },
        error = full => Err(error.to_string()),
    }
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

    #[test]
    fn an_address_says_what_is_wanted_of_a_repository() {
        let check = |text: &str, expected: [&str; 3]| {
            let read = Repository::parse(text).expect(text);
            assert_eq!([&*read.remote, &*read.reference, &*read.directory], expected, "{text}");
        };
        check("https://h/a.git", ["https://h/a.git", "", ""]);
        check("https://h/a.git#v1", ["https://h/a.git", "v1", ""]);
        check("git@h:a#main:web/app", ["git@h:a", "main", "web/app"]);
        check("github.com/a/b#:dir", ["https://github.com/a/b", "", "dir"]);
    }
}
