//! The checks of `check::nas_bench_201::head`, in all orders, with everything checked.

use advantage_nas_gpu::check::nas_bench_201::head;

use crate::support::{all_orders, device, expect, in_child};

#[test]
fn kernels_equal_the_host() {
    if in_child("nas_bench_201::head::kernels_equal_the_host", all_orders) {
        expect("head", &head::kernels(&device(), &head::SIZES).unwrap());
    }
}

/// The host's gradients are those of a function.
#[test]
fn the_reference_equals_central_differences() {
    for comparison in head::reference() {
        comparison.assert();
    }
}
