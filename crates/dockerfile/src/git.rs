//! Addresses of git repositories, as ADD and contexts have them: `https://host/path.git#reference:directory`,
//! `git@host:path?branch=…`.

use std::collections::BTreeMap;

use crate::draft::Source;
use crate::go::{clean_path, join_paths, quote};

/// A repository, and what of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Repository {
    /// What git is told.
    remote: String,
    host: String,
    path: String,
    is_ssh: bool,
    reference: String,
    directory: String,
    pub(crate) checksum: String,
    pub(crate) keep_git_dir: Option<bool>,
    submodules: Option<bool>,
    mtime: String,
    fetches_by_commit: bool,
    /// Whether it could be a path as well: `github.com/a/b`.
    pub(crate) may_be_path: bool,
}

/// The protocols that git speaks here.
const PROTOCOLS: [&str; 4] = ["http", "https", "ssh", "git"];

impl Repository {
    /// Reads an address; none if it is of something else.
    pub(crate) fn parse(text: &str) -> Result<Option<Self>, String> {
        if text.starts_with("./") || text.starts_with("../") {
            return Ok(None);
        }
        let protocol = text.split_once("://").map(|(protocol, _)| protocol);
        let protocol =
            protocol.filter(|name| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric()));
        let parsed = match protocol {
            Some(protocol) if PROTOCOLS.contains(&protocol.to_ascii_lowercase().as_str()) => {
                Self::of_url(text)
            }
            Some(_) => None,
            None if text.starts_with("github.com/") => {
                Self::of_url(&format!("https://{text}")).map(|(mut read, query)| {
                    read.may_be_path = true;
                    read.remote = read.remote.trim_start_matches("https://").to_owned();
                    (read, query)
                })
            }
            None => Self::of_ssh(text),
        };
        let Some((mut repository, query)) = parsed else { return Ok(None) };
        let is_web = repository.remote.starts_with("http://") || repository.remote.starts_with("https://");
        if is_web && !repository.path.ends_with(".git") {
            return Ok(None);
        }
        repository.set(&query)?;
        Ok(Some(repository))
    }

    fn of_url(text: &str) -> Option<(Self, Query)> {
        let mut url = url::Url::parse(text).ok()?;
        let host = url.host_str()?;
        let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let fragment = url.fragment().unwrap_or_default().to_owned();
        let query = query(url.query_pairs());
        let path = url.path().to_owned();
        url.set_fragment(None);
        url.set_query(None);
        let (reference, directory) = fragment_parts(&fragment);
        let is_ssh = url.scheme() == "ssh";
        let remote = url.to_string();
        Some((Self { remote, host, path, is_ssh, reference, directory, ..Self::default() }, query))
    }

    /// `user@host:path[?query][#fragment]`.
    fn of_ssh(text: &str) -> Option<(Self, Query)> {
        let (user, rest) = text.split_once('@')?;
        let (host, rest) = rest.split_once(':')?;
        let is_word = |text: &str, more: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        if !is_word(user, "-_") || !is_word(host, "-.") {
            return None;
        }
        let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let (path, asked) = rest.split_once('?').unwrap_or((rest, ""));
        let query = url::Url::parse(&format!("git://h/?{asked}")).ok();
        let query = query.map(|url| query_of(&url)).unwrap_or_default();
        let (reference, directory) = fragment_parts(fragment);
        let remote = format!("{user}@{host}:{path}");
        let (host, path) = (host.to_owned(), path.to_owned());
        Some((Self { remote, host, path, is_ssh: true, reference, directory, ..Self::default() }, query))
    }

    /// What the query says.
    fn set(&mut self, query: &Query) -> Result<(), String> {
        let (mut tag, mut branch) = (None, None);
        for (key, values) in query {
            let value = match values.as_slice() {
                [value] => value.as_str(),
                _ => return Err(format!("query {} has multiple values", quote(key))),
            };
            let is_switch = matches!(key.as_str(), "submodules" | "keep-git-dir" | "fetch-by-commit");
            if value.is_empty() && !is_switch {
                return Err(format!("query {} has no value", quote(key)));
            }
            let is_on = || match value {
                "" => Ok(true),
                value => {
                    base::truth::parse(value).ok_or_else(|| format!("invalid {key} value: {}", quote(value)))
                }
            };
            match key.as_str() {
                "ref" => agree(&mut self.reference, value, "ref")?,
                "tag" => tag = Some(value),
                "branch" => branch = Some(value),
                "subdir" => agree(&mut self.directory, value, "subdir")?,
                "checksum" | "commit" => value.clone_into(&mut self.checksum),
                "keep-git-dir" => self.keep_git_dir = Some(is_on()?),
                "submodules" => self.submodules = Some(is_on()?),
                "fetch-by-commit" => self.fetches_by_commit = is_on()?,
                "mtime" if matches!(value, "checkout" | "commit") => value.clone_into(&mut self.mtime),
                "mtime" => {
                    let value = quote(value);
                    return Err(format!("invalid mtime value: {value} (must be \"checkout\" or \"commit\")"));
                }
                _ => return Err(format!("unexpected query {}", quote(key))),
            }
        }
        let whole = |prefix: &str, name: &str| match name.starts_with(prefix) {
            true => name.to_owned(),
            false => format!("{prefix}{name}"),
        };
        match (tag, branch) {
            (Some(_), Some(_)) => Err("branch conflicts with tag".to_owned()),
            (Some(tag), None) => agree(&mut self.reference, &whole("refs/tags/", tag), "ref"),
            (None, Some(branch)) => agree(&mut self.reference, &whole("refs/heads/", branch), "ref"),
            (None, None) => Ok(()),
        }
    }

    /// The source of its files.
    pub(crate) fn source(&self) -> Source {
        let mut identifier = format!("git://{}{}", self.host, join_paths("/", &self.path));
        if !self.reference.is_empty() || !self.directory.is_empty() {
            identifier.push('#');
            identifier.push_str(&self.reference);
        }
        if !self.directory.is_empty() {
            identifier.push(':');
            identifier.push_str(&self.directory);
        }
        let remote = if self.may_be_path { format!("https://{}", self.remote) } else { self.remote.clone() };
        let mut source = Source::new(identifier, "source.git")
            .attribute("git.fullurl", &remote, Some("source.git.fullurl"))
            .attribute("git.authtokensecret", "GIT_AUTH_TOKEN", None)
            .attribute("git.authheadersecret", "GIT_AUTH_HEADER", None);
        if self.keep_git_dir == Some(true) {
            source = source.attribute("git.keepgitdir", "true", Some("source.git.keepgitdir"));
        }
        if self.is_ssh {
            source = source.attribute("git.mountsshsock", "default", Some("source.git.mountsshsock"));
        }
        if !self.checksum.is_empty() {
            source = source.attribute("git.checksum", &self.checksum, Some("source.git.checksum"));
        }
        if self.submodules == Some(false) {
            source = source.attribute("git.skipsubmodules", "true", Some("source.git.skipsubmodules"));
        }
        if !self.mtime.is_empty() {
            source = source.attribute("git.mtime", &self.mtime, Some("source.git.mtime"));
        }
        if self.fetches_by_commit {
            source = source.attribute("git.fetchbycommit", "true", Some("source.git.fetchbycommit"));
        }
        source
    }

    /// The same with the times of its commit on its files.
    pub(crate) fn with_commit_times(mut self) -> Self {
        if self.mtime.is_empty() {
            "commit".clone_into(&mut self.mtime);
        }
        self
    }
}

type Query = BTreeMap<String, Vec<String>>;

fn query_of(url: &url::Url) -> Query {
    query(url.query_pairs())
}

fn query<'a>(pairs: impl Iterator<Item = (std::borrow::Cow<'a, str>, std::borrow::Cow<'a, str>)>) -> Query {
    let mut query = Query::new();
    for (key, value) in pairs {
        query.entry(key.into_owned()).or_default().push(value.into_owned());
    }
    query
}

/// Reference and directory of `reference:directory`.
fn fragment_parts(fragment: &str) -> (String, String) {
    let (reference, directory) = fragment.split_once(':').unwrap_or((fragment, ""));
    let directory = clean_path(&format!("/{directory}"));
    (reference.to_owned(), directory.trim_start_matches('/').to_owned())
}

/// Sets what is not set yet; a conflict otherwise.
fn agree(known: &mut String, value: &str, what: &str) -> Result<(), String> {
    if !known.is_empty() && known != value {
        return Err(format!("{what} conflicts: {} vs {}", quote(known), quote(value)));
    }
    value.clone_into(known);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<Option<[&str; 3]>, &str>) {
        let got = Repository::parse(text);
        let got = got
            .as_ref()
            .map(|read| read.as_ref().map(|read| [&*read.remote, &*read.reference, &*read.directory]));
        assert_eq!(got.map_err(String::as_str), expected, "{text}");
    }

    #[test]
    fn repositories_are_known_by_their_address() {
        check("https://h/a.git", Ok(Some(["https://h/a.git", "", ""])));
        check("https://h:8443/a.git#v1:b/../c/", Ok(Some(["https://h:8443/a.git", "v1", "c"])));
        check("https://h/a.git?branch=b&subdir=c", Ok(Some(["https://h/a.git", "refs/heads/b", "c"])));
        check("https://h/a.git?tag=v1", Ok(Some(["https://h/a.git", "refs/tags/v1", ""])));
        check("git@h:a/b.git#main", Ok(Some(["git@h:a/b.git", "main", ""])));
        check("ssh://git@h/a", Ok(Some(["ssh://git@h/a", "", ""])));
        check("git://h/a", Ok(Some(["git://h/a", "", ""])));
        check("github.com/a/b", Ok(Some(["github.com/a/b", "", ""])));
        for other in
            ["https://h/a.tar.gz", "a.git", "./a@b:c", "ftp://h/a.git", "a:b", "@:", "http://", "a b@c:d"]
        {
            check(other, Ok(None));
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        check("https://h/a.git?x=1", Err("unexpected query \"x\""));
        check("https://h/a.git?ref=a#b", Err("ref conflicts: \"b\" vs \"a\""));
        check("https://h/a.git?tag=a&branch=b", Err("branch conflicts with tag"));
        check("https://h/a.git?subdir=", Err("query \"subdir\" has no value"));
        check("https://h/a.git?ref=a&ref=b", Err("query \"ref\" has multiple values"));
        check("https://h/a.git?submodules=x", Err("invalid submodules value: \"x\""));
    }
}
