//! What a build leaves besides its record: content, which the record names by its digest.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use build::solve::Event;
use bytes::{Buf as _, Bytes};
use oci::Digest;
use prost::Message as _;

use crate::progress;
use crate::wire::moby::buildkit::v1::{BuildHistoryRecord, BuildResultInfo, Descriptor, StatusResponse};

/// Bytes that are remembered of what a build told.
const TOLD: usize = 1 << 20;
/// Bytes of a failure with all its details.
const FAILURE: usize = 1 << 20;

const STATUS: &str = "application/vnd.buildkit.status.v0";
/// As it has been spelt from the first day.
const ERROR: &str = "application/vnd.googeapis.google.rpc.status+proto";

/// Content that a build left.
pub(crate) type Left = BTreeMap<Digest, Bytes>;

/// Puts what a build told, and why it failed, beside its record.
pub(crate) fn leave(record: &mut BuildHistoryRecord, events: Vec<Event>) -> Left {
    let mut left = Left::new();
    record.logs = put(&mut left, STATUS, told(events));
    if let Some(error) = &mut record.error {
        let whole = error.encode_to_vec();
        if whole.len() <= FAILURE {
            record.external_error = put(&mut left, ERROR, whole);
        }
        error.details.clear();
    }
    left
}

fn put(left: &mut Left, media_type: &str, bytes: Vec<u8>) -> Option<Descriptor> {
    if bytes.is_empty() {
        return None;
    }
    let digest = Digest::sha256_of(&bytes);
    let descriptor = Descriptor {
        media_type: media_type.to_owned(),
        digest: digest.to_string(),
        size: i64::try_from(bytes.len()).unwrap_or(i64::MAX),
        ..Descriptor::default()
    };
    left.insert(digest, bytes.into());
    Some(descriptor)
}

/// What a build told: messages, each with its length before it. Where it is too much, what steps wrote goes first.
fn told(events: Vec<Event>) -> Vec<u8> {
    let weight = |event: &Event| {
        progress::messages(vec![event.clone()]).iter().map(StatusResponse::encoded_len).sum::<usize>()
    };
    let mut room = TOLD;
    let mut fits = |event: &Event| match room.checked_sub(weight(event)) {
        Some(left) => {
            room = left;
            true
        }
        None => false,
    };
    let is_log = |event: &Event| matches!(event, Event::Log(_));
    let mut keep: Vec<bool> = events.iter().map(|event| !is_log(event) && fits(event)).collect();
    for (keep, event) in keep.iter_mut().zip(&events) {
        *keep = *keep || (is_log(event) && fits(event));
    }
    let events: Vec<Event> =
        events.into_iter().zip(keep).filter(|(_, keep)| *keep).map(|(event, _)| event).collect();
    let mut bytes = Vec::new();
    for batch in events.chunks(progress::BATCH) {
        for message in progress::messages(batch.to_vec()) {
            let length = u32::try_from(message.encoded_len()).unwrap_or_default();
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(&message.encode_to_vec());
        }
    }
    bytes
}

/// The messages that a build left.
pub(crate) fn messages(mut told: Bytes) -> Vec<StatusResponse> {
    let mut messages = Vec::new();
    while told.len() >= 4 {
        let length = told.get_u32_le() as usize;
        if length > told.len() {
            break;
        }
        messages.extend(StatusResponse::decode(told.split_to(length)));
    }
    messages
}

/// The image that a build came to, as exporters tell of it, where the image store has documents of it.
pub(crate) fn result_of(told: &BTreeMap<String, String>) -> Option<BuildResultInfo> {
    let text = STANDARD.decode(told.get("containerimage.descriptor")?).ok()?;
    let read: oci::Descriptor = serde_json::from_slice(&text).ok()?;
    let descriptor = Descriptor {
        media_type: read.media_type,
        digest: read.digest.to_string(),
        size: i64::try_from(read.size).unwrap_or(i64::MAX),
        annotations: read.annotations,
    };
    Some(BuildResultInfo { results: BTreeMap::from([(0, descriptor)]), ..BuildResultInfo::default() })
}
