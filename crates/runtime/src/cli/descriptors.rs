//! Descriptors of the caller that a program gets besides its standard streams.

use super::CliError;

/// What a program gets from descriptor 3 on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PassedOn {
    /// How many descriptors.
    pub(super) count: u32,
    /// How many of them, the first ones, are sockets that are passed on by socket activation.
    pub(super) sockets: u32,
}

impl PassedOn {
    /// The sockets that this program itself was activated with (`sd_listen_fds(3)`), if `activated`,
    /// and after them `preserved` others. Must be asked before this program opens anything: a number
    /// that the caller does not use would become that of a file of ours.
    pub(super) fn find(preserved: u32, activated: bool) -> Result<Self, CliError> {
        let variable = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
        let ours = activated && variable("LISTEN_PID") == Some(std::process::id());
        let sockets = if ours { variable("LISTEN_FDS").unwrap_or(0) } else { 0 };
        let passed = Self { count: sockets.saturating_add(preserved), sockets };
        for number in (3..).take(passed.count as usize) {
            if let Err(error) = std::fs::metadata(format!("/proc/self/fd/{number}")) {
                return Err(CliError::system(
                    format!("pass on descriptor {number}, which is not open"),
                    error,
                ));
            }
        }
        Ok(passed)
    }

    /// What tells the program of its sockets.
    pub(super) fn environment(self) -> Vec<String> {
        match self.sockets {
            0 => Vec::new(),
            count => vec![format!("LISTEN_FDS={count}"), "LISTEN_PID=1".to_owned()],
        }
    }
}
