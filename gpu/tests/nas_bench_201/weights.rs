//! The checks of `check::nas_bench_201::weights`, in all orders, with everything checked.

use advantage_nas_gpu::check::nas_bench_201::weights;

use crate::support::{all_orders, device, expect, in_child};

#[test]
fn kernels_equal_the_host() {
    if in_child("nas_bench_201::weights::kernels_equal_the_host", all_orders) {
        expect("weights", &weights::kernels(&device(), &weights::SIZES).unwrap());
    }
}

/// The host's gradients are those of a function.
#[test]
fn the_reference_equals_central_differences() {
    for comparison in weights::reference() {
        comparison.assert();
    }
}
