//! The `plimsoll` program.

use std::process::ExitCode;

/// The kernel's share aside, allocating is what a proxy does most; mimalloc keeps it per thread.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    plimsoll::cli::main()
}
