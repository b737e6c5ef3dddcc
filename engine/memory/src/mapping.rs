//! The memory of chunks, taken from the system: page-aligned mappings that can be split, and joined
//! by moving their pages. Knows nothing about their use.

#![allow(unsafe_code)]

use std::mem::ManuallyDrop;
use std::ptr::NonNull;

use rustix::io::Errno;
use rustix::mm::{MapFlags, MremapFlags, ProtFlags, mmap_anonymous, mremap_fixed, munmap};
use rustmq_engine_core::shard::NoMemory;

/// The alignment of a chunk's start, in bytes. O_DIRECT asks for no more of memory.
pub const ALIGNMENT: usize = 4096;
// Mappings are cut and joined between pages.
const _: () = assert!(ALIGNMENT.is_power_of_two());

/// A private anonymous mapping. The kernel provides its pages when they are first touched.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: no thread owns the mapping. `ChunkWriter` governs which bytes may be written: it is
// unique and writes only from its frozen mark on, and slices exist only below that mark.
unsafe impl Send for Mapping {}
// SAFETY: as above: shared access only reads frozen bytes, which nobody writes any more.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps fresh memory. `length` is a multiple of [`ALIGNMENT`].
    pub(crate) fn new(length: usize) -> Result<Self, NoMemory> {
        // SAFETY: a new anonymous private mapping at an address of the kernel's choice touches no
        // existing memory.
        let mapped = unsafe {
            mmap_anonymous(std::ptr::null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
        };
        let start = mapped.map_err(|errno| no_memory(length, errno))?;
        let start = NonNull::new(start.cast::<u8>()).expect("the kernel maps nothing at address zero unless told to");
        Ok(Self { start, length })
    }

    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// Splits after `length` bytes, a multiple of [`ALIGNMENT`]. The second part is `None` if
    /// nothing is left.
    pub(crate) fn split(self, length: usize) -> (Self, Option<Self>) {
        assert!(length > 0 && length.is_multiple_of(ALIGNMENT), "mappings are cut between pages");
        if length >= self.length {
            return (self, None);
        }
        let whole = ManuallyDrop::new(self);
        // SAFETY: `length` is less than the mapping's, so that the sum lies in the mapping.
        let middle = unsafe { whole.start.add(length) };
        (Self { start: whole.start, length }, Some(Self { start: middle, length: whole.length - length }))
    }

    /// One mapping of `length` bytes that begins with the pages of `parts`, in any order; the rest
    /// is fresh. The pages are moved without copying or touching them. Each call of the kernel
    /// moves one `piece`, because it moves only memory that it holds as one area: so `parts` must
    /// have been mapped, split and joined in whole pieces.
    pub(crate) fn joined(mut parts: Vec<Self>, length: usize, piece: usize) -> Result<Self, NoMemory> {
        let (mut joined, mut unfilled): (Option<Self>, _) = (None, Some(Self::new(length)?));
        while let Some(part) = parts.pop() {
            let (part, left) = part.split(piece);
            parts.extend(left);
            let (place, behind) = unfilled.take().expect("the parts are not longer than the whole").split(part.length);
            let moved = part.moved_to(place)?;
            joined = Some(match joined {
                None => moved,
                Some(before) => before.followed_by(moved),
            });
            unfilled = behind;
        }
        let joined = match (joined, unfilled) {
            (Some(filled), Some(fresh)) => filled.followed_by(fresh),
            (Some(only), None) | (None, Some(only)) => only,
            (None, None) => unreachable!("the whole has a length, which is filled or not"),
        };
        Ok(joined)
    }

    /// Moves the pages to another place; that place's own pages are dropped.
    fn moved_to(self, place: Self) -> Result<Self, NoMemory> {
        assert_eq!(self.length, place.length, "pages are moved to as many");
        // `place` is never unmapped here: the kernel may have done so before it failed, and another
        // thread may have mapped memory there since.
        let place = ManuallyDrop::new(place);
        // SAFETY: both ranges are whole pages of mappings that are owned here, and nothing refers
        // into either.
        let moved = unsafe {
            let (from, to) = (self.start.as_ptr().cast(), place.start.as_ptr().cast());
            mremap_fixed(from, self.length, self.length, MremapFlags::MAYMOVE, to)
        };
        moved.map_err(|errno| no_memory(self.length, errno))?;
        // The move has already unmapped the old place.
        let _ = ManuallyDrop::new(self);
        Ok(Self { start: place.start, length: place.length })
    }

    /// Joins two mappings; `next` begins where this one ends.
    fn followed_by(self, next: Self) -> Self {
        let (first, next) = (ManuallyDrop::new(self), ManuallyDrop::new(next));
        assert_eq!(
            first.start.as_ptr().addr() + first.length,
            next.start.as_ptr().addr(),
            "only neighbours are joined"
        );
        Self { start: first.start, length: first.length + next.length }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `start` and `length` name mapped pages that belong to this value alone: `split`,
        // `moved_to` and `followed_by` leave each page with one owner. A failure leaves the memory
        // mapped, which is harmless.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.length) };
    }
}

const fn no_memory(length: usize, errno: Errno) -> NoMemory {
    NoMemory { length, os_error: Some(errno.raw_os_error()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{ALIGNMENT, Mapping};

    fn bytes(mapping: &mut Mapping) -> &mut [u8] {
        // SAFETY: the mapping is initialised, and borrowed as uniquely as the slice.
        unsafe { std::slice::from_raw_parts_mut(mapping.start.as_ptr(), mapping.length) }
    }

    /// The first byte of each page.
    fn marks(mapping: &mut Mapping) -> Vec<u8> {
        bytes(mapping).chunks(ALIGNMENT).map(|page| page[0]).collect()
    }

    #[test]
    fn pages_keep_their_bytes_when_they_are_cut_apart_and_joined() {
        const PIECE: usize = 2 * ALIGNMENT;
        let mut whole = Mapping::new(4 * PIECE).unwrap();
        bytes(&mut whole).chunks_mut(ALIGNMENT).zip(1..).for_each(|(page, mark)| page[0] = mark);
        let (mut first, rest) = whole.split(PIECE);
        let (second, mut last) = rest.unwrap().split(2 * PIECE);
        assert_eq!((marks(&mut first), marks(last.as_mut().unwrap())), (vec![1, 2], vec![7, 8]));

        let mut joined = Mapping::joined(vec![second, first], 4 * PIECE, PIECE).unwrap();
        let mut found = marks(&mut joined);
        assert_eq!(found.split_off(6), [0, 0], "the rest is fresh");
        found.sort_unstable();
        assert_eq!(found, [1, 2, 3, 4, 5, 6]);
        bytes(&mut joined).fill(9);
        assert_eq!(marks(last.as_mut().unwrap()), [7, 8]);
        // Joined memory can be split and joined again.
        let (front, back) = joined.split(3 * PIECE);
        drop(front);
        let mut again = Mapping::joined(vec![last.unwrap(), back.unwrap()], 2 * PIECE, PIECE).unwrap();
        let mut found = marks(&mut again);
        found.sort_unstable();
        assert_eq!(found, [7, 8, 9, 9]);
    }
}
