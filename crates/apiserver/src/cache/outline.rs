//! Where in an object's text stands what selectors look at: found once, then read without the rest.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::resource::Resource;

/// The fields that are looked for in the objects of one partition, by their names from the top: one or two.
#[derive(Debug)]
pub(crate) struct Places(Vec<Vec<String>>);

/// Where they stand in one object's text, in their order.
pub(super) type Outline = Box<[Span]>;

/// A part of a text; empty where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    start: u32,
    length: u32,
}

/// The labels of an object.
pub(crate) type Labels<'a> = BTreeMap<Cow<'a, str>, Cow<'a, str>>;

impl Places {
    /// What is asked for of any object, and the shallow fields that these resources can be selected by.
    pub(super) fn of<'a>(resources: impl IntoIterator<Item = &'a Resource>) -> Self {
        let mut places = vec![path(&["metadata", "labels"]), path(&["metadata", "uid"])];
        for field in resources.into_iter().flat_map(|resource| &resource.selectable) {
            // The key says what name and namespace are.
            let in_key = ["name", "namespace"].iter().any(|name| is(field.place(), &["metadata", name]));
            let known = places.iter().any(|known| known == field.place());
            if matches!(field.place().len(), 1 | 2) && !in_key && !known {
                places.push(field.place().to_vec());
            }
        }
        Self(places)
    }

    /// Where they stand in the text of an object, and why not all were found if it cannot be read.
    pub(super) fn outline(&self, text: &[u8]) -> (Outline, Option<serde_json::Error>) {
        spans(text, &self.0)
    }

    /// What stands at a place, if it is one of those that are looked for.
    pub(super) fn find<'a>(
        &self,
        place: &[impl AsRef<str>],
        text: &'a [u8],
        outline: &Outline,
    ) -> Option<&'a str> {
        let index = self.0.iter().position(|known| is(known, place))?;
        Some(outline.get(index).and_then(|span| span.of(text)).unwrap_or_default())
    }
}

impl Span {
    fn of<'a>(&self, text: &'a [u8]) -> Option<&'a str> {
        let part = text.get(self.start as usize..)?.get(..self.length as usize)?;
        std::str::from_utf8(part).ok()
    }
}

/// What stands at one place of a text; empty where there is nothing.
pub(super) fn find<'a>(place: &[impl AsRef<str>], text: &'a [u8]) -> &'a str {
    let place: Vec<String> = place.iter().map(|name| name.as_ref().to_owned()).collect();
    spans(text, &[place]).0[0].of(text).unwrap_or_default()
}

/// A scalar as text; none for what is absent, null or no scalar. Numbers and truth are as they are written.
pub(super) fn scalar(raw: &str) -> Option<Cow<'_, str>> {
    match raw.as_bytes().first()? {
        b'{' | b'[' | b'n' => None,
        b'"' => text(raw),
        _ => Some(Cow::Borrowed(raw)),
    }
}

/// The entries of an object of texts; what is no text is left out.
pub(super) fn labels(raw: &str) -> Labels<'_> {
    // Most have nothing escaped, and nothing but texts.
    if let Ok(plain) = serde_json::from_str::<BTreeMap<&str, &str>>(raw) {
        return plain.into_iter().map(|(key, value)| (Cow::Borrowed(key), Cow::Borrowed(value))).collect();
    }
    let all: BTreeMap<String, &RawValue> = serde_json::from_str(raw).unwrap_or_default();
    let texts = all.into_iter().filter_map(|(key, value)| Some((Cow::Owned(key), text(value.get())?)));
    texts.collect()
}

fn text(raw: &str) -> Option<Cow<'_, str>> {
    let inside = raw.strip_prefix('"')?.strip_suffix('"')?;
    if inside.contains('\\') {
        return serde_json::from_str(raw).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(inside))
}

fn is(place: &[String], names: &[impl AsRef<str>]) -> bool {
    place.len() == names.len() && place.iter().zip(names).all(|(one, other)| one == other.as_ref())
}

fn path(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Where these places are; of a text that cannot be read, what was found before that shows, and why.
fn spans(text: &[u8], places: &[Vec<String>]) -> (Outline, Option<serde_json::Error>) {
    let mut found = vec![Span::default(); places.len()];
    let reader = Reader { text, places, inside: None, found: &mut found };
    let error = reader.deserialize(&mut serde_json::Deserializer::from_slice(text)).err();
    (found.into(), error)
}

/// The name of a field; borrowed where nothing in it is escaped.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// Reads the fields of an object, or of one field of it.
struct Reader<'r> {
    text: &'r [u8],
    places: &'r [Vec<String>],
    /// The field, where it is not the object itself.
    inside: Option<&'r str>,
    found: &'r mut [Span],
}

impl Reader<'_> {
    fn note(&mut self, index: usize, raw: &RawValue) {
        let start = raw.get().as_ptr().addr().checked_sub(self.text.as_ptr().addr());
        let span = start.and_then(|start| {
            Some(Span { start: u32::try_from(start).ok()?, length: u32::try_from(raw.get().len()).ok()? })
        });
        self.found[index] = span.unwrap_or_default();
    }

    fn index(&self, name: &str) -> Option<usize> {
        self.places.iter().position(|place| match (self.inside, place.as_slice()) {
            (None, [only]) => only == name,
            (Some(inside), [first, second]) => first == inside && second == name,
            _ => false,
        })
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut from: A) -> Result<(), A::Error> {
        while let Some(Name(name)) = from.next_key()? {
            // What has fields that are looked for is no scalar itself.
            let holds = |place: &Vec<String>| place.len() == 2 && *place[0] == *name;
            if self.inside.is_none() && self.places.iter().any(holds) {
                let (text, places) = (self.text, self.places);
                // Of a field that is there twice the last counts, with all that is in it.
                for (span, _) in self.found.iter_mut().zip(places).filter(|(_, place)| holds(place)) {
                    *span = Span::default();
                }
                from.next_value_seed(Reader { text, places, inside: Some(&name), found: &mut *self.found })?;
            } else if let Some(index) = self.index(&name) {
                let raw = from.next_value::<&'de RawValue>()?;
                self.note(index, raw);
            } else {
                from.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<(), A::Error> {
        while from.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"kind": "Pod", "data": {"a": "b"}, "type": "x\ny", "list": [1, {"spec": {"nodeName": 2}}],
        "metadata": {"uid": "u", "name": "\u0061\"b", "labels": {"k": "v", "l\n": "\u0061", "deep": {"x": 1}},
        "annotations": {"uid": "v"}}, "spec": {"containers": [{"nodeName": "c"}], "nodeName": "n", "hostNetwork": true},
        "status": {"phase": null, "podIP": [], "observed": 3, "spec": {"nodeName": "m"}}, "number": 7}"#;

    #[track_caller]
    fn check(place: &[&str], expected: Option<&str>) {
        let names: Vec<String> = place.iter().map(|name| (*name).to_owned()).collect();
        let places = Places(vec![names, path(&["spec", "nodeName"]), path(&["number"])]);
        let (outline, error) = places.outline(TEXT.as_bytes());
        assert!(error.is_none(), "{error:?}");
        let found = places.find(place, TEXT.as_bytes(), &outline).expect("it is looked for");
        assert_eq!(scalar(found).as_deref(), expected, "{place:?}");
        assert_eq!(scalar(find(place, TEXT.as_bytes())).as_deref(), expected, "{place:?}");
        assert_eq!(places.find(&["spec", "nodeName"], TEXT.as_bytes(), &outline), Some("\"n\""));
        assert_eq!(places.find(&["other"], TEXT.as_bytes(), &outline), None);
    }

    #[test]
    fn fields_are_found_where_they_stand_and_nowhere_else() {
        check(&["type"], Some("x\ny"));
        check(&["spec", "nodeName"], Some("n"));
        check(&["spec", "hostNetwork"], Some("true"));
        check(&["status", "observed"], Some("3"));
        check(&["status", "phase"], None);
        check(&["status", "podIP"], None);
        check(&["spec"], None);
        check(&["kind", "nodeName"], None);
        check(&["list", "spec"], None);
        check(&["metadata", "uid"], Some("u"));
        check(&["number"], Some("7"));
    }

    #[test]
    fn labels_are_read_whatever_is_in_them() {
        let found = find(&["metadata", "labels"], TEXT.as_bytes());
        let read: Vec<(String, String)> =
            labels(found).into_iter().map(|(k, v)| (k.into_owned(), v.into_owned())).collect();
        assert_eq!(read, [("k".into(), "v".into()), ("l\n".into(), "a".into())]);
        assert_eq!(labels(r#"{"a":"b"}"#).get("a").map(|value| &**value), Some("b"));
        for nothing in ["", "null", "[]", "{}"] {
            assert!(labels(nothing).is_empty(), "{nothing}");
        }
    }

    #[test]
    fn of_a_field_that_is_there_twice_the_last_counts() {
        let text =
            br#"{"spec": {"nodeName": "m", "nodeName": "n", "a": 1}, "spec": {"nodeName": "o"}, "spec": {}}"#;
        assert_eq!(find(&["spec", "nodeName"], text), "");
        let text = br#"{"spec": {"nodeName": "m", "nodeName": "n"}, "a": 1, "a": null}"#;
        assert_eq!((find(&["spec", "nodeName"], text), find(&["a"], text)), ("\"n\"", "null"));
        assert_eq!(find(&["spec", "nodeName"], br#"{"spec": {"nodeName": "m"}, "spec": 7}"#), "");
    }

    #[test]
    fn a_text_that_cannot_be_read_has_what_came_before() {
        let text = br#"{"spec": {"nodeName": "n", "x": }"#;
        assert!(Places::of([]).outline(text).1.is_some());
        assert_eq!(find(&["spec", "nodeName"], text), "\"n\"");
        assert_eq!(find(&["status", "phase"], text), "");
    }
}
