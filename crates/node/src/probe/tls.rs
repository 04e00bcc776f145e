//! TLS for probes: encrypted, and not verified.
//!
//! A probe asks a container for its health at an address, by which no certificate is issued; the
//! kubelet does not verify either. Nothing secret is sent.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Speaks TLS over `stream` with whatever certificate the other side has.
pub(super) async fn connect(
    stream: TcpStream,
    host: std::net::IpAddr,
) -> std::io::Result<TlsStream<TcpStream>> {
    let config = tls::client_of_anyone();
    TlsConnector::from(Arc::new(config)).connect(ServerName::from(host), stream).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::PrivateKeyDer;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    /// A server that answers one connection with a certificate of its own making.
    async fn server() -> std::net::SocketAddr {
        let made =
            rcgen::generate_simple_self_signed(["elsewhere.example".to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let config = tls::server()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("a configuration");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("a connection");
            let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
            let mut stream = acceptor.accept(stream).await.expect("a handshake");
            stream.write_all(b"healthy").await.expect("an answer");
            stream.shutdown().await.expect("an end");
        });
        address
    }

    #[tokio::test]
    async fn a_server_is_asked_whoever_signed_its_certificate_and_for_whatever_name() {
        let address = server().await;
        let stream = TcpStream::connect(address).await.expect("a connection");
        let mut stream = connect(stream, address.ip()).await.expect("a handshake");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        assert_eq!(answer, "healthy");
    }

    #[tokio::test]
    async fn a_server_that_speaks_no_tls_fails_the_probe() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n").await.expect("an answer");
        });
        let stream = TcpStream::connect(address).await.expect("a connection");
        assert!(connect(stream, address.ip()).await.is_err());
    }
}
