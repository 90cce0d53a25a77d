//! Memory in large pages. A network's weights lie in thousands of pages of 4 kB, more than a processor
//! remembers the places of, and it looks each up again in every inference; of 2 MB a dozen are enough.
//!
//! Buffers are cut one behind the other from [`PageRegion`]s, for which the kernel is asked for large pages;
//! where it has none to give, they are regions of small ones. A region is given back when the last buffer in
//! it is.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of a large page, on x86-64 and on aarch64 with small pages of 4 kB.
const LARGE: usize = 2 << 20;

/// Regions are at least this long. Only what buffers take of them is ever touched.
const REGION: usize = 32 << 20;

/// The region that buffers are cut from, and how much of it is taken.
static CURRENT: Mutex<Option<(Arc<PageRegion>, usize)>> = Mutex::new(None);

/// Bytes for one buffer, aligned to 64. They are whatever was there before.
pub(crate) struct Piece {
    region: Arc<PageRegion>,
    offset: usize,
    len: usize,
}

struct PageRegion {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: a region is memory that nobody reads or writes but through pieces, which do not overlap.
unsafe impl Send for PageRegion {}
// SAFETY: as above.
unsafe impl Sync for PageRegion {}

impl Piece {
    /// `len` is a multiple of 64.
    pub(crate) fn new(len: usize) -> Self {
        let mut current = current();
        let fits =
            current.as_ref().is_some_and(|(region, taken)| len <= region.layout.size() - taken);
        if !fits {
            *current = Some((Arc::new(PageRegion::new(len)), 0));
        }
        let (region, taken) = current.as_mut().expect("a region with room");
        let offset = *taken;
        *taken += len;
        Self { region: Arc::clone(region), offset, len }
    }

    /// Keeps the first `len` bytes, a multiple of 64. The rest is the next piece's, if this is the last one.
    pub(crate) fn truncate(&mut self, len: usize) {
        let (end, len) = (self.offset + self.len, len.min(self.len));
        if let Some((region, taken)) = current().as_mut()
            && Arc::ptr_eq(region, &self.region)
            && *taken == end
        {
            *taken = self.offset + len;
        }
        self.len = len;
    }

    /// The first of its bytes. They are this piece's alone, for reading and writing.
    pub(crate) fn start(&self) -> NonNull<u8> {
        // SAFETY: the piece lies in its region.
        unsafe { self.region.start.add(self.offset) }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Piece {
    /// The last piece of a region gives its place to the next one, so that memory which comes and goes does
    /// not use regions up.
    fn drop(&mut self) {
        if let Some((region, taken)) = current().as_mut()
            && Arc::ptr_eq(region, &self.region)
            && *taken == self.offset + self.len
        {
            *taken = self.offset;
        }
    }
}

fn current() -> MutexGuard<'static, Option<(Arc<PageRegion>, usize)>> {
    CURRENT.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PageRegion {
    fn new(least: usize) -> Self {
        let size = least.next_multiple_of(LARGE).max(REGION);
        let layout = Layout::from_size_align(size, LARGE).expect("a size that fits an address");
        // SAFETY: the size is not zero.
        let start = unsafe { alloc(layout) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        ask_for_large_pages(start, size);
        Self { start, layout }
    }
}

impl Drop for PageRegion {
    fn drop(&mut self) {
        // SAFETY: it was allocated so, and the last piece of it is gone.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}

/// Whether the kernel agrees makes no difference but speed.
fn ask_for_large_pages(start: NonNull<u8>, len: usize) {
    #[cfg(all(target_os = "linux", not(miri)))]
    {
        use std::ffi::{c_int, c_void};
        const MADV_HUGEPAGE: c_int = 14;
        unsafe extern "C" {
            fn madvise(start: *mut c_void, len: usize, advice: c_int) -> c_int;
        }
        // SAFETY: the range is ours and aligned to pages; the advice does not change what is in it.
        unsafe { madvise(start.as_ptr().cast(), len, MADV_HUGEPAGE) };
    }
    #[cfg(not(all(target_os = "linux", not(miri))))]
    let _ = (start, len);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_do_not_overlap_and_the_last_one_gives_its_place_back() {
        // Other tests take pieces meanwhile: what they do between two lines must not matter here.
        let bytes = |piece: &Piece| {
            (piece.start().as_ptr() as usize)..(piece.start().as_ptr() as usize + piece.len())
        };
        let pieces: Vec<_> = [64, 4096, 3 << 20, 64, REGION + 64, 128].map(Piece::new).into();
        for (i, a) in pieces.iter().enumerate() {
            assert_eq!(bytes(a).start % 64, 0);
            for b in &pieces[..i] {
                assert!(bytes(a).end <= bytes(b).start || bytes(b).end <= bytes(a).start);
            }
        }
        let far = (0..10_000).map(|_| bytes(&Piece::new(1 << 20)).start);
        let places: std::collections::BTreeSet<_> = far.collect();
        assert!(places.len() < 1000, "{} places for memory that comes and goes", places.len());
    }
}
