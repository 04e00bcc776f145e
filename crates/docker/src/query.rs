//! The query of a request, read as leniently as the real daemon reads it.

use crate::fault::Fault;

/// A request's query: names with their values, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads the part of a URI after `?`.
    pub(crate) fn parse(text: &str) -> Self {
        Self(form_urlencoded::parse(text.as_bytes()).into_owned().collect())
    }

    /// The first value of `name`, empty where there is none.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// The first value of `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// All values of `name`.
    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value.clone()).collect()
    }

    /// Whether `name` is true; absent, empty, `0`, `no`, `false` and `none` are not.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.flag_or(name, false)
    }

    /// As [`Query::flag`], with what an absent or empty value means.
    pub(crate) fn flag_or(&self, name: &str, absent: bool) -> bool {
        match self.text(name).trim().to_ascii_lowercase().as_str() {
            "" => absent,
            "0" | "no" | "false" | "none" => false,
            _ => true,
        }
    }

    /// A whole number; absent and empty are none.
    pub(crate) fn number(&self, name: &str) -> Result<Option<i64>, Fault> {
        match self.text(name) {
            "" => Ok(None),
            text => match text.parse() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(Fault::invalid(format!(
                    "invalid value for \"{name}\": \"{text}\" is not a whole number"
                ))),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: &str, expected: bool) {
        assert_eq!(Query::parse(query).flag("all"), expected, "{query}");
    }

    #[test]
    fn a_flag_is_true_unless_it_says_no() {
        check("all=1", true);
        check("all=True", true);
        check("all=x", true);
        check("all=0", false);
        check("all=false", false);
        check("all=None", false);
        check("all=", false);
        check("other=1", false);
    }

    #[test]
    fn values_are_decoded_and_may_repeat() {
        let query = Query::parse("t=a%3A1&t=b+c&v=1%2F2");
        assert_eq!(query.all("t"), ["a:1", "b c"]);
        assert_eq!(query.text("v"), "1/2");
    }

    #[test]
    fn a_number_must_be_one() {
        assert_eq!(Query::parse("h=40").number("h"), Ok(Some(40)));
        assert_eq!(Query::parse("").number("h"), Ok(None));
        assert!(Query::parse("h=x").number("h").is_err());
    }
}
