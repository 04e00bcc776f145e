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

    /// What is meant, asked of the server.
    pub(crate) async fn find(&self, directory: &Path) -> Result<Named, GitError> {
        if is_commit(&self.reference) {
            let object = self.reference.to_ascii_lowercase();
            return Ok(Named { reference: object.clone(), object, commit: None });
        }
        let git = self.git(directory);
        let name = match self.reference.as_str() {
            "" => {
                let answer = git.ask(&["ls-remote", "--symref", "--", &self.remote, "HEAD"]).await?;
                // Not every server says which branch that is.
                let Some(branch) = default_branch(&answer) else { return Named::of("HEAD", &answer) };
                branch
            }
            name => name.to_owned(),
        };
        let peeled = format!("{name}^{{}}");
        Named::of(&name, &git.ask(&["ls-remote", "--", &self.remote, &name, &peeled]).await?)
    }

    /// A commit, and the tag that is on it, as they are kept in the repository.
    pub(crate) async fn objects(
        &self,
        directory: &Path,
        named: &Named,
    ) -> Result<(Vec<u8>, Option<Vec<u8>>), GitError> {
        let git = self.git(directory);
        let format = if named.object.len() == 64 { "--object-format=sha256" } else { "--object-format=sha1" };
        git.run(&["init", "--quiet", "--bare", "--template=", format]).await?;
        let mut fetched = Ok(());
        for arguments in [
            &["--depth", "1", "--", &self.remote, &named.object][..],
            // Not every server gives what it is not asked for by name, and those that only have files know no depth.
            &["--depth", "1", "--", &self.remote, &named.reference],
            &["--", &self.remote, &named.reference],
        ] {
            fetched = git.run(&[&["fetch", "--quiet"], arguments].concat()).await;
            match fetched {
                Err(GitError::Failed(_)) => {}
                _ => break,
            }
        }
        fetched?;
        let commit = git.ask_bytes(&["cat-file", "commit", named.commit()]).await?;
        let tag = match &named.commit {
            Some(_) => Some(git.ask_bytes(&["cat-file", "tag", &named.object]).await?),
            None => None,
        };
        Ok((commit, tag))
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

/// What a name means in a repository.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Named {
    /// The name in full; the commit where one was named.
    pub(crate) reference: String,
    /// What it is of: a commit, or a tag with words of its own.
    pub(crate) object: String,
    /// The commit that such a tag is on.
    pub(crate) commit: Option<String>,
}

impl Named {
    /// Finds a name in what a server lists: a branch before a tag of its name, as git does.
    fn of(name: &str, listed: &str) -> Result<Self, GitError> {
        let lines: Vec<(&str, &str)> = listed.lines().filter_map(|line| line.split_once('\t')).collect();
        let of = |wanted: &str| {
            let found = lines.iter().find(|(_, name)| *name == wanted);
            found.map(|(object, _)| (*object).to_owned()).filter(|object| is_commit(object))
        };
        let known = [
            name.to_owned(),
            format!("refs/{}", name.trim_start_matches("refs/")),
            format!("refs/heads/{}", name.trim_start_matches("refs/heads/")),
            format!("refs/tags/{}", name.trim_start_matches("refs/tags/")),
        ];
        let found = known.into_iter().find_map(|known| Some((of(&known)?, known)));
        let missing =
            || GitError::Failed(format!("repository does not contain ref {name}, output: {listed:?}"));
        let (object, reference) = found.ok_or_else(missing)?;
        let commit = of(&format!("{reference}^{{}}")).filter(|commit| *commit != object);
        Ok(Self { reference, object, commit })
    }

    /// The commit that is meant.
    pub(crate) fn commit(&self) -> &str {
        self.commit.as_ref().unwrap_or(&self.object)
    }
}

/// The branch that a repository is on by itself, where its server says so.
fn default_branch(answer: &str) -> Option<String> {
    let line = answer.lines().find_map(|line| line.strip_prefix("ref: "))?;
    let (branch, of) = line.split_once('\t')?;
    (of == "HEAD" && branch.starts_with("refs/heads/")).then(|| branch.to_owned())
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
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

    #[test]
    fn a_name_is_a_branch_before_it_is_a_tag_and_a_tag_leads_to_its_commit() {
        let [a, b, c] = ["a", "b", "c"].map(|text| text.repeat(40));
        let listed = format!(
            "{a}\tHEAD\n{a}\trefs/heads/main\n{b}\trefs/tags/main\n{b}\trefs/tags/v1\n{c}\trefs/tags/v1^{{}}\nx\trefs/heads/x\n"
        );
        let check = |name: &str, reference: &str, object: &str, commit: &str| {
            let named = Named::of(name, &listed).expect(name);
            assert_eq!(
                (&*named.reference, &*named.object, named.commit()),
                (reference, object, commit),
                "{name}"
            );
        };
        check("main", "refs/heads/main", &a, &a);
        check("v1", "refs/tags/v1", &b, &c);
        check("refs/tags/v1", "refs/tags/v1", &b, &c);
        check("tags/v1", "refs/tags/v1", &b, &c);
        check("heads/main", "refs/heads/main", &a, &a);
        check("HEAD", "HEAD", &a, &a);
        for missing in ["other", "x", ""] {
            assert!(Named::of(missing, &listed).is_err(), "{missing}");
        }
        let branch = default_branch(&format!("ref: refs/heads/main\tHEAD\n{a}\tHEAD\n"));
        assert_eq!(branch.as_deref(), Some("refs/heads/main"));
        assert_eq!(default_branch(&format!("{a}\tHEAD\n")), None);
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
