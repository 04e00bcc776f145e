//! The little of eBPF that device filters of cgroup v2 need.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

const BPF_PROG_LOAD: i32 = 5;
const BPF_PROG_ATTACH: i32 = 8;
const BPF_PROG_DETACH: i32 = 9;
const BPF_PROG_GET_FD_BY_ID: i32 = 13;
const BPF_PROG_QUERY: i32 = 16;

const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const FLAG_ALLOW_MULTI: u32 = 2;

const LOAD_WORD: u8 = 0x61;
const MOVE: u8 = 0xb7;
const MOVE_REGISTER: u8 = 0xbf;
const AND: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const JUMP_NOT_EQUAL: u8 = 0x55;
const JUMP_NOT_EQUAL_REGISTER: u8 = 0x5d;
const JUMP_EQUAL: u8 = 0x15;
const EXIT: u8 = 0x95;

/// Most programs that are asked for at one group.
const QUERIED: usize = 64;

/// One eBPF instruction, as the kernel lays it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Instruction {
    code: u8,
    /// Destination in the lower half, source in the upper.
    registers: u8,
    offset: i16,
    value: i32,
}

/// What of an access a rule compares; the numbers are the registers that hold them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Kind = 2,
    Major = 4,
    Minor = 5,
}

const ACCESS: u8 = 3;
const SCRATCH: u8 = 6;

/// Takes an access apart into registers.
pub(crate) fn device_prologue() -> Vec<Instruction> {
    let load = |register: u8, offset: i16| instruction(LOAD_WORD, register | 1 << 4, offset, 0);
    vec![
        load(Field::Kind as u8, 0),
        instruction(AND, Field::Kind as u8, 0, 0xffff),
        load(ACCESS, 0),
        instruction(SHIFT_RIGHT, ACCESS, 0, 16),
        load(Field::Major as u8, 4),
        load(Field::Minor as u8, 8),
    ]
}

/// Answers if every field has its value and the access is covered: all of it for an allowing rule,
/// any of it for a forbidding one. `access` is `None` if the rule covers every access.
pub(crate) fn device_rule(fields: &[(Field, u32)], access: Option<u32>, allow: bool) -> Vec<Instruction> {
    let mut tail = vec![instruction(MOVE, 0, 0, i32::from(allow)), instruction(EXIT, 0, 0, 0)];
    if let Some(access) = access {
        let over = tail.len() as i16;
        let test = if allow {
            instruction(JUMP_NOT_EQUAL_REGISTER, SCRATCH | ACCESS << 4, over, 0)
        } else {
            instruction(JUMP_EQUAL, SCRATCH, over, 0)
        };
        let mut with = vec![
            instruction(MOVE_REGISTER, SCRATCH | ACCESS << 4, 0, 0),
            instruction(AND, SCRATCH, 0, access as i32),
            test,
        ];
        with.append(&mut tail);
        tail = with;
    }
    for &(field, value) in fields.iter().rev() {
        tail.insert(0, instruction(JUMP_NOT_EQUAL, field as u8, tail.len() as i16, value as i32));
    }
    tail
}

/// Forbids what no rule has answered.
pub(crate) fn device_epilogue() -> Vec<Instruction> {
    vec![instruction(MOVE, 0, 0, 0), instruction(EXIT, 0, 0, 0)]
}

/// Loads a program that decides on devices.
pub(crate) fn load_device_program(program: &[Instruction]) -> io::Result<OwnedFd> {
    let license = c"Apache-2.0";
    let attributes = LoadAttributes {
        kind: PROG_TYPE_CGROUP_DEVICE,
        count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        ..LoadAttributes::default()
    };
    let fd = bpf(BPF_PROG_LOAD, &attributes)?;
    // SAFETY: the kernel has just opened this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Puts a program in force at a group, beside others.
pub(crate) fn attach(group: &impl AsFd, program: &impl AsFd) -> io::Result<()> {
    bpf(BPF_PROG_ATTACH, &AttachAttributes::new(group, program, FLAG_ALLOW_MULTI)).map(drop)
}

/// Takes a program away from a group.
pub(crate) fn detach(group: &impl AsFd, program: &impl AsFd) -> io::Result<()> {
    bpf(BPF_PROG_DETACH, &AttachAttributes::new(group, program, 0)).map(drop)
}

/// The programs that decide on devices of a group.
pub(crate) fn attached(group: &impl AsFd) -> io::Result<Vec<OwnedFd>> {
    let mut ids = [0u32; QUERIED];
    let mut attributes = QueryAttributes {
        target: group.as_fd().as_raw_fd(),
        kind: ATTACH_CGROUP_DEVICE,
        ids: ids.as_mut_ptr() as u64,
        count: QUERIED as u32,
        ..QueryAttributes::default()
    };
    bpf_mut(BPF_PROG_QUERY, &mut attributes)?;
    ids[..attributes.count as usize]
        .iter()
        .map(|&id| {
            let fd = bpf(BPF_PROG_GET_FD_BY_ID, &IdAttributes { id, ..IdAttributes::default() })?;
            // SAFETY: the kernel has just opened this descriptor for us.
            Ok(unsafe { OwnedFd::from_raw_fd(fd) })
        })
        .collect()
}

#[repr(C)]
#[derive(Default)]
struct LoadAttributes {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

#[repr(C)]
struct AttachAttributes {
    target: i32,
    program: i32,
    kind: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct QueryAttributes {
    target: i32,
    kind: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    padding: u32,
}

#[repr(C)]
#[derive(Default)]
struct IdAttributes {
    id: u32,
    next: u32,
    flags: u32,
}

impl AttachAttributes {
    fn new(group: &impl AsFd, program: &impl AsFd, flags: u32) -> Self {
        Self {
            target: group.as_fd().as_raw_fd(),
            program: program.as_fd().as_raw_fd(),
            kind: ATTACH_CGROUP_DEVICE,
            flags,
        }
    }
}

fn instruction(code: u8, registers: u8, offset: i16, value: i32) -> Instruction {
    Instruction { code, registers, offset, value }
}

fn bpf<T>(command: i32, attributes: &T) -> io::Result<i32> {
    // SAFETY: the attributes are the kernel's structure for the command, with its size; what they
    // point to lives in the callers' frames. Commands of this function write nothing.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    if result >= 0 { Ok(result as i32) } else { Err(io::Error::last_os_error()) }
}

fn bpf_mut<T>(command: i32, attributes: &mut T) -> io::Result<i32> {
    // SAFETY: as above; what the kernel writes, the structure itself and the array that it points
    // to with its length, is exclusively borrowed or owned by the caller.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    if result >= 0 { Ok(result as i32) } else { Err(io::Error::last_os_error()) }
}

/// The instructions of a program that no way leads to, for tests.
#[cfg(test)]
pub(crate) fn unreachable(program: &[Instruction]) -> Vec<usize> {
    let mut reached = vec![false; program.len()];
    let mut open = vec![0usize];
    while let Some(at) = open.pop() {
        if std::mem::replace(&mut reached[at], true) {
            continue;
        }
        let Instruction { code, offset, .. } = program[at];
        if code != EXIT {
            open.push(at + 1);
        }
        if [JUMP_NOT_EQUAL, JUMP_NOT_EQUAL_REGISTER, JUMP_EQUAL].contains(&code) {
            open.push((at as i64 + 1 + i64::from(offset)) as usize);
        }
    }
    (0..program.len()).filter(|&at| !reached[at]).collect()
}

/// What a program answers, for tests.
#[cfg(test)]
pub(crate) fn interpret(program: &[Instruction], access_type: u32, major: u32, minor: u32) -> bool {
    let context = [access_type, major, minor];
    let mut registers = [0u64; 11];
    let mut at = 0usize;
    loop {
        let Instruction { code, registers: pair, offset, value } = program[at];
        at += 1;
        let (target, source) = (usize::from(pair & 15), usize::from(pair >> 4));
        let value = value as i64 as u64;
        let mut jump = |holds: bool| at = if holds { (at as i64 + i64::from(offset)) as usize } else { at };
        match code {
            LOAD_WORD => registers[target] = u64::from(context[offset as usize / 4]),
            MOVE => registers[target] = value,
            MOVE_REGISTER => registers[target] = registers[source],
            AND => registers[target] &= value,
            SHIFT_RIGHT => registers[target] >>= value,
            JUMP_NOT_EQUAL => jump(registers[target] != value),
            JUMP_NOT_EQUAL_REGISTER => jump(registers[target] != registers[source]),
            JUMP_EQUAL => jump(registers[target] == value),
            EXIT => return registers[0] != 0,
            other => panic!("unknown instruction {other:#x}"),
        }
    }
}
