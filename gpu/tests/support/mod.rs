//! Ring 1: the same kernels as on a GPU, run by the software CUDA device in a child process. What is measured there is
//! emulated.

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use advantage_nas::comparison::Comparison;
use advantage_nas::network::toy::Toy;
use advantage_nas_gpu::Device;
use advantage_nas_gpu::check::nas_bench_201::{backward, forward, head, update, weights};
use advantage_nas_gpu::check::{probe, toy};
use advantage_nas_gpu::device::Source;
use advantage_nas_gpu::kernels::toy::SOURCE;
use advantage_nas_gpu::kernels::{Kernels, Version};
use advantage_nas_software_cuda::{Checks, Order, SoftwareDevice};

/// The orders in which threads run.
pub const ORDERS: [Order; 3] = [Order::Ascending, Order::Descending, Order::Random(5)];

/// Says something whether or not the test's output is captured.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// The software device, or nothing after having said why not.
pub fn software_device(test: &str) -> Option<SoftwareDevice> {
    if let Some(why) = SoftwareDevice::missing() {
        say(&format!("SKIPPED {test}: {why}"));
        return None;
    }
    Some(SoftwareDevice::install().unwrap())
}

/// How a test ended in a child.
#[derive(Debug)]
pub struct Ended {
    /// Whether it passed.
    pub passed: bool,
    /// What it said.
    pub text: String,
}

/// Runs a test again in a child on the software device.
pub fn run(test: &str, device: &SoftwareDevice, variables: &[(&str, String)]) -> Ended {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture"]).envs(variables.iter().map(|(name, value)| (*name, value)));
    let output = device.apply(&mut command).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("running 1 test"), "{test} did not run:\n{text}");
    Ended { passed: output.status.success(), text }
}

/// In the test program: runs the test in children, one per device, all of which must pass. In a child: `true`.
#[track_caller]
pub fn in_child(test: &str, devices: impl Fn(SoftwareDevice) -> Vec<SoftwareDevice>) -> bool {
    if SoftwareDevice::is_active() {
        return true;
    }
    let Some(device) = software_device(test) else { return false };
    for device in devices(device) {
        let Ended { passed, text } = run(test, &device, &[]);
        assert!(passed, "{test} on the emulated device {device:?}:\n{text}");
        println!("{test} passed on the emulated device {device:?}");
        text.lines().filter(|line| line.starts_with("emulated: ")).for_each(say);
    }
    false
}

/// All orders, everything checked.
pub fn all_orders(device: SoftwareDevice) -> Vec<SoftwareDevice> {
    ORDERS.iter().map(|&order| device.clone().order(order)).collect()
}

/// One order, fast: numbers only.
pub fn numbers_only(device: SoftwareDevice) -> Vec<SoftwareDevice> {
    vec![device.checks(Checks::None)]
}

/// The device of a child.
pub fn device() -> Device {
    Device::open(0, cache()).unwrap()
}

/// Where kernels for the software device are kept from test to test: code for other checks is of no use.
pub fn cache() -> PathBuf {
    let checks = std::env::var("SOFTWARE_CUDA_CHECKS").unwrap_or_default();
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("checks-{checks}"))
}

/// Panics with those comparisons that failed, and if there was none at all.
#[track_caller]
pub fn expect(what: &str, comparisons: &[Comparison]) {
    let failed: Vec<String> = comparisons.iter().filter(|one| !one.passed).take(20).map(ToString::to_string).collect();
    let count = comparisons.len();
    assert!(count > 0 && failed.is_empty(), "{what}: {count} comparisons, failed:\n{}", failed.join("\n"));
    let worst = comparisons.iter().filter_map(|one| one.worst).fold(0.0, f64::max);
    let order = std::env::var("SOFTWARE_CUDA_ORDER").unwrap_or_else(|_| "ascending".to_owned());
    say(&format!("emulated: {what}, {order}: {count} comparisons, largest difference {worst:.2} of the allowed"));
}

/// The module with one of its files changed.
pub fn changed(source: &Source, file: usize, change: impl Fn(&str) -> String) -> Source {
    let mut files = source.files.to_vec();
    let text = change(files[file].1);
    assert_ne!(text, files[file].1);
    files[file].1 = text.leak();
    Source { files: files.leak(), ..*source }
}

/// The module with what is there in another form, in the first of its files that has it.
pub fn replaced(source: &Source, from: &str, to: &str) -> Source {
    let file = source.files.iter().position(|(_, text)| text.contains(from));
    changed(source, file.unwrap_or_else(|| panic!("{from} is in no file")), |text| text.replacen(from, to, 1))
}

/// The file with the kernels themselves.
pub const LAST: usize = SOURCE.files.len() - 1;

/// Runs the checks of the kernels in this child, on a changed text; `sizes` are of the toy.
pub fn compare_changed(source: &Source, sizes: &[Toy]) {
    let device = device();
    let load = || Kernels::load(&device, source).unwrap();
    let compared = match source.name {
        "toy" => loaded(load(), |kernels| toy::compare(&device, kernels, sizes)),
        "probe" => loaded(load(), |kernels| probe::compare(&device, kernels)),
        "nas_bench_201_forward" => {
            // Every kernel once.
            let few = [0, 2, 4, 7, 9, 11].map(|index| forward::CASES[index]);
            loaded(load(), |kernels| forward::compare(&device, kernels, &few, &forward::STEMS[..1]))
        }
        "nas_bench_201_backward" => loaded(load(), |kernels| backward::compare(&device, kernels, &backward::FEW)),
        "nas_bench_201_head" => loaded(load(), |kernels| head::compare(&device, kernels, &head::SIZES)),
        "nas_bench_201_update" => loaded(load(), |kernels| update::compare(&device, kernels, &update::SIZES)),
        "nas_bench_201_weights" => loaded(load(), |kernels| {
            // The naive versions have no barriers, and take most of the time.
            weights::compare(&device, kernels, &weights::SIZES, &[Version::Fast, Version::Tf32])
        }),
        other => panic!("no checks for the kernels of module {other}"),
    };
    expect("changed kernels", &compared.unwrap());
}

/// Says that kernels are loaded before they are used.
fn loaded<T>(kernels: Kernels, check: impl FnOnce(&Kernels) -> T) -> T {
    println!("loaded");
    check(&kernels)
}

/// What a test is to change in its children.
pub const CHANGE: &str = "CHANGE";
