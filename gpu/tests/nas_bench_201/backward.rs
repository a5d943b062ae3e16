//! The way back: gradients of nodes and the sums over them.

use advantage_nas_gpu::check::nas_bench_201::backward;
use advantage_nas_gpu::kernels::nas_bench_201::backward::SOURCE;
use advantage_nas_software_cuda::{Checks, SoftwareDevice};

use crate::support::{
    CHANGE, all_orders, compare_changed, device, expect, in_child, replaced, run, say, software_device,
};

#[test]
fn kernels_equal_the_host() {
    if in_child("nas_bench_201::backward::kernels_equal_the_host", all_orders) {
        expect("kernels of the way back", &backward::kernels(&device()).unwrap());
    }
}

/// Faults that are made in the kernels, all of which must be found: what is there and what stands in its place. The first one is the wait for
/// the filters.
const FAULTS: [(&str, &str); 25] = [
    ("copy_wait<0>();", ""),
    ("-part * inverse * (product * inverse)", "-part * (product * inverse)"),
    ("fmaf(factors.y, z - factors.w, factors.z)", "fmaf(factors.y, z, factors.z)"),
    ("if (own.first_image + image >= images || y < 0 || y >= OUTPUT) dz", "if (own.first_image + image >= images) dz"),
    ("(8 - i % 9) * C::TAP_PITCH", "(i % 9) * C::TAP_PITCH"),
    ("near[ky == 0][x + (kx == 0)]", "near[ky != 0][x + (kx == 0)]"),
    ("if (!(value.y > 0.0f)) whole[j].y = 0.0f;", ""),
    ("const float part = BACK ? pooled_part(row, SIDE) : 1.0f;", "const float part = BACK ? 1.0f / 3.0f : 1.0f;"),
    ("0.25f * two.y, 0.25f * two.y", "0.25f * two.x, 0.25f * two.y"),
    ("term.kind == NORMALIZED || (ask.edges &&", "term.kind == NORMALIZED || (true &&"),
    ("while (slot < end_slot && slots[slot].kernel == 0) ++slot;", ""),
    ("const int at_once = BACK_FACTORS / max(outputs, 1);", "const int at_once = 2;"),
    ("if (own.first_image >= images) return;", ""),
    ("const float before = __shfl_up_sync(FULL, dz.w, 1);", "const float before = __shfl_up_sync(FULL, dz.z, 1);"),
    (
        "sizes.batch), there = tile_count(target.side, ask.images)",
        "ask.images), there = tile_count(target.side, ask.images)",
    ),
    ("y > 0.0f ? slope : 0.0f", "slope"),
    // Of the version with tensor cores.
    ("2 + x), to_tf32(dz));", "2 + x), *(uint4*)&dz);"),
    ("to_tf32(filter[h]));", "*(uint4*)&filter[h]);"),
    ("tap = 8 - i % 9", "tap = i % 9"),
    ("if (o + 1 < outputs) {", "if (true) {"),
    ("2 * line * C::PITCH, make_uint4(0, 0, 0, 0)", "2 * line * C::PITCH, make_uint4(1u << 30, 0, 0, 0)"),
    ("a[ky], b[row + ky]);", "a[ky], b[row]);"),
    ("two && c + 8 < width ? at[row + eight]", "two && c + 8 < width ? at[row]"),
    ("if (begin + 8 * slice >= outputs) return;", ""),
    ("y >= 0 && y < SIDE;", "true;"),
];

#[test]
fn faults_in_the_kernels_are_found() {
    const TEST: &str = "nas_bench_201::backward::faults_in_the_kernels_are_found";
    if SoftwareDevice::is_active() {
        let (from, to) = FAULTS[std::env::var(CHANGE).unwrap().parse::<usize>().unwrap()];
        return compare_changed(&replaced(&SOURCE, from, to), &[]);
    }
    let Some(software) = software_device(TEST) else { return };
    let device = software.checks(Checks::Memory);
    let is_found = |index: usize| {
        let ended = run(TEST, &device, &[(CHANGE, index.to_string())]);
        assert!(ended.text.contains("loaded"), "{}", ended.text);
        !ended.passed
    };
    let missed: Vec<_> = (0..FAULTS.len()).filter(|&index| !is_found(index)).collect();
    say(&format!("emulated: {} of {} faults in the kernels were found", FAULTS.len() - missed.len(), FAULTS.len()));
    assert!(missed.is_empty(), "{:?}", missed.iter().map(|&index| FAULTS[index]).collect::<Vec<_>>());
}
