//! Namespaces that are pinned.

use std::os::fd::{AsFd, OwnedFd};

use net::EndpointSpec;

use crate::host::*;

fn inode(namespace: &OwnedFd) -> u64 {
    rustix::fs::fstat(namespace).expect("look at it").st_ino
}

#[test]
fn a_pinned_namespace_needs_no_process_and_goes_when_it_is_given_up() {
    on_host(|host| async move {
        let network = host.open().await;
        let pods = network.network_pods().id;
        let taken = network.netns_take_pinned("one").await.expect("take");
        let spec = EndpointSpec { owner: "one".into(), default_route: true, ..EndpointSpec::default() };
        let endpoint = network.endpoint_attach(taken.as_fd(), &pods, spec).await.expect("attach");
        let number = inode(&taken);
        // Nobody is in it, and nobody has it open.
        drop(taken);
        network.close().await;
        drop(network);
        let network = host.open().await;
        let again = network.netns_pinned("one").expect("it is there still");
        assert_eq!(inode(&again), number);
        let inside = inside(&again, || command("ip -4 -o addr show eth0"));
        assert!(inside.contains(&endpoint.ip().to_string()), "{inside}");
        drop(again);
        // Pinned once more, it is the other that is there.
        let other = network.netns_take().await.expect("take");
        network.netns_pin("two", other.as_fd()).await.expect("pin");
        let third = network.netns_take().await.expect("take");
        network.netns_pin("two", third.as_fd()).await.expect("pin another");
        assert_eq!(inode(&network.netns_pinned("two").expect("pinned")), inode(&third));
        let mut owners = network.netns_owners().await.expect("list");
        owners.sort();
        assert_eq!(owners, ["one", "two"]);
        network.netns_give_up("one").await.expect("give up");
        network.netns_give_up("one").await.expect("once more");
        assert!(network.netns_pinned("one").is_none());
        testkit::wait_until("the link to go with its namespace", || {
            let links = command("ip -o link");
            if links.contains(&endpoint.host_interface) { Err(links) } else { Ok(()) }
        });
        network.teardown().await.expect("teardown");
        assert!(!std::fs::read_to_string("/proc/self/mounts").expect("mounts").contains("netns/two"));
    });
}
