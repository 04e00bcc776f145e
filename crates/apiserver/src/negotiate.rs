//! In which form a client wants its answer.
//!
//! Everything is JSON; what differs is whether whole objects, their metadata, or rows of a table are
//! wanted. Source: Kubernetes API concepts, "Receiving resources as Tables", "Metadata only".

use base::Timestamp;
use bytes::Bytes;
use http::{HeaderMap, header};
use model::{Object, Status};

use crate::cache::Stored;
use crate::error::{Error, Result};
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
}

/// The media types that can be given.
pub(crate) const OFFERED: [&str; 1] = ["application/json"];

impl View {
    /// Picks the first form that the client names and that can be given.
    pub(crate) fn negotiate(headers: &HeaderMap, query: &Query) -> Result<Self> {
        let ranges = accepted(headers);
        if ranges.is_empty() {
            return Ok(Self::Full);
        }
        ranges
            .iter()
            .find_map(|range| Self::of_range(range, query))
            .ok_or_else(|| Status::not_acceptable(&OFFERED).into())
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
        }
    }

    /// Kind and version of a list in this form; a table is none, but a whole of its own.
    pub(crate) fn list_kind(self, resource: &Resource) -> (String, String) {
        match self {
            Self::Full | Self::Table(_) => (format!("{}List", resource.kind), resource.api_version()),
            Self::Metadata(version) => {
                ("PartialObjectMetadataList".to_owned(), version.api_version().to_owned())
            }
        }
    }

    fn of_range(range: &Range<'_>, query: &Query) -> Option<Self> {
        if !matches!(range.media_type, "application/json" | "application/*" | "*/*") {
            return None;
        }
        let Some(form) = range.parameter("as") else { return Some(Self::Full) };
        let version = match (range.parameter("g"), range.parameter("v")) {
            (Some("meta.k8s.io"), Some("v1")) => MetaVersion::V1,
            (Some("meta.k8s.io"), Some("v1beta1")) => MetaVersion::V1Beta1,
            _ => return None,
        };
        match form {
            "Table" => {
                let include = match query.get("includeObject") {
                    Some("None") => Include::None,
                    Some("Object") => Include::Object,
                    _ => Include::Metadata,
                };
                Some(Self::Table(TableForm { include, version }))
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
        assert_eq!(View::negotiate(&headers, &Query::default()).ok(), expected, "{accept}");
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
