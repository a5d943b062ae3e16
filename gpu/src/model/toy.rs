//! What the kernels of the toy regression have to do.

use advantage_nas::network::toy::{PIXELS, POSITIONS, TAPS, Toy};
use advantage_nas::strategy::Activity;

use super::{Around, Step, Work};
use crate::kernels::CHACHA_WORDS;
use crate::kernels::toy::{Sizes, THREADS, TILE};

/// Integer instructions of a ChaCha8 block that becomes 16 pixels: 8 rounds of 4 quarter rounds, each of 4 sums, 4 exclusive ors and 4
/// rotations; 16 sums; for every word a shift and a conversion, which has a quarter of the rate.
const CHACHA: usize = 8 * 4 * 12 + 16 + CHACHA_WORDS * (1 + 4);
/// FP32 instructions of `portable_tanh`, counted in its text, the division as ten.
const TANH: usize = 30;
/// The bound that ring 2b finds in the loop of `toy_edges`, see `gpu/PERFORMANCE.md`.
const EDGES: f64 = 0.61;

/// The step that asks `trials` trials together for `∂loss/∂a` of proposals with so many candidates per edge.
#[must_use]
pub fn gradient(toy: Toy, trials: usize, activity: Activity) -> Step {
    let slots = activity.slots(toy.candidates);
    // One slot of weight 1 is the mixture itself.
    let again = if slots == 1 { 0 } else { slots.next_multiple_of(2) };
    let name = match activity {
        Activity::One => "one candidate",
        Activity::Two => "two candidates",
        Activity::All => "all candidates",
    };
    step(toy, trials, name, slots, again, slots)
}

/// The step that asks `trials` trials together for the loss without each edge, Eq. (6).
#[must_use]
pub fn removals(toy: Toy, trials: usize) -> Step {
    step(toy, trials, "removals", 1, 0, 1)
}

/// `again`: filters that are applied a second time for slopes; `rows`: sums over the batch per edge.
fn step(toy: Toy, trials: usize, name: &str, slots: usize, again: usize, rows: usize) -> Step {
    let sizes = Sizes { toy, trials, requests: trials, slots };
    let work = |kernel: &str, blocks: usize| Work::new(format!("{kernel}, {name}"), blocks);
    let bytes = |values: usize| (size_of::<f32>() * values) as f64;
    let chacha_blocks = sizes.images() / CHACHA_WORDS;
    let images = Work {
        integers: (chacha_blocks * CHACHA) as f64,
        fp32: sizes.images() as f64,
        l2_bytes: bytes(sizes.images()),
        ..work("toy_images", trials * (chacha_blocks / trials.max(1)).div_ceil(THREADS))
    };
    // The last tile has as much to do as a full one.
    let tiles = toy.batch.div_ceil(TILE);
    let padded = trials * toy.edges * tiles * TILE;
    let filters = 2 + again;
    let edges = Work {
        fp32: (padded * POSITIONS * (TAPS * filters + 2 * TANH + 6)) as f64,
        efficiency: EDGES,
        // A tile of images and the filters of the edge go to every block; the shares and slopes come from it.
        l2_bytes: bytes(padded * PIXELS + trials * toy.edges * tiles * TAPS * filters)
            + bytes(sizes.shares() * (3 + slots)),
        ..work("toy_edges", trials * toy.edges * tiles)
    };
    let answers = Work {
        fp32: sizes.shares() as f64,
        // A conversion, a product and a sum of every term.
        fp64: (3 * trials * toy.batch * sizes.sums(rows)) as f64,
        l2_bytes: bytes(sizes.shares() + trials * toy.batch * toy.edges * rows)
            + (8 * trials * sizes.sums(rows)) as f64,
        ..work("toy_answers", trials)
    };
    let kernels = vec![images, edges, answers];
    Step { what: format!("step, {name}"), trials, kernels, around: Around::RoundTrip }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Bound, H100};

    #[test]
    fn work_grows_with_trials_and_candidates() {
        let toy = Toy::paper();
        let [one, many] = [1, 1000].map(|trials| gradient(toy, trials, Activity::One));
        for (one, many) in one.kernels.iter().zip(&many.kernels) {
            assert_eq!(
                (many.fp32, many.integers, many.fp64),
                (1000.0 * one.fp32, 1000.0 * one.integers, 1000.0 * one.fp64)
            );
            assert_eq!(H100.predict(one).bound, Bound::Launch, "{one:?}: one trial is too little for a GPU");
        }
        // By hand: 4 tiles of 32 images on 10 edges, 16 positions, two filters of 49 taps.
        let multiply_adds = (4 * 32 * 10 * 16 * 2 * 49) as f64;
        assert!((multiply_adds..1.7 * multiply_adds).contains(&one.kernels[1].fp32));
        assert_eq!((one.kernels[0].blocks, one.kernels[1].blocks, one.kernels[2].blocks), (9, 40, 1));
        let dense = gradient(toy, 1000, Activity::All);
        assert!(dense.microseconds(&H100) > 2.0 * many.microseconds(&H100));
        assert!(many.microseconds(&H100) < 1000.0 * one.microseconds(&H100));
        assert_eq!(removals(toy, 5).what, "step, removals");
    }
}
