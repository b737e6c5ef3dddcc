//! The process's allocator, and its settings.

#![allow(unsafe_code)]

/// The system's allocator returns large buffers to the kernel at once, and gets them again page by
/// page: at a gigabyte per second that costs more than all copies of the bytes.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// jemalloc's options as a C string.
#[repr(transparent)]
pub struct Settings(*const u8);

// SAFETY: it points to constant bytes.
unsafe impl Sync for Settings {}

/// By default jemalloc returns buffers above 8 MiB at once, as the system's allocator does: the
/// buffers of requests with large batches. Without this threshold it keeps them like smaller ones.
/// It keeps unused memory for 30 seconds instead of ten: a busy broker may need few buffers for
/// some seconds, and would then get them again page by page.
// SAFETY: jemalloc reads the pointer that it finds under this name, once, when it starts. No other
// definition of the name is linked: its own is weak.
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static SETTINGS: Settings = Settings(c"oversize_threshold:0,dirty_decay_ms:30000".as_ptr().cast());
