//! The CUDA C++ that kernels may use, against the same in Rust.

use crate::common::{context, module, parent};
use cudarc::cublas::{CudaBlas, Gemm, GemmConfig, StridedBatchedConfig, sys::cublasOperation_t};
use cudarc::driver::{CudaModule, CudaStream, DeviceRepr, LaunchConfig, PushKernelArg, ValidAsZeroBits, sys::CUresult};
use std::sync::Arc;

#[repr(C)]
struct Slots {
    candidate: [i32; 2],
    weight: [f32; 2],
}

/// SAFETY: plain numbers, as in language.cu.
unsafe impl DeviceRepr for Slots {}

struct Fixture {
    stream: Arc<CudaStream>,
    module: Arc<CudaModule>,
}

impl Fixture {
    /// What a kernel writes to its `count` numbers; one warp unless `threads` says otherwise.
    fn run<T: DeviceRepr + ValidAsZeroBits + Default + Clone>(
        &self,
        name: &str,
        input: &[f32],
        count: usize,
        threads: u32,
    ) -> Vec<T> {
        let (stream, kernel) = (&self.stream, self.module.load_function(name).unwrap());
        let input = (!input.is_empty()).then(|| stream.clone_htod(input).unwrap());
        let mut output = stream.alloc_zeros::<T>(count).unwrap();
        let mut launch = stream.launch_builder(&kernel);
        if let Some(input) = &input {
            launch.arg(input);
        }
        let config = LaunchConfig { grid_dim: (1, 1, 1), block_dim: (threads, 1, 1), shared_mem_bytes: 512 };
        // SAFETY: an input, where the kernel has one, and an output as language.cu says.
        unsafe { launch.arg(&mut output).launch(config) }.unwrap();
        stream.clone_dtoh(&output).unwrap()
    }
}

fn f16(x: f32) -> f32 {
    half::f16::from_f32(x).to_f32()
}

fn bf16(x: f32) -> f32 {
    half::bf16::from_f32(x).to_f32()
}

#[test]
fn kernels_speak_the_language() {
    if parent("language::kernels_speak_the_language", |device| device).is_some() {
        return;
    }
    let stream = context().default_stream();
    let module = module(stream.context(), include_str!("kernels/language.cu"));
    let device = Fixture { stream: stream.clone(), module: module.clone() };
    let lanes = 0..32u32;
    let x: Vec<f32> = (0..64).map(|i| i as f32).collect();

    let y: Vec<f32> = device.run("vectors", &x, 64, 32);
    assert!((0..16).all(|i| y[4 * i..][..4] == [x[4 * i] + x[4 * i + 1], x[4 * i + 2], x[4 * i + 3], 32.0]), "{y:?}");

    let mut out = stream.alloc_zeros::<f32>(32).unwrap();
    let slots = Slots { candidate: [1, 0], weight: [10.0, 20.0] };
    let one_warp = LaunchConfig { grid_dim: (1, 1, 1), block_dim: (32, 1, 1), shared_mem_bytes: 0 };
    let by_value = module.load_function("by_value").unwrap();
    // SAFETY: (Slots, double, char, float*).
    unsafe { stream.launch_builder(&by_value).arg(&slots).arg(&0.5f64).arg(&3i8).arg(&mut out).launch(one_warp) }
        .unwrap();
    assert_eq!(stream.clone_dtoh(&out).unwrap()[..3], [23.5, 13.5, 23.5]);

    let mut table = module.get_global("table", &stream).unwrap();
    stream.memcpy_htod(&[1f32, 2.0, 3.0, 4.0].map(f32::to_le_bytes).concat(), &mut table).unwrap();
    let y: Vec<f32> = device.run("constants", &[], 32, 32);
    assert_eq!(y[..5], [1.0, 2.0, 3.0, 4.0, 1.0]);
    let counter = module.get_global("counter", &stream).unwrap();
    assert_eq!(stream.clone_dtoh(&counter).unwrap(), 32i32.to_le_bytes());

    let y: Vec<f32> = device.run("templates", &[], 32, 32);
    assert!(lanes.clone().all(|l| y[l as usize] == (l * l * l) as f32 + 32.0 + 496.0), "{y:?}");
    let y: Vec<f32> = device.run("shuffles", &[], 32, 32);
    for l in lanes.clone() {
        let down = if l % 16 == 15 { l } else { l + 1 };
        let expected = l.saturating_sub(1) + 100 * down + 10_000 * (l ^ 5) + 1_000_000 * (l / 8 * 8 + 3);
        assert_eq!(y[l as usize], expected as f32, "lane {l}");
    }
    let y: Vec<u32> = device.run("votes", &[], 32, 32);
    assert!(lanes.clone().all(|l| y[l as usize] == 0x5555_5555 ^ 0xf << (l / 4 * 4) ^ 1 ^ 31 << 8), "{y:x?}");
    let y: Vec<f32> = device.run("partial", &[], 32, 32);
    assert!(y[..16].iter().all(|y| *y == 16.0) && y[16..].iter().all(|y| *y == 1.0), "{y:?}");
    let y: Vec<i32> = device.run("block_votes", &[], 64, 64);
    assert!(y.iter().all(|y| *y == 22 + 100), "{y:?}");
    let y: Vec<u32> = device.run("atomics", &[], 8, 64);
    assert_eq!(y[..5], [64, -128i32 as u32, 63, -63i32 as u32, u32::MAX]);
    assert!(y[5] == 7 && (1..=64).contains(&y[6]) && f32::from_bits(y[7]) == 32.0, "{y:?}");

    let x: Vec<f32> = (0..32).map(|i| 0.05 + i as f32 / 16.0).collect();
    let y: Vec<f32> = device.run("math", &x, 256, 32);
    for (x, y) in x.iter().zip(y.chunks(8)) {
        let wide = f64::from(*x);
        let erf = statrs::function::erf::erf(wide);
        let expected = [
            wide.tanh(),
            wide.exp(),
            wide.sqrt().recip(),
            wide * wide + 1e-7,
            wide.min(1.0),
            1.0 / wide,
            wide.max(0.5),
            erf,
        ];
        assert!(
            expected.iter().zip(y).all(|(w, y)| (w - f64::from(*y)).abs() <= 1e-6 * w.abs()),
            "{x}: {y:?} {expected:?}"
        );
        assert_eq!(y[3], x.mul_add(*x, 1e-7), "fmaf rounds once");
    }
    let y: Vec<u32> = device.run("integers", &[], 128, 32);
    for (t, y) in lanes.clone().zip(y.chunks(4)) {
        let h = t.wrapping_mul(2_654_435_761).wrapping_add(12345);
        let funnel = (t << 7 | h >> 25) ^ h & 0x3fff_ffff;
        let high = ((u64::from(h) * 0xD251_1F53) >> 32) as u32;
        let bits = h.count_ones() + 100 * h.leading_zeros() + 10_000 * (h.trailing_zeros() + 1);
        assert_eq!(y, [high, bits, h.reverse_bits(), funnel], "thread {t}");
    }
    let mut x: Vec<f32> = (0..24).map(|i| (1.0 + i as f32 / 1000.0) * 10f32.powi(i - 12)).collect();
    x.extend([0.0, -0.0, 65519.9, 65520.0, 6e-8, 2f32.powi(-25), f32::INFINITY, -3.3]);
    let y: Vec<f32> = device.run("small_floats", &x, 64, 32);
    assert!(x.iter().zip(y.chunks(2)).all(|(x, y)| *y == [f16(*x), bf16(*x)]), "{x:?} {y:?}");
    let y: Vec<f32> = device.run("aligned_dynamic", &[], 32, 32);
    assert!(lanes.clone().all(|l| y[l as usize] == (l ^ 1) as f32 + 2.0), "{y:?}");

    let mut out = stream.alloc_zeros::<i32>(192).unwrap();
    let kernel = module.load_function("many_dimensions").unwrap();
    let config = LaunchConfig { grid_dim: (2, 3, 2), block_dim: (2, 4, 2), shared_mem_bytes: 0 };
    // SAFETY: (int* y), one per thread.
    unsafe { stream.launch_builder(&kernel).arg(&mut out).launch(config) }.unwrap();
    let y = stream.clone_dtoh(&out).unwrap();
    let digits = |i: usize, [x, y]: [usize; 2]| i / (x * y) * 100 + i / x % y * 10 + i % x;
    assert!((0..192).all(|i| y[i] == (1000 * digits(i / 16, [2, 3]) + digits(i % 16, [2, 4])) as i32), "{y:?}");
}

#[test]
fn cublas_multiplies() {
    if let Some(text) = parent("language::cublas_multiplies", |device| device) {
        assert!(text.is_empty() || text.contains("matrix B of batch entry 0: 480 bytes at byte 0 of"), "{text}");
        return;
    }
    let stream = context().default_stream();
    let blas = CudaBlas::new(stream.clone()).unwrap();
    let (m, n, k, batch) = (5usize, 4usize, 3usize, 2usize);
    let value = |i: usize| (i * 7 % 11) as f32 - 4.0;
    let (a, b): (Vec<f32>, Vec<f32>) =
        ((0..batch * m * k).map(value).collect(), (0..batch * k * n).map(value).collect());
    let (da, db) = (stream.clone_htod(&a).unwrap(), stream.clone_htod(&b).unwrap());
    for (ta, tb) in [(false, false), (true, false), (false, true), (true, true)] {
        let transpose = |t| if t { cublasOperation_t::CUBLAS_OP_T } else { cublasOperation_t::CUBLAS_OP_N };
        let gemm = GemmConfig {
            transa: transpose(ta),
            transb: transpose(tb),
            m: m as i32,
            n: n as i32,
            k: k as i32,
            alpha: 2f32,
            lda: if ta { k } else { m } as i32,
            ldb: if tb { n } else { k } as i32,
            beta: 0f32,
            ldc: m as i32,
        };
        let strides = [m * k, k * n, m * n].map(|stride| stride as i64);
        let config = StridedBatchedConfig {
            gemm,
            batch_size: batch as i32,
            stride_a: strides[0],
            stride_b: strides[1],
            stride_c: strides[2],
        };
        // SAFETY: beta = 0: what C held does not count.
        let mut c = unsafe { stream.alloc::<f32>(batch * m * n) }.unwrap();
        // SAFETY: sizes as above.
        unsafe { blas.gemm_strided_batched(config, &da, &db, &mut c) }.unwrap();
        let all = stream.clone_dtoh(&c).unwrap();
        let at_a = |e: usize, i: usize, l: usize| a[e * m * k + if ta { l + i * k } else { i + l * m }];
        let at_b = |e: usize, l: usize, j: usize| b[e * k * n + if tb { j + l * n } else { l + j * k }];
        for (e, i, j) in (0..batch * m * n).map(|at| (at / (m * n), at % m, at / m % n)) {
            let sum: f32 = (0..k).map(|l| at_a(e, i, l) * at_b(e, l, j)).sum();
            assert_eq!(all[e * m * n + i + j * m], 2.0 * sum, "{ta} {tb}: entry {e}, row {i}, column {j}");
        }
        // SAFETY: sizes as above; C holds numbers now.
        unsafe { blas.gemm(GemmConfig { alpha: 1.0, beta: -0.5, ..gemm }, &da, &db, &mut c) }.unwrap();
        assert!(stream.clone_dtoh(&c).unwrap()[..m * n].iter().all(|c| *c == 0.0), "AB - (2AB)/2");
        let wrong = GemmConfig { lda: 2, ..gemm };
        // SAFETY: refused.
        assert!(unsafe { blas.gemm(wrong, &da, &db, &mut c) }.is_err(), "a leading dimension too small");
    }
    let beyond = GemmConfig {
        transa: cublasOperation_t::CUBLAS_OP_N,
        transb: cublasOperation_t::CUBLAS_OP_N,
        m: m as i32,
        n: 40,
        k: k as i32,
        alpha: 1f32,
        lda: m as i32,
        ldb: k as i32,
        beta: 0f32,
        ldc: m as i32,
    };
    let mut c = stream.alloc_zeros::<f32>(m * 40).unwrap();
    // SAFETY: B is too small; found.
    unsafe { blas.gemm(beyond, &da, &db, &mut c) }.unwrap();
    assert_eq!(stream.synchronize().unwrap_err().0, CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
}
