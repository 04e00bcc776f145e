//! Certificates that age while the server runs.

use std::sync::Arc;
use std::time::Duration;

use base::Clock;
use base::clock::ManualClock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::access::{Connection, connect};
use crate::cluster::Cluster;
use crate::kubectl::check;

const DAY: Duration = Duration::from_secs(86400);

/// The certificate that the server shows on a connection.
fn shown(stream: &Connection) -> Vec<u8> {
    let certificates = stream.get_ref().1.peer_certificates().expect("the server shows one");
    certificates[0].to_vec()
}

/// Asks for health on a connection that goes on.
async fn is_well(stream: &mut Connection) -> bool {
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("write");
    let mut answer = [0; 4096];
    let count = stream.read(&mut answer).await.expect("an answer");
    answer[..count].starts_with(b"HTTP/1.1 200")
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_renewed_in_place_while_the_server_runs() {
    // What is made now is still good today, and so is what is made later.
    let start = base::SystemClock::new().now().checked_sub(300 * DAY).expect("a time");
    let clock = Arc::new(ManualClock::new(start));
    let own = clock.clone();
    let cluster = Cluster::configured(move |config| {
        config.clock = own.clone();
        config.upkeep = Duration::from_millis(20);
    })
    .await;
    let mut before = connect(&cluster, None, "http/1.1").await;
    let old = shown(&before);
    assert!(is_well(&mut before).await);
    let read = || std::fs::read_to_string(&cluster.kubeconfig).expect("a kubeconfig");
    let kubeconfig = read();
    clock.advance(200 * DAY);
    assert_eq!(shown(&connect(&cluster, None, "http/1.1").await), old, "there is a third left");
    clock.advance(100 * DAY);
    testkit::wait_until_async("another certificate to be shown", || async {
        let now = shown(&connect(&cluster, None, "http/1.1").await);
        if now == old { Err("the old one") } else { Ok(()) }
    })
    .await;
    testkit::wait_until("the administrator's to be written", || {
        if read() == kubeconfig { Err("the old one") } else { Ok(()) }
    });
    // Whoever was connected notices nothing.
    assert!(is_well(&mut before).await);
    check(&cluster, "get namespaces -o name", "", "namespace/default").await;
}
