//! The command with CUDA devices: without any, and on the software device, whose results are emulated.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use advantage_nas::network::nas_bench_201::{Cell, Operation};

use crate::support::{self, Answer, advnas, files, result, small};
use advantage_nas_software_cuda::{Checks, SoftwareDevice};

/// The command where the loader finds no CUDA.
fn bare(arguments: &[&str]) -> Answer {
    let nothing = tempfile::tempdir().unwrap();
    advnas(arguments).env("LD_LIBRARY_PATH", nothing.path()).output().unwrap().into()
}

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
    Some(SoftwareDevice::install().unwrap().checks(Checks::None))
}

/// What a command says on standard error, but for what is compiled at first use and what the software device says itself.
pub fn complaints(answer: &Answer) -> String {
    let others = ["INFO compiling the kernels of ", "emulated CUDA device: "];
    let said = answer.err.lines().filter(|line| !others.iter().any(|other| line.trim_start().starts_with(other)));
    said.map(|line| format!("{line}\n")).collect()
}

/// The command on the software device, with a cache for kernels; must succeed.
#[track_caller]
pub fn emulated(device: &SoftwareDevice, cache: &Path, arguments: &[&str]) -> Answer {
    let mut command = advnas(arguments);
    command.env("ADVNAS_CACHE", cache);
    let answer: Answer = device.apply(&mut command).output().unwrap().into();
    assert_eq!((answer.code, complaints(&answer).as_str()), (Some(0), ""), "{arguments:?}: {answer:?}");
    answer
}

#[test]
fn without_a_device_it_is_said_what_was_looked_for() {
    let info = bare(&["info"]);
    let line = |name: &str| info.out.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    if !line("cuda").starts_with("cuda      none: the CUDA driver library was not found (looked for libcuda.so, ") {
        say(&format!(
            "SKIPPED without_a_device_it_is_said_what_was_looked_for: this machine has a driver: {}",
            line("cuda")
        ));
        return;
    }
    assert!(line("nvrtc").starts_with("nvrtc     "));
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    for device in ["cuda", "cuda:1"] {
        let answer = bare(&small(&out, &["--device", device]));
        assert_eq!(answer.code, Some(1));
        assert!(answer.err.starts_with("error: the CUDA driver library was not found (looked for "), "{answer:?}");
        assert_eq!(answer.err.lines().count(), 1);
        assert!(!out.exists());
    }
    let answer = bare(&["gpu", "check"]);
    assert_eq!(answer.code, Some(1));
    // auto takes the CPU.
    let answer = bare(&small(&out, &["--device", "auto", "--iterations", "20"]));
    assert_eq!((answer.code, answer.err.as_str()), (Some(0), ""));
    assert_eq!(result(&out)["provenance"]["device"], "cpu");
}

/// Predictions need no device, name what they assume, and add up.
#[test]
fn times_are_predicted_without_a_device() {
    let text = bare(&["gpu", "model", "--trials", "1,50"]);
    assert_eq!((text.code, text.err.as_str()), (Some(0), ""));
    for part in
        ["nothing is measured", "L2 bandwidth", "toy_edges, all candidates", "step, removals", "2000 such steps"]
    {
        assert!(text.out.contains(part), "{part:?}: {}", text.out);
    }
    let json: serde_json::Value = serde_json::from_str(&bare(&["gpu", "model", "--json"]).out).unwrap();
    assert!(json["assumptions"].as_array().unwrap().iter().all(|one| !one["source"].as_str().unwrap().is_empty()));
    let trip = json["assumptions"].as_array().unwrap().last().unwrap()["value"].as_f64().unwrap();
    for step in json["toy"].as_array().unwrap() {
        let kernels = step["kernels"].as_array().unwrap();
        let sum: f64 = kernels.iter().map(|kernel| kernel["predicted"]["microseconds"].as_f64().unwrap()).sum();
        assert!((sum + 1e6 * trip - step["microseconds"].as_f64().unwrap()).abs() < 1e-9 * sum, "{step}");
    }
    // The launches of a step of the network of section 5.2, and the aims of its searches.
    assert!(text.out.contains("node_32, 3 edges out") && text.out.contains("weights_down_8"), "{}", text.out);
    let steps = json["cifar10"]["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 2 * 2 * 2 * 3, "arithmetic, trials, cells, what is asked");
    let launches = |what: &str| steps.iter().find(|step| step["what"] == what).unwrap()["launches"].as_u64();
    assert_eq!((launches("w step, all 3x3"), launches("theta step, all 3x3")), (Some(116), Some(108)));
    let searches = json["cifar10"]["searches"].as_array().unwrap();
    let aims: Vec<Option<f64>> = searches.iter().map(|search| search["aim"].as_f64()).collect();
    assert_eq!(aims, [100.0, 100.0, 85.0, 85.0, 65.0, 65.0, 45.0, 45.0].map(Some));
    let only = bare(&["gpu", "model", "--network", "toy"]).out;
    assert!(only.contains("toy_edges") && !only.contains("node_32"), "{only}");
    support::fail(2, &["gpu", "model", "--trials", "0"], &["0 is not in 1..=10000"]);
}

#[test]
fn unknown_devices() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    for device in ["gpu", "cuda:x", ""] {
        let answer = bare(&small(&out, &["--device", device]));
        assert_eq!(answer.code, Some(2));
        assert!(answer.err.contains("known are: cpu, cuda, cuda:N, auto"), "{answer:?}");
    }
    let answer = bare(&["gpu", "check", "--device", "cpu"]);
    assert_eq!(answer.code, Some(2));
    assert!(answer.err.contains("--device cpu is no CUDA device"), "{answer:?}");
}

fn table(folder: &Path, name: &str) -> Vec<Vec<f64>> {
    let text = fs::read_to_string(folder.join(name)).unwrap();
    let row = |line: &str| line.split(',').map(|cell| cell.parse().unwrap_or(f64::NAN)).collect();
    text.lines().skip(1).map(row).collect()
}

/// Several trials in one launch find what each finds on the CPU; the run says where it ran; paused, it goes on bit for
/// bit.
#[test]
fn searches_on_the_device() {
    let Some(device) = software_device("searches_on_the_device") else { return };
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let more = ["--trials", "3", "--iterations", "40", "--seed", "2"];
    let (on_cuda, on_cpu, paused) = (place("cuda"), place("cpu"), place("paused"));
    let said = emulated(&device, &place("cache"), &small(&on_cuda, &[&more[..], &["--device", "cuda"]].concat())).out;
    assert!(said.contains("device cuda:0 emulated"), "{said}");
    support::succeed(&small(&on_cpu, &more));
    let trials = ["trial-000", "trial-001", "trial-002"];
    for trial in trials {
        let (cuda, cpu) = (on_cuda.join(trial), on_cpu.join(trial));
        let (ours, theirs) = (result(&cuda), result(&cpu));
        assert_eq!(ours["argmax"]["architecture"], theirs["argmax"]["architecture"]);
        assert_eq!(ours["first_hit"], theirs["first_hit"]);
        assert_eq!(ours["teacher"], theirs["teacher"]);
        let (ours, theirs) = (table(&cuda, "metrics.csv"), table(&cpu, "metrics.csv"));
        assert_eq!((ours.len(), theirs.len()), (5, 5));
        for (ours, theirs) in ours.iter().flatten().zip(theirs.iter().flatten()) {
            let close = (ours - theirs).abs() <= 1e-5 * theirs.abs() + 1e-7;
            assert!(close || ours.is_nan() && theirs.is_nan(), "{ours} and {theirs}");
        }
        let config: toml::Table = fs::read_to_string(cuda.join("config.toml")).unwrap().parse().unwrap();
        let provenance = &config["provenance"];
        assert!(provenance["device"].as_str().unwrap().starts_with("cuda:0 emulated CUDA device"), "{provenance}");
        assert!(provenance["device"].as_str().unwrap().contains("NVRTC 13."), "{provenance}");
        assert_eq!(provenance["kernel_flags"].as_str(), Some("--gpu-architecture=sm_90 --std=c++17 --fmad=false"));
        let other: toml::Table = fs::read_to_string(cpu.join("config.toml")).unwrap().parse().unwrap();
        assert_eq!(config["settings"], other["settings"]);
    }

    // Paused half way and resumed two at a time: the same bits.
    let pause = [&more[..], &["--device", "cuda", "--stop-after", "13"]].concat();
    let said = emulated(&device, &place("cache"), &small(&paused, &pause)).out;
    assert!(said.contains("--device=cuda:0") && said.contains("--resume"), "{said}");
    let resume = [&more[..], &["--device", "auto", "--resume", "--threads", "2"]].concat();
    emulated(&device, &place("cache"), &small(&paused, &resume));
    let logs = |folder: &Path| {
        let mut files = files(folder);
        files.retain(|name, _| name.ends_with(".csv"));
        files
    };
    assert_eq!(logs(&paused), logs(&on_cuda));
    say("emulated: searches on the device are those of the CPU");
}

/// A device of no use, as kernels can't be compiled for it: an error if it was asked for, else a warning.
#[test]
fn a_device_without_a_compiler() {
    let Some(device) = software_device("a_device_without_a_compiler") else { return };
    let folder = tempfile::tempdir().unwrap();
    let (out, libraries) = (folder.path().join("run"), folder.path().join("libraries"));
    fs::create_dir(&libraries).unwrap();
    std::os::unix::fs::symlink(device.folder().join("libcuda.so.1"), libraries.join("libcuda.so.1")).unwrap();
    let answer = |choice: &str| -> Answer {
        let mut command = advnas(&small(&out, &["--device", choice, "--iterations", "20"]));
        device.apply(&mut command).env("LD_LIBRARY_PATH", &libraries).output().unwrap().into()
    };
    let asked = answer("cuda");
    if asked.code == Some(0) {
        return say("SKIPPED a_device_without_a_compiler: this machine has NVRTC");
    }
    assert!(
        asked.code == Some(1) && asked.err.starts_with("error: the CUDA compiler NVRTC was not found"),
        "{asked:?}"
    );
    assert!(!out.exists());
    let auto = answer("auto");
    assert_eq!(auto.code, Some(0), "{auto:?}");
    assert!(auto.err.contains("on the CPU, though there is cuda:0 emulated CUDA device"), "{auto:?}");
    assert_eq!(result(&out)["provenance"]["device"], "cpu");
}

#[test]
fn a_device_without_room() {
    let Some(device) = software_device("a_device_without_room") else { return };
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let mut command = advnas(&["search", "toy", "--device", "cuda", "--trials", "100", "--out", out.to_str().unwrap()]);
    let answer: Answer = device.memory(8 << 20).apply(&mut command).output().unwrap().into();
    assert_eq!(answer.code, Some(1));
    assert!(answer.err.contains("error: cuda:0 emulated"), "{answer:?}");
    assert!(
        answer.err.contains("the toy regression of 100 trials needs ") && answer.err.contains("are free"),
        "{answer:?}"
    );
    assert!(!out.exists(), "a folder was left behind");
}

/// What is measured stands beside what is predicted or assumed, also for a person.
#[test]
fn measurements_stand_beside_what_is_assumed() {
    let Some(device) = software_device("measurements_stand_beside_what_is_assumed") else { return };
    let folder = tempfile::tempdir().unwrap();
    let numbers = |text: &str, begin: &str| -> Vec<f64> {
        let line = text.lines().find_map(|line| line.strip_prefix(begin));
        let line = line.unwrap_or_else(|| panic!("{begin:?}: {text}"));
        line.split_whitespace().map_while(|word| word.parse().ok()).collect()
    };
    let probed = emulated(&device, folder.path(), &["gpu", "probe", "--small"]).out;
    for (what, assumed) in [("memory bandwidth", 2.8e12), ("the same with programmatic launch", 2e-6)] {
        let row = numbers(&probed, what);
        assert!(row.len() == 2 && row[0] > 0.0 && row[1] == assumed, "{what}: {probed}");
    }
    let timed = emulated(
        &device,
        folder.path(),
        &["gpu", "time", "--network", "toy", "--small", "--times", "1", "--trials", "2"],
    )
    .out;
    // Trials, median, predicted, per trial.
    let row = numbers(&timed, "toy_edges, two candidates");
    assert!(row[0] == 2.0 && row[1] > 0.0 && (3.0..5.0).contains(&row[2]), "a launch and next to nothing: {timed}");
    assert!(timed.contains("second-level cache warm"), "{timed}");
}

/// A made-up Python: has no packages, and prints of a peer what `toy_torch.py` or `cifar_torch.py` would.
const PEER: &str = r#"#!/bin/sh
case "$1" in
  -) exit 1 ;;
  *toy_torch.py) printf '{"program": "toy_torch", "variant": "%s", "median_ms": 2.0}\n' "$5" ;;
  *)
    mode=fp32 cells="all 3x3"
    case "$*" in *--tf32*) mode=tf32 ;; esac
    [ "$5" = conv3 ] || cells="uniform cells"
    printf '{"program": "cifar_torch", "variant": "%s", "mode": "%s", "what": "%s step, %s", "median_ms": 8.0}\n' "$7" $mode "$3" "$cells" ;;
esac
"#;

fn put_program(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// `gpu/acceptance.sh` with a command and a folder of data, tiny.
fn acceptance_of(binary: &Path, data: &Path, out: &Path, stages: &[&str]) -> Command {
    let mut command = Command::new("bash");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../gpu/acceptance.sh"));
    command.arg(binary).arg(data).arg("20").arg(out).arg("small").args(stages);
    for variable in ["PEERS", "STAGE_SECONDS", "PEER_PYTHON", "SEARCHES", "TOGETHER"] {
        command.env_remove(variable);
    }
    command
}

/// A folder with the official files of CIFAR-10, all images of a class alike, and a table in which every cell has an accuracy of its own.
fn pictures(folder: &Path) {
    let (images, table) = (folder.join("cifar10"), folder.join("nas-bench-201"));
    fs::create_dir_all(&images).unwrap();
    fs::create_dir_all(&table).unwrap();
    let file = fs::File::create(images.join("official.tar.zst")).unwrap();
    let mut archive = tar::Builder::new(zstd::Encoder::new(file, 1).unwrap());
    let record = |class: u8| std::iter::once(class).chain((0..3072).map(move |at| 25 * class + (at % 7) as u8));
    let records: Vec<u8> = (0..10).flat_map(record).collect::<Vec<_>>().repeat(1000);
    for name in ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"] {
        let mut header = tar::Header::new_gnu();
        header.set_size(records.len() as u64);
        archive.append_data(&mut header, format!("cifar-10-batches-bin/{name}.bin"), &records[..]).unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap();
    let mut text =
        "index,architecture,cifar10_test_accuracy,cifar100_test_accuracy,imagenet16_120_test_accuracy\n".to_owned();
    for index in 0..15_625 {
        let operations = std::array::from_fn(|edge| Operation::ALL[index / 5_usize.pow(edge as u32) % 5]);
        let accuracy = 50.0 + index as f64 * 1e-3;
        text.push_str(&format!("{index},{},{accuracy},{accuracy},{accuracy}\n", Cell::new(operations).unwrap()));
    }
    fs::write(table.join("table.csv"), text).unwrap();
}

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The whole on the software device, with a peer that is made up: all stages, ratios, and a second call that has nothing to do.
#[test]
fn acceptance() {
    let Some(device) = software_device("acceptance") else { return };
    let folder = tempfile::tempdir().unwrap();
    let (out, peer) = (folder.path().join("out"), folder.path().join("python"));
    put_program(&peer, PEER);
    let (binary, data) = (Path::new(env!("CARGO_BIN_EXE_advnas")), folder.path().join("data"));
    pictures(&data);
    let call = |out: &Path| -> Answer {
        let mut command = acceptance_of(binary, &data, out, &[]);
        command.env("PEERS", "toy_torch.py:peers/cifar_torch.py").env("PEER_PYTHON", &peer);
        command.env("ADVNAS_CACHE", folder.path().join("cache"));
        device.apply(&mut command).output().unwrap().into()
    };
    let answer = call(&out);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let results = json(&out.join("acceptance.json"));
    for what in ["complete", "passed", "emulated", "small"] {
        assert_eq!(results[what], true, "{what}");
    }
    let count = |value: &serde_json::Value| value.as_array().map_or(0, Vec::len);
    let checks = &results["check"]["result"]["checks"];
    assert!(count(&checks["kernels"]) > 100);
    // Twelve methods, two trials; architectures, edge weights, losses.
    assert_eq!(count(&checks["searches"]), 12 * 2 * 3);
    // Of the small network two methods' searches.
    assert!(count(&checks["cifar10_kernels"]) > 500 && count(&checks["cifar10_steps"]) > 500);
    assert_eq!(count(&checks["cifar10_searches"]), 2 * 3);
    assert!(count(&results["probe"]["result"]["measurements"]) > 5);
    let time = &results["time"]["result"];
    assert!(count(&time["times"]["toy"]["timings"]) > 20);
    let searches = &results["search-toy"]["result"]["searches"];
    // Of CIFAR-10 two modes, two kinds of steps; uniform cells by one program, 3x3 convolutions by three.
    assert_eq!((count(searches), count(&time["peers"])), (7, 2 + 2 * 2 * 4));
    let cells = &time["times"]["cifar10"];
    assert!(count(&cells["timings"]) > 40);
    assert!(cells["predicted_us"].as_array().unwrap().iter().all(|time| time.as_f64().unwrap() >= 3.0), "{cells}");
    // In the same mode only.
    assert_eq!(count(&time["times"]["ratios"]), 2 * 4);
    let ratio = &time["times"]["ratios"][0];
    let timed = |timing: &&serde_json::Value| timing["what"] == ratio["what"];
    let ours = cells["timings"].as_array().unwrap().iter().find(timed).unwrap()["median_us"].as_f64().unwrap();
    assert!((ratio["times_as_fast"].as_f64().unwrap() * ours / 8000.0 - 1.0).abs() < 1e-6, "{ratio}");
    let first = &searches[0];
    let (speed, ratio) = (&first["steps_per_second"], &first["ratios"][0]["times_as_fast"]);
    // Of a peer that takes 2 ms per step.
    let expected = speed.as_f64().unwrap() * 2e-3;
    assert!((ratio.as_f64().unwrap() / expected - 1.0).abs() < 1e-3, "{first}");
    // Cells are looked up; several trials leave a result each.
    for (stage, trials) in [("search-cifar10", 1), ("search-cifar10-together", 2)] {
        let found = results[stage]["result"]["results"].as_array().unwrap();
        assert_eq!(found.len(), trials, "{stage}");
        for one in found {
            assert!(one["argmax"]["table"]["tasks"][0]["test_accuracy"].as_f64().unwrap() >= 50.0, "{one}");
            assert!(one["provenance"]["device"].as_str().unwrap().starts_with("cuda:0 emulated"), "{one}");
        }
    }
    // The command says itself where it does not run on CUDA yet, and the stage does not pretend.
    let result = &results["search-ptb"]["result"];
    if result["supported"] == false {
        assert!(answer.err.contains("NOT SUPPORTED"), "{answer:?}");
        assert!(result["said"].as_str().unwrap().contains("runs on the CPU only, got --device cuda"), "{result}");
    }
    let again = call(&out);
    assert_eq!((again.code, again.out.matches(": done before\n").count()), (Some(0), 7), "{again:?}");
    assert_eq!(json(&out.join("acceptance.json")), results);
    // A folder with something else is not touched.
    let answer = call(folder.path());
    assert!(answer.code == Some(2) && answer.err.contains("has something else in it"), "{answer:?}");
    say("emulated: acceptance.sh ran with small sizes");
}

/// A made-up command: needs NVRTC from PyTorch's folders, and cuBLAS behind it; a search on CIFAR-10 takes long unless it goes on; whether its
/// checks pass says a file.
const COMMAND: &str = r#"#!/bin/bash
here=$(dirname "$0")
case "$1 $2" in
  "info "*)
    echo "cuda      cuda:0 made up"
    case ":$LD_LIBRARY_PATH:" in
      *"nvidia/cuda_nvrtc/lib:"*) echo "nvrtc     12.8" ;;
      *) echo "nvrtc     none" ;;
    esac ;;
  "gpu check") echo "{ \"passed\": $(cat "$here/passes"), \"libraries\": \"$LD_LIBRARY_PATH\" }" ;;
  "gpu probe") echo "{}" ;;
  "search cifar10")
    while [ $# -gt 0 ]; do [ "$1" != --out ] || out=$2; shift; done
    mkdir -p "$out"
    if [ ! -e "$out/checkpoint" ]; then
      trap 'touch "$out/checkpoint"; exit 130' TERM
      sleep 60 & wait
    fi
    printf '{\n  "wall_seconds": 2.5,\n  "steps_per_second": 4.0\n}\n' >"$out/result.json" ;;
  *) echo "no room" >&2; exit 1 ;;
esac
"#;

/// What goes on where it stopped, what is wrong, and libraries from PyTorch's packages; with a command that is made up.
#[test]
fn acceptance_in_parts() {
    if !Command::new("python3").arg("--version").output().is_ok_and(|output| output.status.success()) {
        return say("SKIPPED acceptance_in_parts: there is no python3");
    }
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let (binary, out) = (place("advnas"), place("out"));
    put_program(&binary, COMMAND);
    fs::write(place("passes"), "true").unwrap();
    for library in ["torch/__init__.py", "nvidia/cublas/lib/libcublas.so.12", "nvidia/cuda_nvrtc/lib/libnvrtc.so.12"] {
        let path = place("packages").join(library);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    let call = |out: &Path, seconds: &str, stages: &[&str]| -> Answer {
        let mut command = acceptance_of(&binary, folder.path(), out, stages);
        command.env("PYTHONPATH", place("packages")).env("LD_LIBRARY_PATH", "/own").env("STAGE_SECONDS", seconds);
        command.output().unwrap().into()
    };
    let done = |out: &Path| -> Vec<String> {
        let results = json(&out.join("acceptance.json"));
        let stages = results.as_object().unwrap().iter().filter(|(_, value)| value.get("seconds").is_some());
        stages.map(|(name, _)| name.clone()).collect()
    };
    let answer = call(&out, "100", &["check", "probe"]);
    assert_eq!((answer.code, done(&out)), (Some(3), vec!["check".into(), "probe".into()]), "{answer:?}");
    let results = json(&out.join("acceptance.json"));
    assert_eq!((&results["passed"], &results["complete"]), (&true.into(), &false.into()));
    let libraries = results["check"]["result"]["libraries"].as_str().unwrap();
    let ends = |path: &str, end: &str| path.ends_with(&format!("packages/nvidia/{end}"));
    let [first, own, last] = libraries.split(':').collect::<Vec<_>>()[..] else { panic!("{libraries}") };
    assert!(ends(first, "cuda_nvrtc/lib") && own == "/own" && ends(last, "cublas/lib"), "{libraries}");

    // A search that is cut off goes on; one that fails says why, and nothing is kept of it.
    let answer = call(&out, "1", &["search-cifar10"]);
    assert!(answer.code == Some(3) && answer.out.contains("not done in time"), "{answer:?}");
    assert_eq!(done(&out).len(), 2);
    let answer = call(&out, "100", &["search-cifar10", "search-ptb"]);
    assert!(answer.code == Some(1) && answer.err.contains("no room") && answer.out.contains("FAILED"), "{answer:?}");
    assert!(answer.err.contains("cifar10-0, cifar10-0/result.json: 2.5 s, 4.0 steps/s"), "{answer:?}");
    assert_eq!(done(&out), ["check", "probe", "search-cifar10"]);
    assert_eq!(json(&out.join("search-cifar10.json"))["result"]["results"][0]["wall_seconds"], 2.5);

    // Without data nothing is searched, and nothing is wrong.
    let mut bare = acceptance_of(&binary, Path::new("-"), &place("bare"), &["search-cifar10"]);
    let answer: Answer = bare.env("LD_LIBRARY_PATH", "/own").output().unwrap().into();
    assert!(answer.code == Some(3) && answer.err.contains("SKIPPED: cifar10 needs a folder of data"), "{answer:?}");
    assert!(json(&place("bare/search-cifar10.json"))["result"]["said"].is_string());

    // Checks that do not agree are a result, and not a good one.
    fs::write(place("passes"), "false").unwrap();
    let answer = call(&place("other"), "100", &["check"]);
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert_eq!(json(&place("other/acceptance.json"))["passed"], false);
    // Another program does not go on with these results.
    put_program(&binary, &format!("{COMMAND}# newer\n"));
    let answer = call(&out, "100", &["check"]);
    assert!(answer.code == Some(2) && answer.err.contains("is of another program, device or size"), "{answer:?}");
    for (stages, said) in [(&["chekc"][..], "no stage chekc"), (&["check", "small"], "no stage small")] {
        let answer = call(&out, "100", stages);
        assert!(answer.code == Some(2) && answer.err.contains(said), "{answer:?}");
    }
}
