//! The data sets by the command: checked, downloaded, looked up; on files that the tests make, and on the real ones where they are.

use std::fs;
use std::path::Path;

use crate::support::server::{Reply, Server};
use crate::support::{advnas, fail, real_data, run, start, succeed, wait_until};
use advantage_nas::network::nas_bench_201::{Candidates, Cell, Normalization, Operation};
use advantage_nas::random::Streams;
use advantage_nas_paper::data::Cache;
use advantage_nas_paper::data::cifar10::{Cifar10, Kind};
use advantage_nas_paper::data::nas_bench_201::{Benchmark, Task};
use advantage_nas_paper::data::ptb;
use serde_json::Value;

const ALL_3X3: &str = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|";

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A table of all cells: the accuracy on CIFAR-10 is ten times the number of 3×3 convolutions, and 1 more without zero.
fn put_table(data: &Path) {
    let candidates = Candidates::with_zero();
    let mut table =
        "architecture,index,cifar10_test_accuracy,more,cifar100_test_accuracy,imagenet16_120_test_accuracy\n"
            .to_owned();
    for (index, architecture) in candidates.space().shape().enumerate().enumerate() {
        let cell = candidates.cell(&architecture).unwrap();
        let count = |operation| cell.operations().iter().filter(|other| **other == operation).count();
        let zero = usize::from(count(Operation::Zero) == 0);
        let accuracy = 10 * count(Operation::CONVOLUTION_3X3) + zero;
        table += &format!("{cell},{index},{accuracy}.25,x,{},{}\n", 10 * zero, index as f64 / 1000.0);
    }
    fs::create_dir_all(data.join("nas-bench-201")).unwrap();
    fs::write(data.join("nas-bench-201/table.csv"), table).unwrap();
}

#[test]
fn nothing_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("none");
    let check = ["data", "check", "--data", text(&data)];
    let out = succeed(&check).out;
    for line in [
        "cifar10        missing  CIFAR-10 not found in ",
        "ptb            missing  the Penn Treebank not found in ",
        "nas-bench-201  missing  NAS-Bench-201 not found in ",
    ] {
        assert!(out.lines().any(|other| other.starts_with(line)), "{line} is missing in {out}");
    }
    for advice in ["`advnas data fetch cifar10`", "`advnas data fetch ptb`", "put a CSV file"] {
        assert!(out.contains(advice), "{advice} is missing in {out}");
    }
    let json: Value = serde_json::from_str(&succeed(&[&check[..], &["--json"]].concat()).out).unwrap();
    assert_eq!((&json["corrupt"], &json["sets"][1]["state"]), (&false.into(), &"missing".into()));
    // The variable, and data/ in the working directory.
    let by_variable = advnas(&["data", "check"]).env("ADVNAS_DATA", &data).output().unwrap();
    assert_eq!(String::from_utf8(by_variable.stdout).unwrap(), out);
    let here = advnas(&["data", "check"]).current_dir(folder.path()).output().unwrap();
    assert!(String::from_utf8(here.stdout).unwrap().starts_with("data           data\n"));
}

#[test]
fn corrupt_sets_are_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    put_table(data);
    let cache = data.join("cache");
    let check = ["data", "check", "--data", text(data), "--cache", text(&cache)];
    let out = succeed(&check).out;
    assert!(out.contains("nas-bench-201  ok       15625 cells, the best with 61.2500 % on CIFAR-10\n"), "{out}");
    assert!(out.contains("nas-bench-201/table.csv\n"), "{out}");
    fs::create_dir(data.join("ptb")).unwrap();
    fs::write(data.join("ptb/ptb.train.txt"), "no news").unwrap();
    fs::create_dir(data.join("cifar10")).unwrap();
    fs::write(data.join("cifar10/cifar-10-binary.tar.gz"), "no images").unwrap();
    let incomplete = run(&check);
    assert_eq!(incomplete.code, Some(1));
    assert!(incomplete.out.contains("ptb: expected a file ptb.valid.txt, found none"), "{incomplete:?}");
    for name in ["ptb.valid.txt", "ptb.test.txt"] {
        fs::write(data.join("ptb").join(name), "no news").unwrap();
    }
    let answer = run(&check);
    assert_eq!((answer.code, answer.err.as_str()), (Some(1), ""));
    for part in [
        "cifar10        CORRUPT  ",
        "cifar-10-binary.tar.gz: expected 170052171 bytes with md5 c32a1d4ab5d03f1284b67883e8d87530, found 9 bytes",
        "ptb            CORRUPT  ",
        "ptb.train.txt: expected 5101618 bytes with md5 f26c4b92c5fdc7b3f8c7cdcb991d8420, found 7 bytes with md5 ",
        "nas-bench-201  ok ",
    ] {
        assert!(answer.out.contains(part), "{part:?} is missing in {answer:?}");
    }
    assert!(!cache.exists());
}

#[test]
fn downloads_that_fail() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let missing = Server::start(|_, _| Reply::status("404 Not Found"));
    let fetch = |set, from: &str, parts: &[&str]| {
        fail(1, &["data", "fetch", set, "--data", text(&data), "--from", from], parts)
    };
    fetch(
        "cifar10",
        &missing.url("/"),
        &["can't download ", "/cifar-10-binary.tar.gz: the server answered 404 Not Found"],
    );
    fetch("ptb", &missing.url("/x"), &["/x/ptb.train.txt: the server answered 404 Not Found"]);
    let short = Server::start(|_, _| Reply::whole(b"moved"));
    fetch("cifar10", &short.url("/c.tar.gz"), &["/c.tar.gz: expected 170052171 bytes, found 5 bytes"]);
    let wrong = Server::start(|_, _| Reply::whole(&[b' '; 5_101_618]));
    fetch(
        "ptb",
        &wrong.url("/"),
        &[
            "/ptb.train.txt: expected 5101618 bytes with md5 f26c4b92c5fdc7b3f8c7cdcb991d8420, found 5101618 bytes with md5 ",
        ],
    );
    assert_eq!(fs::read_dir(data.join("ptb")).unwrap().count(), 0);
    assert_eq!(run(&["data", "fetch", "mnist"]).code, Some(2));
}

#[test]
fn cells_are_looked_up() {
    let folder = tempfile::tempdir().unwrap();
    put_table(folder.path());
    let data = text(folder.path());
    let out = succeed(&["evaluate", "cifar10", "--architecture", ALL_3X3, "--data", data]).out;
    for line in [
        ALL_3X3,
        "  CIFAR-10         61.2500 %   rank 1 of 15625; 1 of 4096 without zero",
        // All cells without zero have the same.
        "  CIFAR-100        10.0000 %   rank 1 of 15625 (tied with 4095 others); 1 of 4096 (tied with 4095 others) without zero",
        "  parameters       1531546 (1.53 M)",
        "  FLOPs            220119690 (220.12 M)",
    ] {
        assert!(out.lines().any(|other| other == line), "{line} is missing in {out}");
    }
    // A cell with zero: five of six edges are 3×3 convolutions. Six cells have 60, none of them; before it come the cells without zero and
    // five such convolutions (3·6), and all with six.
    let zero = ALL_3X3.replacen("nor_conv_3x3", "none", 1);
    let out = succeed(&["evaluate", "cifar10", "--architecture", &zero, "--data", data]).out;
    let line = "  CIFAR-10         50.2500 %   rank 20 of 15625 (tied with 5 others); has the zero operation";
    assert!(out.lines().any(|other| other == line), "{out}");

    let json: Value = serde_json::from_str(
        &succeed(&["evaluate", "cifar10", "--architecture", ALL_3X3, "--data", data, "--json"]).out,
    )
    .unwrap();
    let index = json["index"].as_u64().unwrap().to_string();
    let by_index = succeed(&["evaluate", "cifar10", "--index", &index, "--data", data, "--json"]).out;
    assert_eq!(serde_json::from_str::<Value>(&by_index).unwrap(), json);
    assert_eq!(json["tasks"]["cifar10"]["test_accuracy"], 61.25);
    assert_eq!(json["tasks"]["cifar10"]["rank_without_zero"], serde_json::json!({ "rank": 1, "ties": 0, "of": 4096 }));
    assert_eq!((&json["parameters"], &json["flops"]), (&1_531_546.into(), &220_119_690.into()));
}

#[test]
fn wrong_questions() {
    let folder = tempfile::tempdir().unwrap();
    let evaluate = |more: &[&str], code, parts: &[&str]| {
        fail(code, &[&["evaluate", "cifar10", "--data", text(folder.path())], more].concat(), parts)
    };
    evaluate(&[], 2, &["--architecture <CELL>|--index <N>"]);
    evaluate(&["--index", "3", "--architecture", ALL_3X3], 2, &["cannot be used with"]);
    evaluate(
        &["--architecture", "|none~0|+|nope~0|"],
        2,
        &[
            "architecture, character 11: expected the operation of edge 0→2 (none, skip_connect, nor_conv_1x1, ",
            "got \"nope~0|\"",
        ],
    );
    evaluate(&["--index", "15625"], 2, &["--index must be from 0 to 15624, got 15625"]);
    evaluate(&["--index", "x"], 2, &["--index"]);
    evaluate(&["--architecture", ALL_3X3], 1, &["NAS-Bench-201 not found in ", "put a CSV file"]);
    put_table(folder.path());
    let five = ALL_3X3.replacen("3x3", "5x5", 1);
    evaluate(&["--architecture", &five], 2, &["NAS-Bench-201 has no cell |nor_conv_5x5~0|"]);
    let table = folder.path().join("nas-bench-201/table.csv");
    let good = fs::read(&table).unwrap();
    fs::write(&table, &good[..good.len() / 2]).unwrap();
    evaluate(&["--index", "3"], 1, &["table.csv"]);
}

#[test]
fn the_real_table() {
    let Some(data) = real_data("nas-bench-201") else { return };
    let table = Benchmark::load(&data).unwrap();
    let accuracies: Vec<f64> = table.entries().iter().map(|entry| entry.accuracy(Task::Cifar10)).collect();
    // Known values of the benchmark.
    assert_eq!(accuracies.iter().copied().fold(0.0, f64::max), 94.3733);
    assert_eq!(accuracies.iter().copied().fold(100.0, f64::min), 10.0);
    assert!((accuracies.iter().sum::<f64>() / 15_625.0 - 87.063).abs() < 5e-4);
    let candidates = Candidates::without_zero();
    let first = Candidates::with_zero();
    for architecture in candidates.space().shape().enumerate() {
        let entry = table.architecture(&candidates, &architecture).unwrap();
        // Without zero the indices are the same in both spaces.
        assert_eq!(table.architecture(&first, &architecture).unwrap(), entry);
        assert_eq!(table.rank_without_zero(entry, Task::Cifar10).map(|rank| rank.of), Some(4_096));
    }
    let entry = table.cell(&ALL_3X3.parse::<Cell>().unwrap()).unwrap();
    assert_eq!((entry.index, entry.accuracy(Task::Cifar10)), (1462, 93.76));
    let out = succeed(&["evaluate", "cifar10", "--data", text(&data), "--architecture", ALL_3X3]).out;
    assert!(out.contains("CIFAR-10         93.7600 %"), "{out}");
}

#[test]
fn the_real_images() {
    let Some(data) = real_data("cifar10") else { return };
    let cache = tempfile::tempdir().unwrap();
    let cache = Cache::new(Some(cache.path().to_owned()));
    let cifar = Cifar10::load(&data, &cache).unwrap();
    let again = Cifar10::load(&data, &cache).unwrap();
    assert!(again.training == cifar.training && again.test == cifar.test && again.source == cifar.source);
    assert_eq!(cifar.training.len(), 50_000);
    assert_eq!(cifar.training.classes()[0], "airplane");
    assert!(cifar.test.is_none_or(|test| test.len() == 10_000));
    let halves = cifar.training.halves(&Streams::new(0)).unwrap();
    for half in [&halves.training, &halves.validation] {
        assert_eq!(half.len(), 25_000);
        let mut counts = [0; 10];
        half.iter().for_each(|image| counts[usize::from(cifar.training.labels()[*image as usize])] += 1);
        assert_eq!(counts, [2500; 10]);
    }
    // Mean and deviation of all training images are known: 0.4914, 0.4822, 0.4465 and 0.2470, 0.2435, 0.2616 of 255. A half of them is
    // within 0.004 (five standard errors of a mean of image means), and re-encoded images are close to the official ones.
    let normalization = Normalization::of(&cifar.training, &halves.training).unwrap();
    let close = |found: &[f64; 3], known: [f64; 3]| found.iter().zip(known).all(|(f, k)| (f / 255.0 - k).abs() < 0.004);
    assert!(close(normalization.mean(), [0.4914, 0.4822, 0.4465]), "{normalization:?}");
    assert!(close(normalization.deviation(), [0.2470, 0.2435, 0.2616]), "{normalization:?}");
    if cifar.source.kind == Kind::Official {
        assert_eq!(cifar.training.labels()[..5], [6, 9, 9, 4, 1]);
    }
}

#[test]
fn the_real_texts_by_a_bad_connection() {
    let Some(data) = real_data("ptb") else { return };
    let texts = ptb::load(&data).unwrap().texts;
    let sent = texts.clone();
    // The first transfer stops in the middle; the client is killed. Later ones are cut every 2 MB.
    let server = Server::start(move |request, number| {
        let text = ["train", "valid", "test"].iter().position(|name| request.path.contains(name)).unwrap();
        let reply = Reply::file(sent[text].as_bytes(), request);
        if number == 0 { Reply { stall: true, ..reply.cut(1_000_000) } } else { reply.cut(2_000_000) }
    });
    let folder = tempfile::tempdir().unwrap();
    let url = server.url("/");
    let fetch = ["data", "fetch", "ptb", "--data", text(folder.path()), "--from", &url];
    let part = folder.path().join("ptb/ptb.train.txt.part");
    let mut child = start(&fetch);
    wait_until("the first bytes", || fs::metadata(&part).is_ok_and(|part| part.len() == 1_000_000));
    child.kill().unwrap();
    child.wait().unwrap();
    let out = succeed(&fetch).out;
    assert!(out.lines().next().unwrap().contains(", from byte 1000000 on; 5101618 bytes, md5 f26c4b92"), "{out}");
    let starts: Vec<Option<u64>> = server.requests().iter().map(|request| request.start).collect();
    assert_eq!(starts, [None, Some(1_000_000), Some(3_000_000), Some(5_000_000), None, None]);
    assert_eq!(ptb::load(folder.path()).unwrap().texts, texts);
    let checked = run(&["data", "check", "--data", text(folder.path())]);
    let line =
        "ptb            ok       929589 training, 73760 validation and 82430 test tokens, one <eos> a line included";
    assert!(checked.out.lines().any(|other| other == line), "{checked:?}");
    assert_eq!(succeed(&fetch).out.matches("is there already").count(), 3);
}
