//! Ring 1b: what the kernels' loads and stores cost, counted on the software device from the accesses that their source writes, held
//! against what their entries expect.

use advantage_nas::network::toy::Toy;
use advantage_nas_gpu::check::nas_bench_201::forward;
use advantage_nas_gpu::check::toy;
use advantage_nas_gpu::device::Source;
use advantage_nas_gpu::kernels::toy::SOURCE;
use advantage_nas_software_cuda::{Checks, Order, SoftwareDevice, Space, Traffic};

use crate::support::{CHANGE, LAST, changed, compare_changed, device, run, say, software_device};

/// As many images as the paper's, fewer edges and candidates.
const SIZES: [Toy; 1] = [Toy { edges: 2, candidates: 4, batch: 100 }];

/// What is not as the entries expect, with line, cost and what would do.
fn problems(source: &Source, traffic: &[Traffic]) -> Vec<String> {
    let mut out = Vec::new();
    for signature in source.kernels {
        let Some(expected) = signature.expected else { continue };
        let rows: Vec<&Traffic> = traffic.iter().filter(|row| row.kernel == signature.names[0]).collect();
        assert!(!rows.is_empty(), "{} was not launched", signature.names[0]);
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

/// The table of what was counted, the fast kernels only.
fn table(source: &Source, traffic: &[Traffic]) -> String {
    let fast = |row: &&Traffic| source.kernels.iter().any(|signature| signature.names[0] == row.kernel);
    let row = |row: &Traffic| {
        let Traffic { kernel, line, space, bytes, instructions, requests, cost, ideal, .. } = row;
        let verb = if row.loads { "load" } else { "store" };
        format!(
            "{kernel:<12} {line:<16} {space:?} {verb:<5} {bytes:>2} B x{instructions:<4} {requests:>8} requests {cost:>9}, ideal {ideal:>9}\n"
        )
    };
    traffic.iter().filter(fast).map(row).collect()
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

#[test]
fn the_toys_accesses_are_as_expected() {
    const TEST: &str = "traffic::the_toys_accesses_are_as_expected";
    if SoftwareDevice::is_active() {
        let all = toy::kernels(&device(), &SIZES).unwrap();
        assert!(all.iter().all(|one| one.passed));
        return;
    }
    let Some(software) = software_device(TEST) else { return };
    let traffic = counted(TEST, &software, &[]);
    let problems = problems(&SOURCE, &traffic);
    println!("emulated:\n{}", table(&SOURCE, &traffic));
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn the_forward_kernels_accesses_are_as_expected() {
    const TEST: &str = "traffic::the_forward_kernels_accesses_are_as_expected";
    if SoftwareDevice::is_active() {
        let all = forward::kernels(&device(), &forward::PAPER, &forward::PAPER_STEMS).unwrap();
        assert!(all.iter().all(|one| one.passed));
        return;
    }
    let Some(software) = software_device(TEST) else { return };
    let source = advantage_nas_gpu::kernels::nas_bench_201::forward::SOURCE;
    let traffic = counted(TEST, &software, &[]);
    let problems = problems(&source, &traffic);
    println!("emulated:\n{}", table(&source, &traffic));
    assert!(problems.is_empty(), "{}", problems.join("\n"));
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
        let found = problems.iter().any(|problem| problem.contains("toy_edges") && problem.contains(said));
        assert!(found, "{from} -> {to}: {problems:?}\n{}", table(&SOURCE, &traffic));
        say(&format!("emulated: found {}", problems[0]));
    }
}
