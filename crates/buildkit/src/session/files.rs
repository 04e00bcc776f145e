//! A client's directory, received.

use std::path::Path;

use build::solve::{FileSelection, SessionError, Transferred, Transfers};
use futures::StreamExt as _;
use futures::channel::mpsc;
use rustix::fs::{Mode, OFlags};
use tonic::Request;

use super::{failure, origin, put};
use crate::channel::Channel;
use crate::transfer::{Memory, Receiver, packet};
use crate::wire::fsutil::types::Packet;
use crate::wire::fsutil::types::packet::PacketType;
use crate::wire::moby::filesync::v1::file_sync_client::FileSyncClient;

/// How many packets are taken at a time.
const BATCH: usize = 32;
/// The longest of them: senders cut content into pieces of 32 KiB.
const PACKET: usize = 2 << 20;

/// Makes the directory `into` what the selected files of the client's directory `name` are.
pub(super) async fn receive(
    channel: Channel,
    memory: &Memory,
    name: &str,
    selection: &FileSelection,
    into: &Path,
    told: Transfers<'_>,
) -> Result<(), SessionError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let refused = |error: &dyn std::fmt::Display| {
        SessionError::Failed(format!("open the directory for the files `{name}`: {error}"))
    };
    let receiver = offload::in_place(|| {
        let top = rustix::fs::open(into, flags, Mode::empty()).map_err(|error| refused(&error))?;
        Receiver::new(top, memory).map_err(|error| refused(&base::error::chain(&error)))
    })?;
    // Without a bound: a client that sends reads no requests until what it sends is read. The receiver bounds
    // how many there are.
    let (requests, outward) = mpsc::unbounded();
    let mut request = Request::new(outward);
    put(&mut request, "dir-name", [name])?;
    put(&mut request, "include-patterns", selection.include.iter().map(String::as_str))?;
    put(&mut request, "exclude-patterns", selection.exclude.iter().map(String::as_str))?;
    put(&mut request, "followpaths", selection.follow.iter().map(String::as_str))?;
    let mut client = FileSyncClient::with_origin(channel, origin()).max_decoding_message_size(PACKET);
    let packets = client.diff_copy(request).await.map_err(failure)?.into_inner();
    let received = take_all(receiver, packets, &requests, told).await;
    if let Err(SessionError::Failed(why)) = &received {
        let error = Packet { data: why.clone().into(), ..packet(PacketType::PacketErr) };
        // It may be gone.
        let _ = requests.unbounded_send(error);
    }
    received
}

async fn take_all(
    mut receiver: Receiver,
    packets: tonic::Streaming<Packet>,
    requests: &mpsc::UnboundedSender<Packet>,
    told: Transfers<'_>,
) -> Result<(), SessionError> {
    let gone = |_| SessionError::Failed("the client has closed the transfer".to_owned());
    let mut packets = packets.ready_chunks(BATCH);
    let mut complete = false;
    while let Some(batch) = packets.next().await {
        let taken = offload::in_place(|| {
            batch.into_iter().try_for_each(|packet| {
                let packet = packet.map_err(failure)?;
                let taken = receiver.take(packet);
                taken.map_err(|error| SessionError::Failed(base::error::chain(&error).to_string()))
            })
        });
        taken?;
        for id in receiver.requests() {
            let request = Packet { id, ..packet(PacketType::PacketReq) };
            requests.unbounded_send(request).map_err(gone)?;
        }
        if receiver.is_complete() && !complete {
            complete = true;
            requests.unbounded_send(packet(PacketType::PacketFin)).map_err(gone)?;
        }
        told(Transferred { bytes: receiver.received(), done: receiver.is_finished() });
        if receiver.is_finished() {
            requests.close_channel();
        }
    }
    match receiver.is_finished() {
        true => Ok(()),
        false => Err(SessionError::Failed("the client broke the transfer off".to_owned())),
    }
}
