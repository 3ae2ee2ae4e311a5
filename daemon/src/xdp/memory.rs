//! How the allocator keeps memory. Nothing of XDP; it is here because it takes an unsafe call.

use tracing::warn;

/// Octets from which a block is mapped by itself.
const MAPPED_FROM: libc::c_int = 256 * 1024;

/// Has large blocks mapped by themselves from now on, whatever was freed before. glibc raises the size from which it
/// does so with every such block that is freed, up to 32 MiB; then tables that grow leave holes behind that nothing else
/// fits into. A mapped block grows without being copied and goes back to the system when it is freed.
pub fn map_large_blocks() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: it changes a setting of the allocator under the allocator's own lock.
        let done = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM) };
        if done == 0 {
            warn!("the allocator does not take its threshold; the daemon may need more memory");
        }
    }
}
