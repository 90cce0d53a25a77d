//! What the transforms ask of an instruction set's registers.

/// A register of 16-bit or 32-bit numbers; arithmetic wraps.
///
/// # Safety
/// Of all functions: the CPU has the implementing set's instructions, and the pointer can be read or written
/// for a register.
pub(crate) trait Vector: Copy {
    /// 16-bit numbers in a register.
    const WORDS: usize;
    unsafe fn zero() -> Self;
    /// Bytes to 16 bits: half a register's worth is read.
    unsafe fn from_u8(from: *const u8) -> Self;
    unsafe fn from_i8(from: *const i8) -> Self;
    unsafe fn load(from: *const i32) -> Self;
    unsafe fn store(self, to: *mut i32);
    unsafe fn add16(self, other: Self) -> Self;
    unsafe fn sub16(self, other: Self) -> Self;
    unsafe fn double16(self) -> Self;
    unsafe fn quadruple16(self) -> Self;
    unsafe fn add32(self, other: Self) -> Self;
    unsafe fn sub32(self, other: Self) -> Self;
    unsafe fn double32(self) -> Self;
    unsafe fn times32(self, factor: i32) -> Self;
    /// Arithmetic shift.
    unsafe fn shift_right32<const BITS: i32>(self) -> Self;
}
