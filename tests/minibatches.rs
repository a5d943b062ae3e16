//! CIFAR-10's halves and minibatches, recomputed from the words of a second ChaCha8: where every word of their streams goes.

use std::collections::HashMap;

use crate::common::chacha;
use advantage_nas::network::nas_bench_201::{BATCH, Images, Minibatches, PIXELS, Sample};
use advantage_nas::random::Streams;
use advantage_nas::supernet::Set;

/// The words of one step, whole blocks at a time.
struct Words {
    seed: u64,
    stream: u64,
    start: u128,
    blocks: HashMap<u64, [u32; 16]>,
}

impl Words {
    fn new(seed: u64, purpose: u64, trial: u64, step: u64) -> Self {
        Self { seed, stream: trial * 65_536 + purpose, start: u128::from(step) * 1_048_576, blocks: HashMap::new() }
    }

    fn get(&mut self, place: usize) -> u64 {
        let place = self.start + place as u128;
        let counter = (place / 16) as u64;
        let (seed, stream) = (self.seed, self.stream);
        let block = self
            .blocks
            .entry(counter)
            .or_insert_with(|| chacha::block(&chacha::initial(&chacha::key_of_seed(seed), counter, stream), 8));
        u64::from(block[(place % 16) as usize])
    }

    /// Fisher and Yates from the end, two words an index, the low one first.
    fn permuted(&mut self, mut values: Vec<u32>) -> Vec<u32> {
        let mut place = 0;
        for last in (1..values.len()).rev() {
            let uniform = u128::from(self.get(place + 1) << 32 | self.get(place));
            values.swap(last, ((uniform * (last as u128 + 1)) >> 64) as usize);
            place += 2;
        }
        values
    }
}

fn images(count: usize) -> Images {
    // Labels that no period of the halves could hide.
    let labels: Vec<u8> = (0..count).map(|image| (image * image % 7 % 4) as u8).collect();
    Images::new(vec![0; count * PIXELS], labels, vec![String::new(); 4]).unwrap()
}

#[test]
fn halves_and_minibatches_are_those_of_the_streams() {
    let images = images(1001);
    for (seed, trial) in [(0, 0), (7, 3), (u64::MAX, u32::MAX)] {
        let streams = Streams::new(seed);
        let halves = images.halves(&streams).unwrap();

        let (mut training, mut validation) = (Vec::new(), Vec::new());
        for class in 0..4u8 {
            let members = (0..1001).filter(|image| images.labels()[*image as usize] == class).collect();
            let members = Words::new(seed, 6, 0, u64::from(class)).permuted(members);
            let more = members.len() % 2 * usize::from(training.len() <= validation.len());
            training.extend_from_slice(&members[..members.len() / 2 + more]);
            validation.extend_from_slice(&members[members.len() / 2 + more..]);
        }
        training.sort_unstable();
        validation.sort_unstable();
        assert_eq!((&halves.training[..], &halves.validation[..]), (&training[..], &validation[..]));

        // Numbers of the purposes: training order, validation order, training and validation augmentation.
        let sets = [(Set::Training, training, 7, 9), (Set::Validation, validation, 8, 10)];
        for (set, half, order, augmentation) in sets {
            let mut batches = Minibatches::new(&streams, trial, set, &halves, BATCH).unwrap();
            for step in [0u64, 7, 8, 5, 1_000_003] {
                let mut samples = [Sample::plain(0); BATCH];
                batches.draw(step, &mut samples).unwrap();
                let mut words = Words::new(seed, augmentation, trial.into(), step);
                let mut permutations = HashMap::new();
                for (k, sample) in samples.iter().enumerate() {
                    let place = step * 64 + k as u64;
                    let epoch = place / half.len() as u64;
                    let permutation = permutations
                        .entry(epoch)
                        .or_insert_with(|| Words::new(seed, order, trial.into(), epoch).permuted(half.clone()));
                    assert_eq!(sample.image, permutation[(place % half.len() as u64) as usize]);
                    assert_eq!(u64::from(sample.top), words.get(3 * k) * 9 / 4_294_967_296);
                    assert_eq!(u64::from(sample.left), words.get(3 * k + 1) * 9 / 4_294_967_296);
                    assert_eq!(sample.flip, words.get(3 * k + 2) >= 2_147_483_648);
                }
            }
        }
    }
}
