//! A system call filter as data.

use serde::{Deserialize, Serialize};

use super::null_default;

/// A system call filter: the first rule that matches decides, else the default action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seccomp {
    /// For calls without a rule.
    pub default_action: SeccompAction,
    /// Error number where the default action is an error.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub default_errno_ret: Option<u32>,
    /// For example `SCMP_ARCH_X86_64`; the machine's own if empty.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default", default)]
    pub architectures: Vec<String>,
    /// For example `SECCOMP_FILTER_FLAG_LOG`.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default", default)]
    pub flags: Vec<String>,
    /// Socket of an agent; refused.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub listener_path: Option<String>,
    /// The rules.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default", default)]
    pub syscalls: Vec<SeccompRule>,
}

/// What happens to the calls of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SeccompRule {
    /// Names of system calls; unknown ones are ignored.
    pub names: Vec<String>,
    /// What happens.
    pub action: SeccompAction,
    /// Error number where the action is an error; `EPERM` if absent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub errno_ret: Option<u32>,
    /// All of them must hold.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default", default)]
    pub args: Vec<SeccompArg>,
}

/// A condition on an argument.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SeccompArg {
    /// Which argument, from 0.
    pub index: u32,
    /// Compared with; for the masked comparison, the mask.
    pub value: u64,
    /// For the masked comparison, what remains.
    #[serde(default)]
    pub value_two: u64,
    /// How.
    pub op: SeccompOperator,
}

/// What the kernel does with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SeccompAction {
    /// Ends the thread.
    #[serde(rename = "SCMP_ACT_KILL")]
    Kill,
    /// Ends the process.
    #[serde(rename = "SCMP_ACT_KILL_PROCESS")]
    KillProcess,
    /// Ends the thread.
    #[serde(rename = "SCMP_ACT_KILL_THREAD")]
    KillThread,
    /// Sends `SIGSYS`.
    #[serde(rename = "SCMP_ACT_TRAP")]
    Trap,
    /// Fails with an error number.
    #[serde(rename = "SCMP_ACT_ERRNO")]
    Errno,
    /// Tells a tracer.
    #[serde(rename = "SCMP_ACT_TRACE")]
    Trace,
    /// Lets it through.
    #[serde(rename = "SCMP_ACT_ALLOW")]
    Allow,
    /// Lets it through, with a note in the kernel's log.
    #[serde(rename = "SCMP_ACT_LOG")]
    Log,
    /// Asks an agent; refused.
    #[serde(rename = "SCMP_ACT_NOTIFY")]
    Notify,
}

/// How an argument is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SeccompOperator {
    /// Not equal.
    #[serde(rename = "SCMP_CMP_NE")]
    NotEqual,
    /// Below.
    #[serde(rename = "SCMP_CMP_LT")]
    Less,
    /// Not above.
    #[serde(rename = "SCMP_CMP_LE")]
    LessOrEqual,
    /// Equal.
    #[serde(rename = "SCMP_CMP_EQ")]
    Equal,
    /// Not below.
    #[serde(rename = "SCMP_CMP_GE")]
    GreaterOrEqual,
    /// Above.
    #[serde(rename = "SCMP_CMP_GT")]
    Greater,
    /// Equal after masking.
    #[serde(rename = "SCMP_CMP_MASKED_EQ")]
    MaskedEqual,
}
