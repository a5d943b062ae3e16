//! The checks of `check::nas_bench_201::update`, in all orders, with everything checked.

use advantage_nas_gpu::check::nas_bench_201::update;

use crate::support::{all_orders, device, expect, in_child};

#[test]
fn kernels_equal_the_host() {
    if in_child("nas_bench_201::update::kernels_equal_the_host", all_orders) {
        expect("update", &update::kernels(&device(), &update::SIZES).unwrap());
    }
}
