//! Ring 1b: what the kernels' loads and stores cost, counted on the software device from the accesses that their source writes, held
//! against what their entries expect.

use advantage_nas::comparison::Comparison;
use advantage_nas::network::toy::Toy;
use advantage_nas_gpu::check::nas_bench_201::{backward, forward, head, update, weights};
use advantage_nas_gpu::check::{probe, toy};
use advantage_nas_gpu::device::Source;
use advantage_nas_gpu::kernels;
use advantage_nas_gpu::kernels::toy::SOURCE;
use advantage_nas_gpu::kernels::{Kernels, Version, nas_bench_201};
use advantage_nas_software_cuda::{Checks, Order, SoftwareDevice, Space, Traffic};

use crate::support::{CHANGE, LAST, changed, compare_changed, device, expect, run, say, software_device};

/// As many images as the paper's, fewer edges and candidates.
const SIZES: [Toy; 1] = [Toy { edges: 2, candidates: 4, batch: 100 }];

/// What is not as the entries expect, with line, cost and what would do.
fn problems(source: &Source, traffic: &[Traffic]) -> Vec<String> {
    let mut out = Vec::new();
    for (kernel, expected) in source.expectations() {
        let rows: Vec<&Traffic> = traffic.iter().filter(|row| row.kernel == kernel).collect();
        assert!(!rows.is_empty(), "{kernel} was not launched");
        for row in rows {
            let (most, unit) = match row.space {
                Space::Shared => (expected.shared_waves, "waves of shared memory"),
                Space::Global => (expected.global_sectors, "sectors of global memory"),
            };
            if 100 * row.cost > most as u64 * row.ideal {
                let Traffic { kernel, line, bytes, requests, cost, ideal, .. } = row;
                let verb = if row.loads { "loads" } else { "stores" };
                out.push(format!(
                    "{kernel}, {line}: {requests} {verb} of {bytes} bytes a lane take {cost} {unit}, {ideal} would do ({:.0} %, at most {most} % expected)",
                    100.0 * row.ratio()
                ));
            }
        }
    }
    out
}

/// The table of what was counted, of kernels that are to be fast.
fn table(source: &Source, traffic: &[Traffic]) -> String {
    let fast = |row: &&Traffic| source.expectations().any(|(kernel, _)| kernel == row.kernel);
    let row = |row: &Traffic| {
        let Traffic { kernel, line, space, bytes, instructions, requests, cost, ideal, .. } = row;
        let verb = if row.loads { "load" } else { "store" };
        format!(
            "{kernel:<12} {line:<16} {space:?} {verb:<5} {bytes:>2} B x{instructions:<4} {requests:>8} requests {cost:>9}, ideal {ideal:>9}\n"
        )
    };
    traffic.iter().filter(fast).map(row).collect()
}

/// What ring 2b's table says of loads in a way that the source does not have: the loop that does the work loads from memories that the source loads from,
/// and no wider or narrower than the source. Where the compiler splits loads of 16 bytes or makes some of 4, what is counted here is not what a device does.
fn differences(performance: &str, source: &Source, traffic: &[Traffic]) -> Vec<String> {
    let mut out = Vec::new();
    for (kernel, _) in source.expectations() {
        let widths = |space| {
            let loads = traffic.iter().filter(move |row| row.kernel == kernel && row.loads && row.space == space);
            loads.map(|row| row.bytes as f64)
        };
        let rows = performance.lines().map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
        let rows: Vec<_> = rows.filter(|row| row.len() == 19 && row[1] == kernel).collect();
        if rows.is_empty() {
            out.push(format!("{kernel} is not in the table of ring 2b"));
        }
        for row in rows {
            // No loop has dashes.
            let [lds, waves, ldg] = [13, 14, 15].map(|at| row[at].parse::<f64>().unwrap_or(0.0));
            let mut unless = |fine: bool, problem: String| {
                if !fine {
                    out.push(format!("{kernel} on {}: {problem}", row[2]));
                }
            };
            let (narrow, wide) = widths(Space::Shared)
                .fold((f64::INFINITY, 0.0f64), |(narrow, wide), bytes| (narrow.min(bytes), wide.max(bytes)));
            // A load of 4 bytes a lane is one wave.
            let mean = 4.0 * waves / lds;
            let within = lds == 0.0 || (narrow..=wide).contains(&mean);
            unless(
                within,
                format!("{lds} LDS of {mean:.1} bytes a lane, in the source they are of {narrow} to {wide}"),
            );
            let loads = widths(Space::Global).count();
            unless(ldg == 0.0 || loads > 0, format!("{ldg} LDG, the source loads nothing of global memory"));
        }
    }
    out
}

/// Runs a test in a child with counters, and reads them.
fn counted(test: &str, software: &SoftwareDevice, variables: &[(&str, String)]) -> Vec<Traffic> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("traffic");
    // One order is enough: what is counted does not depend on it.
    let device = software.clone().order(Order::Ascending).checks(Checks::Memory).traffic(&path);
    let ended = run(test, &device, variables);
    assert!(ended.passed, "{}", ended.text);
    Traffic::read(&path).unwrap()
}

/// Whether the accesses of a module's kernels are as expected when the check launches them; what was counted.
fn as_expected(test: &str, source: &Source, check: impl FnOnce() -> Vec<Comparison>) -> Vec<Traffic> {
    if SoftwareDevice::is_active() {
        expect("kernels", &check());
        return Vec::new();
    }
    let Some(software) = software_device(test) else { return Vec::new() };
    let traffic = counted(test, &software, &[]);
    let mut problems = problems(source, &traffic);
    problems.extend(differences(PERFORMANCE, source, &traffic));
    println!("emulated:\n{}", table(source, &traffic));
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    traffic
}

#[test]
fn the_probes_accesses_are_as_expected() {
    const TEST: &str = "traffic::the_probes_accesses_are_as_expected";
    as_expected(TEST, &kernels::probe::SOURCE, || probe::kernels(&device()).unwrap());
}

#[test]
fn the_toys_accesses_are_as_expected() {
    const TEST: &str = "traffic::the_toys_accesses_are_as_expected";
    as_expected(TEST, &SOURCE, || toy::kernels(&device(), &SIZES).unwrap());
}

#[test]
fn the_heads_accesses_are_as_expected() {
    const TEST: &str = "traffic::the_heads_accesses_are_as_expected";
    as_expected(TEST, &nas_bench_201::head::SOURCE, || head::kernels(&device(), &head::PAPER).unwrap());
}

#[test]
fn the_updates_accesses_are_as_expected() {
    const TEST: &str = "traffic::the_updates_accesses_are_as_expected";
    as_expected(TEST, &nas_bench_201::update::SOURCE, || update::kernels(&device(), &update::SIZES).unwrap());
}

#[test]
fn the_weights_accesses_are_as_expected() {
    const TEST: &str = "traffic::the_weights_accesses_are_as_expected";
    as_expected(TEST, &nas_bench_201::weights::SOURCE, || {
        let kernels = Kernels::load(&device(), &nas_bench_201::weights::SOURCE).unwrap();
        weights::compare(&device(), &kernels, &weights::PAPER, &[Version::Fast, Version::Tf32]).unwrap()
    });
}

/// The table of ring 2b, which `.ci/run` holds against the compiler.
const PERFORMANCE: &str = include_str!("../PERFORMANCE.md");

#[test]
fn other_loads_in_machine_code_are_found() {
    let load = |kernel: &str, space, bytes| Traffic {
        kernel: kernel.to_owned(),
        line: "toy.cu:1".to_owned(),
        space,
        loads: true,
        bytes,
        instructions: 1,
        requests: 1,
        cost: 1,
        ideal: 1,
    };
    let all = |bytes| [load("toy_edges", Space::Shared, bytes), load("toy_edges", Space::Global, 4)];
    assert_eq!(differences(PERFORMANCE, &SOURCE, &all(4)), [""; 0]);
    let split = differences(PERFORMANCE, &SOURCE, &all(16));
    assert!(split.len() == 2 && split[0].contains("91 LDS of 4.0 bytes a lane, in the source they are of 16 to 16"));
    let hidden = differences(PERFORMANCE, &SOURCE, &all(4)[..1]);
    assert!(
        hidden.len() == 2 && hidden[0].contains("100 LDG, the source loads nothing of global memory"),
        "{hidden:?}"
    );
    let unknown = differences("", &SOURCE, &all(4));
    assert!(unknown.iter().any(|one| one == "toy_edges is not in the table of ring 2b"), "{unknown:?}");
}

#[test]
fn the_way_backs_accesses_are_as_expected() {
    const TEST: &str = "traffic::the_way_backs_accesses_are_as_expected";
    as_expected(TEST, &nas_bench_201::backward::SOURCE, || backward::paper(&device()).unwrap());
}

#[test]
fn the_forward_kernels_accesses_are_as_expected() {
    const TEST: &str = "traffic::the_forward_kernels_accesses_are_as_expected";
    let traffic = as_expected(TEST, &nas_bench_201::forward::SOURCE, || {
        forward::kernels(&device(), &forward::PAPER, &forward::PAPER_STEMS).unwrap()
    });
    // Where there is much to do, it is better than the entries say: loads by four floats cost what they must, and so do stores but for
    // two rows of a small image in shared memory.
    for row in traffic.iter().filter(|row| row.bytes == 16 && !row.kernel.ends_with("_naive")) {
        assert!(row.ratio() <= if row.loads || row.space == Space::Global { 1.01 } else { 1.7 }, "{row:?}");
    }
}

/// Enough to see changes.
const SMALL: [Toy; 1] = [Toy { edges: 1, candidates: 2, batch: 64 }];

/// Changes that leave all numbers as they are and make memory slower; what must be said of each.
const SLOW: [(&str, &str, &str); 3] = [
    // A row of the tile begins where the one before does, among the banks.
    ("constexpr int PITCH = 36;", "constexpr int PITCH = 32;", "waves of shared memory"),
    // Two words from lane to lane, where 8 images and 4 rows would fill all banks.
    ("constexpr int PITCH = 36;", "constexpr int PITCH = 34;", "waves of shared memory"),
    // Neighbouring lanes load from rows of the minibatch that are far apart.
    (
        "const int pixel = i / TILE, image = i % TILE;",
        "const int pixel = i % PIXELS, image = i / PIXELS;",
        "sectors of global memory",
    ),
];

#[test]
fn slow_accesses_are_found() {
    const TEST: &str = "traffic::slow_accesses_are_found";
    if SoftwareDevice::is_active() {
        let (from, to, _) = SLOW[std::env::var(CHANGE).unwrap().parse::<usize>().unwrap()];
        return compare_changed(&changed(&SOURCE, LAST, |text| text.replacen(from, to, 1)), &SMALL);
    }
    let Some(software) = software_device(TEST) else { return };
    for (index, (from, to, said)) in SLOW.into_iter().enumerate() {
        let traffic = counted(TEST, &software, &[(CHANGE, index.to_string())]);
        let problems = problems(&SOURCE, &traffic);
        let found = problems.iter().find(|problem| problem.contains("toy_edges") && problem.contains(said));
        let found = found.unwrap_or_else(|| panic!("{from} -> {to}: {problems:?}\n{}", table(&SOURCE, &traffic)));
        say(&format!("emulated: found {found}"));
    }
}
