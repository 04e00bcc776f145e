//! What containers use.

use std::collections::BTreeMap;

use base::Timestamp;

/// What a container, or several together, use at one moment. Counters count from the beginning.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usage {
    /// When it was looked at.
    pub at: Option<Timestamp>,
    /// Nanoseconds of processors.
    pub cpu: u64,
    /// Bytes of memory, page cache included.
    pub memory: u64,
    /// Bytes of memory that cannot be had back at once.
    pub working_set: u64,
    /// Bytes of memory that is no file's.
    pub rss: u64,
    /// Page faults.
    pub page_faults: u64,
    /// Page faults for which a disk was read.
    pub major_page_faults: u64,
    /// Bytes of swap.
    pub swap: u64,
    /// Processes and threads.
    pub pids: u64,
}

/// What a control group uses and may use.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupUsage {
    /// What all in it use.
    pub usage: Usage,
    /// Bytes of memory that it may have; `None` is no limit.
    pub memory_limit: Option<u64>,
    /// Microseconds in 100 ms that it may use of processors; `None` is no limit.
    pub cpu_quota: Option<i64>,
    /// The interfaces of a sandbox that has a network of its own, by name.
    pub networks: BTreeMap<String, Traffic>,
}

/// What went through a network interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes received.
    pub rx_bytes: u64,
    /// Errors while receiving.
    pub rx_errors: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Errors while sending.
    pub tx_errors: u64,
}

/// What is used of a limit on a part of a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// Bytes.
    pub bytes: u64,
    /// Files and directories.
    pub files: u64,
}
