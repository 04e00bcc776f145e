//! What client libraries rely on, and what the command line does not show.

use std::io::Read;

use docker_tests::{Daemon, IMAGE};

#[test]
fn a_wait_ends_with_the_run_though_the_policy_starts_another() {
    let daemon = Daemon::start();
    daemon.ok(&[
        "run",
        "-d",
        "--restart",
        "always",
        "--name",
        "box1",
        IMAGE,
        "sh",
        "-c",
        "sleep 0.3; exit 3",
    ]);
    assert_eq!(daemon.ok(&["wait", "box1"]), "3");
    daemon.fails(&["rm", "box1"], "stop the container before removing");
    daemon.ok(&["rm", "--force", "box1"]);
}

#[test]
fn a_prune_tells_names_and_images_apart() {
    let daemon = Daemon::start();
    let id = daemon.inspect(IMAGE, "{{.Id}}");
    let told = daemon.ok(&["image", "prune", "--all", "--force"]);
    assert!(told.contains(&format!("untagged: {IMAGE}\n")), "{told}");
    assert!(told.contains(&format!("deleted: {id}\n")), "{told}");
}

#[test]
fn a_build_shows_errors_in_red_and_its_results_line_by_line() {
    let daemon = Daemon::start();
    let context = daemon.scratch("context");
    let dockerfile = format!("FROM {IMAGE}\nRUN echo oops >&2\n");
    std::fs::write(context.join("Dockerfile"), dockerfile).expect("write a file");
    let told = daemon.ok(&["build", "--tag", "red:1", &context.display().to_string()]);
    assert!(told.contains("\x1b[91moops\n\x1b[0m"), "{told:?}");
    let running = told.split("---> Running in ").nth(1).and_then(|rest| rest.lines().next());
    let running = running.expect("the step's container");
    assert!(told.contains(&format!(" ---> Removed intermediate container {running}\n ---> ")), "{told}");
}

#[test]
fn only_the_named_images_give_a_build_its_steps() {
    let daemon = Daemon::start();
    let context = daemon.scratch("context");
    let dockerfile = format!("FROM {IMAGE}\nRUN echo 1 > /one\nENV A=1\n");
    std::fs::write(context.join("Dockerfile"), dockerfile).expect("write a file");
    let path = context.display().to_string();
    daemon.ok(&["build", "--tag", "first:1", &path]);
    let from = |name: &str| daemon.ok(&["build", "--cache-from", name, &path]);
    assert_eq!(from("first:1").matches("Using cache").count(), 2);
    assert_eq!(from("nothing:1").matches("Using cache").count(), 0);
}

#[test]
fn a_client_says_at_the_start_of_an_exec_how_it_reads() {
    let daemon = Daemon::start();
    daemon.ok(&["run", "-d", "--name", "box1", IMAGE, "sleep", "1000"]);
    let exec = |tty: bool| {
        let body = r#"{"Cmd":["printf","hello"],"Tty":true,"AttachStdout":true,"detachKeys":"ctrl-p"}"#;
        let made = daemon.raw("POST", "/v1.41/containers/box1/exec", body).expect("an exec");
        let id = made.body.split('"').nth(3).expect("an id").to_owned();
        let path = format!("/v1.41/exec/{id}/start");
        let mut answer = String::new();
        let mut stream = daemon.upgrade(&path, &format!(r#"{{"Tty":{tty}}}"#)).expect("start it");
        stream.read_to_string(&mut answer).expect("read it");
        let inspected = daemon.raw("GET", &format!("/v1.41/exec/{id}/json"), "").expect("inspect");
        assert!(inspected.body.contains(r#""DetachKeys":"ctrl-p""#), "{inspected:?}");
        answer.split_once("\r\n\r\n").expect("a head").1.to_owned()
    };
    assert_eq!(exec(true), "hello");
    assert_eq!(exec(false), "\x01\0\0\0\0\0\0\x05hello");
}

#[test]
fn an_attach_without_a_stream_gives_the_log_and_ends() {
    let daemon = Daemon::start();
    daemon.ok(&["run", "--name", "box1", IMAGE, "echo", "hello"]);
    let read = |query: &str| {
        let mut answer = String::new();
        let path = format!("/v1.41/containers/box1/attach?{query}");
        let mut stream = daemon.upgrade(&path, "").expect("attach");
        stream.read_to_string(&mut answer).expect("the connection's end");
        assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
        answer.split_once("\r\n\r\n").expect("a head").1.to_owned()
    };
    assert_eq!(read("logs=1&stdout=1&stderr=1"), "\x01\0\0\0\0\0\0\x06hello\n");
    assert_eq!(read("stdout=1"), "");
}

#[test]
fn a_load_that_fails_says_so_in_its_stream() {
    let daemon = Daemon::start_empty();
    let answer = daemon.raw("POST", "/v1.41/images/load", "no archive").expect("an answer");
    assert_eq!(answer.status, 200);
    assert!(answer.body.contains(r#""error":"read image archive"#), "{answer:?}");
    let ran = daemon.docker_with("no archive", &["load"]);
    assert_eq!(ran.code, 1, "{ran:?}");
}

#[test]
fn a_network_knows_links_and_who_is_not_in_it() {
    let daemon = Daemon::start();
    daemon.ok(&["network", "create", "front"]);
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "web",
        "--network",
        "front",
        "--link",
        "db:bar",
        IMAGE,
        "sleep",
        "1000",
    ]);
    daemon.ok(&["run", "-d", "--name", "db", "--network", "front", IMAGE, "sleep", "1000"]);
    let address = daemon.inspect("db", "{{.NetworkSettings.Networks.front.IPAddress}}");
    let asked = daemon.ok(&["exec", "web", "nslookup", "-type=a", "bar"]);
    assert!(asked.contains(&address), "{asked}");
    let stranger = daemon.docker(&["exec", "db", "nslookup", "-type=a", "bar"]);
    assert!(!stranger.stdout.contains(&address), "{stranger:?}");
    daemon.ok(&["network", "disconnect", "front", "db"]);
    daemon.fails(&["network", "disconnect", "--force", "front", "db"], "is not connected to network front");
    let mac = "02:42:ac:11:00:02";
    daemon.ok(&["create", "--name", "later", "--mac-address", mac, IMAGE]);
    assert_eq!(daemon.inspect("later", "{{.NetworkSettings.Networks.bridge.MacAddress}}"), mac);
}
