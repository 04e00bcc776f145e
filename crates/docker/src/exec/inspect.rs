//! `GET /exec/{name}/json`.

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::wire::exec::{Inspect, ProcessConfig};

/// What became of a process.
pub(crate) async fn inspect(call: Call) -> Answer {
    let exec = call.engine().exec_inspect(&call.exec()?)?;
    let mut words = exec.spec.command.iter().cloned();
    answer::json(&Inspect {
        id: exec.id.to_string(),
        running: exec.running,
        exit_code: exec.exit_code.map(i64::from),
        process_config: ProcessConfig {
            tty: exec.spec.tty,
            entrypoint: words.next().unwrap_or_default(),
            arguments: words.collect(),
            privileged: exec.spec.privileged,
            user: exec.spec.user.clone().unwrap_or_default(),
        },
        open_stdin: exec.spec.attach.stdin,
        open_stderr: exec.spec.attach.stderr,
        open_stdout: exec.spec.attach.stdout,
        can_remove: !exec.running && exec.exit_code.is_some(),
        container_id: exec.container.to_string(),
        detach_keys: exec.spec.detach_keys.clone(),
        pid: exec.pid.unwrap_or_default(),
    })
}
