use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::DuplexStream;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::stream::Upgrade;
use crate::stream::port_forward::{Connect, port_forward};

/// The client's side of a session.
struct Client {
    connection: DuplexStream,
    deflater: Deflater,
    next: u32,
}

impl Client {
    fn new() -> (Self, DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        (Self { connection: ours, deflater: Deflater::new(), next: 1 }, theirs)
    }

    /// Opens a stream and gives its number.
    async fn open(&mut self, headers: &[(&str, &str)]) -> u32 {
        let stream = self.next;
        self.next += 2;
        let headers = self.deflater.write(headers);
        self.send(Frame::SynStream { stream, fin: false, headers }).await;
        stream
    }

    /// Opens streams on which nothing is sent, while it reads until so many have been refused.
    async fn open_and_end(self, all: impl Iterator<Item = Vec<(&'static str, String)>>, refused: usize) {
        let Self { connection, mut deflater, mut next } = self;
        let (reader, mut writer) = tokio::io::split(connection);
        let writing = async {
            for headers in all {
                let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
                let frame = Frame::SynStream { stream: next, fin: true, headers: deflater.write(&headers) };
                writer.write_all(&frame.encode()).await.expect("write");
                next += 2;
            }
            writer
        };
        let is_refusal = |frame: &Frame| matches!(frame, Frame::Reset { status: REFUSED, .. });
        let _ = tokio::join!(writing, read_until(reader, refused, is_refusal));
    }

    async fn send(&mut self, frame: Frame) {
        self.connection.write_all(&frame.encode()).await.expect("write");
    }
}

/// Reads frames until `count` of them are as wanted.
async fn read_until(connection: impl AsyncRead + Unpin, count: usize, wanted: impl Fn(&Frame) -> bool) {
    let (mut connection, mut buffer, mut decoder) = (connection, BytesMut::new(), Decoder::default());
    let mut found = 0;
    while found < count {
        while let Some(frame) = decoder.next(&mut buffer).expect("well formed") {
            found += usize::from(wanted(&frame));
        }
        if found < count {
            assert_ne!(
                connection.read_buf(&mut buffer).await.expect("read"),
                0,
                "the session ended at {found}"
            );
        }
    }
}

fn serve(connection: DuplexStream, connect: Connect) -> tokio::task::JoinHandle<()> {
    tokio::spawn(port_forward(
        Upgrade::Spdy("portforward.k8s.io"),
        connection,
        Vec::new(),
        connect,
        CancellationToken::new(),
    ))
}

/// Connections that never end, and how many there are.
fn endless() -> (Connect, Arc<AtomicUsize>) {
    let open = Arc::new(AtomicUsize::new(0));
    let counted = open.clone();
    let connect: Connect = Arc::new(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        Box::pin(std::future::pending())
    });
    (connect, open)
}

fn headers(kind: &str, id: usize) -> Vec<(&'static str, String)> {
    vec![("streamtype", kind.to_owned()), ("port", "80".to_owned()), ("requestid", id.to_string())]
}

#[tokio::test]
async fn streams_whose_other_half_never_comes_are_so_many_and_no_more() {
    let (client, connection) = Client::new();
    let serving = serve(connection, endless().0);
    // What is said beside what is wanted is not kept, and a stream that has ended counts as well.
    let long = |id| {
        let mut headers = headers("error", id);
        headers.push(("other", "x".repeat(10_000)));
        headers
    };
    client.open_and_end((0..2000).map(long), 2000 - 256).await;
    serving.abort();
}

#[tokio::test]
async fn a_client_has_so_many_connections_to_a_pod_though_it_ends_its_streams() {
    let (client, connection) = Client::new();
    let (connect, open) = endless();
    let serving = serve(connection, connect);
    let both = |id| ["error", "data"].map(|kind| headers(kind, id));
    client.open_and_end((0..1200).flat_map(both), 2 * 200).await;
    assert_eq!(open.load(Ordering::Relaxed), 1000);
    serving.abort();
}

#[tokio::test(start_paused = true)]
async fn what_nobody_reads_is_bounded_over_all_streams_of_a_session() {
    let (mut client, connection) = Client::new();
    let serving = serve(connection, endless().0);
    let mut sent = 0;
    let sending = async {
        for index in 0..100 {
            let id = index.to_string();
            let headers = [("streamtype", "data"), ("port", "80"), ("requestid", id.as_str())];
            let stream = client.open(&headers).await;
            for _ in 0..32 {
                let bytes = Bytes::from(vec![7; PIECE]);
                client.send(Frame::Data { stream, fin: false, bytes }).await;
                sent += PIECE;
            }
        }
    };
    // The clock goes on only when nothing else does.
    assert!(tokio::time::timeout(Duration::from_secs(60), sending).await.is_err(), "it is held up");
    assert!((UNREAD / 2..UNREAD + (1 << 20)).contains(&sent), "{sent}");
    serving.abort();
}

#[tokio::test(start_paused = true)]
async fn what_is_no_terminals_size_ends_the_session() {
    for (text, ends) in [("{\"Width\":80,\"Height\":24}".repeat(200), false), ("x".repeat(2000), true)] {
        let (mut client, connection) = Client::new();
        let wanted = Wanted { stdin: false, stdout: true, stderr: false, tty: true };
        let (_stdout, receiver) = mpsc::channel(1);
        let (resize, mut sizes) = mpsc::channel(1);
        let ends_of_it = Ends { stdin: None, stdout: Some(receiver), stderr: None, resize: Some(resize) };
        let command = Box::pin(std::future::pending());
        let serving = tokio::spawn(remote_command(connection, wanted, ends_of_it, command));
        let reading = tokio::spawn(async move { while sizes.recv().await.is_some() {} });
        for kind in ["error", "stdout"] {
            client.open(&[("streamtype", kind)]).await;
        }
        let stream = client.open(&[("streamtype", "resize")]).await;
        client.send(Frame::Data { stream, fin: false, bytes: text.into() }).await;
        let ended = tokio::time::timeout(Duration::from_secs(600), serving).await.is_ok();
        assert_eq!(ended, ends);
        reading.abort();
    }
}

#[tokio::test]
async fn a_stream_that_the_client_lets_go_of_ends_its_connection_though_it_was_done_sending() {
    let (mut client, connection) = Client::new();
    let (ours, theirs) = tokio::io::duplex(1 << 10);
    let (pod, theirs) = (ours, std::sync::Mutex::new(Some(theirs)));
    let connect: Connect = Arc::new(move |_| {
        let theirs = theirs.lock().expect("no holder panics").take().expect("there is one connection");
        Box::pin(std::future::ready(Ok(Box::new(theirs) as Box<dyn crate::node::Duplex>)))
    });
    let serving = serve(connection, connect);
    let id = [("streamtype", "error"), ("port", "80"), ("requestid", "0")];
    client.open(&id).await;
    let data = client.open(&[("streamtype", "data"), id[1], id[2]]).await;
    client.send(Frame::Data { stream: data, fin: true, bytes: Bytes::from_static(b"all") }).await;
    let (mut reader, mut writer) = tokio::io::split(pod);
    let mut found = Vec::new();
    reader.read_to_end(&mut found).await.expect("the client's end is passed on");
    assert_eq!(found, b"all");
    writer.write_all(b"more").await.expect("the pod goes on");
    client.send(Frame::Reset { stream: data, status: 5 }).await;
    let ends = async { while writer.write_all(b"more").await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(30), ends).await.expect("nobody is there any more");
    serving.abort();
}
