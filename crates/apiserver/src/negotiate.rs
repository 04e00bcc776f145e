//! In which form a client wants its answer.
//!
//! As JSON, as YAML ([`Style`](crate::style::Style)), or as Protocol Buffers where the kind has that form; and whether
//! whole objects, their metadata, or rows of a table are wanted, which have no form of Protocol Buffers. What the client
//! likes best is looked at first, and of that what it names before what it means by `*`. Source: Kubernetes API concepts,
//! "Receiving resources as Tables", "Metadata only", "Alternate representations of resources"; RFC 9110, section 12.5.1.

use base::Timestamp;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use model::{Object, Status};

use crate::cache::Stored;
use crate::error::{Error, Result};
use crate::protobuf::{self, encode};
use crate::request::Query;
use crate::resource::Resource;
use crate::table::{Include, ListMetadata, MetaVersion, TableForm, metadata_only, table};

/// The form of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum View {
    /// Whole objects.
    #[default]
    Full,
    /// Only their metadata.
    Metadata(MetaVersion),
    /// Rows of a table.
    Table(TableForm),
    /// Whole objects, as Protocol Buffers.
    Protobuf,
    /// Only their metadata, as Protocol Buffers.
    ProtobufMetadata(MetaVersion),
}

pub(crate) const JSON: &str = "application/json";
pub(crate) const YAML: &str = "application/yaml";

/// The media types that can be given, the last where a kind has that form; and those of streams of events.
const OFFERED: [&str; 3] = [JSON, YAML, protobuf::MEDIA_TYPE];
const OF_STREAMS: [&str; 2] =
    ["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];

/// What can be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    /// There is a form of Protocol Buffers.
    pub(crate) protobuf: bool,
    /// There are rows and metadata, not only the whole.
    pub(crate) parts: bool,
    /// Events are told, one after the other, which YAML has no form for.
    pub(crate) stream: bool,
}

/// Whether a client names Protocol Buffers at all; cheap, for the many that do not.
pub(crate) fn names_protobuf(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::ACCEPT).iter();
    values.any(|value| value.to_str().is_ok_and(|value| value.contains("protobuf")))
}

impl View {
    /// Picks the first form that the client names and that can be given.
    pub(crate) fn negotiate(headers: &HeaderMap, query: &Query, offer: Offer) -> Result<Self> {
        let ranges = accepted(headers);
        if is_anything(headers) {
            return Ok(Self::Full);
        }
        let picked = ranges.iter().find_map(|range| Some((range, Self::of_range(range, query, offer)?)));
        match picked {
            Some((range, _)) if offer.stream && range.media_type == YAML => Err(offer.refusal()),
            Some((_, view)) => Ok(view),
            None => Err(offer.refusal()),
        }
    }

    /// Whether answers are Protocol Buffers.
    pub(crate) fn is_protobuf(self) -> bool {
        matches!(self, Self::Protobuf | Self::ProtobufMetadata(_))
    }

    /// The media type of an answer, or of a stream of events.
    pub(crate) fn media_type(self, is_watch: bool) -> HeaderValue {
        HeaderValue::from_static(match (self.is_protobuf(), is_watch) {
            (false, _) => "application/json",
            (true, false) => protobuf::MEDIA_TYPE,
            (true, true) => "application/vnd.kubernetes.protobuf;stream=watch",
        })
    }

    /// One object as an item of a list of Protocol Buffers, or within an event.
    pub(crate) fn message(self, resource: &Resource, object: &Object) -> Vec<u8> {
        match (&resource.schema, self) {
            (Some(schema), Self::Protobuf) => encode::message(schema, object.value()),
            _ => encode::metadata(object.value()),
        }
    }

    /// Kind and version of one object in this form.
    pub(crate) fn object_kind(self, resource: &Resource) -> (String, String) {
        match self {
            Self::Full | Self::Table(_) | Self::Protobuf => (resource.kind.clone(), resource.api_version()),
            Self::Metadata(version) | Self::ProtobufMetadata(version) => {
                ("PartialObjectMetadata".to_owned(), version.api_version().to_owned())
            }
        }
    }

    /// The text of one object as it is served.
    pub(crate) fn object_bytes(self, resource: &Resource, stored: &Stored, now: Timestamp) -> Bytes {
        if self == Self::Full {
            return stored.bytes();
        }
        self.render(resource, &stored.object(), now)
    }

    /// The text of one object.
    pub(crate) fn render(self, resource: &Resource, object: &Object, now: Timestamp) -> Bytes {
        match self {
            Self::Full => object.encoded(),
            Self::Metadata(version) => metadata_only(object, version).to_string().into(),
            Self::Table(form) => {
                let metadata = ListMetadata {
                    resource_version: object.resource_version().to_owned(),
                    ..ListMetadata::default()
                };
                table(&resource.columns, [object], &metadata, form, true, now).to_string().into()
            }
            Self::Protobuf | Self::ProtobufMetadata(_) => {
                let (kind, api_version) = self.object_kind(resource);
                encode::envelope(&api_version, &kind, &self.message(resource, object)).into()
            }
        }
    }

    /// Kind and version of a list in this form; a table is none, but a whole of its own.
    pub(crate) fn list_kind(self, resource: &Resource) -> (String, String) {
        match self {
            Self::Full | Self::Table(_) | Self::Protobuf => (resource.list_kind(), resource.api_version()),
            Self::Metadata(_) | Self::ProtobufMetadata(_) => {
                let (kind, api_version) = self.object_kind(resource);
                (format!("{kind}List"), api_version)
            }
        }
    }

    fn of_range(range: &Range<'_>, query: &Query, offer: Offer) -> Option<Self> {
        let is_protobuf = range.media_type == protobuf::MEDIA_TYPE;
        if is_protobuf && !offer.protobuf || !is_protobuf && !range.is_text() {
            return None;
        }
        let whole = if is_protobuf { Self::Protobuf } else { Self::Full };
        let Some(form) = range.parameter("as") else { return Some(whole) };
        if !offer.parts {
            return None;
        }
        let version = match (range.parameter("g"), range.parameter("v")) {
            (Some("meta.k8s.io"), Some("v1")) => MetaVersion::V1,
            (Some("meta.k8s.io"), Some("v1beta1")) => MetaVersion::V1Beta1,
            _ => return None,
        };
        match form {
            "Table" if !is_protobuf => {
                let include = match query.get("includeObject") {
                    Some("None") => Include::None,
                    Some("Object") => Include::Object,
                    _ => Include::Metadata,
                };
                Some(Self::Table(TableForm { include, version }))
            }
            "PartialObjectMetadata" | "PartialObjectMetadataList" if is_protobuf => {
                Some(Self::ProtobufMetadata(version))
            }
            "PartialObjectMetadata" | "PartialObjectMetadataList" => Some(Self::Metadata(version)),
            _ => None,
        }
    }
}

impl Offer {
    /// That nothing of it is what the client wants.
    fn refusal(self) -> Error {
        let count = |all: usize| if self.protobuf { all } else { all - 1 };
        let accepted = if self.stream { &OF_STREAMS[..count(2)] } else { &OFFERED[..count(3)] };
        Status::not_acceptable(accepted).into()
    }
}

/// Whether a client that sends these headers is to be given YAML, where it is not given Protocol Buffers.
pub(crate) fn wants_yaml(headers: &HeaderMap) -> bool {
    // Most clients have never heard of it.
    let names_it = |value: &HeaderValue| value.to_str().is_ok_and(|value| value.contains("yaml"));
    headers.get_all(header::ACCEPT).iter().any(names_it)
        && accepted(headers)
            .iter()
            .find(|range| range.is_text() && range.is_form())
            .is_some_and(|range| range.media_type == YAML)
}

/// Refuses a client that takes no document of which there is a text alone, neither as JSON nor as YAML.
pub(crate) fn check_text(headers: &HeaderMap) -> Result<()> {
    if is_anything(headers) || accepted(headers).iter().any(Range::is_text) {
        return Ok(());
    }
    Err(Offer { protobuf: false, parts: false, stream: false }.refusal())
}

/// Whether a client says nothing of what it wants.
fn is_anything(headers: &HeaderMap) -> bool {
    headers.get_all(header::ACCEPT).iter().all(HeaderValue::is_empty)
}

/// One entry of an `Accept` header.
#[derive(Debug)]
pub(crate) struct Range<'a> {
    pub(crate) media_type: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
}

impl Range<'_> {
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(n, _)| *n == name).map(|(_, v)| *v)
    }

    /// Whether it is JSON or YAML, by name or among others.
    fn is_text(&self) -> bool {
        let streams = |what: &str| matches!(what, "" | "watch");
        match self.media_type {
            JSON | "application/*" | "*/*" => self.parameter("stream").is_none_or(streams),
            YAML => self.parameter("stream").is_none_or(str::is_empty),
            _ => false,
        }
    }

    /// Whether it is in a form that there is of something.
    fn is_form(&self) -> bool {
        const FORMS: [&str; 4] =
            ["Table", "PartialObjectMetadata", "PartialObjectMetadataList", "APIGroupDiscoveryList"];
        self.parameter("as").is_none_or(|form| FORMS.contains(&form))
    }

    /// How much it is liked, in thousandths. What cannot be read says nothing.
    fn weight(&self) -> u16 {
        let weight = self.parameter("q").and_then(|text| text.parse::<f32>().ok());
        // No more than 1000, and not below nothing.
        (weight.unwrap_or(1.0).clamp(0.0, 1.0) * 1000.0) as u16
    }

    /// How little it says of what is meant.
    fn vagueness(&self) -> u8 {
        match self.media_type {
            "*/*" => 2,
            media_type if media_type.ends_with("/*") => 1,
            _ => 0,
        }
    }
}

/// The entries of the `Accept` headers that a client takes, those first that it likes best, and of those that say most;
/// otherwise in its order.
pub(crate) fn accepted(headers: &HeaderMap) -> Vec<Range<'_>> {
    let mut ranges: Vec<Range<'_>> = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .filter_map(|entry| {
            let mut parts = entry.split(';').map(str::trim);
            let media_type = parts.next().filter(|t| !t.is_empty())?;
            let parameters = parts.filter_map(|p| p.split_once('=')).collect();
            Some(Range { media_type, parameters })
        })
        .filter(|range| range.weight() > 0)
        .collect();
    ranges.sort_by_key(|range| (std::cmp::Reverse(range.weight()), range.vagueness()));
    ranges
}

/// Refuses a body of a type that is not read.
pub(crate) fn unsupported(accepted: &[&str]) -> Error {
    Status::unsupported_media_type(accepted).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const OF_TEXT: Offer = Offer { protobuf: false, parts: true, stream: false };
    const OF_BOTH: Offer = Offer { protobuf: true, ..OF_TEXT };

    fn accepts(accept: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_str(accept).expect("a header"));
        headers
    }

    fn check(accept: &str, expected: Option<View>) {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_str(accept).expect("a header"));
        assert_eq!(View::negotiate(&headers, &Query::default(), OF_TEXT).ok(), expected, "{accept}");
    }

    /// Of a kind that has the form of Protocol Buffers.
    fn check_both(accept: &str, expected: Option<View>) {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_str(accept).expect("a header"));
        assert_eq!(View::negotiate(&headers, &Query::default(), OF_BOTH).ok(), expected, "{accept}");
    }

    #[test]
    fn protocol_buffers_are_given_to_who_names_them() {
        check_both("application/vnd.kubernetes.protobuf", Some(View::Protobuf));
        check_both("application/vnd.kubernetes.protobuf,application/json", Some(View::Protobuf));
        check_both("application/json,application/vnd.kubernetes.protobuf", Some(View::Full));
        check_both("*/*", Some(View::Full));
        check_both("application/vnd.kubernetes.protobuf;stream=watch", Some(View::Protobuf));
        check_both(
            "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
            Some(View::ProtobufMetadata(MetaVersion::V1)),
        );
        check_both("application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1", None);
        check_both(
            "application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1,application/json",
            Some(View::Full),
        );
    }

    #[test]
    fn what_is_liked_best_is_given_and_of_that_what_is_named() {
        let check = |accept: &str, yaml: bool| assert_eq!(wants_yaml(&accepts(accept)), yaml, "{accept}");
        check("application/yaml", true);
        check("application/yaml;q=0.5, application/json;q=0.4", true);
        check("application/yaml;q=0.5, application/json", false);
        check("application/json, application/yaml", false);
        check("application/yaml, application/json", true);
        check("*/*, application/yaml", true);
        check("*/*;q=0.1, application/yaml;q=0.05", false);
        check("application/*, application/yaml;q=0", false);
        check("application/yaml;stream=watch", false);
        check("application/vnd.kubernetes.protobuf, application/yaml", true);
        check("application/yaml;as=Table;g=meta.k8s.io;v=v1, application/json", true);
        check("application/yaml;as=Novel;g=meta.k8s.io;v=v1, application/json", false);
        check("text/yaml", false);
        assert!(!wants_yaml(&HeaderMap::new()));
        check_both("application/vnd.kubernetes.protobuf;q=0.1, application/yaml", Some(View::Full));
        check_both("application/yaml;q=0.1, application/vnd.kubernetes.protobuf", Some(View::Protobuf));
        check_both("application/json;q=nonsense", Some(View::Full));
    }

    #[test]
    fn who_takes_nothing_that_is_there_is_told_what_is() {
        let told = |accept: &str, offer| {
            let outcome = View::negotiate(&accepts(accept), &Query::default(), offer);
            outcome.map_err(|error| error.to_string()).expect_err("nothing of it is there")
        };
        let only = |types: &str| format!("only the following media types are accepted: {types}");
        let all = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
        assert_eq!(told("application/cbor", OF_BOTH), only(all));
        assert_eq!(told("application/json;q=0, text/html", OF_BOTH), only(all));
        assert_eq!(told("application/cbor", OF_TEXT), only("application/json, application/yaml"));
        let events = Offer { stream: true, ..OF_BOTH };
        let of_events = "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";
        assert_eq!(told("application/yaml, application/json", events), only(of_events));
        let whole = Offer { parts: false, ..OF_BOTH };
        assert_eq!(told("application/json;as=Table;g=meta.k8s.io;v=v1", whole), only(all));
        assert!(check_text(&accepts("application/cbor")).is_err() && check_text(&accepts("")).is_ok());
    }

    #[test]
    fn the_first_form_that_can_be_given_is_taken() {
        check("application/json", Some(View::Full));
        check("application/vnd.kubernetes.protobuf, application/json", Some(View::Full));
        check("application/vnd.kubernetes.protobuf", None);
        check("*/*", Some(View::Full));
        check(
            "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1, application/json",
            Some(View::Metadata(MetaVersion::V1)),
        );
        check(
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
            Some(View::Table(TableForm::default())),
        );
        check(
            "application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
            Some(View::Table(TableForm { include: Include::Metadata, version: MetaVersion::V1Beta1 })),
        );
        check(
            "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1beta1",
            Some(View::Metadata(MetaVersion::V1Beta1)),
        );
        check("application/json;as=Table;g=meta.k8s.io;v=v2", None);
        check("application/json;as=Novel;g=meta.k8s.io;v=v1,application/json", Some(View::Full));
    }
}
