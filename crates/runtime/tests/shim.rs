//! The shim with real containers, spoken to over its socket.

mod support;

use support::{Sandbox, shell, shell_process};

#[test]
fn a_container_runs_and_its_output_and_exit_code_arrive() {
    let sandbox = Sandbox::new();
    let outcome = sandbox.run("c1", shell("echo out; echo err >&2; exit 7")).expect(7);
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("out\n", "err\n"));
}

#[test]
fn a_process_joins_a_running_container() {
    let sandbox = Sandbox::new();
    sandbox.create("c1", shell("exec sleep 1000"), runtime::shim::protocol::Stdio::default());
    sandbox.start("c1");
    let outcome = sandbox.exec("c1", "e1", shell_process("echo hello; ps; exit 3")).expect(3);
    assert!(outcome.stdout.starts_with("hello\n") && outcome.stdout.contains("sleep 1000"), "{outcome:?}");
}
