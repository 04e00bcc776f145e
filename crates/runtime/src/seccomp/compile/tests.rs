//! The tests speak of calls and answers: filters are run by a small interpreter.

use super::*;
use crate::seccomp::docker_default;
use crate::spec::SeccompRule;

const X86_64: u32 = 0xc000_003e;
const X86: u32 = 0x4000_0003;

fn docker(capabilities: &[&str]) -> Filter {
    let names: Vec<_> = capabilities.iter().map(|&name| name.to_owned()).collect();
    compile(&docker_default(&names)).expect("the default profile compiles")
}

fn check(filter: &Filter, number: i64, arg: u64, expected: u32) {
    let result = filter.answer(X86_64, number as u32, [arg, 0, 0, 0, 0, 0]);
    assert_eq!(result, expected, "call {number} with {arg:#x}");
}

const EPERM: u32 = RET_ERRNO | 1;
const ENOSYS: u32 = RET_ERRNO | 38;

#[test]
fn dockers_default_allows_ordinary_calls_and_refuses_those_of_administrators() {
    let filter = docker(&["CAP_CHOWN"]);
    check(&filter, libc::SYS_openat, 0, RET_ALLOW);
    check(&filter, libc::SYS_execve, 0, RET_ALLOW);
    check(&filter, libc::SYS_mount, 0, EPERM);
    check(&filter, libc::SYS_keyctl, 0, EPERM);
    check(&filter, libc::SYS_io_uring_setup, 0, EPERM);
    check(&filter, libc::SYS_unshare, 0, EPERM);
}

#[test]
fn dockers_default_refuses_new_namespaces_but_not_new_threads() {
    let filter = docker(&[]);
    check(&filter, libc::SYS_clone, libc::CLONE_VM as u64 | libc::SIGCHLD as u64, RET_ALLOW);
    check(&filter, libc::SYS_clone, libc::CLONE_NEWUSER as u64, EPERM);
    check(&filter, libc::SYS_clone3, 0, ENOSYS);
}

#[test]
fn a_capability_opens_its_calls() {
    let filter = docker(&["CAP_SYS_ADMIN"]);
    check(&filter, libc::SYS_mount, 0, RET_ALLOW);
    check(&filter, libc::SYS_clone, libc::CLONE_NEWUSER as u64, RET_ALLOW);
    check(&filter, libc::SYS_clone3, 0, RET_ALLOW);
    check(&docker(&["CAP_SYS_CHROOT"]), libc::SYS_chroot, 0, RET_ALLOW);
}

#[test]
fn arguments_decide_where_the_profile_says_so() {
    let filter = docker(&[]);
    check(&filter, libc::SYS_personality, 0xffff_ffff, RET_ALLOW);
    check(&filter, libc::SYS_personality, 0x0040_0000, EPERM);
    // The same lower half with something above it is another number.
    check(&filter, libc::SYS_personality, 1 << 32, EPERM);
    check(&filter, libc::SYS_socket, libc::AF_INET as u64, RET_ALLOW);
    check(&filter, libc::SYS_socket, 38, EPERM);
    check(&filter, libc::SYS_socket, 39, RET_ALLOW);
    check(&filter, libc::SYS_socket, 40, EPERM);
    check(&filter, libc::SYS_socket, 41, RET_ALLOW);
}

#[test]
fn calls_newer_than_the_profile_are_said_not_to_exist() {
    check(&docker(&[]), 9999, 0, ENOSYS);
}

#[test]
fn other_architectures_have_their_own_numbers_or_end_the_process() {
    let filter = docker(&[]);
    // On x86, 102 is `socketcall` (allowed) and 21 is `mount`.
    assert_eq!(filter.answer(X86, 102, [0; 6]), RET_ALLOW);
    assert_eq!(filter.answer(X86, 21, [0; 6]), EPERM);
    assert_eq!(filter.answer(0xdead, 0, [0; 6]), RET_KILL_PROCESS);
}

#[test]
fn calls_of_x32_do_not_pass_where_only_those_of_x86_64_are_covered() {
    let mut profile = docker_default(&[]);
    profile.architectures = vec!["SCMP_ARCH_X86_64".to_owned()];
    let filter = compile(&profile).expect("compiles");
    assert_eq!(filter.answer(X86_64, X32_BIT, [0; 6]), RET_KILL_PROCESS);
    assert_eq!(filter.answer(X86, 3, [0; 6]), RET_KILL_PROCESS);
}

fn one_rule(op: SeccompOperator, value: u64, value_two: u64) -> Filter {
    let args = vec![SeccompArg { index: 1, value, value_two, op }];
    let rule =
        SeccompRule { names: vec!["getpid".to_owned()], action: SeccompAction::Trap, errno_ret: None, args };
    compile(&Seccomp {
        default_action: SeccompAction::Allow,
        default_errno_ret: None,
        architectures: Vec::new(),
        flags: Vec::new(),
        listener_path: None,
        syscalls: vec![rule],
    })
    .expect("compiles")
}

#[test]
fn comparisons_are_of_all_64_bits() {
    use SeccompOperator::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
    let around = [0, 1, 0xffff_ffff, 0x1_0000_0000, 0x1_0000_0001, 0x2_0000_0000, u64::MAX];
    type Compare = fn(&u64, &u64) -> bool;
    let operators: [(SeccompOperator, Compare); 6] = [
        (Equal, u64::eq),
        (NotEqual, u64::ne),
        (Less, u64::lt),
        (LessOrEqual, u64::le),
        (Greater, u64::gt),
        (GreaterOrEqual, u64::ge),
    ];
    for (operator, holds) in operators {
        for value in around {
            let filter = one_rule(operator, value, 0);
            for arg in around {
                let result = filter.answer(X86_64, libc::SYS_getpid as u32, [0, arg, 0, 0, 0, 0]);
                let expected = if holds(&arg, &value) { RET_TRAP } else { RET_ALLOW };
                assert_eq!(result, expected, "{arg:#x} {operator:?} {value:#x}");
            }
        }
    }
    let masked = one_rule(SeccompOperator::MaskedEqual, 0xf0_0000_00f0, 0x10_0000_0020);
    assert_eq!(masked.answer(X86_64, libc::SYS_getpid as u32, [0, 0x1f_0000_002f, 0, 0, 0, 0]), RET_TRAP);
    assert_eq!(masked.answer(X86_64, libc::SYS_getpid as u32, [0, 0x1f_0000_001f, 0, 0, 0, 0]), RET_ALLOW);
}

#[test]
fn a_condition_that_refuses_goes_before_a_rule_that_allows() {
    let arg = |value| SeccompArg { index: 0, value, value_two: 0, op: SeccompOperator::Equal };
    let rule = |action, args| SeccompRule { names: vec!["ioctl".to_owned()], action, errno_ret: None, args };
    let profile = Seccomp {
        syscalls: vec![
            rule(SeccompAction::Errno, vec![arg(7)]),
            rule(SeccompAction::Allow, Vec::new()),
            rule(SeccompAction::Errno, vec![arg(8)]),
        ],
        ..docker_default(&[])
    };
    let filter = compile(&profile).expect("it compiles");
    check(&filter, libc::SYS_ioctl, 7, EPERM);
    check(&filter, libc::SYS_ioctl, 8, RET_ALLOW);
    check(&filter, libc::SYS_ioctl, 9, RET_ALLOW);
}

#[test]
fn whose_quota_a_file_counts_against_cannot_be_changed_where_there_are_quotas() {
    use crate::seccomp::{docker_default_with_quotas, guards_quotas};
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let capabilities = names(&["CAP_SYS_ADMIN", "CAP_FOWNER"]);
    let profile = docker_default_with_quotas(&capabilities);
    let filter = compile(&profile).expect("it compiles");
    let ask = |architecture, number: i64, request| {
        filter.answer(architecture, number as u32, [3, request, 0, 0, 0, 0])
    };
    // FS_IOC_FSSETXATTR, FS_IOC_SETFLAGS, FS_IOC32_SETFLAGS; what is above 32 bits is not read.
    for request in [0x401c_5820, 0x4008_6602, 0x4004_6602, 0x401c_5820 | 0xdead_beef << 32] {
        assert_eq!(ask(X86_64, libc::SYS_ioctl, request), EPERM, "{request:#x}");
        assert_eq!(ask(X86, 54, request), EPERM, "{request:#x}");
        assert_eq!(ask(X86_64, 0x4000_0000 | 514, request), EPERM, "{request:#x}");
    }
    // FS_IOC_FSGETXATTR, FS_IOC_GETFLAGS, TCGETS.
    for request in [0x801c_581f, 0x8008_6601, 0x5401] {
        assert_eq!(ask(X86_64, libc::SYS_ioctl, request), RET_ALLOW, "{request:#x}");
    }
    for call in [libc::SYS_quotactl, libc::SYS_quotactl_fd] {
        assert_eq!(ask(X86_64, call, 0), EPERM, "{call}");
    }
    // `file_setattr` is newer than any call of the profile.
    assert_eq!(ask(X86_64, 469, 0), ENOSYS);
    check(&filter, libc::SYS_mount, 0, RET_ALLOW);
    assert!(guards_quotas(&profile, &capabilities).expect("it compiles"));
    assert!(!guards_quotas(&docker_default(&capabilities), &capabilities).expect("it compiles"));
    // A profile of somebody's that forbids the request, but reads more of it than the kernel does.
    let mut careless = docker_default_with_quotas(&[]);
    for arg in careless.syscalls.iter_mut().take(3).flat_map(|rule| &mut rule.args) {
        (arg.op, arg.value) = (SeccompOperator::Equal, arg.value_two);
    }
    assert!(!guards_quotas(&careless, &[]).expect("it compiles"));
}

#[test]
fn what_cannot_be_enforced_is_refused() {
    let mut profile = docker_default(&[]);
    profile.flags = vec!["SECCOMP_FILTER_FLAG_INVENTED".to_owned()];
    assert!(matches!(compile(&profile), Err(CompileError::Flag(_))));
    let mut profile = docker_default(&[]);
    profile.listener_path = Some("/run/agent.sock".to_owned());
    assert_eq!(compile(&profile), Err(CompileError::Notify));
    let mut profile = docker_default(&[]);
    profile.architectures.push("x86".to_owned());
    assert!(matches!(compile(&profile), Err(CompileError::Architecture(_))));
}

#[test]
fn dockers_default_is_far_below_the_longest_program() {
    let length = docker(&[]).instructions.len();
    assert!(length < LONGEST / 2, "{length} instructions");
}
