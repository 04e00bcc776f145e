//! A directory, sent to a client.

use std::path::Path;

use build::solve::{SessionError, Transferred, Transfers};
use futures::channel::mpsc;
use futures::{SinkExt as _, StreamExt as _};
use http::uri::PathAndQuery;
use rustix::fs::{Mode, OFlags};
use tonic::Request;
use tonic::client::Grpc;
use tonic_prost::ProstCodec;

use super::{SEND, WAITING, failure, origin, put};
use crate::channel::{Channel, LONGEST};
use crate::transfer::{Sender, packet, weight};
use crate::wire::fsutil::types::Packet;
use crate::wire::fsutil::types::packet::PacketType;

/// Sends what is in `directory` to where the client wants what its exporter `exporter` makes.
pub(super) async fn send(
    channel: Channel,
    exporter: &str,
    directory: &Path,
    told: Transfers<'_>,
) -> Result<(), SessionError> {
    let failed = |error: &dyn std::fmt::Display| SessionError::Failed(format!("send the files: {error}"));
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let sender = offload::in_place(|| Sender::new(rustix::fs::open(directory, flags, Mode::empty())?));
    let mut sender = sender.map_err(|error| failed(&error))?;
    let (mut outward, packets) = mpsc::channel::<Packet>(WAITING);
    let mut request = Request::new(packets);
    put(&mut request, "buildkit-attachable-exporter-id", [exporter])?;
    // The same method takes files and directories, with messages of different types.
    let mut client = Grpc::with_origin(channel, origin()).max_decoding_message_size(LONGEST);
    client.ready().await.map_err(|error| failed(&error))?;
    let codec = ProstCodec::<Packet, Packet>::default();
    let call = client.streaming(request, PathAndQuery::from_static(SEND), codec);
    let mut sent = 0;
    let conversation = async {
        let mut answers: Option<tonic::Streaming<Packet>> = None;
        let mut call = std::pin::pin!(call);
        let mut quiet = false;
        while !sender.is_done() {
            if !quiet {
                let next = offload::in_place(|| sender.next());
                let next =
                    next.map_err(|error| SessionError::Failed(base::error::chain(&error).to_string()))?;
                quiet = next.is_none();
                if let Some(next) = next {
                    sent += weight(&next);
                    told(Transferred { bytes: sent, done: false });
                    let mut sending = std::pin::pin!(outward.send(next));
                    // Who receives may wait for its requests to be read before it reads on.
                    loop {
                        tokio::select! {
                            went = &mut sending => {
                                went.map_err(|_| failed(&"the client has closed the transfer"))?;
                                break;
                            }
                            heard = hear(&mut call, &mut answers) => take(&mut sender, heard?)?,
                        }
                    }
                }
                // What is there already.
                continue;
            }
            let heard = hear(&mut call, &mut answers).await?;
            take(&mut sender, heard)?;
            quiet = false;
        }
        let mut outward = outward;
        // The client may have gone, having all.
        let _ = outward.send(packet(PacketType::PacketFin)).await;
        drop(outward);
        let Some(mut answers) = answers else { return Ok(()) };
        while let Some(rest) = answers.next().await {
            rest.map_err(failure)?;
        }
        Ok(())
    };
    conversation.await?;
    told(Transferred { bytes: sent, done: true });
    Ok(())
}

/// What the client says next.
async fn hear<F>(
    call: &mut std::pin::Pin<&mut F>,
    answers: &mut Option<tonic::Streaming<Packet>>,
) -> Result<Packet, SessionError>
where
    F: Future<Output = Result<tonic::Response<tonic::Streaming<Packet>>, tonic::Status>>,
{
    if answers.is_none() {
        *answers = Some(call.as_mut().await.map_err(failure)?.into_inner());
    }
    let broken = || SessionError::Failed("the client broke the transfer off".to_owned());
    match answers {
        Some(answers) => answers.next().await.ok_or_else(broken)?.map_err(failure),
        None => Err(broken()),
    }
}

fn take(sender: &mut Sender, packet: Packet) -> Result<(), SessionError> {
    sender.take(packet).map_err(|error| SessionError::Failed(base::error::chain(&error).to_string()))
}
