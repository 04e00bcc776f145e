//! In which form a client wants its answer.
//!
//! As JSON, or as Protocol Buffers where the kind has that form; and whether whole objects, their metadata, or
//! rows of a table are wanted, which are always JSON. Source: Kubernetes API concepts, "Receiving resources as
//! Tables", "Metadata only", "Alternate representations of resources".

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

/// The media types that can be given, the last where a kind has that form.
pub(crate) const OFFERED: [&str; 2] = ["application/json", protobuf::MEDIA_TYPE];

/// Whether a client names Protocol Buffers at all; cheap, for the many that do not.
pub(crate) fn names_protobuf(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::ACCEPT).iter();
    values.any(|value| value.to_str().is_ok_and(|value| value.contains("protobuf")))
}

impl View {
    /// Picks the first form that the client names and that can be given, Protocol Buffers among them if
    /// `protobuf` says so.
    pub(crate) fn negotiate(headers: &HeaderMap, query: &Query, protobuf: bool) -> Result<Self> {
        let ranges = accepted(headers);
        if ranges.is_empty() {
            return Ok(Self::Full);
        }
        let offered = &OFFERED[..if protobuf { 2 } else { 1 }];
        ranges
            .iter()
            .find_map(|range| Self::of_range(range, query, protobuf))
            .ok_or_else(|| Status::not_acceptable(offered).into())
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

    fn of_range(range: &Range<'_>, query: &Query, protobuf: bool) -> Option<Self> {
        let is_protobuf = range.media_type == protobuf::MEDIA_TYPE;
        if is_protobuf && !protobuf
            || !is_protobuf && !matches!(range.media_type, "application/json" | "application/*" | "*/*")
        {
            return None;
        }
        let whole = if is_protobuf { Self::Protobuf } else { Self::Full };
        let Some(form) = range.parameter("as") else { return Some(whole) };
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
}

/// The entries of the `Accept` headers, in the client's order.
pub(crate) fn accepted(headers: &HeaderMap) -> Vec<Range<'_>> {
    headers
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
        .collect()
}

/// Refuses a body of a type that is not read.
pub(crate) fn unsupported(accepted: &[&str]) -> Error {
    Status::unsupported_media_type(accepted).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn check(accept: &str, expected: Option<View>) {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_str(accept).expect("a header"));
        assert_eq!(View::negotiate(&headers, &Query::default(), false).ok(), expected, "{accept}");
    }

    /// Of a kind that has the form of Protocol Buffers.
    fn check_both(accept: &str, expected: Option<View>) {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_str(accept).expect("a header"));
        assert_eq!(View::negotiate(&headers, &Query::default(), true).ok(), expected, "{accept}");
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
