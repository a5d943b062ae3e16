//! Asynchronous copies arrive when they are waited for: a pipeline of two stages, and what goes wrong without its waits and barriers. The kernel takes
//! the header that real kernels take.

use crate::common::{context, module, say};
use advantage_nas_software_cuda::{Order, SoftwareDevice};
use cudarc::driver::{DriverError, LaunchConfig, PushKernelArg};

const HEADER: &str = include_str!("../../kernels/async.cuh");
/// Sums 8 tiles of 128 numbers, each thread over its neighbour's column; the last tile has 100.
const KERNEL: &str = r#"
extern "C" __global__ void sums(const float* in, float* out, int count)
{
    __shared__ float tiles[2][128];
    const int t = threadIdx.x;
    copy_async<4>(&tiles[0][t], in + t);
    copy_commit();
    float sum = 0.0f;
    for (int tile = 0; tile < 8; ++tile) {
        const int next = (tile + 1) * 128 + t;
        if (tile < 7) copy_async<4>(&tiles[(tile + 1) % 2][t], in + next, next < count);
        copy_commit();
        copy_wait<1>();
        __syncthreads();
        sum += tiles[tile % 2][(t + 1) % 128];
        __syncthreads();
    }
    out[128 * blockIdx.x + t] = sum;
}
"#;

/// Changes, each of which must be noticed.
const FAULTS: [(&str, &str); 6] = [
    ("copy_wait<1>();", ""),
    ("copy_wait<1>();", "copy_wait<2>();"),
    ("        copy_commit();", ""),
    ("copy_wait<1>();\n        __syncthreads();", "copy_wait<1>();"),
    ("        __syncthreads();\n    }", "    }"),
    (", next < count", ""),
];

const COUNT: usize = 7 * 128 + 100;

/// Whether the kernel's sums are right.
fn right(kernel: &str) -> Result<bool, DriverError> {
    let stream = context().new_stream()?;
    let module = module(stream.context(), &format!("{HEADER}{kernel}"));
    let values: Vec<f32> = (0..COUNT).map(|i| (i * 37 % 101) as f32).collect();
    let (input, mut output) = (stream.clone_htod(&values)?, stream.alloc_zeros::<f32>(256)?);
    let function = module.load_function("sums")?;
    let config = LaunchConfig { grid_dim: (2, 1, 1), block_dim: (128, 1, 1), shared_mem_bytes: 0 };
    let count = COUNT as i32;
    // SAFETY: types are the kernel's; each block has its own half of the results.
    unsafe { stream.launch_builder(&function).arg(&input).arg(&mut output).arg(&count).launch(config) }?;
    let output = stream.clone_dtoh(&output)?;
    let expected = |t: usize| (0..8).filter_map(|tile| values.get(tile * 128 + (t + 1) % 128)).sum::<f32>();
    Ok((0..256).all(|t| output[t] == expected(t % 128)))
}

/// In the child: runs the kernel with a fault, or without; prints whether it is right.
fn child() {
    let kernel = match std::env::var("FAULT") {
        Ok(index) => {
            let (from, to) = FAULTS[index.parse::<usize>().unwrap()];
            assert!(KERNEL.contains(from), "{from}");
            KERNEL.replacen(from, to, 1)
        }
        Err(_) => KERNEL.to_owned(),
    };
    println!("outcome: {:?}", right(&kernel).is_ok_and(|right| right));
}

#[test]
fn copies_arrive_when_they_are_waited_for() {
    const TEST: &str = "asynchronous::copies_arrive_when_they_are_waited_for";
    if SoftwareDevice::is_active() {
        return child();
    }
    if let Some(why) = SoftwareDevice::missing() {
        return say(&format!("SKIPPED {TEST}: {why}"));
    }
    let outcome = |order: Order, fault: Option<usize>| {
        let device = SoftwareDevice::install().unwrap().order(order);
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args([TEST, "--exact", "--nocapture"]);
        command.envs(fault.map(|fault| ("FAULT", fault.to_string())));
        let output = device.apply(&mut command).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (text.contains("outcome: true"), text.contains("outcome: false"), text)
    };
    for order in [Order::Ascending, Order::Descending, Order::Random(3)] {
        let (right, _, text) = outcome(order, None);
        assert!(right, "{order:?}: {text}");
        for (fault, (from, to)) in FAULTS.iter().enumerate() {
            let (_, wrong, text) = outcome(order, Some(fault));
            assert!(wrong, "{order:?}, {from:?} -> {to:?}: {text}");
        }
    }
}
