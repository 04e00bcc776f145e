//! Query strings and percent-encoding.

use percent_encoding::percent_decode_str;

/// The decoded parameters of a query string, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Decodes `text`; malformed escapes are kept as they are.
    pub fn parse(text: &str) -> Self {
        Self(form_urlencoded::parse(text.as_bytes()).into_owned().collect())
    }

    /// The first value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// As [`Query::get`], but an empty value counts as absent.
    pub fn filled(&self, key: &str) -> Option<&str> {
        self.get(key).filter(|v| !v.is_empty())
    }

    /// All values of `key`.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// Whether `key` is given with a true value (`true`, `1`, or nothing).
    pub fn flag(&self, key: &str) -> bool {
        self.get(key).is_some_and(|v| !matches!(v, "false" | "0" | "False" | "f" | "F" | "FALSE"))
    }

    /// Whether there are no parameters.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Decodes one segment of a path; none where an escape is malformed or gives no UTF-8.
pub(super) fn decode_path(text: &str) -> Option<String> {
    let is_escape = |after: &str| {
        after.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    let decoded = text.split('%').skip(1).all(is_escape).then(|| percent_decode_str(text).decode_utf8());
    Some(decoded?.ok()?.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_repeated_ones_kept() {
        let query = Query::parse("labelSelector=app%3Da%2Cb+in+%28c%29&command=ls&command=-l&watch&x=%zz");
        assert_eq!(query.get("labelSelector"), Some("app=a,b in (c)"));
        assert_eq!(query.all("command").collect::<Vec<_>>(), ["ls", "-l"]);
        assert!(query.flag("watch"));
        assert!(!query.flag("follow"));
        assert_eq!(query.get("x"), Some("%zz"));
    }

    #[test]
    fn segments_of_paths_are_decoded_or_refused() {
        let decode = |text| decode_path(text);
        assert_eq!(decode("a%2Fb%20c+d").as_deref(), Some("a/b c+d"));
        assert_eq!(decode("%C3%A9").as_deref(), Some("é"));
        for malformed in ["%", "a%2", "%zz", "%%41", "%+1", "%C3", "%é"] {
            assert_eq!(decode(malformed), None, "{malformed}");
        }
    }
}
