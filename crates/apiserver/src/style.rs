//! How the text of a document is laid out: as short as may be, indented for people, or as YAML.
//!
//! Everything is made as short JSON. What a client wants otherwise is made of that at the very end, of whole documents
//! at once and of long lists item by item, so that whoever makes an answer need not know of it. Protocol Buffers are
//! none of this, nor is what somebody else answers: an answer that may be laid out says so ([`Document`]).
//!
//! Source: Kubernetes API concepts, "Alternate representations of resources"; `pretty` in the API reference.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};
use serde_json::Value;

use crate::body::Body;
use crate::negotiate;
use crate::request::Query;
use crate::service::LIGHT;
use crate::state::State;

/// Programs by which people look at answers.
const OF_PEOPLE: [&str; 3] = ["curl", "Wget", "Mozilla/5.0"];

/// How a document is laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Style {
    /// JSON without spaces.
    #[default]
    Short,
    /// JSON with a line for each value.
    Pretty,
    /// YAML.
    Yaml,
}

/// Among the extensions of an answer: it is a document of the API, in short JSON.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Document;

/// What stands around the items of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Before the first.
    pub(crate) head: Vec<u8>,
    /// Between two.
    pub(crate) between: &'static [u8],
    /// After the last.
    pub(crate) tail: Vec<u8>,
}

/// A value whose keys come in their order.
struct Sorted<'a>(&'a Value);

impl Style {
    /// As a client wants it that sends these headers and parameters.
    pub(crate) fn of(headers: &HeaderMap, query: &Query) -> Self {
        if negotiate::wants_yaml(headers) {
            Self::Yaml
        } else if is_pretty(headers, query) {
            Self::Pretty
        } else {
            Self::Short
        }
    }

    /// The media type of a document that is laid out so.
    pub(crate) fn media_type(self) -> HeaderValue {
        HeaderValue::from_static(if self == Self::Yaml { negotiate::YAML } else { negotiate::JSON })
    }

    /// A document, of its short text.
    pub(crate) fn document(self, text: &[u8]) -> Vec<u8> {
        match self {
            Self::Short => text.to_vec(),
            Self::Pretty | Self::Yaml => self.written(text).into_bytes(),
        }
    }

    /// The same, as an item of a list.
    pub(crate) fn item(self, text: &[u8]) -> Vec<u8> {
        let (first, indent) = match self {
            Self::Short => return text.to_vec(),
            Self::Pretty => ("    ", "    "),
            Self::Yaml => ("- ", "  "),
        };
        let text = self.written(text);
        let mut item = String::with_capacity(text.len() + text.len() / 4);
        for (number, line) in text.trim_end_matches('\n').split('\n').enumerate() {
            if number > 0 {
                item.push('\n');
            }
            if !line.is_empty() {
                item.push_str(if number == 0 { first } else { indent });
                item.push_str(line);
            }
        }
        if self == Self::Yaml {
            item.push('\n');
        }
        item.into_bytes()
    }

    /// What stands around the items of a list, of its short text: up to the first item, and behind the last one. The
    /// items are what comes last in it.
    pub(crate) fn frame(self, head: Vec<u8>, tail: &[u8], is_empty: bool) -> Frame {
        if self == Self::Short {
            return Frame { head, between: b",", tail: tail.to_vec() };
        }
        let text = self.written(&[&head, tail].concat());
        let empty = Frame { head: text.clone().into_bytes(), between: b"", tail: Vec::new() };
        if is_empty {
            return empty;
        }
        let (split, between): (_, &'static [u8]) = if self == Self::Yaml {
            let split = ["\nitems: []\n", "\nrows: []\n"].iter().find_map(|key| {
                let (before, after) = text.split_once(key)?;
                Some((format!("{before}{}\n", key.trim_end_matches(" []\n")), after.to_owned()))
            });
            (split, b"")
        } else {
            let split = text.trim_end().strip_suffix("[]\n}");
            (split.map(|before| (format!("{before}[\n"), "\n  ]\n}".to_owned())), b",\n")
        };
        let (head, tail) = split.expect("a list without items has an empty list of them");
        Frame { head: head.into_bytes(), between, tail: tail.into_bytes() }
    }

    fn written(self, text: &[u8]) -> String {
        let value: Value = serde_json::from_slice(text).expect("what is served is JSON");
        if self == Self::Yaml {
            // Texts of several lines stay lines; long ones are not broken.
            let options = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX };
            serde_saphyr::to_string_with_options(&Sorted(&value), options)
                .expect("a value of JSON always has a text")
        } else {
            serde_json::to_string_pretty(&value).expect("a value of JSON always has a text")
        }
    }
}

/// Lays an answer out as whoever sent these headers and parameters wants it.
pub(crate) async fn lay_out(
    state: &State,
    own: bool,
    style: Style,
    response: Response<Body>,
) -> Response<Body> {
    let is_one = response.extensions().get::<Document>().is_some();
    if style == Style::Short || !is_one {
        return response;
    }
    let Some(chunks) = response.body().chunks().filter(|chunks| !chunks.is_empty()) else { return response };
    let text: Bytes = match chunks {
        [text] => text.clone(),
        several => several.concat().into(),
    };
    let made = if text.len() <= LIGHT {
        style.document(&text)
    } else {
        state.workers.step(own, move || style.document(&text)).await
    };
    let mut response = response.map(|body| body.replaced(made.into()));
    if style == Style::Yaml {
        response.headers_mut().insert(header::CONTENT_TYPE, style.media_type());
    }
    response
}

/// Whether somebody is to read the answer: if it is said so, or by the program that asks.
fn is_pretty(headers: &HeaderMap, query: &Query) -> bool {
    if let Some(pretty) = query.filled("pretty") {
        return matches!(pretty, "1" | "t" | "T" | "TRUE" | "true" | "True");
    }
    let says = |range: &negotiate::Range<'_>| range.parameter("pretty") == Some("1");
    if headers.contains_key(header::ACCEPT) && negotiate::accepted(headers).iter().any(says) {
        return true;
    }
    let program = headers.get(header::USER_AGENT).and_then(|program| program.to_str().ok());
    program.is_some_and(|program| OF_PEOPLE.iter().any(|of_people| program.starts_with(of_people)))
}

impl Serialize for Sorted<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Array(values) => serializer.collect_seq(values.iter().map(Sorted)),
            Value::Object(fields) => {
                let mut keys: Vec<&String> = fields.keys().collect();
                keys.sort_unstable();
                let mut map = serializer.serialize_map(Some(keys.len()))?;
                for key in keys {
                    map.serialize_entry(key, &Sorted(&fields[key]))?;
                }
                map.end()
            }
            other => other.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &[u8]) -> Value {
        serde_saphyr::from_str(std::str::from_utf8(text).expect("text")).expect("YAML")
    }

    #[test]
    fn a_document_is_told_as_yaml_with_its_keys_in_order() {
        let document = json!({"kind": "ConfigMap", "apiVersion": "v1", "data": {
            "yes": "yes", "number": "012", "lines": "a\n  b\n\nc\n", "empty": "", "colon": "a: b", "float": "1e3",
        }, "list": [1, {"b": [], "a": {}}, [true, null]]});
        let text = Style::Yaml.document(document.to_string().as_bytes());
        assert_eq!(read(&text), document);
        let text = String::from_utf8(text).expect("text");
        assert!(text.starts_with("apiVersion: v1\ndata:\n"), "{text}");
        // What readers of YAML 1.1 take for something else is a text for them, too.
        for plain in ["yes: yes", ": yes\n", ": 012", ": 1e3"] {
            assert!(!text.contains(plain), "{plain}: {text}");
        }
    }

    #[test]
    fn what_nests_as_deep_as_it_may_is_told_within_the_stack_of_any_thread() {
        for (open, close) in [("{\"a\":", "}"), ("[", "]"), ("[{\"a\":", "}]")] {
            let levels = 120 / open.matches(['{', '[']).count();
            let text = format!("{{\"items\":{}1{}}}", open.repeat(levels), close.repeat(levels));
            let laid_out =
                move || (Style::Yaml.item(text.as_bytes()), Style::Pretty.document(text.as_bytes()));
            let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(laid_out).expect("a thread");
            let (yaml, pretty) = thread.join().expect("there is room");
            assert!(yaml.len() > levels && pretty.len() > levels);
        }
    }

    #[test]
    fn a_list_that_is_made_item_by_item_is_the_list() {
        let items = [
            json!({"metadata": {"name": "a"}, "data": {"text": "\n  indented\nlines\n\n", "more": "x\n"}}),
            json!({}),
            json!({"list": [{"a": 1, "b": [[]]}], "s": "- item\n#no\n", "tabs": "\ta\n\tb", "cr": "a\r\nb"}),
        ];
        let of = |key: &str, items: &[Value]| json!({"kind": "L", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, key: items});
        for (key, style) in [("items", Style::Yaml), ("rows", Style::Yaml), ("items", Style::Pretty)] {
            for count in 0..=items.len() {
                let whole = of(key, &items[..count]);
                let empty = of(key, &[]).to_string();
                let (head, tail) = empty.split_at(empty.len() - 2);
                let frame = style.frame(head.into(), tail.as_bytes(), count == 0);
                let texts: Vec<Vec<u8>> =
                    items[..count].iter().map(|item| style.item(item.to_string().as_bytes())).collect();
                let text = [&frame.head[..], &texts.join(frame.between), &frame.tail].concat();
                let shown = String::from_utf8_lossy(&text);
                assert_eq!(read(&text), whole, "{shown}");
                if style == Style::Pretty {
                    assert_eq!(shown, serde_json::to_string_pretty(&whole).expect("JSON"));
                }
            }
        }
    }
}
