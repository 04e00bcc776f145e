//! Loading a system call filter.

use std::io;

/// One instruction of classic BPF, as the kernel lays it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Instruction {
    pub(crate) code: u16,
    pub(crate) jump_true: u8,
    pub(crate) jump_false: u8,
    pub(crate) value: u32,
}

#[repr(C)]
struct Program {
    length: u16,
    instructions: *const Instruction,
}

/// Puts a filter in force for this process and all it becomes. Does not allocate.
pub(crate) fn load(instructions: &[Instruction], flags: u32) -> io::Result<()> {
    const SECCOMP_SET_MODE_FILTER: u32 = 1;
    let length = u16::try_from(instructions.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = Program { length, instructions: instructions.as_ptr() };
    // SAFETY: the program has as many instructions as it says, alive through the call; the kernel
    // checks them and keeps a copy.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether the kernel knows a flag of filters.
pub(crate) fn knows_flag(flag: u32) -> bool {
    const SECCOMP_SET_MODE_FILTER: u32 = 1;
    // SAFETY: with a null program the kernel only looks at the flags.
    unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flag, std::ptr::null::<Program>()) };
    io::Error::last_os_error().raw_os_error() == Some(libc::EFAULT)
}
