//! What is measured on a device, on the software device: the numbers mean nothing there, but the kernels compute what they should.

use advantage_nas_gpu::check;
use advantage_nas_gpu::model::H100;
use advantage_nas_gpu::probe::{self, Effort};

use crate::support::{all_orders, device, expect, in_child};

#[test]
fn kernels_equal_the_host() {
    if in_child("probe::kernels_equal_the_host", all_orders) {
        expect("kernels that measure", &check::probe::kernels(&device()).unwrap());
    }
}

#[test]
fn everything_that_is_assumed_is_measured() {
    if !in_child("probe::everything_that_is_assumed_is_measured", |device| vec![device]) {
        return;
    }
    let measured = probe::measure(&device(), Effort::SMALL).unwrap();
    assert!(measured.iter().all(|one| one.value.is_finite() && one.value > 0.0), "{measured:?}");
    // What a device says by itself, or what no kernel here needs fast, is not measured.
    for assumption in H100.assumptions() {
        let known =
            ["multiprocessors", "integer instructions", "FP64 instructions", "L2 size"].contains(&assumption.what);
        let found = measured.iter().filter(|one| one.what == assumption.what && one.unit == assumption.unit).count();
        assert_eq!(found, usize::from(!known), "{}", assumption.what);
    }
}
