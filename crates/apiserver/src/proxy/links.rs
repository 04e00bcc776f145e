//! Links of a page that lead to itself: through this server they have its path before them.

/// How links are changed.
#[derive(Clone, Debug)]
pub(super) struct Links {
    /// What comes before the page's own paths.
    prefix: String,
    /// What the client calls this server.
    host: String,
}

/// The parts of a link.
struct Parts<'a> {
    scheme: &'a str,
    host: Option<&'a str>,
    path: &'a str,
    /// Query and fragment.
    rest: &'a str,
}

impl Links {
    pub(super) fn new(prefix: String, host: String) -> Self {
        Self { prefix, host }
    }

    /// The link as the client has to follow it.
    pub(super) fn rewrite(&self, link: &str) -> String {
        let parts = split(link);
        let elsewhere = parts.host.is_some_and(|host| !host.is_empty() && host != self.host);
        if elsewhere || !parts.path.starts_with('/') {
            return link.to_owned();
        }
        let own = parts.host == Some(self.host.as_str()) && !self.host.is_empty();
        let origin = match parts.host {
            Some(host) if own && !parts.scheme.is_empty() => format!("{}://{host}", parts.scheme),
            Some(host) if own => format!("//{host}"),
            _ => String::new(),
        };
        if parts.path.starts_with(&self.prefix) {
            return format!("{origin}{}{}", parts.path, parts.rest);
        }
        let mut path = clean(&format!("{}/{}", self.prefix, parts.path));
        if parts.path.ends_with('/') && !path.ends_with('/') {
            path.push('/');
        }
        format!("{origin}{path}{}", parts.rest)
    }
}

fn split(link: &str) -> Parts<'_> {
    let (mut scheme, mut rest) = ("", link);
    if let Some((before, after)) = link.split_once(':') {
        let mut letters = before.bytes();
        let is_scheme = letters.next().is_some_and(|first| first.is_ascii_alphabetic())
            && letters.all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        if is_scheme {
            (scheme, rest) = (before, after);
        }
    }
    let end = |text: &str, of: &[char]| text.find(of).unwrap_or(text.len());
    let host = rest.strip_prefix("//").map(|after| {
        let (host, after) = after.split_at(end(after, &['/', '?', '#']));
        rest = after;
        host
    });
    let (path, rest) = rest.split_at(end(rest, &['?', '#']));
    Parts { scheme, host, path, rest }
}

/// A path without empty parts, and without those that lead back up.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_the_page_itself_lead_through_the_server_and_others_do_not() {
        let links = Links::new("/api/v1/namespaces/n/pods/p/proxy".into(), "localhost:8001".into());
        let own = "/api/v1/namespaces/n/pods/p/proxy";
        for (link, expected) in [
            ("/", format!("{own}/")),
            ("/a/b?c=d#e", format!("{own}/a/b?c=d#e")),
            ("/a//b/", format!("{own}/a/b/")),
            ("/../../secrets", "/api/v1/namespaces/n/pods/secrets".to_owned()),
            ("a/b", "a/b".to_owned()),
            ("?x", "?x".to_owned()),
            ("#x", "#x".to_owned()),
            ("", String::new()),
            ("mailto:a@example.com", "mailto:a@example.com".to_owned()),
            ("http://example.com/a", "http://example.com/a".to_owned()),
            ("//example.com/a", "//example.com/a".to_owned()),
            ("http://localhost:8001/a", format!("http://localhost:8001{own}/a")),
            (&format!("{own}/a"), format!("{own}/a")),
            ("javascript:alert(1)", "javascript:alert(1)".to_owned()),
        ] {
            assert_eq!(links.rewrite(link), expected, "{link}");
        }
    }
}
