//! Times weight steps of the NAS-Bench-201 supernet on random images, to be compared with another program's in the same minute.
//!
//!     nas_bench_201_steps full|small THREADS WARM_UP CELL...
//!
//! A cell is six digits, the candidates of its edges (0 skip, 1 convolution 1×1, 2 convolution 3×3, 3 average pooling); each step
//! trains the next cell, the first `WARM_UP` untimed. Prints one line of JSON: milliseconds per step, GFLOP/s of the convolutions.

use std::time::Instant;

use advantage_nas::network::nas_bench_201::{
    BATCH, CHANNELS, Candidates, Data, EDGES, IMAGE, Images, Parent, Skeleton, paper_sgd,
};
use advantage_nas::random::Streams;
use advantage_nas::strategy::{Activity, Proposal, Step, StepKind, Want};
use advantage_nas::supernet::{Batch, Request, Set};
use advantage_nas::{Architecture, Error, Supernet};
use advantage_nas_cpu::nas_bench_201::{self, Settings};
use ndarray::Array4;
use ndarray_rand::RandomExt;
use rand::SeedableRng;
use rand::distr::StandardUniform;
use rand_chacha::ChaCha8Rng;

const USAGE: &str = "nas_bench_201_steps full|small THREADS WARM_UP CELL...";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [preset, threads, warm_up, cells @ ..] = &arguments[..] else { return Err(USAGE.into()) };
    let (threads, warm_up): (usize, usize) = (threads.parse()?, warm_up.parse()?);
    let skeleton = match preset.as_str() {
        "full" => Skeleton::paper(),
        "small" => Skeleton { cells: 1, channels: 8, classes: 10 },
        _ => return Err(USAGE.into()),
    };
    if warm_up >= cells.len() {
        return Err(format!("{warm_up} untimed steps leave none of {}", cells.len()).into());
    }
    let candidates = Candidates::without_zero();
    let space = candidates.space();
    let choices = |cell: &String| {
        let digits: Vec<usize> = cell.bytes().map(|digit| usize::from(digit.wrapping_sub(b'0'))).collect();
        if digits.len() == EDGES { Architecture::new(space.shape(), digits) } else { Err(Error::other(USAGE)) }
    };
    let architectures = cells.iter().map(choices).collect::<Result<Vec<_>, _>>()?;

    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let count = 20 * BATCH;
    let images = Images::new(
        Array4::random_using((count, CHANNELS, IMAGE, IMAGE), StandardUniform, &mut rng).into_raw_vec_and_offset().0,
        (0..count).map(|image| (image % 10) as u8).collect::<Vec<_>>(),
        (0..10).map(|class| class.to_string()).collect::<Vec<_>>(),
    )?;
    let streams = Streams::new(0);
    let settings = Settings { batch: BATCH, weights: paper_sgd(), activity: Activity::One, threads };
    let parent = Parent::new(skeleton, &candidates)?;
    let data = Data::new(images, None, &streams)?;
    let mut supernet = nas_bench_201::supernet::<f32>(parent, settings, data, &streams, &[0])?;

    let step = Step { kind: StepKind::Weights, progress: 0.0, schedule: 0.0 };
    let (mut times, mut operations) = (Vec::new(), 0.0);
    for (number, architecture) in architectures.iter().enumerate() {
        let proposal = Proposal::one_hot(space.shape(), architecture, Want::Loss)?;
        let batch = Batch { trial: 0, set: Set::Training, step: number as u64 };
        let start = Instant::now();
        supernet.weight_step(&[step], &[Request { batch, proposal }])?;
        if number >= warm_up {
            times.push(start.elapsed().as_secs_f64());
            // Forward pass and two gradients, of a multiplication and an addition each.
            operations += 6.0 * (BATCH as u64 * skeleton.cost(&candidates.cell(architecture)?)?.flops) as f64;
        }
    }
    let total: f64 = times.iter().sum();
    times.sort_by(f64::total_cmp);
    let steps = times.len();
    println!(
        r#"{{"preset":"{preset}","threads":{threads},"steps":{steps},"median_ms":{:.2},"mean_ms":{:.2},"min_ms":{:.2},"gflops":{:.1}}}"#,
        1e3 * (times[(steps - 1) / 2] + times[steps / 2]) / 2.0,
        1e3 * total / steps as f64,
        1e3 * times[0],
        operations / total / 1e9,
    );
    Ok(())
}
