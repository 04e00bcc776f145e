//! What the kernel says of this process, under the names that Prometheus' own clients have for it.

use metrics::{Kind, Text};
use rustix::process::{Resource, getrlimit};

/// Writes it. What the kernel does not say is left out.
pub(crate) fn write(text: &mut Text) {
    offload::in_place(|| {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let boot = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let descriptors = std::fs::read_dir("/proc/self/fd").map(Iterator::count).ok();
        write_from(text, &stat, &status, &boot, descriptors);
    });
}

/// The kernel counts time in these parts of a second (`USER_HZ`), whatever its own ticks are.
const TICKS: f64 = 100.0;

fn write_from(text: &mut Text, stat: &str, status: &str, boot: &str, descriptors: Option<usize>) {
    // The name of the program stands in parentheses, and may have anything in it.
    let fields: Vec<f64> = stat
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_whitespace().skip(1).map(|field| field.parse().unwrap_or(0.0)).collect())
        .unwrap_or_default();
    // Counted from the fourth field on: see proc(5).
    let field = |number: usize| fields.get(number - 4).copied();
    if let (Some(user), Some(system)) = (field(14), field(15)) {
        let help = "Total user and system CPU time spent in seconds.";
        text.single("process_cpu_seconds_total", Kind::Counter, help, (user + system) / TICKS);
    }
    let booted = boot.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<f64>().ok());
    if let (Some(booted), Some(started)) = (booted, field(22)) {
        let help = "Start time of the process since unix epoch in seconds.";
        text.single("process_start_time_seconds", Kind::Gauge, help, booted + started / TICKS);
    }
    let memory = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
    };
    if let Some(size) = memory("VmSize") {
        let help = "Virtual memory size in bytes.";
        text.single("process_virtual_memory_bytes", Kind::Gauge, help, size);
    }
    if let Some(size) = memory("VmRSS") {
        let help = "Resident memory size in bytes.";
        text.single("process_resident_memory_bytes", Kind::Gauge, help, size);
    }
    if let Some(descriptors) = descriptors {
        let help = "Number of open file descriptors.";
        text.single("process_open_fds", Kind::Gauge, help, descriptors);
    }
    let limit = |resource| getrlimit(resource).current.unwrap_or(u64::MAX);
    let help = "Maximum number of open file descriptors.";
    text.single("process_max_fds", Kind::Gauge, help, limit(Resource::Nofile));
    let help = "Maximum amount of virtual memory available in bytes.";
    text.single("process_virtual_memory_max_bytes", Kind::Gauge, help, limit(Resource::As));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_told_whatever_the_program_is_called() {
        let mut text = Text::default();
        let stat = "7 (a) R 9) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 7 8 20 0 12 0 1000 4096000 10 18446744073709551615";
        let status = "Name:\ta\nVmSize:\t    4000 kB\nVmRSS:\t      40 kB\n";
        write_from(&mut text, stat, status, "cpu 1 2\nbtime 1700000000\n", Some(12));
        let text = text.finish();
        for line in [
            "process_cpu_seconds_total 2",
            "process_start_time_seconds 1700000010",
            "process_virtual_memory_bytes 4096000",
            "process_resident_memory_bytes 40960",
            "process_open_fds 12",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    fn this_process_has_numbers() {
        let mut text = Text::default();
        write(&mut text);
        assert!(text.finish().contains("process_resident_memory_bytes "));
    }
}
