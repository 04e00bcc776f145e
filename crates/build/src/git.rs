//! Git repositories as build contexts.
//!
//! It is the host's `git` that fetches them, as with Docker. What it may do is what a stranger's repository may
//! make it do: no settings of this machine's, no questions, no protocol that runs programs or reads this host's
//! files (CVE-2022-39253).

mod headway;
mod program;

use std::path::Path;

use program::Git;
pub use program::GitError;

use crate::error::BuildError;

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
    pub(crate) async fn clone_into(&self, directory: &Path) -> Result<(), BuildError> {
        self.clone_by(&Git::new(directory)).await
    }

    async fn clone_by(&self, git: &Git<'_>) -> Result<(), BuildError> {
        let said = |tried: &str| {
            let tried = tried.to_owned();
            move |source: GitError| BuildError::Git { tried, source }
        };
        git.run(&["init", "--quiet", "--template="]).await.map_err(said("failed to init repo"))?;
        git.run(&["remote", "add", "origin", &self.remote]).await.map_err(said("failed add origin repo"))?;
        let reference = if self.reference.is_empty() { "HEAD" } else { self.reference.as_str() };
        let fetching = said("error fetching");
        match git.run(&["fetch", "--depth", "1", "origin", "--", reference]).await {
            // Servers that only have files know no depth.
            Err(GitError::Failed(_)) => {
                git.run(&["fetch", "origin", "--", reference]).await.map_err(fetching)?;
            }
            fetched => fetched.map_err(fetching)?,
        }
        let checking_out = said(&format!("error checking out {reference}"));
        // A branch by its name, so that `.git/HEAD` says it.
        let by_name = match self.reference.as_str() {
            "" => Err(GitError::Failed(String::new())),
            reference => git.run(&["checkout", "--quiet", reference, "--"]).await,
        };
        match by_name {
            Err(GitError::Failed(_)) => {
                git.run(&["checkout", "--quiet", "FETCH_HEAD", "--"]).await.map_err(checking_out)?;
            }
            checked_out => checked_out.map_err(checking_out)?,
        }
        git.run(&["submodule", "--quiet", "update", "--init", "--recursive", "--depth=1"])
            .await
            .map_err(said("error initializing submodules"))
    }
}

/// A checkout that the solver asks for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Checkout {
    /// What git is told.
    pub(crate) remote: String,
    /// A branch, tag or commit; what the repository has checked out itself if empty.
    pub(crate) reference: String,
    pub(crate) keep_git_dir: bool,
    pub(crate) skip_submodules: bool,
    /// See [`Git::environment`].
    pub(crate) environment: Vec<(String, String)>,
    /// The file that says who hosts are.
    pub(crate) known_hosts: Option<std::path::PathBuf>,
}

impl Checkout {
    fn git<'a>(&self, directory: &'a Path) -> Git<'a> {
        let mut environment = self.environment.clone();
        if let Some(known) = &self.known_hosts {
            let ssh = format!("{} -oUserKnownHostsFile={}", program::SSH, known.display());
            environment.push(("GIT_SSH_COMMAND".to_owned(), ssh));
        }
        Git::with(directory, environment)
    }

    /// The commit that is meant, asked of the server.
    pub(crate) async fn commit(&self, directory: &Path) -> Result<String, GitError> {
        let is_commit =
            |text: &str| matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit());
        if is_commit(&self.reference) {
            return Ok(self.reference.to_ascii_lowercase());
        }
        let name = if self.reference.is_empty() { "HEAD" } else { &self.reference };
        let peeled = format!("{name}^{{}}");
        let answer = self.git(directory).ask(&["ls-remote", "--", &self.remote, name, &peeled]).await?;
        let lines: Vec<(&str, &str)> = answer.lines().filter_map(|line| line.split_once('\t')).collect();
        // What a tag is on, before the tag; a branch before a tag of its name.
        let wanted = [
            name.to_owned(),
            format!("refs/heads/{name}"),
            format!("refs/tags/{name}^{{}}"),
            peeled,
            format!("refs/tags/{name}"),
        ];
        let of = |wanted: &String| lines.iter().find(|(_, name)| name == wanted).map(|(commit, _)| *commit);
        let peeled_first = of(&wanted[3]).or_else(|| wanted.iter().find_map(of));
        match peeled_first.or_else(|| lines.first().map(|(commit, _)| *commit)) {
            Some(commit) if is_commit(commit) => Ok(commit.to_owned()),
            _ => Err(GitError::Failed(format!("repository does not contain ref {name}, output: {answer:?}"))),
        }
    }

    /// Brings a commit into a directory, which is empty; gives the second at which it was made.
    pub(crate) async fn bring(&self, directory: &Path, commit: &str) -> Result<i64, GitError> {
        let git = self.git(directory);
        // A repository knows commits by one sort of digest, which their length tells.
        let format = if commit.len() == 64 { "--object-format=sha256" } else { "--object-format=sha1" };
        git.run(&["init", "--quiet", "--template=", format]).await?;
        git.run(&["remote", "add", "origin", &self.remote]).await?;
        let name = if self.reference.is_empty() { "HEAD" } else { &self.reference };
        let mut fetched = Err(GitError::Missing);
        for arguments in [
            &["fetch", "--quiet", "--depth", "1", "origin", "--", commit][..],
            // Not every server gives what it is not asked for by name, and those that only have files know no depth.
            &["fetch", "--quiet", "--tags", "origin", "--", name],
            &["fetch", "--quiet", "--tags", "origin", "--", "+refs/heads/*:refs/remotes/origin/*"],
        ] {
            fetched = git.run(arguments).await;
            let has = match &fetched {
                Ok(()) => git.run(&["cat-file", "-e", &format!("{commit}^{{commit}}")]).await,
                Err(GitError::Failed(_)) => continue,
                Err(_) => break,
            };
            match has {
                Err(GitError::Failed(_)) => fetched = has,
                other => {
                    fetched = other;
                    break;
                }
            }
        }
        fetched?;
        git.run(&["checkout", "--quiet", commit, "--"]).await?;
        if !self.skip_submodules {
            git.run(&["submodule", "--quiet", "update", "--init", "--recursive", "--depth=1"]).await?;
        }
        let made = git.ask(&["log", "-1", "--format=%ct", commit, "--"]).await?;
        Ok(made.trim().parse().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Duration;

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

    /// A server that takes whoever comes and says nothing, or one byte after the other.
    fn serve(trickles: bool) -> String {
        use std::io::Write;
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let port = listener.local_addr().expect("an address").port();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let mut client = client.expect("a client");
                // The length of a line that does not end.
                let sent = client.write_all(b"fff0");
                let wait = || std::thread::sleep(Duration::from_millis(if trickles { 10 } else { 50 }));
                while sent.is_ok() && (!trickles || client.write_all(b"x").is_ok()) {
                    wait();
                }
            }
        });
        format!("git://127.0.0.1:{port}/a.git")
    }

    #[tokio::test]
    async fn a_server_that_sends_next_to_nothing_is_given_up() {
        for trickles in [false, true] {
            let directory = tempfile::tempdir().expect("a directory");
            let repository = Repository::parse(&serve(trickles)).expect("an address");
            let git = Git { silence: Duration::from_millis(500), ..Git::new(directory.path()) };
            let error = repository.clone_by(&git).await.expect_err("nothing comes");
            assert_eq!(error.kind(), engine::Kind::Unavailable);
            let said = base::error::chain(&error).to_string();
            assert!(said.starts_with("error fetching: the server has sent nothing"), "{said}");
        }
    }
}
