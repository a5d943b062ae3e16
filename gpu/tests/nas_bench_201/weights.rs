//! The checks of `check::nas_bench_201::weights`, in all orders, with everything checked.

use advantage_nas_gpu::check::nas_bench_201::weights;

use crate::support::{all_orders, device, expect, in_child, numbers_only};

#[test]
fn kernels_equal_the_host() {
    if in_child("nas_bench_201::weights::kernels_equal_the_host", all_orders) {
        expect("weights", &weights::kernels(&device(), &weights::SIZES).unwrap());
    }
}

/// What tensor cores add up one after the other is cut in runs.
#[test]
fn long_sums_equal_the_host() {
    if in_child("nas_bench_201::weights::long_sums_equal_the_host", numbers_only) {
        expect("long sums", &weights::kernels(&device(), &weights::LONG).unwrap());
    }
}

/// The host's gradients are those of a function.
#[test]
fn the_reference_equals_central_differences() {
    for comparison in weights::reference() {
        comparison.assert();
    }
}
