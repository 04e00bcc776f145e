//! Where the daemon's messages go, and in which form.
//!
//! On standard error, with a time and a level. Where that is systemd's journal, which keeps both itself,
//! the level is a prefix that it takes off again (sd-daemon(3)) and the time is its own.

use std::fmt;
use std::io::IsTerminal as _;
use std::os::fd::AsFd;

use anyhow::Context as _;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Libraries that tell at the level `info` what is news to their authors only.
const QUIET: &str = "fjall=warn,lsm_tree=warn,zbus=warn";

/// Sets up what `tracing` tells, filtered by `filter`; `journal` is the value of `JOURNAL_STREAM`.
pub(crate) fn start(filter: &str, journal: Option<&str>) -> anyhow::Result<()> {
    // What is said later about the same target holds.
    let filter = EnvFilter::try_new(format!("{QUIET},{filter}"))
        .with_context(|| format!("read the log filter `{filter}`"))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if journal.is_some_and(|journal| is_journal(journal, std::io::stderr())) {
        let format = tracing_subscriber::fmt::format().without_time().with_level(false).with_ansi(false);
        builder.with_ansi(false).event_format(Journal(format)).init();
    } else {
        builder.with_ansi(std::io::stderr().is_terminal()).init();
    }
    Ok(())
}

/// Whether a stream is the one that systemd connected to its journal: `JOURNAL_STREAM` names device and inode.
fn is_journal(journal: &str, stream: impl AsFd) -> bool {
    let facts = rustix::fs::fstat(stream);
    facts.is_ok_and(|facts| journal == format!("{}:{}", facts.st_dev, facts.st_ino))
}

/// The form for the journal: each line begins with its level.
struct Journal(Format<Full, ()>);

impl<S, N> FormatEvent<S, N> for Journal
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut text = String::new();
        self.0.format_event(context, Writer::new(&mut text), event)?;
        let level = severity(*event.metadata().level());
        // The journal makes an entry of each line.
        text.lines().try_for_each(|line| writeln!(writer, "<{level}>{line}"))
    }
}

/// The number that syslog(3) has for a level.
fn severity(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("no holder panics").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn each_line_for_the_journal_begins_with_its_level_and_has_no_time() {
        let memory = Memory::default();
        let writer = memory.clone();
        let format = tracing_subscriber::fmt::format().without_time().with_level(false).with_ansi(false);
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(Level::DEBUG)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .event_format(Journal(format))
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::error!(target: "engine", "broken");
            tracing::info!(target: "engine", container = 7, "first\nsecond");
        });
        let text = String::from_utf8(memory.0.lock().expect("no holder panics").clone()).expect("text");
        assert_eq!(text, "<3>engine: broken\n<6>engine: first\n<6>second container=7\n");
    }

    #[test]
    fn the_journal_is_known_by_device_and_inode() {
        let file = tempfile::tempfile().expect("a file");
        let facts = rustix::fs::fstat(&file).expect("stat");
        assert!(is_journal(&format!("{}:{}", facts.st_dev, facts.st_ino), &file));
        assert!(!is_journal(&format!("{}:{}", facts.st_dev, facts.st_ino + 1), &file));
        assert!(!is_journal("", &file));
    }
}
