//! Faults that are made in the fast kernels, all of which the checks must find.

use advantage_nas_gpu::device::Source;
use advantage_nas_gpu::kernels::nas_bench_201::{head, update, weights};
use advantage_nas_software_cuda::{Checks, SoftwareDevice};

use crate::support::{CHANGE, compare_changed, replaced, run, say, software_device};

/// What is there, and what stands in its place.
type Faults = &'static [(&'static str, &'static str)];

const FAULTS: [(Source, Faults); 3] = [
    (
        head::SOURCE,
        &[
            ("image == 0 && lane == 0", "image == 1 && lane == 0"),
            ("if (ask.running)", "if (true)"),
            ("fmax(count - 1.0, 1.0)", "count"),
            ("moved += y > 0.0f ? x : 0.0f;", "moved += x;"),
            ("first = min(first, __shfl", "first = max(first == classes ? -1 : first, __shfl"),
            ("k == label ? 1.0 : 0.0)) / ask.images", "k == label ? 1.0 : 0.0)) / sizes.batch"),
            ("|| image >= ask.images) return;", "|| image >= sizes.batch) return;"),
            ("row >= 0 && row < head.channels ?", "row >= 0 ?"),
            ("outcomes[2 * (size_t)ask.outcome] =", "outcomes[2 * (size_t)request] ="),
        ],
    ),
    (
        update::SOURCE,
        &[
            ("if (at < there) sums[i] += partial", "sums[i] += partial"),
            ("(size_t)slice * piece.length + at", "(size_t)slice * there + at"),
            ("decay != 0.0f && at < there", "false && at < there"),
            ("if (take.used) {", "if (true) {"),
            ("fmaf(momentum, velocity, slope), weight)", "velocity, weight)"),
            ("if (!used) return;\n    const float factor", "const float factor"),
            ("squares[(size_t)request * count + i]", "squares[i]"),
        ],
    ),
    (
        weights::SOURCE,
        &[
            ("relu && x < 0.0f ? 0.0f : x", "x"),
            ("sample.flip ? IMAGE - 1 - column : column", "column"),
            ("y + sample.top - PADDING", "y + sample.top"),
            ("c < inputs && image < there && y >= 0 && y < T::SOURCE", "c < inputs && y >= 0 && y < T::SOURCE"),
            ("quad == T::QUADS - 1 ? 0.0f : next", "next"),
            ("if (quad == 0) row[3] = 0.0f;", ""),
            ("slot.scale == NOWHERE ? 1.0 : (double)weights[slot.scale + output]", "1.0"),
            ("(float)(-own * sum / count)", "0.0f"),
            ("if (normalized) values[h]", "values[h]"),
            ("if (at < inputs * T::TAPS) partial", "partial"),
            ("s == 0 ? acc[o][tap] : sum + acc[o][tap]", "sum + acc[o][tap]"),
            ("line / TILE_ROWS * T::ROWS + line % TILE_ROWS * T::STRIDE", "line % TILE_ROWS * T::STRIDE"),
            // Of the version with tensor cores.
            ("return __uint_as_float(to_tf32(x));", "return x;"),
            ("make_uint4(to_tf32(d[0][0])", "make_uint4(__float_as_uint(d[0][0])"),
            ("return (inputs + 7) / 8 * 8;", "return inputs;"),
            ("{one.y, two.x}", "{one.x, two.x}"),
            ("line / TILE_ROWS * T::ROWS + line % TILE_ROWS) * T::PITCH", "line % TILE_ROWS) * T::PITCH"),
            ("outputs || T::image(tile) + image >= images) continue;", "outputs) continue;"),
            ("whole = begin == split ? sum : whole + sum;", "whole += sum;"),
        ],
    ),
];

#[test]
fn faults_in_the_kernels_are_found() {
    const TEST: &str = "nas_bench_201::faults::faults_in_the_kernels_are_found";
    let all: Vec<_> =
        FAULTS.iter().flat_map(|(source, faults)| faults.iter().map(move |fault| (source, fault))).collect();
    if SoftwareDevice::is_active() {
        let (source, (from, to)) = all[std::env::var(CHANGE).unwrap().parse::<usize>().unwrap()];
        return compare_changed(&replaced(source, from, to), &[]);
    }
    let Some(software) = software_device(TEST) else { return };
    let device = software.checks(Checks::Memory);
    let missed: Vec<_> = (0..all.len())
        .filter(|index| {
            let ended = run(TEST, &device, &[(CHANGE, index.to_string())]);
            assert!(ended.text.contains("loaded"), "{}", ended.text);
            ended.passed
        })
        .map(|index| (all[index].0.name, all[index].1))
        .collect();
    say(&format!("emulated: {} of {} faults in the kernels were found", all.len() - missed.len(), all.len()));
    assert!(missed.is_empty(), "{missed:?}");
}
