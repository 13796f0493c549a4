//! Giving freed memory back to the system.

/// Has the allocator give back what the calling thread has freed, and what nobody uses of what all threads share.
///
/// mimalloc keeps freed memory with the thread that allocated it, until that thread has allocated often enough. A worker that
/// accepts nothing does not, so that the process would keep the memory for ever for want of which it accepts nothing.
/// There is no safe function for it; but before mimalloc says that there is no memory, it collects all that it can, and an
/// allocation of half of all addresses never succeeds. Other allocators just refuse it.
pub fn collect() {
    let mut all = Vec::<u8>::new();
    let refused = all.try_reserve_exact(isize::MAX.unsigned_abs());
    // Else the allocation might be optimised away.
    std::hint::black_box((&all, refused.is_err()));
}
