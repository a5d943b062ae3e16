//! Time of one training step of the recurrent network: dropout masks, forward and backward pass, clipping and update, with a new
//! architecture in every step; and of evaluating a text of 2048 words. `full` is the paper's size, `small` one that fits into the
//! caches.

use advantage_nas::network::recurrent::{Parent, Recurrent, Texts, WeightSettings};
use advantage_nas::random::Streams;
use advantage_nas::strategy::{Proposal, Step, StepKind, Want};
use advantage_nas::supernet::{Batch, Request, Set};
use advantage_nas::{Architecture, Supernet};
use advantage_nas_cpu::recurrent::{self, Settings};
use criterion::{Criterion, SamplingMode, criterion_group, criterion_main};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn steps(criterion: &mut Criterion) {
    let paper = Recurrent::paper();
    let small = Recurrent { vocabulary: 2000, units: 64, batch: 32, steps: 20, ..paper };
    for (name, sizes) in [("full", paper), ("small", small)] {
        let mut group = criterion.benchmark_group(format!("recurrent_step/{name}"));
        group.sample_size(10).sampling_mode(SamplingMode::Flat);
        for threads in [1, 2] {
            let mut rng = ChaCha8Rng::seed_from_u64(0);
            let mut text = |words: usize| (0..words).map(|_| rng.random_range(0..sizes.vocabulary as u32)).collect();
            let texts =
                Texts { vocabulary: sizes.vocabulary, training: text(100_000), validation: text(2048), test: None };
            let parent = Parent::new(sizes).expect("valid sizes");
            let settings = Settings { weights: WeightSettings::paper(), threads };
            let mut supernet = recurrent::supernet::<f32>(parent, settings, texts, &Streams::new(0), &[0])
                .expect("texts of the network's vocabulary");
            let space = supernet.space().clone();
            let step = Step { kind: StepKind::Weights, progress: 0.0, schedule: 0.0 };
            group.bench_function(format!("{threads} threads"), |bencher| {
                bencher.iter(|| {
                    // Without the zero operation, which saves work.
                    let choices: Vec<usize> = (0..6).map(|_| rng.random_range(0..4)).collect();
                    let architecture = Architecture::new(space.shape(), choices).expect("four of five candidates");
                    let proposal = Proposal::one_hot(space.shape(), &architecture, Want::Loss).expect("of this space");
                    let batch = Batch { trial: 0, set: Set::Training, step: 0 };
                    supernet.weight_step(&[step], &[Request { batch, proposal }]).expect("a training step")
                });
            });
            group.bench_function(format!("{threads} threads, 2048 words evaluated"), |bencher| {
                let architecture = Architecture::new(space.shape(), [1; 6]).expect("the second of five candidates");
                let proposal = Proposal::one_hot(space.shape(), &architecture, Want::Loss).expect("of this space");
                let batch = Batch { trial: 0, set: Set::Validation, step: 0 };
                let request = Request { batch, proposal };
                bencher.iter(|| supernet.evaluate(&request).expect("an evaluation"));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, steps);
criterion_main!(benches);
