//! The cuBLAS calls that this project may use: plain loops, column-major, sums in ascending order of k.

use crate::driver::{Device, Stream, submit_custom};
use crate::fault::{Fault, Status, report};
use crate::status;
use std::ffi::{c_int, c_void};
use std::ops::{AddAssign, Mul};
use std::ptr::null_mut;

const INVALID_VALUE: Status = 7;
const EXECUTION_FAILED: Status = 13;
const NOT_SUPPORTED: Status = 15;

pub struct Handle {
    stream: *mut Stream,
    math: c_int,
    /// Whether alpha and beta are in device memory.
    device_scalars: bool,
}

/// One operand: address, leading dimension, elements from one matrix of a batch to the next, `cudaDataType_t`.
#[derive(Clone, Copy)]
struct Matrix {
    address: usize,
    leading: usize,
    stride: i64,
    kind: c_int,
}

const F32: c_int = 0;
const F64: c_int = 1;
const F16: c_int = 2;
const BF16: c_int = 14;

fn width(kind: c_int) -> usize {
    match kind {
        F32 => 4,
        F64 => 8,
        _ => 2,
    }
}

fn half_to_f32(bits: u16) -> f32 {
    let (exponent, mantissa) = (u32::from(bits >> 10 & 31), u32::from(bits & 1023));
    let magnitude = match exponent {
        0 => mantissa as f32 * 2f32.powi(-24),
        31 => f32::from_bits(0x7f80_0000 | mantissa << 13),
        _ => f32::from_bits((exponent + 112) << 23 | mantissa << 13),
    };
    if bits >> 15 == 1 { -magnitude } else { magnitude }
}

fn f32_to_half(value: f32) -> u16 {
    let (sign, magnitude) = ((value.to_bits() >> 16 & 0x8000) as u16, value.to_bits() & 0x7fff_ffff);
    sign | match magnitude {
        0x7f80_0001.. => 0x7fff,
        0x477f_f000.. => 0x7c00,
        0..0x3880_0000 => (f32::from_bits(magnitude) * 2f32.powi(24)).round_ties_even() as u16,
        _ => ((magnitude - 0x3800_0000 + 0xfff + (magnitude >> 13 & 1)) >> 13) as u16,
    }
}

impl Matrix {
    /// The matrix of `batch` with `rows` x `columns` elements as stored.
    fn check(&self, device: &Device, batch: i64, rows: usize, columns: usize, name: &str) -> Result<usize, Fault> {
        let address = self.address.wrapping_add_signed((batch * self.stride) as isize * width(self.kind) as isize);
        let size = (self.leading * columns.saturating_sub(1) + rows) * width(self.kind);
        if rows > 0 && columns > 0 && !device.memory.holds(address, size) {
            let place = device.memory.place(address);
            let message = format!("matrix {name} of batch entry {batch}: {size} bytes at {place}");
            return Err(Fault(status::ILLEGAL_ADDRESS, message));
        }
        Ok(address)
    }
}

/// SAFETY: `address` was checked to hold element `i` of a matrix of `kind`.
unsafe fn load(address: usize, kind: c_int, i: usize) -> f64 {
    // SAFETY: see above.
    unsafe {
        match kind {
            F32 => f64::from((address as *const f32).add(i).read()),
            F64 => (address as *const f64).add(i).read(),
            F16 => f64::from(half_to_f32((address as *const u16).add(i).read())),
            _ => f64::from(f32::from_bits(u32::from((address as *const u16).add(i).read()) << 16)),
        }
    }
}

/// SAFETY: as `load`.
unsafe fn store(address: usize, kind: c_int, i: usize, value: f64) {
    // SAFETY: see above.
    unsafe {
        match kind {
            F32 => (address as *mut f32).add(i).write(value as f32),
            F64 => (address as *mut f64).add(i).write(value),
            F16 => (address as *mut u16).add(i).write(f32_to_half(value as f32)),
            _ => {
                let bits = (value as f32).to_bits();
                (address as *mut u16).add(i).write(((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16);
            }
        }
    }
}

/// `C = alpha op(A) op(B) + beta C`, for each entry of the batch; `m`, `n`, `k` as in cuBLAS.
#[derive(Clone, Copy)]
struct Gemm {
    transposed: [bool; 2],
    m: usize,
    n: usize,
    k: usize,
    a: Matrix,
    b: Matrix,
    c: Matrix,
    batch: i64,
    /// Sums in f64, else in f32.
    double: bool,
    scalars: [Scalar; 2],
}

#[derive(Clone, Copy)]
enum Scalar {
    Value(f64),
    At(usize),
}

impl Gemm {
    fn run(&self, device: &Device) -> Result<(), Fault> {
        let double = self.double;
        let scalar = |scalar: Scalar| match scalar {
            Scalar::Value(value) => Ok(value),
            Scalar::At(address) if device.memory.holds(address, if double { 8 } else { 4 }) => {
                // SAFETY: just checked.
                Ok(unsafe { load(address, if double { F64 } else { F32 }, 0) })
            }
            Scalar::At(address) => Err(Fault(status::ILLEGAL_ADDRESS, device.memory.place(address))),
        };
        let scalars = (scalar(self.scalars[0])?, scalar(self.scalars[1])?);
        let size = |transposed, rows, columns| if transposed { (columns, rows) } else { (rows, columns) };
        let (a_size, b_size) = (size(self.transposed[0], self.m, self.k), size(self.transposed[1], self.k, self.n));
        (0..self.batch).try_for_each(|entry| {
            let at = [
                self.a.check(device, entry, a_size.0, a_size.1, "A")?,
                self.b.check(device, entry, b_size.0, b_size.1, "B")?,
                self.c.check(device, entry, self.m, self.n, "C")?,
            ];
            match double {
                true => self.multiply::<f64>(at, scalars, |value| value, |value| value),
                false => self.multiply::<f32>(at, scalars, |value| value as f32, f64::from),
            }
            Ok(())
        })
    }

    /// One entry of the batch, whose matrices lie at the addresses `at`, with sums in `T`.
    fn multiply<T: Copy + Default + Mul<Output = T> + AddAssign>(
        &self,
        [a_at, b_at, c_at]: [usize; 3],
        (alpha, beta): (f64, f64),
        narrow: fn(f64) -> T,
        wide: fn(T) -> f64,
    ) {
        let &Self { transposed: [ta, tb], m, n, k, a, b, c, .. } = self;
        let element = |matrix: Matrix, address, transposed, row, column| {
            let i = if transposed { column + row * matrix.leading } else { row + column * matrix.leading };
            // SAFETY: `run` checked the range of each matrix.
            narrow(unsafe { load(address, matrix.kind, i) })
        };
        // op(A), [k, m]
        let left: Vec<T> = (0..m * k).map(|i| element(a, a_at, ta, i % m, i / m)).collect();
        for j in 0..n {
            let mut sums = vec![T::default(); m];
            for (l, left) in left.chunks(m.max(1)).enumerate() {
                let factor = element(b, b_at, tb, l, j);
                sums.iter_mut().zip(left).for_each(|(sum, a)| *sum += *a * factor);
            }
            for (i, sum) in sums.into_iter().enumerate() {
                let at = i + j * c.leading;
                // beta = 0 must not read C, which may hold NaN.
                // SAFETY: `run` checked the range of C.
                unsafe {
                    let old = if beta == 0.0 { 0.0 } else { beta * load(c_at, c.kind, at) };
                    store(c_at, c.kind, at, alpha * wide(sum) + old);
                }
            }
        }
    }
}

/// SAFETY: scalars are readable `f64`s or `f32`s on the side that the handle says.
#[expect(clippy::too_many_arguments, reason = "cuBLAS")]
unsafe fn gemm(
    handle: *mut Handle,
    transposed: [c_int; 2],
    [m, n, k]: [c_int; 3],
    alpha: *const c_void,
    a: Matrix,
    b: Matrix,
    beta: *const c_void,
    c: Matrix,
    batch: c_int,
    double: bool,
) -> Status {
    let invalid = |message: String| report(Fault(INVALID_VALUE, format!("cuBLAS gemm: {message}")));
    if handle.is_null() {
        return report(Fault(1, "cuBLAS gemm: no handle".into()));
    }
    if m < 0 || n < 0 || k < 0 || batch < 0 {
        return invalid(format!("m = {m}, n = {n}, k = {k}, batch = {batch}"));
    }
    let transposed = transposed.map(|operation| operation != 0);
    let rows = [if transposed[0] { k } else { m }, if transposed[1] { n } else { k }, m];
    for ((matrix, rows), name) in [a, b, c].into_iter().zip(rows).zip(["A", "B", "C"]) {
        if matrix.leading < rows.max(1) as usize {
            return invalid(format!("leading dimension {} of {name} with {rows} rows", matrix.leading));
        }
        if ![F32, F64, F16, BF16].contains(&matrix.kind) {
            return report(Fault(NOT_SUPPORTED, format!("cuBLAS gemm: data type {} is not emulated", matrix.kind)));
        }
    }
    // SAFETY: a live handle.
    let handle = unsafe { &*handle };
    let scalars = [alpha, beta].map(|pointer| match handle.device_scalars {
        true => Scalar::At(pointer as usize),
        // SAFETY: the caller's scalars.
        false => Scalar::Value(unsafe { load(pointer as usize, if double { F64 } else { F32 }, 0) }),
    });
    let [m, n, k] = [m, n, k].map(|size| size as usize);
    let gemm = Gemm { transposed, m, n, k, a, b, c, batch: batch.into(), double, scalars };
    // SAFETY: the handle's stream.
    let done = unsafe { submit_custom(handle.stream, move |device| gemm.run(device)) };
    done.map_or_else(
        |fault| {
            report(fault);
            EXECUTION_FAILED
        },
        |()| status::SUCCESS,
    )
}

macro_rules! exports {
    ($($name:ident($($argument:ident: $kind:ty),* $(,)?) $body:block)*) => { $(
        /// As in `cublas_v2.h`.
        #[unsafe(no_mangle)]
        #[allow(unused_unsafe, reason = "some bodies need none")]
        pub unsafe extern "C" fn $name($($argument: $kind),*) -> Status {
            // SAFETY: pointers and handles are as cuBLAS's documentation asks of the caller.
            unsafe { $body }
        }
    )* };
}

fn matrix(address: *const c_void, leading: c_int, stride: i64, kind: c_int) -> Matrix {
    Matrix { address: address as usize, leading: leading.max(0) as usize, stride, kind }
}

exports! {
    cublasCreate_v2(out: *mut *mut Handle) {
        *out = Box::into_raw(Box::new(Handle { stream: null_mut(), math: 0, device_scalars: false }));
        status::SUCCESS
    }
    cublasDestroy_v2(handle: *mut Handle) { drop(Box::from_raw(handle)); status::SUCCESS }
    cublasSetStream_v2(handle: *mut Handle, stream: *mut Stream) { (*handle).stream = stream; status::SUCCESS }
    cublasGetStream_v2(handle: *mut Handle, out: *mut *mut Stream) { *out = (*handle).stream; status::SUCCESS }
    cublasSetMathMode(handle: *mut Handle, mode: c_int) { (*handle).math = mode; status::SUCCESS }
    cublasGetMathMode(handle: *mut Handle, out: *mut c_int) { *out = (*handle).math; status::SUCCESS }
    cublasSetPointerMode_v2(handle: *mut Handle, mode: c_int) { (*handle).device_scalars = mode == 1; status::SUCCESS }
    cublasSetWorkspace_v2(_handle: *mut Handle, _workspace: *mut c_void, _size: usize) { status::SUCCESS }
    cublasGetVersion_v2(_handle: *mut Handle, out: *mut c_int) { *out = 130_000; status::SUCCESS }
    cublasSgemm_v2(
        handle: *mut Handle, ta: c_int, tb: c_int, m: c_int, n: c_int, k: c_int, alpha: *const c_void,
        a: *const c_void, lda: c_int, b: *const c_void, ldb: c_int, beta: *const c_void, c: *mut c_void, ldc: c_int,
    ) {
        let (a, b, c) = (matrix(a, lda, 0, F32), matrix(b, ldb, 0, F32), matrix(c, ldc, 0, F32));
        gemm(handle, [ta, tb], [m, n, k], alpha, a, b, beta, c, 1, false)
    }
    cublasDgemm_v2(
        handle: *mut Handle, ta: c_int, tb: c_int, m: c_int, n: c_int, k: c_int, alpha: *const c_void,
        a: *const c_void, lda: c_int, b: *const c_void, ldb: c_int, beta: *const c_void, c: *mut c_void, ldc: c_int,
    ) {
        let (a, b, c) = (matrix(a, lda, 0, F64), matrix(b, ldb, 0, F64), matrix(c, ldc, 0, F64));
        gemm(handle, [ta, tb], [m, n, k], alpha, a, b, beta, c, 1, true)
    }
    cublasSgemmStridedBatched(
        handle: *mut Handle, ta: c_int, tb: c_int, m: c_int, n: c_int, k: c_int, alpha: *const c_void,
        a: *const c_void, lda: c_int, sa: i64, b: *const c_void, ldb: c_int, sb: i64, beta: *const c_void,
        c: *mut c_void, ldc: c_int, sc: i64, batch: c_int,
    ) {
        let (a, b, c) = (matrix(a, lda, sa, F32), matrix(b, ldb, sb, F32), matrix(c, ldc, sc, F32));
        gemm(handle, [ta, tb], [m, n, k], alpha, a, b, beta, c, batch, false)
    }
    cublasGemmEx(
        handle: *mut Handle, ta: c_int, tb: c_int, m: c_int, n: c_int, k: c_int, alpha: *const c_void,
        a: *const c_void, kind_a: c_int, lda: c_int, b: *const c_void, kind_b: c_int, ldb: c_int,
        beta: *const c_void, c: *mut c_void, kind_c: c_int, ldc: c_int, compute: c_int, _algorithm: c_int,
    ) {
        let (a, b, c) = (matrix(a, lda, 0, kind_a), matrix(b, ldb, 0, kind_b), matrix(c, ldc, 0, kind_c));
        gemm(handle, [ta, tb], [m, n, k], alpha, a, b, beta, c, 1, compute == 70)
    }
    cublasGemmStridedBatchedEx(
        handle: *mut Handle, ta: c_int, tb: c_int, m: c_int, n: c_int, k: c_int, alpha: *const c_void,
        a: *const c_void, kind_a: c_int, lda: c_int, sa: i64, b: *const c_void, kind_b: c_int, ldb: c_int, sb: i64,
        beta: *const c_void, c: *mut c_void, kind_c: c_int, ldc: c_int, sc: i64, batch: c_int, compute: c_int,
        _algorithm: c_int,
    ) {
        let (a, b, c) = (matrix(a, lda, sa, kind_a), matrix(b, ldb, sb, kind_b), matrix(c, ldc, sc, kind_c));
        gemm(handle, [ta, tb], [m, n, k], alpha, a, b, beta, c, batch, compute == 70)
    }
}
