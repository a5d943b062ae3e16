//! The toy regression on the software CUDA device: every kernel and its naive version against the host, the supernet
//! against that of the CPU, searches step by step. The checks are those of `advnas gpu check`.

use crate::support::{
    CHANGE, LAST, ORDERS, all_orders, changed, compare_changed, device, expect, in_child, numbers_only, run, say,
    software_device,
};
use advantage_nas::conformance::{Differences, SupernetSuite};
use advantage_nas::network::toy::Toy;
use advantage_nas::random::Streams;
use advantage_nas::search::Plan;
use advantage_nas::strategy::{Feedback, Proposal, Want};
use advantage_nas::supernet::{Batch, Request, Set};
use advantage_nas::{Error, Shape, Supernet};
use advantage_nas_cpu::toy::ToySupernet as OnCpu;
use advantage_nas_gpu::check::{self, toy};
use advantage_nas_gpu::device::Source;
use advantage_nas_gpu::device::source::{Parameter, Struct};
use advantage_nas_gpu::kernels;
use advantage_nas_gpu::kernels::Kernels;
use advantage_nas_gpu::kernels::toy::{Dimensions, SOURCE, Terms};
use advantage_nas_gpu::together::Table;
use advantage_nas_gpu::toy::ToySupernet;
use advantage_nas_software_cuda::{Checks, SoftwareDevice};
use ndarray::Array3;

fn double(toy: Toy, streams: &Streams, trials: &[u32]) -> advantage_nas::Result<Box<dyn Supernet>> {
    Ok(Box::new(OnCpu::<f64>::new(toy, streams, trials)?))
}

fn single(toy: Toy, streams: &Streams, trials: &[u32]) -> advantage_nas::Result<Box<dyn Supernet>> {
    Ok(Box::new(OnCpu::<f32>::new(toy, streams, trials)?))
}

/// Sizes that meet every edge of the kernels, small enough for every access to be checked.
const SMALL: [Toy; 3] = [
    Toy { edges: 1, candidates: 1, batch: 1 },
    Toy { edges: 2, candidates: 3, batch: 35 },
    Toy { edges: 1, candidates: 4, batch: 150 },
];

#[test]
fn kernels_equal_the_host() {
    if in_child("toy::kernels_equal_the_host", all_orders) {
        expect("kernels", &toy::kernels(&device(), &SMALL).unwrap());
    }
}

#[test]
fn the_supernet_equals_that_of_the_cpu() {
    if in_child("toy::the_supernet_equals_that_of_the_cpu", all_orders) {
        expect("supernet", &toy::supernet(&device(), &SMALL[1..2], &double).unwrap());
    }
}

#[test]
fn the_supernet_of_the_paper_equals_that_of_the_cpu() {
    if in_child("toy::the_supernet_of_the_paper_equals_that_of_the_cpu", numbers_only) {
        expect("supernet of the paper", &toy::supernet(&device(), &[Toy::paper()], &double).unwrap());
    }
}

/// What every supernet must fulfil.
#[test]
fn the_supernet_conforms() {
    if !in_child("toy::the_supernet_conforms", numbers_only) {
        return;
    }
    let toy = Toy { edges: 3, candidates: 4, batch: 20 };
    let (device, streams, trials) = (device(), Streams::new(1), [3, 0]);
    let suite =
        SupernetSuite { differences: Some(Differences { step: 1e-2, tolerance: 1e-3 }), ..SupernetSuite::new(trials) };
    let report = suite.run(|| Ok(ToySupernet::new(&device, toy, &streams, &trials)?));
    report.assert();
    // Its weights are fixed, and it is not affine.
    let skipped: Vec<&str> = report.skipped().map(|check| check.name.as_str()).collect();
    let expected =
        ["weight steps", "a weight step heeds", "losses of weight steps", "states that lack", "Eq. (6) is Eq. (7)"];
    assert!(skipped.len() == expected.len(), "{report}");
    assert!(skipped.iter().zip(expected).all(|(name, begin)| name.starts_with(begin)), "{report}");
    say(&format!("emulated: the supernet conforms, {} checks", report.checks().len()));
}

/// 50 steps with every method: the same architectures, losses to 1e-5 relative plus 1e-7 absolute.
#[test]
fn searches_are_those_of_the_cpu() {
    if in_child("toy::searches_are_those_of_the_cpu", numbers_only) {
        expect("searches", &toy::searches(&device(), Toy::paper(), &[0, 1], 50, &single).unwrap());
    }
}

/// The search test notices a search that goes another way.
#[test]
fn another_search_is_noticed() {
    let streams = Streams::new(3);
    let toy = Toy { edges: 3, candidates: 4, batch: 5 };
    let search = |seed| {
        let streams = Streams::new(seed);
        let settings = advantage_nas::strategy::MethodSettings::toy();
        let method = advantage_nas::strategy::Method::AdvantageNas;
        let strategy = method.build(&toy.space().unwrap(), &settings, &streams, 0).unwrap();
        check::witness(OnCpu::<f32>::new(toy, &streams, &[0]).unwrap(), &streams, 0, strategy, Plan::theta_only(20, 10))
            .unwrap()
    };
    let same = check::same_search("same", &search(streams.seed()), &search(streams.seed()), check::SEARCH);
    assert!(same.iter().all(|check| check.passed && check.compared > 20), "{same:?}");
    let other = check::same_search("other", &search(3), &search(4), check::SEARCH);
    assert!(!other[0].passed && !other[2].passed, "{other:?}");
}

/// Whether a child with the `index`-th change fails after it has loaded the kernels.
fn is_found(test: &str, device: &SoftwareDevice, index: usize) -> bool {
    let ended = run(test, device, &[(CHANGE, index.to_string())]);
    assert!(ended.text.contains("loaded"), "{}", ended.text);
    !ended.passed
}

/// Where there are barriers, in all files of all modules: module, file, and how many barriers of the file stand before.
fn barriers() -> Vec<(usize, usize, usize)> {
    let mut places = Vec::new();
    for (module, source) in kernels::ALL.iter().enumerate() {
        for (file, (name, text)) in source.files.iter().enumerate() {
            let count = text.matches(BARRIER).count();
            let others = text.matches("__sync").count() + text.matches("bar.").count() - count;
            assert_eq!(others, 0, "{name} has other barriers, which this test does not remove");
            places.extend((0..count).map(|barrier| (module, file, barrier)));
        }
    }
    places
}

const BARRIER: &str = "__syncthreads();";

/// Without any one of its barriers, a kernel is found to be wrong in some order of its threads.
#[test]
fn every_barrier_is_needed() {
    const TEST: &str = "toy::every_barrier_is_needed";
    let barriers = barriers();
    if SoftwareDevice::is_active() {
        let (module, file, barrier) = barriers[std::env::var(CHANGE).unwrap().parse::<usize>().unwrap()];
        return compare_changed(
            &changed(&kernels::ALL[module], file, |text| {
                let (at, _) = text.match_indices(BARRIER).nth(barrier).unwrap();
                format!("{}{}", &text[..at], &text[at + BARRIER.len()..])
            }),
            &SMALL[1..],
        );
    }
    let Some(software) = software_device(TEST) else { return };
    let mut found = 0;
    for (index, &(module, file, barrier)) in barriers.iter().enumerate() {
        // Numbers alone, so that it is a wrong result that is found, whatever else the device would notice.
        let wrong = ORDERS.map(|order| is_found(TEST, &software.clone().checks(Checks::None).order(order), index));
        // Products of a warp by tensor cores keep the warps in step on the software device, so that numbers alone may tell nothing.
        let races = !wrong.contains(&true) && is_found(TEST, &software.clone().checks(Checks::Races), index);
        let (name, text) = kernels::ALL[module].files[file];
        let (at, _) = text.match_indices(BARRIER).nth(barrier).unwrap();
        let line = text[..at].lines().count();
        say(&format!(
            "emulated: without the barrier of {name}:{line}, wrong in the orders {ORDERS:?}: {wrong:?}, else a race: {races}"
        ));
        found += usize::from(wrong.contains(&true) || races);
    }
    say(&format!("emulated: {found} of {} removed barriers were found", barriers.len()));
    assert!(!barriers.is_empty() && found == barriers.len());
}

/// A kernel whose parameters are not those of its entry in the table is not compiled: another type behind a pointer, one
/// that may be written, another order, one more. Neither is one whose struct is laid out in another way.
#[test]
fn other_parameters_do_not_compile() {
    if !in_child("toy::other_parameters_do_not_compile", numbers_only) {
        return;
    }
    let device = device();
    let error = |source: &Source| device.module(source).unwrap_err().to_string();
    for (from, to) in [
        ("const unsigned* __restrict__ key,", "const int* __restrict__ key,"),
        ("const unsigned* __restrict__ key,", "unsigned* __restrict__ key,"),
        ("const Dimensions dimensions)\n{", "const Terms terms)\n{ const Dimensions dimensions = {2, 3, 35, 1};"),
        ("const Dimensions dimensions)\n{", "const Dimensions dimensions, int more)\n{"),
    ] {
        let error = error(&changed(&SOURCE, LAST, |text| text.replacen(from, to, 1)));
        let problem = "toy_images has the parameters that the host passes";
        assert!(error.starts_with("can't compile toy for sm_90") && error.contains(problem), "{error}");
    }
    let mut order = SOURCE.kernels.to_vec();
    let mut parameters = order[1].parameters.to_vec();
    parameters.swap(8, 9);
    order[1].parameters = parameters.leak();
    let order = error(&Source { kernels: order.leak(), ..SOURCE });
    assert!(order.contains("toy_edges has the parameters") && order.contains("toy_edges_naive has the"), "{order}");
    for change in [
        |description: &mut Struct| description.size += 4,
        |description: &mut Struct| {
            let mut fields = description.fields.to_vec();
            fields[2].size = 8;
            description.fields = fields.leak();
        },
    ] {
        let mut descriptions = SOURCE.descriptions.to_vec();
        change(&mut descriptions[0]);
        let error = error(&Source { descriptions: descriptions.leak(), ..SOURCE });
        assert!(error.contains("Dimensions is laid out as on the host"), "{error}");
    }
    say(&format!("emulated: {order}"));
}

/// The driver is told neither how many arguments there are nor of what size; the device layer compares both with the
/// kernel's parameters, and says of which kernel they are. Here a table that goes with the text, but not with what is
/// launched.
#[test]
fn wrong_arguments_are_reported() {
    if !in_child("toy::wrong_arguments_are_reported", numbers_only) {
        return;
    }
    let device = device();
    let dimensions = Parameter::value::<Dimensions>("dimensions");
    let images = ("float* __restrict__ images,", "float* __restrict__ images");
    let (from, without) = ("const Dimensions dimensions)\n{", ")\n{ const Dimensions dimensions = {2, 3, 35, 1};");
    for (changes, last, problem) in [
        (
            vec![(from, "const Dimensions dimensions, int more)\n{")],
            vec![dimensions, Parameter::value::<i32>("more")],
            "it is given 4 arguments and has 5 parameters",
        ),
        (vec![images, (from, without)], vec![], "it is given 4 arguments and has 3 parameters"),
        (
            vec![(from, &format!("const Terms terms{without}"))],
            vec![Parameter::value::<Terms>("terms")],
            "argument 3, counted from 0, has 16 bytes and its parameter 8",
        ),
    ] {
        // Both versions of the kernel, which stand first.
        let text = changed(&SOURCE, LAST, |text| {
            changes.iter().fold(text.to_owned(), |text, (from, to)| text.replacen(from, to, 2))
        });
        let mut kernels = SOURCE.kernels.to_vec();
        kernels[0].parameters = [&kernels[0].parameters[..3], &last].concat().leak();
        let kernels = Kernels::load(&device, &Source { kernels: kernels.leak(), ..text }).unwrap();
        let error = toy::compare(&device, &kernels, &SMALL[1..2]).unwrap_err().to_string();
        let (begin, flags) = ("can't launch toy_images with grid ", "module toy, flags --gpu-architecture=sm_90");
        assert!(error.starts_with(begin) && error.contains(problem) && error.contains(flags), "{error}");
        say(&format!("emulated: {error}"));
    }
    // Nothing was launched, nothing is broken.
    expect("kernels", &toy::kernels(&device, &SMALL[..1]).unwrap());
}

/// Faults that are made in the kernels, all of which must be found: what is there and what stands in its place.
const FAULTS: [(&str, &str); 14] = [
    ("long_word(ask + 3) + block", "ask[3] + block"),
    ("const int pitch = images_pitch(dimensions.batch);", "const int pitch = PIXELS * dimensions.batch;"),
    ("if (block >= pitch / CHACHA_WORDS) return;", ""),
    ("first + image < batch ? source", "true ? source"),
    ("sum = fmaf(__uint_as_float(pairs[2 * s + 1])", "sum = fmaf(1.0f"),
    ("pixels = tile + row * STRIDE * IMAGE", "pixels = tile + row * IMAGE"),
    ("row[x * STRIDE + kx]", "row[x + kx]"),
    ("1.0f - hidden * hidden", "1.0f - hidden"),
    ("unit = sum_rows(unit);", ""),
    ("const bool writes = row == 0 && first + image < batch;", "const bool writes = row == 0;"),
    ("writes && s + i < slots", "writes"),
    ("const int other = s + 1 < slots ? s + 1 : s;", "const int other = s;"),
    ("const double rest = error - share[b];", "const double rest = error + share[b];"),
    ("offset > 0; offset /= 2", "offset > 1; offset /= 2"),
];

#[test]
fn faults_in_the_kernels_are_found() {
    const TEST: &str = "toy::faults_in_the_kernels_are_found";
    if SoftwareDevice::is_active() {
        let (from, to) = FAULTS[std::env::var(CHANGE).unwrap().parse::<usize>().unwrap()];
        return compare_changed(&changed(&SOURCE, LAST, |text| text.replacen(from, to, 1)), &SMALL[1..]);
    }
    let Some(software) = software_device(TEST) else { return };
    let device = software.checks(Checks::Memory);
    let missed: Vec<_> = (0..FAULTS.len()).filter(|&index| !is_found(TEST, &device, index)).collect();
    say(&format!("emulated: {} of {} faults in the kernels were found", FAULTS.len() - missed.len(), FAULTS.len()));
    assert!(missed.is_empty(), "{:?}", missed.iter().map(|&index| FAULTS[index]).collect::<Vec<_>>());
}

/// A kernel fails after its launch has succeeded; the error says after which, and with which flags.
#[test]
fn faults_are_said_to_be_after_their_kernel() {
    if !in_child("toy::faults_are_said_to_be_after_their_kernel", |device| vec![device.checks(Checks::Memory)]) {
        return;
    }
    let device = device();
    let (from, to) = ("const bool writes = row == 0 && first + image < batch;", "const bool writes = row == 0;");
    let source = changed(&SOURCE, LAST, |text| text.replacen(from, to, 1));
    let kernels = Kernels::load(&device, &source).unwrap();
    let error = toy::compare(&device, &kernels, &SMALL[1..2]).unwrap_err().to_string();
    let begin = "finish what was submitted after toy_edges, Fast, 2 edges, 3 candidates, 35 images, slots ";
    for part in [", flags --gpu-architecture=sm_90 --std=c++17 --fmad=false: ", "CUDA_ERROR_ILLEGAL_ADDRESS"] {
        assert!(error.starts_with(begin) && error.contains(part), "{error}");
    }
    say(&format!("emulated: {error}"));
}

/// What was asked before leaves no trace, and neither does what is asked at the same time.
#[test]
fn answers_depend_on_the_request_alone() {
    if !in_child("toy::answers_depend_on_the_request_alone", numbers_only) {
        return;
    }
    let toy = Toy { edges: 3, candidates: 4, batch: 33 };
    let streams = Streams::new(6);
    let device = device();
    let mut many = ToySupernet::new(&device, toy, &streams, &[5, 3, 0]).unwrap();
    let mut alone = ToySupernet::new(&device, toy, &streams, &[3]).unwrap();
    let shape = many.space().shape().clone();
    let wants = [Want::Gradient, Want::Loss, Want::Removals, Want::GradientWithUnitOutputs, Want::Gradient];
    let request = |trial, step, want| {
        let choices: Vec<usize> = (0..3).map(|edge| (step as usize + edge) % 4).collect();
        let architecture = advantage_nas::Architecture::new(&shape, choices).unwrap();
        let batch = Batch { trial, set: Set::Validation, step };
        Request { batch, proposal: Proposal::one_hot(&shape, &architecture, want).unwrap() }
    };
    for (step, want) in wants.into_iter().enumerate() {
        // Trial 3 among others, more requests than there are trials, and alone.
        let step = step as u64;
        let requests: Vec<Request> = [0, 3, 5, 3, 0].map(|trial| request(trial, step, want)).to_vec();
        let mut together = vec![Feedback::new(&shape); 5];
        many.probe(&requests, &mut together).unwrap();
        let mut single = vec![Feedback::new(&shape)];
        alone.probe(&requests[1..2], &mut single).unwrap();
        assert_eq!(together[1], single[0]);
        assert_eq!(together[3], single[0]);
        assert_ne!(together[0].loss, single[0].loss);
    }
    let mut images = Array3::zeros((13, 13, 33));
    toy.draw_batch(&streams, &request(3, 4, Want::Loss).batch, images.view_mut()).unwrap();
    assert_eq!(alone.last_images(0).unwrap(), images);
    say("emulated: answers depend on the request alone");
}

#[test]
fn what_does_not_fit_is_an_error() {
    if !in_child("toy::what_does_not_fit_is_an_error", numbers_only) {
        return;
    }
    let toy = Toy { edges: 3, candidates: 4, batch: 33 };
    let mut supernet = ToySupernet::new(&device(), toy, &Streams::new(7), &[0, 3]).unwrap();
    let shape = supernet.space().shape().clone();
    let batch = Batch { trial: 3, set: Set::Validation, step: 0 };
    let mut feedback = [Feedback::new(&shape)];
    let request = Request { batch: Batch { trial: 1, ..batch }, proposal: Proposal::new(&shape) };
    assert!(matches!(supernet.probe(std::slice::from_ref(&request), &mut feedback), Err(Error::Unsupported { .. })));
    assert!(matches!(supernet.probe(&[request], &mut []), Err(Error::Length { .. })));
    let other = Shape::new([4, 4]).unwrap();
    let request = Request { batch, proposal: Proposal::new(&other) };
    assert!(matches!(supernet.probe(&[request], &mut feedback), Err(Error::Shape { .. })));
    let training = Request { batch: Batch { set: Set::Training, ..batch }, proposal: Proposal::new(&shape) };
    assert!(matches!(supernet.evaluate(&training), Err(Error::Unsupported { .. })));
    assert!(!supernet.trains_weights());
    // And it still answers.
    let mut other = supernet.teacher(3).unwrap().clone();
    other.choose(&shape, 0, (other.choice(0) + 1) % 4).unwrap();
    let proposal = Proposal::one_hot(&shape, &other, Want::Loss).unwrap();
    supernet.probe(&[Request { batch, proposal }], &mut feedback).unwrap();
    assert!(feedback[0].loss > 0.0);
}

/// Searches on threads of their own, at one table, are answered as each would be alone; an error goes to whoever caused
/// it.
#[test]
fn searches_at_one_table() {
    if !in_child("toy::searches_at_one_table", numbers_only) {
        return;
    }
    let toy = Toy { edges: 2, candidates: 3, batch: 10 };
    let streams = Streams::new(9);
    // Each with a stream of its own: the table's thread may give back its memory while the other one records a graph.
    let (mut alone, on_table, shared) =
        (ToySupernet::new(&device(), toy, &streams, &[0, 1, 2]).unwrap(), device(), streams.clone());
    let table = Table::new(move || Ok(ToySupernet::new(&on_table, toy, &shared, &[0, 1, 2])?)).unwrap();
    let shape = toy.space().unwrap().shape().clone();
    let request = |trial: u32, step| {
        let batch = Batch { trial, set: Set::Validation, step };
        let want = if trial == 1 { Want::Removals } else { Want::Gradient };
        let architecture = advantage_nas::Architecture::first(&shape);
        Request { batch, proposal: Proposal::one_hot(&shape, &architecture, want).unwrap() }
    };
    // Trial 7 is not there; trial 2 leaves early.
    let seats: Vec<_> = [0, 1, 2, 7].map(|trial| (trial, table.seat(trial).unwrap())).into();
    drop(table);
    let answers: Vec<Vec<_>> = std::thread::scope(|scope| {
        let search = |(trial, mut seat): (u32, advantage_nas_gpu::together::Seat)| {
            let steps = if trial == 2 { 3 } else { 10 };
            let request = &request;
            let shape = &shape;
            scope.spawn(move || {
                let step = |step| {
                    let mut feedback = [Feedback::new(shape)];
                    let probed = seat.probe(&[request(trial, step)], &mut feedback).map(|()| feedback);
                    (probed.map_err(|error| error.to_string()), seat.evaluate(&request(trial, step)).ok())
                };
                (0..steps).map(step).collect::<Vec<_>>()
            })
        };
        let threads: Vec<_> = seats.into_iter().map(search).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for (trial, answers) in [0, 1, 2].into_iter().zip(&answers) {
        for (step, (probed, evaluated)) in answers.iter().enumerate() {
            let mut feedback = [Feedback::new(&shape)];
            alone.probe(&[request(trial, step as u64)], &mut feedback).unwrap();
            assert_eq!(probed.as_ref().unwrap(), &feedback);
            assert_eq!(evaluated.unwrap(), alone.evaluate(&request(trial, step as u64)).unwrap());
        }
    }
    let refused = &answers[3];
    assert!(
        refused
            .iter()
            .all(|(probed, evaluated)| probed.as_ref().unwrap_err().contains("other trials") && evaluated.is_none())
    );
}
