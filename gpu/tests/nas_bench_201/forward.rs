//! Forward: every kernel and its naive version against the host, in all orders of threads with everything checked.

use advantage_nas_gpu::check::nas_bench_201::forward::{self, CASES, STEMS};

use crate::support::{all_orders, device, expect, in_child};

#[test]
fn kernels_equal_the_host() {
    if in_child("nas_bench_201::forward::kernels_equal_the_host", all_orders) {
        expect("forward", &forward::kernels(&device(), &CASES, &STEMS).unwrap());
    }
}
