//! Filters: the JSON in the query with which lists, events and prunes are narrowed.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::fault::Fault;

/// Filter names with the values given for each.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Filters(BTreeMap<String, Vec<String>>);

impl Filters {
    /// Reads the value of the query's `filters`: `{"name":["a"]}`, or `{"name":{"a":true}}` as
    /// most clients write it. A name that is not in `known` is refused.
    pub(crate) fn parse(text: &str, known: &[&str]) -> Result<Self, Fault> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Values {
            Set(BTreeMap<String, bool>),
            List(Vec<String>),
        }
        if text.is_empty() {
            return Ok(Self::default());
        }
        let parsed: BTreeMap<String, Values> =
            serde_json::from_str(text).map_err(|error| Fault::invalid(format!("invalid filter: {error}")))?;
        let mut filters = BTreeMap::new();
        for (name, values) in parsed {
            if !known.contains(&name.as_str()) {
                return Err(Fault::invalid(format!("invalid filter '{name}'")));
            }
            let values = match values {
                Values::Set(set) => set.into_iter().filter(|(_, on)| *on).map(|(value, _)| value).collect(),
                Values::List(list) => list,
            };
            filters.insert(name, values);
        }
        Ok(Self(filters))
    }

    /// The values given for `name`.
    pub(crate) fn get(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// The same, as an own list.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        self.get(name).to_vec()
    }

    /// The single value given for `name`, if any.
    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        self.get(name).first().map(String::as_str)
    }

    /// A filter that is true or false; none where it is not given.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, Fault> {
        let values = self.get(name);
        let says = |truth| values.iter().any(|value| base::truth::parse(value) == Some(truth));
        let (yes, no) = (says(true), says(false));
        match (values.is_empty(), yes, no) {
            (true, ..) => Ok(None),
            (_, true, false) => Ok(Some(true)),
            (_, false, true) => Ok(Some(false)),
            _ => Err(Fault::invalid(format!("invalid filter '{name}={values:?}'"))),
        }
    }

    /// Whether `value` is among those given for `name`, or none is given.
    pub(crate) fn matches(&self, name: &str, value: &str) -> bool {
        let values = self.get(name);
        values.is_empty() || values.iter().any(|given| given == value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&[&str], &str>) {
        let filters = Filters::parse(text, &["name", "label"]);
        match (filters, expected) {
            (Ok(filters), Ok(values)) => assert_eq!(filters.get("name"), values),
            (Err(fault), Err(message)) => assert!(fault.message.starts_with(message), "{}", fault.message),
            (got, wanted) => panic!("{got:?} instead of {wanted:?}"),
        }
    }

    #[test]
    fn both_forms_are_read() {
        check(r#"{"name":["a","b"]}"#, Ok(&["a", "b"]));
        check(r#"{"name":{"a":true,"b":false}}"#, Ok(&["a"]));
        check("", Ok(&[]));
        check("{}", Ok(&[]));
    }

    #[test]
    fn what_is_not_known_is_refused() {
        check(r#"{"foo":["x"]}"#, Err("invalid filter 'foo'"));
        check("[]", Err("invalid filter"));
        check("{", Err("invalid filter"));
    }
}
