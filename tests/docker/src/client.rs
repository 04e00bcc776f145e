//! Running the client.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// What a client that ran to its end left.
#[derive(Debug)]
pub struct Ran {
    /// Its exit status.
    pub code: i32,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

/// A client that is still running. It is killed when dropped.
pub struct Running {
    process: Child,
    input: Option<ChildStdin>,
    seen: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

/// Runs a client to its end.
#[track_caller]
pub fn run(mut command: Command, input: &str) -> Ran {
    let mut process = command
        .stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("run docker");
    if let Some(mut pipe) = process.stdin.take() {
        // A client that ends without reading is judged by its exit status.
        let _ = pipe.write_all(input.as_bytes());
    }
    let output = process.wait_with_output().expect("wait for docker");
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Running {
    /// Starts a client and lets it run.
    #[track_caller]
    pub fn start(mut command: Command) -> Self {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("run docker");
        let seen = Arc::new(Mutex::new(String::new()));
        let outputs: [Option<Box<dyn Read + Send>>; 2] = [
            process.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
            process.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
        ];
        let readers = outputs.into_iter().flatten().map(|pipe| collect(pipe, Arc::clone(&seen))).collect();
        let input = process.stdin.take();
        Self { process, input, seen, readers }
    }

    /// Waits until the client has printed `text`.
    #[track_caller]
    pub fn wait_for(&self, text: &str) {
        testkit::wait_until(text, || {
            let seen = self.seen();
            if seen.contains(text) { Ok(()) } else { Err(seen) }
        });
    }

    /// What the client printed so far.
    pub fn seen(&self) -> String {
        self.seen.lock().expect("no holder panics").clone()
    }

    /// Sends a line to the client.
    #[track_caller]
    pub fn send(&mut self, text: &str) {
        self.input.as_mut().expect("input is open").write_all(text.as_bytes()).expect("send to docker");
    }

    /// Closes the client's input.
    pub fn close_input(&mut self) {
        self.input = None;
    }

    /// Sends a signal to the client.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, signal).expect("send a signal to docker");
    }

    /// Waits for the client's end; gives its exit status and all that it printed.
    #[track_caller]
    pub fn finish(mut self) -> (i32, String) {
        self.input = None;
        let status = testkit::wait_until("docker to end", || {
            self.process.try_wait().expect("look after docker").ok_or_else(|| self.seen())
        });
        for reader in self.readers.drain(..) {
            reader.join().expect("readers do not panic");
        }
        (status.code().unwrap_or(-1), self.seen())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn collect(pipe: Box<dyn Read + Send>, seen: Arc<Mutex<String>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        while let Ok(piece) = pipe.fill_buf() {
            if piece.is_empty() {
                return;
            }
            let length = piece.len();
            seen.lock().expect("no holder panics").push_str(&String::from_utf8_lossy(piece));
            pipe.consume(length);
        }
    })
}
