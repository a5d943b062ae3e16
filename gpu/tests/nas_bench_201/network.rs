//! The whole network on the software device against the supernet on the CPU.

use advantage_nas::Result;
use advantage_nas::conformance::SupernetSuite;

use advantage_nas::random::Streams;
use advantage_nas::strategy::{Activity, Method};
use advantage_nas_cpu::nas_bench_201::{NasBench201Supernet, Settings, supernet};
use advantage_nas_gpu::check::nas_bench_201::network::{self, Case};
use advantage_nas_gpu::nas_bench_201;

use crate::support::{all_orders, device, expect, in_child, numbers_only};

fn on_cpu(case: &Case, streams: &Streams, trials: &[u32]) -> Result<NasBench201Supernet<f64>> {
    let settings = Settings { batch: case.batch, weights: network::sgd(), activity: case.activity, threads: 1 };
    supernet(case.parent()?, settings, case.data(streams)?, streams, trials)
}

const SMALL: Case = Case { cells: 1, channels: 2, batch: 3, zero: true, activity: Activity::All, tf32: false };

/// Whole steps, everything checked, in all orders of threads.
#[test]
fn steps_equal_the_cpu() {
    if in_child("nas_bench_201::network::steps_equal_the_cpu", all_orders) {
        let cases = [Case { batch: 2, channels: 1, activity: Activity::One, ..SMALL }];
        expect("steps", &network::steps(&device(), &cases, &on_cpu).unwrap());
    }
}

/// Odd sizes and all kinds of proposals: numbers only.
#[test]
fn steps_of_other_sizes_equal_the_cpu() {
    if in_child("nas_bench_201::network::steps_of_other_sizes_equal_the_cpu", numbers_only) {
        let cases = [
            SMALL,
            Case { channels: 5, batch: 7, zero: false, activity: Activity::Two, ..SMALL },
            Case { channels: 17, batch: 1, activity: Activity::One, ..SMALL },
            Case { cells: 2, channels: 3, batch: 4, activity: Activity::One, ..SMALL },
        ];
        expect("steps", &network::steps(&device(), &cases, &on_cpu).unwrap());
    }
}

/// With tensor cores, as close as TF32 is, everything checked.
#[test]
fn steps_in_tf32_equal_the_cpu() {
    if in_child("nas_bench_201::network::steps_in_tf32_equal_the_cpu", |device| vec![device]) {
        let cases = [Case { batch: 2, channels: 1, activity: Activity::One, tf32: true, ..SMALL }];
        expect("steps", &network::steps(&device(), &cases, &on_cpu).unwrap());
    }
}

/// The same at odd sizes, numbers only.
#[test]
fn steps_in_tf32_of_other_sizes_equal_the_cpu() {
    if in_child("nas_bench_201::network::steps_in_tf32_of_other_sizes_equal_the_cpu", numbers_only) {
        let cases = [
            Case { tf32: true, ..SMALL },
            Case { channels: 5, batch: 7, zero: false, activity: Activity::Two, tf32: true, ..SMALL },
        ];
        expect("steps", &network::steps(&device(), &cases, &on_cpu).unwrap());
    }
}

/// Searches draw the architectures of the CPU's.
#[test]
fn searches_equal_the_cpu() {
    if in_child("nas_bench_201::network::searches_equal_the_cpu", numbers_only) {
        let case = Case { batch: 4, ..SMALL };
        let checks = network::searches(&device(), case, &Method::ALL, 20, &on_cpu).unwrap();
        expect("searches", &checks);
    }
}

/// What every supernet must do, with lanes of two trials and one candidate of an edge at a time. (With all candidates it was run by hand: two minutes.)
#[test]
fn the_network_conforms() {
    if !in_child("nas_bench_201::network::the_network_conforms", numbers_only) {
        return;
    }
    let streams = Streams::new(2);
    let trials = [3, 0];
    let case = Case { batch: 2, channels: 1, activity: Activity::One, ..SMALL };
    let device = device();
    let report = SupernetSuite::new(trials).run(|| {
        let (parent, data) = (case.parent()?, case.data(&streams)?);
        nas_bench_201::supernet(&device, parent, case.settings(), data, &streams, &trials)
    });
    report.assert();
}
