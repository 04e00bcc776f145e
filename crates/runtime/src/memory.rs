//! Memory goes back to the system: how glibc's allocator is kept from holding on to what is free.
//!
//! For the daemon, which lives for months and now and then lists ten thousand objects. By itself the
//! allocator keeps up to eight heaps for each processor, of which a freed one shrinks only from its end,
//! and raises its own bounds as it goes: of 1.9 GB that were freed, all stayed. Measured with 10,000
//! pods that came and went. Any thread may call what is here.

/// How many heaps threads share. More of them wait less for each other and keep more.
const HEAPS: libc::c_int = 4;
/// Free memory at the end of a heap is given back when there is so much.
const TRIM: libc::c_int = 1 << 20;
/// Blocks of this size are mapped on their own, and given back when they are freed.
const MAP: libc::c_int = 256 << 10;

/// Bounds what the allocator keeps. Called once, before there are threads to share heaps among.
pub fn configure() {
    for (parameter, value) in
        [(libc::M_ARENA_MAX, HEAPS), (libc::M_TRIM_THRESHOLD, TRIM), (libc::M_MMAP_THRESHOLD, MAP)]
    {
        // SAFETY: mallopt only stores the numbers, under a lock of its own; a value that it does not
        // take leaves the one before.
        unsafe { libc::mallopt(parameter, value) };
    }
}

/// Gives back the free memory in the middle of heaps too, and lets go of the program's code: what of it is in use comes
/// back from the page cache when it is next needed, a millisecond's work in all. Takes some milliseconds for every
/// hundred mebibytes, during which allocations of other threads may wait: not for a thread that serves.
pub fn give_back() {
    crate::sys::memory::give_back();
}
