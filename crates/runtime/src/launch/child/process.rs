//! The last steps, the same for a container's first process and for those that join it: identity,
//! rights, filter, program.
//!
//! A process that is alone in its process namespace does them one after another. Of one that joins
//! others, they see nothing until it is cloned into their process namespace; whoever has
//! `CAP_SYS_PTRACE` there can take it over from that moment. So [`settle`], [`assume`] and
//! [`confine_early`] come before, in a stage, and what is seen is no more than the program itself.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets as ThreadCapabilities};

use super::super::channel::{Channel, Failed, FailedKind, FromChild, FromParent, Tried};
use super::super::limits;
use super::super::plan::{HookPlan, Kept, ProcessPlan, StdioPlan};
use super::{Never, console, die_with_parent, hear, home, hooks};
use crate::seccomp::Filter;
use crate::sys::clone::exit_now;
use crate::sys::{exec, schedule, seccomp, signal};

/// The exit code of a process whose program cannot be executed for a fault of its own.
const UNFIT: i32 = 255;

/// Becomes the program of a container's first process; returns only on failure.
pub(super) fn run(
    plan: &mut ProcessPlan,
    start_hooks: &[HookPlan],
    label: Option<OwnedFd>,
    channel: &Channel,
) -> Result<Never, Failed> {
    write_label(plan, label)?;
    settle(plan)?;
    assume(plan)?;
    become_program(plan, start_hooks, channel)
}

/// Waits to be started where it is to be, and becomes the program; returns only on failure.
pub(super) fn become_program(
    plan: &ProcessPlan,
    start_hooks: &[HookPlan],
    channel: &Channel,
) -> Result<Never, Failed> {
    if plan.wait {
        channel.tell_parent(&FromChild::Created).tried(format_args!("report to the runtime"))?;
        match &plan.release {
            None => drop(hear(channel, FromParent::Release, &mut [0])?),
            Some(release) => {
                // Whoever made this container has said that it is made, and gone.
                channel.part();
                let count = rustix::io::retry_on_intr(|| rustix::io::read(release, &mut [0u8; 1]))
                    .tried(format_args!("wait to be started"))?;
                if count == 0 {
                    return Err(Failed::new(Errno::CANCELED, format_args!("wait to be started")));
                }
            }
        }
    }
    hooks::run_all(start_hooks, &plan.state)?;
    execute(plan, channel)
}

/// Takes over what is given to it and lets go of all else, while it still has every right.
pub(super) fn settle(plan: &mut ProcessPlan) -> Result<(), Failed> {
    if let StdioPlan::Fds(fds) = &plan.stdio {
        console::set_stdio([fds[0].as_fd(), fds[1].as_fd(), fds[2].as_fd()])
            .tried(format_args!("connect the standard streams"))?;
    }
    own_stdio(plan);
    // Nothing of the host's is open when a path is resolved that the image chose.
    close_all_but(&plan.kept, plan.preserve_fds)?;
    if let Some(name) = &plan.keyring {
        match exec::join_session_keyring(name.as_deref()) {
            // A kernel without keys has none to protect.
            Err(error) if error.raw_os_error() != Some(libc::ENOSYS) => {
                return Err(error).tried(format_args!("make a session keyring"));
            }
            _ => {}
        }
    }
    if let Some(buffer) = &mut plan.home {
        home::complete(buffer, plan.uid);
        let home = CStr::from_bytes_until_nul(buffer).expect("a null byte was appended");
        plan.envp.push_borrowed(home);
    }
    // As root if it can be, since the user may not reach it; checked again below.
    plan.in_cwd = rustix::process::chdir(plan.cwd.as_c_str()).is_ok();
    if let Some(domain) = plan.personality {
        exec::personality(domain).tried(format_args!("set the execution domain"))?;
    }
    if let Some((class, level)) = plan.io_priority {
        schedule::set_io_priority(class, level).tried(format_args!("set the disk priority"))?;
    }
    signal::reset_all();
    Ok(())
}

/// Becomes the program's user, with its rights, and finds the program.
pub(super) fn assume(plan: &mut ProcessPlan) -> Result<(), Failed> {
    if let Some(policy) = &plan.schedule {
        schedule::set_policy(0, policy).tried(format_args!("set the scheduling policy"))?;
    }
    drop_rights(plan)?;
    if !plan.in_cwd {
        let cwd = plan.cwd.to_str().unwrap_or("working directory");
        rustix::process::chdir(plan.cwd.as_c_str())
            .tried(format_args!("chdir to cwd (\"{cwd}\") set in config.json failed"))?;
    }
    check_cwd(&plan.cwd)?;
    if plan.die_with_parent {
        // Changing the user has undone it. Whether the parent lives shows when it is next heard.
        die_with_parent()?;
    }
    plan.program = find_program(plan)?;
    Ok(())
}

/// Puts the filter in force before the process proper is cloned, and gives up the right that this
/// takes; before that, lowers limits that the process could then not lower itself.
pub(super) fn confine_early(plan: &ProcessPlan) -> Result<(), Failed> {
    let Some(filter) = plan.seccomp.as_ref().filter(|_| plan.filter_early) else { return Ok(()) };
    limits::lower(&plan.early_limits)?;
    load_filter(filter)?;
    if plan.loads_with() != 0 { set_capabilities(plan, 0) } else { Ok(()) }
}

/// Takes the program's limits and becomes it; returns only on failure.
fn execute(plan: &ProcessPlan, channel: &Channel) -> Result<Never, Failed> {
    limits::lower(&plan.limits)?;
    // With a release of its own the process no longer has a parent to talk to.
    let _ = channel.tell_parent(&FromChild::Executing);
    if let Some(filter) = plan.seccomp.as_ref().filter(|_| !plan.filter_early) {
        load_filter(filter)?;
    }
    let program = plan.candidates[plan.program].as_c_str();
    let error = exec::execve(program, &plan.argv, &plan.envp);
    if let Some(why) = fault_of_program(program, &error) {
        end_as_program(program, why);
    }
    let kind = match error.raw_os_error() {
        Some(libc::ENOENT) => FailedKind::ProgramNotFound,
        _ => FailedKind::ProgramNotExecutable,
    };
    let name = program.to_str().unwrap_or("program");
    Err(error).tried(format_args!("exec {name}")).map_err(|failed| failed.of_kind(kind))
}

/// Why a program that is there and may be executed cannot be: its format is none that the kernel knows, or what it is
/// to be interpreted by is missing.
fn fault_of_program(program: &CStr, error: &std::io::Error) -> Option<&'static [u8]> {
    match error.raw_os_error() {
        Some(libc::ENOEXEC) => Some(b": exec format error\n".as_slice()),
        Some(libc::ENOENT)
            if rustix::fs::accessat(CWD, program, Access::EXEC_OK, AtFlags::EACCESS).is_ok() =>
        {
            Some(b": no such file or directory\n".as_slice())
        }
        _ => None,
    }
}

/// Ends as other runtimes do for a program that is at fault itself: it has begun, says so to whoever reads its
/// errors, and ends.
fn end_as_program(program: &CStr, why: &[u8]) -> ! {
    for text in [b"exec ".as_slice(), program.to_bytes(), why] {
        let _ = rustix::io::write(rustix::stdio::stderr(), text);
    }
    exit_now(UNFIT)
}

/// Closes what is above the standard streams, what is preserved, and `kept`.
pub(super) fn close_all_but(kept: &Kept, preserved: u32) -> Result<(), Failed> {
    // SAFETY: what owns the others is never used again, nor dropped: this process executes or ends.
    unsafe { exec::close_all_but(3 + preserved, kept.as_slice()) }
        .tried(format_args!("close what belongs to the host"))
}

fn load_filter(filter: &Filter) -> Result<(), Failed> {
    seccomp::load(&filter.instructions, filter.flags).tried(format_args!("load the system call filter"))
}

/// Lets the user open its own standard streams again by name, as `/dev/stderr` does.
fn own_stdio(plan: &ProcessPlan) {
    let fds = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    for fd in fds {
        let Ok(stat) = rustix::fs::fstat(fd) else { continue };
        let kind = FileType::from_raw_mode(stat.st_mode);
        let ours = match &plan.stdio {
            // What the caller opened on files and devices stays the caller's.
            StdioPlan::Inherit => matches!(kind, FileType::Fifo),
            StdioPlan::Fds(_) => matches!(kind, FileType::Fifo | FileType::Socket),
            StdioPlan::Terminal(_) => false,
        };
        if ours && (stat.st_uid, stat.st_gid) != (plan.uid, plan.gid) {
            // A stream that cannot be given away still works through the open descriptor.
            let _ = rustix::fs::fchown(fd, Some(Uid::from_raw(plan.uid)), Some(Gid::from_raw(plan.gid)));
        }
    }
}

/// Opens the file that asks the security module to put the program under a label, on a `procfs` of our
/// own that cannot have been replaced (CVE-2019-19921).
pub(super) fn open_label(plan: &ProcessPlan, procfs: Option<&OwnedFd>) -> Result<Option<OwnedFd>, Failed> {
    let (Some(label), Some(procfs)) = (&plan.label, procfs) else { return Ok(None) };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    let open = |path: &CStr| openat2(procfs, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty(), resolve);
    let opened = match (open(&label.file), &label.file_of_old) {
        (Err(Errno::NOENT), Some(file)) => open(file),
        (opened, _) => opened,
    };
    opened.map(Some).tried(format_args!("open the file of {} in procfs", label.text))
}

/// Asks for the label, from the next exec of this process on.
pub(super) fn write_label(plan: &ProcessPlan, file: Option<OwnedFd>) -> Result<(), Failed> {
    match (file, &plan.label) {
        (Some(file), Some(label)) => {
            rustix::io::write(&file, &label.order).map(drop).tried(format_args!("apply {}", label.text))
        }
        _ => Ok(()),
    }
}

fn drop_rights(plan: &ProcessPlan) -> Result<(), Failed> {
    let sets = plan.capabilities;
    for number in sets.dropped() {
        rustix::thread::remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number))
            .tried(format_args!("drop capability {number}"))?;
    }
    rustix::thread::set_keep_capabilities(true).tried(format_args!("keep capabilities for now"))?;
    match rustix::thread::set_thread_groups(&plan.groups) {
        // In a user namespace without groups there are none to drop.
        Err(Errno::PERM) if plan.groups.is_empty() => {}
        result => result.tried(format_args!("set the further groups"))?,
    }
    let gid = Gid::from_raw(plan.gid);
    rustix::thread::set_thread_res_gid(gid, gid, gid).tried(format_args!("become group {}", plan.gid))?;
    let uid = Uid::from_raw(plan.uid);
    rustix::thread::set_thread_res_uid(uid, uid, uid).tried(format_args!("become user {}", plan.uid))?;
    // Before the rights go that keep those away who have fewer.
    super::forbid_tracing()?;
    rustix::thread::set_keep_capabilities(false).tried(format_args!("keep no capabilities"))?;
    if plan.no_new_privileges {
        rustix::thread::set_no_new_privs(true).tried(format_args!("forbid new privileges"))?;
    }
    // What it takes to load the filter goes by the exec at the latest: what a program gets depends on
    // the other sets only.
    set_capabilities(plan, plan.loads_with())?;
    rustix::thread::clear_ambient_capability_set().tried(format_args!("clear ambient capabilities"))?;
    for number in 0..=sets.last {
        let bit = 1u64 << number;
        if sets.ambient & bit != 0 {
            rustix::thread::configure_capability_in_ambient_set(CapabilitySet::from_bits_retain(bit), true)
                .tried(format_args!("make capability {number} ambient"))?;
        }
    }
    rustix::process::umask(Mode::from_raw_mode(plan.umask));
    Ok(())
}

/// Sets the program's capabilities, and `extra` ones.
fn set_capabilities(plan: &ProcessPlan, extra: u64) -> Result<(), Failed> {
    let sets = plan.capabilities;
    let set = |bits| CapabilitySet::from_bits_retain(bits);
    let capabilities = ThreadCapabilities {
        effective: set(sets.effective | extra),
        permitted: set(sets.permitted | extra),
        inheritable: set(sets.inheritable),
    };
    rustix::thread::set_capabilities(None, capabilities).tried(format_args!("set capabilities"))
}

/// Makes sure that the working directory is inside the container: a magic link or an open
/// directory of the host could have led elsewhere (CVE-2024-21626).
fn check_cwd(cwd: &CStr) -> Result<(), Failed> {
    let text = cwd.to_str().unwrap_or("working directory");
    let mut buffer = [0u8; 4096];
    let name = exec::getcwd(&mut buffer).tried(format_args!("verify working directory `{text}`"))?;
    if name.first() == Some(&b'/') {
        return Ok(());
    }
    Err(Failed::new(
        Errno::PERM,
        format_args!("enter working directory `{text}`, which is outside the container"),
    ))
}

/// The first candidate that the user may execute. Where there is none the failure says why in the words of
/// other runtimes, which engines look for; it has no error number.
fn find_program(plan: &ProcessPlan) -> Result<usize, Failed> {
    let mut denied = None;
    for (index, candidate) in plan.candidates.iter().enumerate() {
        let is_directory = rustix::fs::stat(candidate.as_c_str())
            .map(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
        let allowed = rustix::fs::accessat(CWD, candidate.as_c_str(), Access::EXEC_OK, AtFlags::EACCESS);
        match (is_directory, allowed) {
            (Ok(false), Ok(())) => return Ok(index),
            (Ok(true), _) => denied = Some("is a directory: permission denied"),
            (Ok(false), _) | (Err(Errno::ACCESS), _) => denied = Some("permission denied"),
            _ => {}
        }
    }
    let name = plan.argv.strings()[0].to_str().unwrap_or("program");
    let (kind, failed) = match denied {
        Some(why) if name.contains('/') => {
            (FailedKind::ProgramNotExecutable, Failed::of_itself(format_args!("exec: \"{name}\": {why}")))
        }
        None if name.contains('/') => (
            FailedKind::ProgramNotFound,
            Failed::of_itself(format_args!("exec: \"{name}\": stat {name}: no such file or directory")),
        ),
        // What cannot be run is passed over where it is looked for.
        _ => (
            FailedKind::ProgramNotFound,
            Failed::of_itself(format_args!("exec: \"{name}\": executable file not found in $PATH")),
        ),
    };
    Err(failed.of_kind(kind))
}
