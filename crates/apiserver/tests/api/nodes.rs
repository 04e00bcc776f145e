//! A node of another kind: it runs no containers, but answers streams in ways that a test can tell.

use apiserver::Error;
use apiserver::node::{
    Answering, Duplex, LogOptions, NodeAnswer, NodeRequest, NodeTransport, PodTarget, StreamOptions, Streams,
};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Tells the log options as a log, but of a pod named `panics` it panics, and of one named `breaks` in
/// the middle of it; runs `cat`, `fail CODE` and `size`; echoes what is sent to a port, but nobody listens on
/// port 1, and port 2 says something and closes.
pub struct Echo;

impl NodeTransport for Echo {
    fn logs(
        &self,
        pod: PodTarget,
        options: LogOptions,
    ) -> BoxFuture<'static, Result<BoxStream<'static, Bytes>, Error>> {
        assert!(pod.name != "panics", "a fault of the node");
        let line =
            format!("{}/{} {} follow={}\n", pod.namespace, pod.name, options.container, options.follow);
        if pod.name == "breaks" {
            let pieces = futures::stream::iter([true, false]).then(move |good| {
                let line = line.clone();
                async move {
                    // What is there already is sent while this waits.
                    tokio::task::yield_now().await;
                    assert!(good, "a fault in the middle");
                    Bytes::from(line)
                }
            });
            return async move { Ok(pieces.boxed()) }.boxed();
        }
        async move { Ok(futures::stream::iter([Bytes::from(line)]).boxed()) }.boxed()
    }

    fn exec(
        &self,
        _: PodTarget,
        options: StreamOptions,
        streams: Streams,
    ) -> BoxFuture<'static, Result<i32, Error>> {
        run(options.command, streams).boxed()
    }

    fn attach(
        &self,
        _: PodTarget,
        _: StreamOptions,
        streams: Streams,
    ) -> BoxFuture<'static, Result<i32, Error>> {
        run(vec!["cat".to_owned()], streams).boxed()
    }

    fn ask(&self, node: String, request: NodeRequest) -> BoxFuture<'static, Result<Answering, Error>> {
        async move {
            if request.path == "/silence" {
                return std::future::pending().await;
            }
            let answering = async move {
                if request.path == "/slow" {
                    tokio::time::sleep(std::time::Duration::from_secs(100)).await;
                }
                let query = request.query.unwrap_or_default();
                let said = format!("{node} {} {} {query}", request.method, request.path);
                let mut answer = NodeAnswer::new(futures::stream::iter([Bytes::from(said)]).boxed());
                *answer.status_mut() = http::StatusCode::IM_A_TEAPOT;
                Ok(answer)
            };
            Ok(answering.boxed())
        }
        .boxed()
    }

    fn port_forward(&self, _: PodTarget, port: u16) -> BoxFuture<'static, Result<Box<dyn Duplex>, Error>> {
        async move {
            if port == 1 {
                return Err(Error::bad_request("nobody listens on port 1"));
            }
            let (theirs, mut connection) = tokio::io::duplex(64 << 10);
            tokio::spawn(async move {
                if port == 2 {
                    // It says something, and is done: it does not wait for the other side.
                    connection.write_all(b"that is all\n").await.expect("write");
                    return;
                }
                let mut buffer = vec![0; 64 << 10];
                loop {
                    match connection.read(&mut buffer).await {
                        Ok(0) | Err(_) => break,
                        Ok(n) if connection.write_all(&buffer[..n]).await.is_err() => break,
                        Ok(_) => {}
                    }
                }
                let _ = connection.shutdown().await;
            });
            Ok(Box::new(theirs) as Box<dyn Duplex>)
        }
        .boxed()
    }

    fn dial(
        &self,
        _: String,
        address: std::net::SocketAddr,
    ) -> BoxFuture<'static, std::io::Result<Box<dyn Duplex>>> {
        // Whatever the pod's address, what runs in it runs here.
        let here = std::net::SocketAddr::from(([127, 0, 0, 1], address.port()));
        async move { Ok(Box::new(tokio::net::TcpStream::connect(here).await?) as Box<dyn Duplex>) }.boxed()
    }
}

async fn run(command: Vec<String>, mut streams: Streams) -> Result<i32, Error> {
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["cat"] => {
            let (Some(stdin), Some(stdout)) = (&mut streams.stdin, &streams.stdout) else { return Ok(2) };
            while let Some(bytes) = stdin.recv().await {
                if stdout.send(bytes).await.is_err() {
                    break;
                }
            }
            Ok(0)
        }
        ["size"] => {
            let (Some(resize), Some(stdout)) = (&mut streams.resize, &streams.stdout) else { return Ok(2) };
            if let Some(size) = resize.recv().await {
                let text = format!("{}x{}\n", size.width, size.height);
                let _ = stdout.send(text.into()).await;
            }
            Ok(0)
        }
        ["fail", code] => {
            if let Some(stderr) = &streams.stderr {
                let _ = stderr.send(Bytes::from_static(b"failing\n")).await;
            }
            Ok(code.parse().unwrap_or(1))
        }
        other => {
            if let Some(stdout) = &streams.stdout {
                let _ = stdout.send(format!("{}\n", other.join(" ")).into()).await;
            }
            Ok(0)
        }
    }
}
