//! A terminal with a client in it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// A client that runs in a terminal of its own. It is killed when dropped.
pub struct Terminal {
    keyboard: File,
    process: Child,
    screen: Arc<Mutex<String>>,
}

impl Terminal {
    /// Starts `command` in a terminal of the given size.
    #[track_caller]
    pub fn start(command: &Command, rows: u16, columns: u16) -> Self {
        let controller =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
        grantpt(&controller).expect("grant the terminal");
        unlockpt(&controller).expect("unlock the terminal");
        set_size(&controller, rows, columns);
        let name = ptsname(&controller, Vec::new()).expect("the terminal's name");
        let side = || -> OwnedFd {
            rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())
                .expect("open the terminal")
        };
        // Signals of the terminal reach only programs that it controls.
        let mut started = Command::new("setsid");
        started.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => started.env(name, value),
                None => started.env_remove(name),
            };
        }
        let process = started
            .env("TERM", "xterm")
            .stdin(side())
            .stdout(side())
            .stderr(side())
            .spawn()
            .expect("run docker");
        drop(started);
        let keyboard = File::from(controller);
        let screen = Arc::new(Mutex::new(String::new()));
        watch(keyboard.try_clone().expect("share the terminal"), Arc::clone(&screen));
        Self { keyboard, process, screen }
    }

    /// Types `keys`.
    #[track_caller]
    pub fn type_keys(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("type");
    }

    /// Changes the size.
    pub fn resize(&self, rows: u16, columns: u16) {
        set_size(&self.keyboard, rows, columns);
    }

    /// Everything that was shown so far.
    pub fn screen(&self) -> String {
        self.screen.lock().expect("no holder panics").clone()
    }

    /// Waits until `text` was shown.
    #[track_caller]
    pub fn wait_for(&self, text: &str) {
        testkit::wait_until(text, || {
            let screen = self.screen();
            if screen.contains(text) { Ok(()) } else { Err(screen) }
        });
    }

    /// Waits for the client's end; gives its exit status.
    #[track_caller]
    pub fn finish(mut self) -> i32 {
        let status = testkit::wait_until("docker to end", || {
            self.process.try_wait().expect("look after docker").ok_or_else(|| self.screen())
        });
        status.code().unwrap_or(-1)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn set_size(terminal: impl std::os::fd::AsFd, rows: u16, columns: u16) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(terminal, size).expect("set the terminal's size");
}

fn watch(mut terminal: File, screen: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        // Reading fails once nobody has the other side open any more.
        while let Ok(read @ 1..) = terminal.read(&mut buffer) {
            screen.lock().expect("no holder panics").push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
    });
}
