//! Forward: every kernel and its naive version against the host, in all orders of threads with everything checked.

use advantage_nas_gpu::check::nas_bench_201::forward::{self, CASES, Case, STEMS};
use advantage_nas_gpu::kernels::nas_bench_201::SKIP;

use crate::support::{all_orders, device, expect, in_child, numbers_only, say};

#[test]
fn kernels_equal_the_host() {
    if in_child("nas_bench_201::forward::kernels_equal_the_host", all_orders) {
        expect("forward", &forward::kernels(&device(), &CASES, &STEMS).unwrap());
    }
}

/// More terms and channels than shared memory has room for: an error that says so, and nothing is launched.
#[test]
fn too_much_shared_memory_is_refused() {
    if !in_child("nas_bench_201::forward::too_much_shared_memory_is_refused", numbers_only) {
        return;
    }
    let case = Case {
        side: 8,
        stride: 1,
        channels: 256,
        outputs: 1,
        batch: 1,
        images: [1, 0, 0],
        terms: [&[SKIP; 64], &[], &[]],
        kernels: [&[0]; 3],
        relu: true,
    };
    let error = forward::kernels(&device(), &[case], &[]).unwrap_err().to_string();
    let expected = "bytes of shared memory of a block: ";
    assert!(error.starts_with(expected) && error.ends_with("at most 232448"), "{error}");
    say(&format!("emulated: {error}"));
}
