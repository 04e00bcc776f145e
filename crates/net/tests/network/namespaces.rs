//! Namespaces that are pinned.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use net::{EndpointSpec, NetworkSpec};

use crate::host::*;

/// Whoever may write rules in a namespace may make a way without end of a few: ten to the eighth here.
#[test]
fn rules_inside_of_a_sandbox_hold_up_nobody() {
    on_host(|host| async move {
        let network = host.open().await;
        let spec = NetworkSpec { name: "shop".into(), ..NetworkSpec::default() };
        let shop = network.network_create(spec).await.expect("create");
        let netns = network.netns_take().await.expect("take");
        inside(&netns, || {
            let mut rules = "add table ip t\n".to_owned();
            (0..=8).for_each(|level| rules += &format!("add chain ip t level-{level}\n"));
            for level in 0..8 {
                rules += &format!("add rule ip t level-{level} jump level-{}\n", level + 1).repeat(10);
            }
            rules += "add chain ip t start { type filter hook forward priority 0; }\n";
            rules += "add rule ip t start jump level-0\n";
            nft(&rules);
        });
        let spec = EndpointSpec { owner: "one".into(), ..EndpointSpec::default() };
        let attached = network.endpoint_attach(netns.as_fd(), &shop.id, spec);
        let attached = tokio::time::timeout(Duration::from_secs(60), attached).await;
        attached.expect("without counting the ways").expect("attach");
        network.close().await;
    });
}

fn inode(namespace: &OwnedFd) -> u64 {
    rustix::fs::fstat(namespace).expect("look at it").st_ino
}

#[test]
fn a_pinned_namespace_needs_no_process_and_goes_when_it_is_given_up() {
    on_host(|host| async move {
        let network = host.open().await;
        let pods = network.network_pods().id;
        let taken = network.netns_take_pinned("one").await.expect("take");
        let spec = EndpointSpec { owner: "one".into(), ..EndpointSpec::default() };
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
