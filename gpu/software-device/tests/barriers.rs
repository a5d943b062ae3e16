//! The removal of any one `__syncthreads` is found: by the check for races in every order of threads, and by the
//! numbers in some order.

use crate::common::{context, module, say};
use advantage_nas_software_cuda::{Checks, Order, SoftwareDevice};
use cudarc::driver::{DriverError, LaunchConfig, PushKernelArg};

const BARRIER: &str = "__syncthreads();";
const N: usize = 256;

/// The sound program, or without barrier `removed`; and the kernel that held it.
fn program(removed: Option<usize>) -> (String, Option<String>) {
    let source = include_str!("kernels/barriers.cu");
    let Some(at) = removed.map(|i| source.match_indices(BARRIER).nth(i).unwrap().0) else {
        return (source.into(), None);
    };
    let (before, after) = source.split_at(at);
    let kernel = before.rsplit("void ").next().unwrap().split('(').next().unwrap();
    (format!("{before};{}", &after[BARRIER.len()..]), Some(kernel.into()))
}

fn barriers() -> usize {
    include_str!("kernels/barriers.cu").matches(BARRIER).count()
}

/// What kernel `name` makes of `x`, in f64.
fn expected(name: &str, x: &[f64]) -> Vec<f64> {
    let sum = x.iter().sum::<f64>();
    match name {
        "reversed" => x.iter().rev().copied().collect(),
        "tree_sum" | "warp_sum" => vec![sum; N],
        "scan" => x
            .iter()
            .scan(0.0, |sum, x| {
                Some({
                    *sum += x;
                    *sum
                })
            })
            .collect(),
        "softmax" => {
            let largest = x.iter().copied().fold(f64::MIN, f64::max);
            let total: f64 = x.iter().map(|x| (x - largest).exp()).sum();
            x.iter().map(|x| (x - largest).exp() / total).collect()
        }
        "square" => (0..N).map(|i| (0..16).map(|k| x[i / 16 * 16 + k] * x[k * 16 + i % 16]).sum()).collect(),
        _ => unreachable!("{name}"),
    }
}

/// Runs `kernels` of `source`; whether all results are right.
fn run(source: &str, kernels: &[&str]) -> Result<bool, DriverError> {
    let stream = context().new_stream()?;
    let module = module(stream.context(), source);
    let x: Vec<f32> = (0..N).map(|i| (i * 37 % 23) as f32).collect();
    let wide: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
    let input = stream.clone_htod(&x)?;
    let mut right = true;
    for name in kernels {
        let function = module.load_function(name)?;
        // SAFETY: the kernel writes it.
        let mut output = unsafe { stream.alloc::<f32>(N) }?;
        let block_dim = if *name == "square" { (16, 16, 1) } else { (N as u32, 1, 1) };
        let config = LaunchConfig { grid_dim: (1, 1, 1), block_dim, shared_mem_bytes: 4 * N as u32 };
        // SAFETY: (const float* x, float* y, int n), n elements each.
        unsafe { stream.launch_builder(&function).arg(&input).arg(&mut output).arg(&(N as i32)).launch(config) }?;
        let y = stream.clone_dtoh(&output)?;
        right &= expected(name, &wide).iter().zip(&y).all(|(w, y)| (w - f64::from(*y)).abs() <= 1e-5 * w.abs());
    }
    stream.synchronize()?;
    Ok(right)
}

/// In a child: with `BARRIER=all` runs the sound program and every one without one barrier and prints which were wrong,
/// with a number only that one.
#[test]
#[ignore = "run by the test below, on the device"]
fn child() {
    let Ok(which) = std::env::var("BARRIER") else { return };
    if let Ok(one) = which.parse::<usize>() {
        let (source, kernel) = program(Some(one));
        return println!("result {:?}", run(&source, &[&kernel.unwrap()]));
    }
    let all = ["reversed", "tree_sum", "warp_sum", "scan", "softmax", "square"];
    assert_eq!(run(&program(None).0, &all), Ok(true), "the sound program");
    for i in (0..barriers()).filter(|_| which == "all") {
        let (source, kernel) = program(Some(i));
        println!("{}{i};", if run(&source, &[&kernel.unwrap()]).unwrap() { "missed " } else { "found " });
    }
}

fn rerun(device: SoftwareDevice, barrier: &str) -> String {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    let command =
        device.apply(command.args(["barriers::child", "--exact", "--nocapture", "--ignored"]).env("BARRIER", barrier));
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "barrier {barrier}: {text}");
    text
}

#[test]
fn each_removed_barrier_is_found() {
    if let Some(why) = SoftwareDevice::missing() {
        return say(&format!("SKIPPED each_removed_barrier_is_found: {why}"));
    }
    let device = SoftwareDevice::install().unwrap();
    for order in [Order::Ascending, Order::Descending, Order::Random(7)] {
        rerun(device.clone().order(order), "none"); // sound programs show no race
        for i in 0..barriers() {
            let text = rerun(device.clone().order(order), &i.to_string());
            assert!(text.contains("result Err(DriverError(CUDA_ERROR_LAUNCH_FAILED"), "{order:?}, {i}: {text}");
            assert!(text.contains(": race: line "), "{order:?}, {i}: {text}");
        }
        say(&format!("emulated, {order:?}: the check for races finds {0} of {0} removed barriers", barriers()));
    }
    let mut found = vec![0; barriers()];
    for order in [Order::Ascending, Order::Descending, Order::Random(1), Order::Random(2)] {
        let text = rerun(device.clone().order(order).checks(Checks::Memory), "all");
        let here: Vec<usize> = (0..barriers()).filter(|i| text.contains(&format!("found {i};"))).collect();
        say(&format!("emulated, {order:?}: the numbers are wrong without {} of {} barriers", here.len(), barriers()));
        here.iter().for_each(|i| found[*i] += 1);
    }
    // Softmax is the same whatever is subtracted, so the barrier before its maximum shows in no number.
    let missed: Vec<usize> = (0..barriers()).filter(|i| found[*i] == 0).collect();
    assert_eq!(missed, [7], "orders that found each barrier: {found:?}");
}
