//! From a profile to the kernel's filter program.
//!
//! For each architecture the numbers of system calls are cut into ranges with the same answer, and
//! the program finds the range by bisection. Calls that depend on arguments have a piece of code
//! of their own, in which the first rule that holds decides. What the profile cannot have known —
//! numbers above all those that it names — is answered with `ENOSYS`, so that programs fall back
//! to older calls, and an architecture that is not covered kills the process.

use std::collections::BTreeMap;

use super::numbers::{Architecture, X32_BIT};
use crate::spec::{Seccomp, SeccompAction, SeccompArg, SeccompOperator};
use crate::sys::seccomp::{Instruction, knows_flag};

/// The kernel takes no longer programs.
const LONGEST: usize = 4096;

const RET_KILL_PROCESS: u32 = 0x8000_0000;
const RET_KILL_THREAD: u32 = 0;
const RET_TRAP: u32 = 0x0003_0000;
const RET_ERRNO: u32 = 0x0005_0000;
const RET_TRACE: u32 = 0x7ff0_0000;
pub(super) const RET_LOG: u32 = 0x7ffc_0000;
pub(super) const RET_ALLOW: u32 = 0x7fff_0000;

pub(super) const LOAD: u16 = 0x20;
pub(super) const AND: u16 = 0x54;
pub(super) const JUMP: u16 = 0x05;
pub(super) const JUMP_EQUAL: u16 = 0x15;
pub(super) const JUMP_GREATER: u16 = 0x25;
pub(super) const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
pub(super) const RETURN: u16 = 0x06;

/// Where a filter finds the number, the architecture and the arguments.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
pub(super) const ARGUMENTS: u32 = 16;

/// A filter ready to be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) instructions: Vec<Instruction>,
    pub(crate) flags: u32,
}

/// Why a profile cannot be put in force. Nothing is ever left out instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// An action that needs an agent.
    #[error("notifying an agent about system calls is not supported")]
    Notify,
    /// A flag.
    #[error("unknown or unsupported filter flag `{0}`")]
    Flag(String),
    /// An architecture.
    #[error("unknown architecture `{0}`")]
    Architecture(String),
    /// An argument's number.
    #[error("system calls have six arguments, there is none with index {0}")]
    Argument(u32),
    /// An error number.
    #[error("error number {0} is above 4095")]
    Errno(u32),
    /// The whole.
    #[error("the filter has {0} instructions, the kernel takes 4096")]
    TooLong(usize),
}

/// What happens to one system call.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    Always(u32),
    /// Conditions and what happens if all hold, then what happens if none did.
    Depends(Vec<(Vec<SeccompArg>, u32)>, u32),
}

/// Compiles a profile.
pub(crate) fn compile(profile: &Seccomp) -> Result<Filter, CompileError> {
    if profile.listener_path.as_deref().is_some_and(|path| !path.is_empty()) {
        return Err(CompileError::Notify);
    }
    let default = action(profile.default_action, profile.default_errno_ret)?;
    let mut covered = vec![Architecture::native()];
    for name in &profile.architectures {
        match Architecture::parse(name) {
            Some(architecture) if covered.contains(&architecture) => {}
            Some(architecture) => covered.push(architecture),
            // Calls of other processors cannot be made here, so there is nothing to filter.
            None if name.starts_with("SCMP_ARCH_") => {}
            None => return Err(CompileError::Architecture(name.clone())),
        }
    }
    let mut program = vec![load(ARCHITECTURE)];
    let mut audits: Vec<u32> = covered.iter().map(|architecture| architecture.audit()).collect();
    audits.dedup();
    for audit in audits {
        let section = section(profile, &covered, audit, default)?;
        // Not this architecture: over the section, which may be longer than a conditional jump.
        program.push(jump(JUMP_EQUAL, audit, 1, 0));
        program.push(jump_always(section.len()));
        program.extend(section);
    }
    program.push(ret(RET_KILL_PROCESS));
    if program.len() > LONGEST {
        return Err(CompileError::TooLong(program.len()));
    }
    Ok(Filter { instructions: program, flags: flags(&profile.flags)? })
}

/// The code for all calls that come with one architecture number.
fn section(
    profile: &Seccomp,
    covered: &[Architecture],
    audit: u32,
    default: u32,
) -> Result<Vec<Instruction>, CompileError> {
    let mut ranges: BTreeMap<u32, Answer> = BTreeMap::new();
    ranges.insert(0, Answer::Always(default));
    let members: Vec<_> = covered.iter().copied().filter(|member| member.audit() == audit).collect();
    for member in &members {
        let answers = answers(profile, *member, default)?;
        let last = answers.keys().next_back().copied();
        for (number, answer) in answers {
            // The range ends behind the number, unless one begins there anyway.
            ranges.insert(number, answer);
            ranges.entry(number + 1).or_insert(Answer::Always(default));
        }
        // Programs are told honestly that a call is not there only where the profile would have
        // refused it.
        let refuses = matches!(profile.default_action, SeccompAction::Errno);
        if let Some(last) = last.filter(|_| refuses) {
            ranges.insert(last + 1, Answer::Always(RET_ERRNO | libc::ENOSYS as u32));
        }
    }
    if audit == Architecture::X86_64.audit() {
        if members.contains(&Architecture::X32) {
            ranges.entry(X32_BIT).or_insert(Answer::Always(default));
        } else {
            ranges.insert(X32_BIT, Answer::Always(RET_KILL_PROCESS));
        }
    }
    let mut merged: Vec<(u32, Answer)> = Vec::with_capacity(ranges.len());
    for (start, answer) in ranges {
        if merged.last().is_none_or(|(_, previous)| *previous != answer) {
            merged.push((start, answer));
        }
    }
    let mut code = vec![load(NUMBER)];
    code.extend(bisect(&merged));
    Ok(code)
}

/// What happens to each call that the profile names.
fn answers(
    profile: &Seccomp,
    architecture: Architecture,
    default: u32,
) -> Result<BTreeMap<u32, Answer>, CompileError> {
    let numbers = architecture.numbers();
    let mut answers: BTreeMap<u32, Answer> = BTreeMap::new();
    for rule in &profile.syscalls {
        let result = action(rule.action, rule.errno_ret)?;
        if let Some(arg) = rule.args.iter().find(|arg| arg.index > 5) {
            return Err(CompileError::Argument(arg.index));
        }
        // A rule that says what holds anyway says something only if it goes before one that says else.
        if result == default && rule.args.is_empty() {
            continue;
        }
        for number in rule.names.iter().filter_map(|name| numbers.get(name.as_str())) {
            let answer = answers.entry(*number).or_insert_with(|| Answer::Depends(Vec::new(), default));
            let Answer::Depends(choices, otherwise) = answer else { continue };
            if rule.args.is_empty() {
                *otherwise = result;
                if choices.is_empty() {
                    *answer = Answer::Always(result);
                } else {
                    // Decided for every case: later rules do not matter.
                    choices.push((Vec::new(), result));
                }
            } else if !choices.last().is_some_and(|(conditions, _)| conditions.is_empty()) {
                choices.extend(alternatives(&rule.args).into_iter().map(|conditions| (conditions, result)));
            }
        }
    }
    Ok(answers)
}

/// Conditions of one rule must hold together, unless two concern the same argument: then any of
/// them is enough, as profiles written for runc expect.
fn alternatives(args: &[SeccompArg]) -> Vec<Vec<SeccompArg>> {
    let twice =
        args.iter().enumerate().any(|(at, arg)| args[..at].iter().any(|other| other.index == arg.index));
    if twice { args.iter().map(|arg| vec![arg.clone()]).collect() } else { vec![args.to_vec()] }
}

/// Code that finds the range of the number in the accumulator.
fn bisect(ranges: &[(u32, Answer)]) -> Vec<Instruction> {
    match ranges {
        [] => Vec::new(),
        [(_, Answer::Always(result))] => vec![ret(*result)],
        [(_, Answer::Depends(choices, otherwise))] => depends(choices, *otherwise),
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            let low_code = bisect(low);
            let mut code = match u8::try_from(low_code.len()) {
                Ok(over) => vec![jump(JUMP_GREATER_OR_EQUAL, high[0].0, over, 0)],
                Err(_) => {
                    vec![jump(JUMP_GREATER_OR_EQUAL, high[0].0, 0, 1), jump_always(low_code.len())]
                }
            };
            code.extend(low_code);
            code.extend(bisect(high));
            code
        }
    }
}

/// Code that tries choices one after another.
fn depends(choices: &[(Vec<SeccompArg>, u32)], otherwise: u32) -> Vec<Instruction> {
    let mut code = Vec::new();
    for (conditions, result) in choices {
        // Built from behind: each condition jumps over the rest of the choice if it does not hold.
        let mut choice = vec![ret(*result)];
        for condition in conditions.iter().rev() {
            let mut with = test(condition, choice.len());
            with.append(&mut choice);
            choice = with;
        }
        code.append(&mut choice);
    }
    code.push(ret(otherwise));
    code
}

/// Code that goes on behind itself if the condition holds, and else jumps `over` further.
///
/// Arguments have 64 bits, the accumulator 32: the upper half decides unless it is equal.
fn test(arg: &SeccompArg, over: usize) -> Vec<Instruction> {
    let low_at = ARGUMENTS + arg.index * 8;
    let high_at = low_at + 4;
    let halves = |value: u64| ((value >> 32) as u32, value as u32);
    let (high, low) = halves(arg.value);
    let out =
        |beyond: usize| u8::try_from(over + beyond).expect("a rule has six conditions of six instructions");
    match arg.op {
        SeccompOperator::Equal => vec![
            load(high_at),
            jump(JUMP_EQUAL, high, 0, out(2)),
            load(low_at),
            jump(JUMP_EQUAL, low, 0, out(0)),
        ],
        SeccompOperator::NotEqual => {
            vec![load(high_at), jump(JUMP_EQUAL, high, 0, 2), load(low_at), jump(JUMP_EQUAL, low, out(0), 0)]
        }
        SeccompOperator::Greater => vec![
            load(high_at),
            jump(JUMP_GREATER, high, 3, 0),
            jump(JUMP_EQUAL, high, 0, out(2)),
            load(low_at),
            jump(JUMP_GREATER, low, 0, out(0)),
        ],
        SeccompOperator::GreaterOrEqual => vec![
            load(high_at),
            jump(JUMP_GREATER, high, 3, 0),
            jump(JUMP_EQUAL, high, 0, out(2)),
            load(low_at),
            jump(JUMP_GREATER_OR_EQUAL, low, 0, out(0)),
        ],
        SeccompOperator::Less => vec![
            load(high_at),
            jump(JUMP_GREATER, high, out(3), 0),
            jump(JUMP_EQUAL, high, 0, 2),
            load(low_at),
            jump(JUMP_GREATER_OR_EQUAL, low, out(0), 0),
        ],
        SeccompOperator::LessOrEqual => vec![
            load(high_at),
            jump(JUMP_GREATER, high, out(3), 0),
            jump(JUMP_EQUAL, high, 0, 2),
            load(low_at),
            jump(JUMP_GREATER, low, out(0), 0),
        ],
        SeccompOperator::MaskedEqual => {
            let (wanted_high, wanted_low) = halves(arg.value_two);
            vec![
                load(high_at),
                and(high),
                jump(JUMP_EQUAL, wanted_high, 0, out(3)),
                load(low_at),
                and(low),
                jump(JUMP_EQUAL, wanted_low, 0, out(0)),
            ]
        }
    }
}

fn action(action: SeccompAction, errno: Option<u32>) -> Result<u32, CompileError> {
    let number = errno.unwrap_or(libc::EPERM as u32);
    if number > 4095 {
        return Err(CompileError::Errno(number));
    }
    Ok(match action {
        SeccompAction::Kill | SeccompAction::KillThread => RET_KILL_THREAD,
        SeccompAction::KillProcess => RET_KILL_PROCESS,
        SeccompAction::Trap => RET_TRAP,
        SeccompAction::Errno => RET_ERRNO | number,
        SeccompAction::Trace => RET_TRACE | number,
        SeccompAction::Allow => RET_ALLOW,
        SeccompAction::Log => RET_LOG,
        SeccompAction::Notify => return Err(CompileError::Notify),
    })
}

fn flags(names: &[String]) -> Result<u32, CompileError> {
    let mut flags = 0;
    for name in names {
        let flag = match name.as_str() {
            // There is one thread, so there is nothing to synchronise.
            "SECCOMP_FILTER_FLAG_TSYNC" => 0,
            "SECCOMP_FILTER_FLAG_LOG" => 1 << 1,
            "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => 1 << 2,
            _ => return Err(CompileError::Flag(name.clone())),
        };
        if flag != 0 && !knows_flag(flag) {
            return Err(CompileError::Flag(name.clone()));
        }
        flags |= flag;
    }
    Ok(flags)
}

fn load(offset: u32) -> Instruction {
    Instruction { code: LOAD, jump_true: 0, jump_false: 0, value: offset }
}

fn and(mask: u32) -> Instruction {
    Instruction { code: AND, jump_true: 0, jump_false: 0, value: mask }
}

fn ret(result: u32) -> Instruction {
    Instruction { code: RETURN, jump_true: 0, jump_false: 0, value: result }
}

fn jump(code: u16, value: u32, jump_true: u8, jump_false: u8) -> Instruction {
    Instruction { code, jump_true, jump_false, value }
}

fn jump_always(over: usize) -> Instruction {
    let value = u32::try_from(over).expect("programs are shorter than 4096 instructions");
    Instruction { code: JUMP, jump_true: 0, jump_false: 0, value }
}

#[cfg(test)]
mod tests;
