//! Steps of the search in NAS-Bench-201 with minibatches of 64: the weight step, and the step of `θ` that needs a gradient (forward
//! and backward pass, nothing for the weights). Sampled cells, a new one each step, and the cell of 3×3 convolutions alone; the
//! paper's network and a small one; one thread and two. Random images, so no data is needed.

use advantage_nas::network::nas_bench_201::{
    BATCH, CHANNELS, Candidates, Data, EDGES, IMAGE, Images, Parent, Skeleton, paper_sgd,
};
use advantage_nas::random::Streams;
use advantage_nas::strategy::{Activity, Feedback, Proposal, Step, StepKind, Want};
use advantage_nas::supernet::{Batch, Request, Set};
use advantage_nas::{Architecture, Supernet};
use advantage_nas_cpu::nas_bench_201::{self, NasBench201Supernet, Settings};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use ndarray::Array4;
use ndarray_rand::RandomExt;
use rand::distr::StandardUniform;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// 3×3 convolution among the candidates.
const CONVOLUTION_3X3: usize = 2;

fn supernet(skeleton: Skeleton, threads: usize) -> NasBench201Supernet<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let count = 4 * BATCH;
    let images = Images::new(
        Array4::random_using((count, CHANNELS, IMAGE, IMAGE), StandardUniform, &mut rng).into_raw_vec_and_offset().0,
        (0..count).map(|image| (image % 10) as u8).collect::<Vec<_>>(),
        (0..10).map(|class| class.to_string()).collect::<Vec<_>>(),
    )
    .expect("whole images with labels");
    let streams = Streams::new(0);
    let settings = Settings { batch: BATCH, weights: paper_sgd(), activity: Activity::One, threads };
    let parent = Parent::new(skeleton, &Candidates::without_zero()).expect("a valid skeleton");
    let data = Data::new(images, None, &streams).expect("enough images");
    nas_bench_201::supernet(parent, settings, data, &streams, &[0]).expect("valid settings")
}

fn steps(criterion: &mut Criterion) {
    let small = Skeleton { cells: 1, channels: 8, classes: 10 };
    for (preset, skeleton) in [("full", Skeleton::paper()), ("small", small)] {
        for (name, want) in [("weight_step", Want::Loss), ("theta_step", Want::Gradient)] {
            let mut group = criterion.benchmark_group(format!("nas_bench_201/{preset}/{name}"));
            group.sample_size(10);
            for threads in [1, 2] {
                let mut supernet = supernet(skeleton, threads);
                let shape = supernet.space().shape().clone();
                let mut feedback = [Feedback::new(&shape)];
                for cell in ["uniform", "conv3"] {
                    let mut rng = ChaCha8Rng::seed_from_u64(1);
                    let mut number = 0;
                    group.bench_function(BenchmarkId::new(cell, threads), |bencher| {
                        bencher.iter(|| {
                            let mut draw = || if cell == "uniform" { rng.random_range(0..4) } else { CONVOLUTION_3X3 };
                            let choices = (0..EDGES).map(|_| draw()).collect::<Vec<_>>();
                            let architecture = Architecture::new(&shape, choices).expect("in the space");
                            let proposal = Proposal::one_hot(&shape, &architecture, want).expect("in the space");
                            let set = if want == Want::Loss { Set::Training } else { Set::Validation };
                            let request = Request { batch: Batch { trial: 0, set, step: number }, proposal };
                            number += 1;
                            if want == Want::Loss {
                                let step = Step { kind: StepKind::Weights, progress: 0.0, schedule: 0.0 };
                                supernet.weight_step(&[step], &[request]).expect("a valid request");
                            } else {
                                supernet.probe(&[request], &mut feedback).expect("a valid request");
                            }
                        });
                    });
                }
            }
            group.finish();
        }
    }
}

criterion_group!(benches, steps);
criterion_main!(benches);
