//! Networks, and what containers know of each other in them.

use docker_tests::{Daemon, IMAGE};

/// Starts a container that does nothing for a while.
fn sleeper(daemon: &Daemon, name: &str, arguments: &[&str]) {
    let words: Vec<&str> = ["run", "-d", "--name", name]
        .into_iter()
        .chain(arguments.iter().copied())
        .chain([IMAGE, "sleep", "1000"])
        .collect();
    daemon.ok(&words);
}

const IN_BRIDGE: &str = "{{.NetworkSettings.Networks.bridge.IPAddress}}";

#[test]
fn a_link_on_the_default_bridge_is_names_variables_and_a_name_of_the_other() {
    let mut daemon = Daemon::start();
    let of_db = ["-e", "PASS=a=b", "--hostname", "fred", "--expose", "5432-5433", "--expose", "53/udp"];
    sleeper(&daemon, "db", &of_db);
    sleeper(&daemon, "web", &["--link", "db:postgres-1", "--link", "/db"]);
    let address = daemon.inspect("db", IN_BRIDGE);
    let hosts = || daemon.ok(&["exec", "web", "cat", "/etc/hosts"]);
    assert!(hosts().contains(&format!("{address}\tpostgres-1 fred db\n")), "{}", hosts());
    assert!(hosts().contains(&format!("{address}\tdb fred")), "{}", hosts());
    for name in ["postgres-1", "fred", "db"] {
        daemon.ok(&["exec", "web", "ping", "-c", "1", "-W", "5", name]);
    }
    let env = daemon.ok(&["exec", "web", "cat", "/proc/1/environ"]).replace('\0', "\n");
    for line in [
        format!("POSTGRES_1_PORT=tcp://{address}:5432"),
        format!("POSTGRES_1_PORT_5432_TCP=tcp://{address}:5432"),
        format!("POSTGRES_1_PORT_5432_TCP_ADDR={address}"),
        "POSTGRES_1_PORT_5433_TCP_PORT=5433".to_owned(),
        format!("POSTGRES_1_PORT_5432_TCP_START=tcp://{address}:5432"),
        "POSTGRES_1_PORT_5432_TCP_PORT_END=5433".to_owned(),
        "POSTGRES_1_PORT_53_UDP_PROTO=udp".to_owned(),
        "POSTGRES_1_NAME=/web/postgres-1".to_owned(),
        "POSTGRES_1_ENV_PASS=a=b".to_owned(),
    ] {
        assert!(env.lines().any(|have| have == line), "{line} is missing:\n{env}");
    }
    assert!(!env.contains("POSTGRES_1_ENV_PATH"), "{env}");
    let further = daemon.ok(&["exec", "web", "env"]);
    assert!(further.contains("POSTGRES_1_NAME=/web/postgres-1"), "{further}");
    // The others' names are told.
    let links = || daemon.inspect("web", "{{json .HostConfig.Links}}");
    assert_eq!(links(), r#"["/db:/web/postgres-1","/db:/web/db"]"#);
    let names = || daemon.ok(&["ps", "--no-trunc", "--format", "{{.Names}}", "--filter", "name=^/db$"]);
    let mut called: Vec<String> = names().split(',').map(str::to_owned).collect();
    called.sort();
    assert_eq!(called, ["db", "web/db", "web/postgres-1"]);
    assert_eq!(daemon.inspect("web/postgres-1", "{{.Name}}"), "/db");
    // They follow whoever is linked to, and both names.
    sleeper(&daemon, "taken", &[]);
    let edit = "echo '198.51.100.9 mine' >> /etc/hosts; echo '# mine' > /etc/resolv.conf";
    daemon.ok(&["exec", "web", "sh", "-c", edit]);
    daemon.ok(&["stop", "--time", "0", "db"]);
    sleeper(&daemon, "taken-too", &[]);
    daemon.ok(&["start", "db"]);
    let address = daemon.inspect("db", IN_BRIDGE);
    assert!(hosts().contains(&format!("{address}\tpostgres-1 fred db\n")), "{}", hosts());
    daemon.ok(&["rename", "web", "front"]);
    daemon.ok(&["rename", "db", "back"]);
    assert_eq!(
        daemon.inspect("front", "{{json .HostConfig.Links}}"),
        r#"["/back:/front/postgres-1","/back:/front/db"]"#
    );
    // A link is removed, the containers stay.
    daemon.ok(&["rm", "--link", "front/db"]);
    assert_eq!(daemon.inspect("front", "{{json .HostConfig.Links}}"), r#"["/back:/front/postgres-1"]"#);
    daemon.ok(&["rm", "--link", "/front/postgres-1"]);
    assert_eq!(daemon.inspect("front", "{{json .HostConfig.Links}}"), "null");
    assert!(!daemon.ok(&["exec", "front", "cat", "/etc/hosts"]).contains("postgres-1"));
    // What somebody inside has written stays meanwhile, whatever else there is to tell and whoever tells it.
    daemon.stop();
    daemon.launch();
    daemon.ok(&["network", "create", "more"]);
    daemon.ok(&["network", "connect", "more", "front"]);
    let seen = daemon.ok(&["exec", "front", "cat", "/etc/hosts", "/etc/resolv.conf"]);
    assert!(seen.contains("198.51.100.9 mine\n") && seen.ends_with("# mine"), "{seen}");
    let own = "{{.NetworkSettings.Networks.more.IPAddress}}";
    assert!(seen.contains(&daemon.inspect("front", own)), "{seen}");
    daemon.fails(&["rm", "--link", "front/postgres-1"], "No such container");
    daemon
        .fails(&["rm", "--link", "front"], "Conflict, cannot remove the default link name of the container");
    assert_eq!(daemon.ok(&["inspect", "--format", "{{.State.Running}}", "front", "back"]), "true\ntrue");
}

#[test]
fn the_host_has_an_address_that_leads_to_it_if_any_of_a_container_s_networks_does() {
    let daemon = Daemon::start();
    daemon.ok(&["network", "create", "--internal", "back"]);
    daemon.ok(&["network", "create", "front"]);
    let gateway = |network: &str| {
        daemon.ok(&["network", "inspect", "--format", "{{(index .IPAM.Config 0).Gateway}}", network])
    };
    let host_of = |networks: &[&str]| {
        let words = ["create", "--name", "box", "--add-host", "host:host-gateway", "--network", networks[0]];
        daemon.ok(&[&words[..], &[IMAGE, "sleep", "1000"]].concat());
        for network in &networks[1..] {
            daemon.ok(&["network", "connect", network, "box"]);
        }
        daemon.ok(&["start", "box"]);
        let hosts = daemon.ok(&["exec", "box", "cat", "/etc/hosts"]);
        daemon.ok(&["rm", "--force", "box"]);
        let line = hosts.lines().find(|line| line.ends_with("\thost")).expect("a line of the host");
        line.split('\t').next().unwrap_or_default().to_owned()
    };
    assert_eq!(host_of(&["front", "back"]), gateway("front"));
    assert_eq!(host_of(&["back", "front"]), gateway("front"));
    // Not the container itself.
    assert_eq!(host_of(&["back"]), gateway("bridge"));
    assert_eq!(host_of(&["host"]), "127.0.0.1");
}

#[test]
fn a_link_to_what_is_not_there_is_refused() {
    let daemon = Daemon::start();
    daemon.fails(
        &["run", "--link", "bogus:alias", IMAGE, "true"],
        "could not get container for bogus: No such container: bogus",
    );
    sleeper(&daemon, "host-one", &["--network", "host"]);
    daemon.fails(
        &["run", "--link", "host-one:alias", IMAGE, "true"],
        "host type networking can't be used with links",
    );
    daemon.ok(&["create", "--name", "asleep", IMAGE, "true"]);
    daemon.ok(&["create", "--name", "late", "--link", "asleep:other", IMAGE, "true"]);
    daemon.fails(&["start", "late"], "Cannot link to a non running container: /asleep AS /late/other");
    daemon.ok(&["network", "create", "own"]);
    sleeper(&daemon, "elsewhere", &["--network", "own"]);
    daemon.fails(
        &["run", "--link", "elsewhere:alias", IMAGE, "true"],
        "Cannot link to /elsewhere, as it does not belong to the default network",
    );
    // One that has the network of another is that other.
    sleeper(&daemon, "db", &[]);
    sleeper(&daemon, "beside", &["--network", "container:db"]);
    let found = daemon.ok(&["run", "--rm", "--link", "beside:other", IMAGE, "grep", "other", "/etc/hosts"]);
    assert!(found.starts_with(&daemon.inspect("db", IN_BRIDGE)), "{found}");
}

#[test]
fn those_that_a_policy_starts_again_find_what_they_are_linked_to() {
    let mut daemon = Daemon::start();
    sleeper(&daemon, "db", &["--restart", "always"]);
    sleeper(&daemon, "web", &["--restart", "always", "--link", "db:postgres"]);
    // Both end while nobody looks, and are started again by the next daemon.
    let pids = ["db", "web"].map(|name| daemon.inspect(name, "{{.State.Pid}}"));
    daemon.kill();
    for pid in &pids {
        let pid = pid.parse().ok().and_then(rustix::process::Pid::from_raw).expect("a process");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("kill");
    }
    daemon.launch();
    testkit::wait_until("both to run again, linked", || {
        let running = daemon.docker(&["inspect", "--format", "{{.State.Running}}", "db", "web"]);
        let hosts = daemon.docker(&["exec", "web", "cat", "/etc/hosts"]);
        let address = daemon.inspect("db", IN_BRIDGE);
        let is_linked = !address.is_empty() && hosts.stdout.contains(&format!("{address}\tpostgres"));
        if running.stdout == "true\ntrue\n" && is_linked { Ok(()) } else { Err((running, hosts)) }
    });
}

#[test]
fn what_has_the_network_of_the_host_or_none_is_in_a_network_that_says_so() {
    let daemon = Daemon::start();
    for mode in ["host", "none"] {
        let name = format!("{mode}-one");
        sleeper(&daemon, &name, &["--network", mode, "--expose", "99"]);
        let ports = ["ps", "--all", "--filter", &format!("name={name}"), "--format", "{{.Ports}}"];
        assert_eq!(daemon.ok(&ports), "", "it has none of its own");
        assert_eq!(daemon.inspect(&name, "{{json .NetworkSettings.Ports}}"), "{}");
        let network = daemon.ok(&["network", "inspect", "--format", "{{.Id}}", mode]);
        let settings = |what: &str| {
            daemon.inspect(&name, &format!("{{{{range $name, $at := .NetworkSettings.Networks}}}}{{{{$name}}}} {{{{$at.{what}}}}}{{{{end}}}}"))
        };
        assert_eq!(settings("NetworkID"), format!("{mode} {network}"));
        let endpoint = settings("EndpointID").split_off(mode.len() + 1);
        assert_eq!(endpoint.len(), 64, "{endpoint}");
        let members = || {
            let each = "{{range .Containers}}{{.Name}} {{.EndpointID}}{{end}}";
            daemon.ok(&["network", "inspect", "--format", each, mode])
        };
        assert_eq!(members(), format!("{name} {endpoint}"));
        let listed = |filter: &str| {
            daemon.ok(&[
                "ps",
                "--filter",
                &format!("network={filter}"),
                "--format",
                "{{.Names}} {{.Networks}}",
            ])
        };
        assert_eq!(listed(mode), format!("{name} {mode}"));
        assert_eq!(listed(&network), format!("{name} {mode}"));
        daemon.ok(&["stop", "--time", "0", &name]);
        assert_eq!(members(), "");
        assert_eq!(settings("EndpointID"), mode);
        daemon.ok(&["start", &name]);
        assert_ne!(settings("EndpointID").split_off(mode.len() + 1), endpoint, "another life");
    }
    daemon.ok(&["network", "create", "own"]);
    sleeper(&daemon, "plain", &["--expose", "99"]);
    let ports = || daemon.ok(&["ps", "--all", "--filter", "name=plain", "--format", "{{.Ports}}"]);
    assert_eq!(ports(), "99/tcp");
    daemon.ok(&["stop", "--time", "0", "plain"]);
    assert_eq!(ports(), "", "it has them while it runs");
    daemon.ok(&["start", "plain"]);
    daemon.fails(
        &["network", "connect", "host", "plain"],
        "cannot connect container to host network - container must be created in host network mode",
    );
    daemon.fails(
        &["network", "disconnect", "host", "host-one"],
        "cannot disconnect container from host network - container was created in host network mode",
    );
    daemon.fails(
        &["network", "connect", "own", "host-one"],
        "container sharing network namespace with another container or host cannot be connected to any other network",
    );
    daemon.fails(
        &["network", "connect", "own", "none-one"],
        "container cannot be connected to multiple networks with one of the networks in private (none) mode",
    );
    daemon.fails(
        &["network", "connect", "none", "plain"],
        "container cannot be connected to multiple networks with one of the networks in private (none) mode",
    );
    // Out of the one that is none a container joins others, and back, whether it runs or not.
    let networks =
        || daemon.inspect("none-one", "{{range $name, $at := .NetworkSettings.Networks}}{{$name}} {{end}}");
    daemon.fails(&["network", "connect", "none", "none-one"], "already exists in network none");
    daemon.ok(&["network", "disconnect", "none", "none-one"]);
    assert_eq!(networks(), "");
    daemon.fails(&["network", "disconnect", "none", "none-one"], "is not connected to");
    daemon.ok(&["network", "connect", "own", "none-one"]);
    assert_eq!(networks(), "own");
    daemon.ok(&["run", "--rm", "--network", "own", IMAGE, "ping", "-c", "1", "-W", "5", "none-one"]);
    daemon.ok(&["restart", "--time", "0", "none-one"]);
    daemon.ok(&["run", "--rm", "--network", "own", IMAGE, "ping", "-c", "1", "-W", "5", "none-one"]);
    daemon.ok(&["network", "disconnect", "own", "none-one"]);
    daemon.ok(&["stop", "--time", "0", "none-one"]);
    daemon.ok(&["network", "connect", "none", "none-one"]);
    assert_eq!(networks(), "none");
    daemon.ok(&["start", "none-one"]);
    assert_eq!(daemon.ok(&["exec", "none-one", "ls", "/sys/class/net"]), "lo");
}

#[test]
fn a_network_is_one_however_it_is_named_and_an_id_goes_before_a_name() {
    let daemon = Daemon::start();
    let id = daemon.ok(&["network", "create", "own"]);
    let networks = "{{range $name, $at := .NetworkSettings.Networks}}{{$name}} {{end}}";
    for named in [&id, &id[..12], "own"] {
        for action in ["create", "run"] {
            let name = format!("by-{}-{action}", named.len());
            let mut words = vec![action, "--name", &name, "--network", named, "--network-alias", "here"];
            if action == "run" {
                words.push("-d");
            }
            words.extend([IMAGE, "sleep", "1000"]);
            daemon.ok(&words);
            assert_eq!(daemon.inspect(&name, networks).trim(), "own", "{name}");
            assert_eq!(daemon.inspect(&name, "{{.NetworkSettings.Networks.own.Aliases}}"), "[here]");
        }
    }
    daemon.fails(&["network", "connect", &id, "by-3-run"], "already exists in network own");
    // One whose name is the id of another.
    let other = daemon.ok(&["network", "create", &id]);
    assert_ne!(other, id);
    let inspect = |named: &str| daemon.ok(&["network", "inspect", "--format", "{{.Name}}", named]);
    assert_eq!(inspect(&id), "own");
    daemon.ok(&["network", "rm", &other]);
    // And one called as the beginning of an id: a name goes before that.
    let other = daemon.ok(&["network", "create", &id[..12]]);
    assert_eq!(daemon.ok(&["network", "inspect", "--format", "{{.Id}}", &id[..12]]), other);
}

#[test]
fn the_pods_network_is_not_told_nor_in_anybodys_way() {
    let daemon = Daemon::start();
    let names = || daemon.ok(&["network", "ls", "--format", "{{.Name}}"]);
    assert_eq!(names(), "bridge\nhost\nnone");
    daemon.fails(&["network", "inspect", "pods"], "network pods not found");
    daemon.ok(&["network", "create", "pods"]);
    assert_eq!(names(), "bridge\nhost\nnone\npods");
    sleeper(&daemon, "one", &["--network", "pods"]);
    let subnet = daemon.ok(&["network", "inspect", "--format", "{{(index .IPAM.Config 0).Subnet}}", "pods"]);
    assert!(subnet.starts_with("172."), "{subnet}");
    let members = daemon.ok(&["network", "inspect", "--format", "{{len .Containers}}", "pods"]);
    assert_eq!(members, "1");
}

#[test]
fn a_published_port_lives_after_its_container_left_and_came_back() {
    let daemon = Daemon::start();
    let serve = "echo hello > /tmp/index.html; exec httpd -f -p 80 -h /tmp";
    let published = ["-p", "127.0.0.1:8080:80", "-p", "9000-9010:81"];
    let words: Vec<&str> = ["run", "-d", "--name", "web"].into_iter().chain(published).collect();
    daemon.ok(&[&words[..], &[IMAGE, "sh", "-c", serve]].concat());
    daemon.ok(&["network", "create", "own"]);
    daemon.ok(&["network", "create", "another"]);
    let reached = |what: &str| {
        testkit::wait_until(what, || {
            let get =
                ["timeout", "5", "busybox", "wget", "-q", "-O", "-", "http://127.0.0.1:8080/index.html"];
            let output = daemon.on_host("busybox", &get).output().expect("run wget");
            if output.stdout == b"hello\n" { Ok(()) } else { Err(output) }
        });
        let ports = daemon.ok(&["port", "web"]);
        assert!(
            ports.contains("80/tcp -> 127.0.0.1:8080") && ports.contains("81/tcp -> 0.0.0.0:90"),
            "{ports}"
        );
        assert_eq!(ports.lines().count(), 2, "{ports}");
    };
    reached("at first");
    daemon.ok(&["network", "disconnect", "bridge", "web"]);
    daemon.ok(&["network", "connect", "bridge", "web"]);
    reached("back in the only network");
    daemon.ok(&["network", "connect", "own", "web"]);
    reached("in two");
    daemon.ok(&["network", "disconnect", "bridge", "web"]);
    reached("in the second");
    daemon.ok(&["network", "connect", "another", "web"]);
    reached("in one that goes before it");
    daemon.ok(&["network", "disconnect", "another", "web"]);
    daemon.ok(&["network", "connect", "bridge", "web"]);
    reached("and back");
    daemon.ok(&["restart", "--time", "0", "web"]);
    reached("in its next life");
}

#[test]
fn addresses_and_names_are_had_where_they_can_be() {
    let daemon = Daemon::start();
    daemon.ok(&["network", "create", "chosen"]);
    daemon.ok(&["network", "create", "--subnet", "10.77.0.0/24", "own"]);
    let only_own = "user specified IP address is supported on user defined networks only";
    let no_subnet = "user specified IP address is supported only when connecting to networks with user configured subnets";
    let outside = "no configured subnet or ip-range contain the IP address 10.78.0.5";
    let run = |arguments: &[&str], message: &str| {
        daemon.fails(&[&["run", "--rm"], arguments, &[IMAGE, "true"]].concat(), message);
    };
    run(
        &["--ip", "172.17.0.50"],
        &format!("invalid config for network bridge: invalid endpoint settings:\n{only_own}"),
    );
    run(
        &["--network", "chosen", "--ip", "172.18.0.50"],
        &format!("invalid config for network chosen: invalid endpoint settings:\n{no_subnet}"),
    );
    run(&["--network", "own", "--ip", "10.78.0.5"], outside);
    run(&["--network", "own", "--ip6", "fd00::5"], no_subnet);
    sleeper(&daemon, "one", &[]);
    daemon.fails(
        &["network", "connect", "--ip", "10.78.0.5", "own", "one"],
        &format!("invalid endpoint settings:\n{outside}"),
    );
    daemon
        .fails(&["network", "connect", "--alias", "x", "bridge", "one"], "already exists in network bridge");
    daemon.ok(&["network", "connect", "--ip", "10.77.0.50", "--link-local-ip", "169.254.8.8", "own", "one"]);
    let ipam = daemon.inspect("one", "{{json .NetworkSettings.Networks.own.IPAMConfig}}");
    assert_eq!(ipam, r#"{"IPv4Address":"10.77.0.50","LinkLocalIPs":["169.254.8.8"]}"#);
    let addresses = daemon.ok(&["exec", "one", "ip", "-o", "addr", "show", "eth1"]);
    assert!(addresses.contains("10.77.0.50/24") && addresses.contains("169.254.8.8/16"), "{addresses}");
    run(&["--network", "own", "--link-local-ip", "169.254.8.8"], "Address already in use");
    run(&["--network", "own", "--link-local-ip", "10.77.0.51"], "invalid link local IP address: 10.77.0.51");
}

#[test]
fn the_network_of_the_highest_priority_leads_outside() {
    let daemon = Daemon::start();
    for name in ["aaa", "zzz"] {
        daemon.ok(&["network", "create", name]);
    }
    let gateway = |network: &str| {
        daemon.ok(&["network", "inspect", "--format", "{{(index .IPAM.Config 0).Gateway}}", network])
    };
    let first = ["--network", "name=aaa", "--network", "name=zzz,gw-priority=7"];
    sleeper(&daemon, "one", &first);
    let leads_by = || daemon.ok(&["exec", "one", "ip", "route", "show", "default"]);
    assert!(leads_by().contains(&format!("via {} ", gateway("zzz"))), "{}", leads_by());
    assert_eq!(daemon.inspect("one", "{{.NetworkSettings.Networks.zzz.GwPriority}}"), "7");
    daemon.ok(&["network", "disconnect", "zzz", "one"]);
    assert!(leads_by().contains(&format!("via {} ", gateway("aaa"))), "{}", leads_by());
    daemon.ok(&["network", "connect", "--gw-priority", "1", "zzz", "one"]);
    assert!(leads_by().contains(&format!("via {} ", gateway("zzz"))), "{}", leads_by());
    daemon.ok(&["restart", "--time", "0", "one"]);
    assert!(leads_by().contains(&format!("via {} ", gateway("zzz"))), "{}", leads_by());
}

#[test]
fn a_container_is_found_by_the_name_that_it_gives_itself() {
    let daemon = Daemon::start();
    daemon.ok(&["network", "create", "own"]);
    sleeper(&daemon, "db", &["--network", "own", "--hostname", "fred", "--network-alias", "other"]);
    let address = daemon.inspect("db", "{{.NetworkSettings.Networks.own.IPAddress}}");
    let names = daemon.inspect("db", "{{json .NetworkSettings.Networks.own.DNSNames}}");
    let short = &daemon.inspect("db", "{{.Id}}")[..12];
    assert_eq!(names, format!(r#"["db","other","{short}","fred"]"#));
    for name in ["fred", "db", "other", short] {
        let found = daemon.ok(&["run", "--rm", "--network", "own", IMAGE, "nslookup", "-type=a", name]);
        assert!(found.contains(&address), "{name}: {found}");
    }
    // It is a container's way to know its neighbours, and no more: nothing leads to the cluster.
    let routes = daemon.ok(&["exec", "db", "ip", "route"]);
    assert_eq!(routes.lines().count(), 2, "{routes}");
    sleeper(&daemon, "plain", &["--hostname", "barney"]);
    assert_eq!(daemon.inspect("plain", "{{json .NetworkSettings.Networks.bridge.DNSNames}}"), "null");
}
