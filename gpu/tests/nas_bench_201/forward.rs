//! Forward: every kernel and its naive version against the host, in all orders of threads with everything checked.

use advantage_nas_gpu::check::nas_bench_201::forward::{self, CASES, Case, STEMS};
use advantage_nas_gpu::kernels::nas_bench_201::SKIP;
use advantage_nas_gpu::kernels::nas_bench_201::forward::SOURCE;
use advantage_nas_software_cuda::{Checks, SoftwareDevice};

use crate::support::{
    CHANGE, all_orders, changed, compare_changed, device, expect, in_child, numbers_only, run, say, software_device,
};

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

/// The file with the versions with tensor cores.
const TENSOR: usize = SOURCE.files.len() - 1;

/// Faults that are made in them, all of which must be found: what is there and what stands in its place. The first two forget a rounding, which a device
/// does not notice.
const FAULTS: [(&str, &str); 13] = [
    ("const uint4 own = to_tf32(v);", "const uint4 own = *(const uint4*)&v;"),
    ("+ 4 * lane, to_tf32(v));", "+ 4 * lane, *(const uint4*)&v);"),
    ("(there + TENSOR_STEP - 1) / TENSOR_STEP * TENSOR_STEP", "there"),
    ("o + 8 < outputs && c + 1 < there ? lower[taps]", "o + 8 < outputs && c + 1 < there ? from[taps]"),
    ("store4(place, make_float4(0.0f,", "store4(place, make_float4(1.0f,"),
    ("store4(place + x, make_float4(0.0f,", "store4(place + x, make_float4(1.0f,"),
    ("acc[line - ky], a[ky], b", "acc[line - ky], a[2 - ky], b"),
    ("pixels_of(row + 1, 1, b);", "pixels_of(row, 1, b);"),
    ("odd ? own.x : own.z, 1)", "own.z, 1)"),
    ("row >= top && row < top + TILE_ROWS);", "row > top && row < top + TILE_ROWS);"),
    ("min(images - image, W::IMAGES) *", "W::IMAGES *"),
    ("if (first_output + g + 8 * o < outputs) {", "{"),
    ("mean *= 0.5f / TILE_ROWS;", "mean *= 1.0f / TILE_ROWS;"),
];

#[test]
fn faults_with_tensor_cores_are_found() {
    const TEST: &str = "nas_bench_201::forward::faults_with_tensor_cores_are_found";
    if SoftwareDevice::is_active() {
        let (from, to) = FAULTS[std::env::var(CHANGE).unwrap().parse::<usize>().unwrap()];
        return compare_changed(&changed(&SOURCE, TENSOR, |text| text.replacen(from, to, 1)), &[]);
    }
    let Some(software) = software_device(TEST) else { return };
    let device = software.checks(Checks::Memory);
    let found = |index: &usize| {
        let ended = run(TEST, &device, &[(CHANGE, index.to_string())]);
        assert!(ended.text.contains("loaded"), "{}", ended.text);
        !ended.passed
    };
    let missed: Vec<_> = (0..FAULTS.len()).filter(|index| !found(index)).collect();
    say(&format!("emulated: {} of {} faults in the kernels were found", FAULTS.len() - missed.len(), FAULTS.len()));
    assert!(missed.is_empty(), "{:?}", missed.iter().map(|&index| FAULTS[index]).collect::<Vec<_>>());
}
