//! The way back: gradients of nodes and the sums over them.

use advantage_nas_gpu::check::nas_bench_201::backward;

use crate::support::{all_orders, device, expect, in_child};

#[test]
fn kernels_equal_the_host() {
    if in_child("nas_bench_201::backward::kernels_equal_the_host", all_orders) {
        expect("kernels of the way back", &backward::kernels(&device()).unwrap());
    }
}
