//! The process's allocator, and its settings.

#![allow(unsafe_code)]

/// The system's allocator gives large buffers back to the kernel at once, and takes them again page
/// by page: at a gigabyte a second that costs more than all the copying.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A line of settings that ends with a zero byte, as C has it.
#[repr(transparent)]
pub struct Settings(*const u8);

// SAFETY: it points to bytes that nobody writes.
unsafe impl Sync for Settings {}

/// jemalloc gives what is larger than 8 MiB back at once, as the system's allocator does: requests
/// with large batches. Without a threshold it keeps them like others: for half a minute in place of
/// its ten seconds, in which the buffers of a busy broker that happen to be few for a moment were
/// given back and taken again page by page.
// SAFETY: jemalloc reads the pointer that it finds under this name, once, when it starts. No other
// definition of the name is linked: its own is weak.
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static SETTINGS: Settings = Settings(c"oversize_threshold:0,dirty_decay_ms:30000".as_ptr().cast());
