//! Containers that share parts of others.

use docker_tests::{Daemon, IMAGE};

#[test]
fn a_shareable_container_s_memory_is_shared_and_another_s_is_not() {
    let daemon = Daemon::start();
    daemon.ok(&["run", "-d", "--name", "donor", "--ipc", "shareable", IMAGE, "sleep", "1000"]);
    daemon.ok(&["exec", "donor", "sh", "-c", "echo shared > /dev/shm/file"]);
    assert_eq!(
        daemon.ok(&["run", "--rm", "--ipc", "container:donor", IMAGE, "cat", "/dev/shm/file"]),
        "shared"
    );
    assert_eq!(daemon.inspect("donor", "{{.HostConfig.IpcMode}}"), "shareable");
    daemon.ok(&["run", "-d", "--name", "private", IMAGE, "sleep", "1000"]);
    daemon.fails(
        &["run", "--rm", "--ipc", "container:private", IMAGE, "true"],
        "non-shareable IPC (hint: use IpcMode:shareable for the donor container)",
    );
}

#[test]
fn what_is_shared_with_nobody_is_the_request_s_fault() {
    let daemon = Daemon::start();
    for option in ["--network=container:nobody", "--volumes-from=nobody", "--pid=container:nobody"] {
        let ran = daemon.docker(&["run", "--rm", option, IMAGE, "true"]);
        assert_eq!(ran.code, 125, "{option}: {ran:?}");
        assert!(ran.stderr.contains("No such container: nobody"), "{option}: {ran:?}");
        assert!(!ran.stderr.contains("Unable to find image"), "{option}: {ran:?}");
    }
    daemon.ok(&["run", "-d", "--name", "web", IMAGE, "sleep", "1000"]);
    daemon.fails(
        &["run", "--rm", "--network", "container:web", "-p", "80:80", IMAGE, "true"],
        "conflicting options: port publishing and the container type network mode",
    );
}
