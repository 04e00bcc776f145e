//! Loop devices: block devices that stand for files.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

const GET_FREE: u64 = 0x4C82;
const CONFIGURE: u64 = 0x4C0A;
const CLEAR: u64 = 0x4C01;
const GET_STATUS: u64 = 0x4C05;
const SET_CAPACITY: u64 = 0x4C07;

/// The kernel's `struct loop_info64`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Info {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

impl Info {
    const EMPTY: Self = Self {
        device: 0,
        inode: 0,
        rdevice: 0,
        offset: 0,
        size_limit: 0,
        number: 0,
        encrypt_type: 0,
        encrypt_key_size: 0,
        flags: 0,
        file_name: [0; 64],
        crypt_name: [0; 64],
        encrypt_key: [0; 32],
        init: [0; 2],
    };
}

/// The kernel's `struct loop_config`.
#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

fn done(result: libc::c_int) -> io::Result<u32> {
    u32::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// The number of a device that stands for nothing; it is made where there is none. Somebody else may take it first.
pub(crate) fn free(control: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: it takes no argument.
    done(unsafe { libc::ioctl(control.as_raw_fd(), GET_FREE as _) })
}

/// Lets a device stand for a file. `ResourceBusy` where it stands for one already.
pub(crate) fn configure(device: BorrowedFd<'_>, file: &File) -> io::Result<()> {
    let fd = file.as_raw_fd().cast_unsigned();
    let config = Config { fd, block_size: 0, info: Info::EMPTY, reserved: [0; 8] };
    // SAFETY: the structure is a whole `loop_config`, and outlives the call.
    done(unsafe { libc::ioctl(device.as_raw_fd(), CONFIGURE as _, &raw const config) }).map(drop)
}

/// Device and inode of the file that a device stands for; nothing where it stands for none.
pub(crate) fn file_of(device: BorrowedFd<'_>) -> io::Result<Option<(u64, u64)>> {
    let mut info = Info::EMPTY;
    // SAFETY: the structure is a whole `loop_info64`, which the kernel fills in.
    match done(unsafe { libc::ioctl(device.as_raw_fd(), GET_STATUS as _, &raw mut info) }) {
        Ok(_) => Ok(Some((info.device, info.inode))),
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Lets a device be as long as its file is now.
pub(crate) fn set_capacity(device: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: it takes no argument.
    done(unsafe { libc::ioctl(device.as_raw_fd(), SET_CAPACITY as _) }).map(drop)
}

/// Lets a device stand for nothing: at once, or when the last who has it open closes it.
pub(crate) fn clear(device: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: it takes no argument.
    done(unsafe { libc::ioctl(device.as_raw_fd(), CLEAR as _) }).map(drop)
}
