//! `advnas dump cifar10` on the real images: every documented tensor is there, the loss is that of the logits, the update that of the
//! gradients, and the proposals are the methods'. (Whether the gradients are right needs another program that differentiates.)

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::support::{fail, real_data, succeed};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

/// Roundings of single precision in the update.
const SINGLE: f64 = 1e-6;

#[derive(Debug)]
pub struct Tensor {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub values: Vec<f64>,
}

pub struct File {
    pub tensors: BTreeMap<String, Tensor>,
    pub notes: Value,
}

impl File {
    pub fn read(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let notes = serde_json::from_str(&header.metadata().as_ref().unwrap()["advnas"]).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let tensors = file.iter().map(|(name, view)| {
            let numbers = |width: usize, of: &dyn Fn(&[u8]) -> f64| view.data().chunks_exact(width).map(of).collect();
            let values: Vec<f64> = match view.dtype() {
                Dtype::F32 => numbers(4, &|bytes| f32::from_le_bytes(bytes.try_into().unwrap()).into()),
                Dtype::F64 => numbers(8, &|bytes| f64::from_le_bytes(bytes.try_into().unwrap())),
                Dtype::I64 => numbers(8, &|bytes| i64::from_le_bytes(bytes.try_into().unwrap()) as f64),
                other => panic!("{name} is of {other:?}"),
            };
            (name.to_owned(), Tensor { dtype: view.dtype(), shape: view.shape().to_vec(), values })
        });
        Self { tensors: tensors.collect(), notes }
    }

    fn get(&self, name: &str) -> &Tensor {
        self.tensors.get(name).unwrap_or_else(|| panic!("no tensor {name}"))
    }

    /// Names below a group, without it.
    fn names(&self, group: &str) -> Vec<&str> {
        let prefix = format!("{group}/");
        self.tensors.keys().filter_map(|name| name.strip_prefix(&prefix)).collect()
    }

    fn number(&self, pointer: &str) -> f64 {
        self.notes.pointer(pointer).unwrap_or_else(|| panic!("no note {pointer}")).as_f64().unwrap()
    }

    /// Whether a parameter takes part.
    fn takes_part(&self, name: &str) -> bool {
        let Some((_, place)) = name.split_once(".edges.") else { return true };
        let parts: Vec<&str> = place.split('.').collect();
        let (edge, candidate): (usize, usize) = (parts[0].parse().unwrap(), parts[2].parse().unwrap());
        let active = self.get("proposal/active");
        active.values[edge * active.shape[1] + candidate] == 1.0
    }
}

#[track_caller]
fn assert_close(found: &[f64], expected: &[f64], name: &str) {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let apart = norm(&mut found.iter().zip(expected).map(|(one, other)| one - other));
    let size = norm(&mut expected.iter().copied());
    assert!(found.len() == expected.len() && apart <= SINGLE * size, "{name}: {apart:e} of {size:e}");
}

fn check(file: &File, batch: usize, channels: usize, candidates: usize) {
    for (name, dtype, shape) in [
        ("images", Dtype::F32, vec![batch, 3, 32, 32]),
        ("labels", Dtype::I64, vec![batch]),
        ("proposal/weights", Dtype::F64, vec![6, candidates]),
        ("proposal/active", Dtype::I64, vec![6, candidates]),
        ("loss", Dtype::F64, vec![]),
        ("logits", Dtype::F32, vec![batch, 10]),
        ("edge_gradient", Dtype::F64, vec![6, candidates]),
        ("gradient_norm", Dtype::F64, vec![]),
        ("feedback/loss", Dtype::F64, vec![]),
        ("weights/stem.conv.weight", Dtype::F32, vec![channels, 3, 3, 3]),
        ("weights/reductions.1.shortcut.conv.weight", Dtype::F32, vec![4 * channels, 2 * channels, 1, 1]),
        (
            "weights/stages.2.cells.0.edges.5.candidates.2.conv.weight",
            Dtype::F32,
            vec![4 * channels, 4 * channels, 3, 3],
        ),
        ("weights/head.linear.weight", Dtype::F32, vec![10, 4 * channels]),
        ("running/head.norm.running_var", Dtype::F64, vec![4 * channels]),
    ] {
        let tensor = file.get(name);
        assert_eq!((tensor.dtype, &tensor.shape), (dtype, &shape), "{name}");
    }
    assert!(file.get("labels").values.iter().all(|label| (0.0..10.0).contains(label)));
    assert_eq!(file.notes["edges"], serde_json::json!([[0, 1], [0, 2], [1, 2], [0, 3], [1, 3], [2, 3]]));

    // The loss of the logits.
    let logits = file.get("logits").values.chunks_exact(10);
    let of_images = logits
        .zip(&file.get("labels").values)
        .map(|(logits, label)| logits.iter().map(|logit| logit.exp()).sum::<f64>().ln() - logits[*label as usize]);
    let loss = of_images.sum::<f64>() / batch as f64;
    assert_close(&file.get("loss").values, &[loss], "loss");
    assert_eq!(file.get("loss").values, file.get("feedback/loss").values);

    // The update of the gradients, over what takes part.
    let names = file.names("weights");
    for group in ["velocity", "gradient", "updated", "updated_velocity"] {
        assert_eq!(file.names(group), names);
    }
    let note = |name: &str| file.number(&format!("/update/{name}"));
    let (rate, momentum, decay) = (note("learning_rate"), note("momentum"), note("weight_decay"));
    let values = |group: &str, name: &str| &file.get(&format!("{group}/{name}")).values;
    let decayed = |name: &str| -> Vec<f64> {
        values("gradient", name).iter().zip(values("weights", name)).map(|(slope, w)| slope + decay * w).collect()
    };
    let taking_part = || names.iter().copied().filter(|name| file.takes_part(name));
    let norm = taking_part().flat_map(decayed).map(|slope| slope * slope).sum::<f64>().sqrt();
    assert_close(&file.get("gradient_norm").values, &[norm], "gradient_norm");
    let factor = (note("clip_norm") / norm).min(1.0);
    let mut resting = 0;
    for &name in &names {
        if !file.takes_part(name) {
            resting += 1;
            assert!(values("gradient", name).iter().all(|slope| *slope == 0.0), "{name}");
            assert_eq!(values("weights", name), values("updated", name), "{name}");
            assert_eq!(values("velocity", name), values("updated_velocity", name), "{name}");
            continue;
        }
        let slopes: Vec<f64> = decayed(name).iter().map(|slope| factor * slope).collect();
        let old = values("velocity", name).iter();
        let velocity: Vec<f64> = old.zip(&slopes).map(|(velocity, slope)| momentum * velocity + slope).collect();
        assert_close(values("updated_velocity", name), &velocity, name);
        let moved = values("weights", name).iter().zip(slopes.iter().zip(&velocity));
        let moved: Vec<f64> = moved.map(|(w, (slope, velocity))| w - rate * (slope + momentum * velocity)).collect();
        assert_close(values("updated", name), &moved, name);
        assert_ne!(values("updated", name), values("weights", name), "{name}");
    }
    let all_active = file.get("proposal/active").values.iter().all(|active| *active == 1.0);
    assert_eq!(resting == 0, all_active);
    for name in file.names("running") {
        assert_ne!(values("running", name), values("updated_running", name), "{name}");
    }
}

#[test]
fn every_method_can_be_dumped() {
    let Some(data) = real_data("cifar10") else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("step.safetensors");
    let (data, out) = (data.to_str().unwrap().to_owned(), path.to_str().unwrap().to_owned());
    let cache = folder.path().join("cache").to_str().unwrap().to_owned();
    let dump = |more: &[&str]| {
        let start = ["dump", "cifar10", "--preset", "tiny", "--data", &data, "--cache", &cache, "--out", &out];
        let said = succeed(&[&start[..], more].concat()).out;
        assert!(said.starts_with(&out), "{said}");
        File::read(&path)
    };
    // Candidates of an edge with a weight that is not zero, and candidates that are evaluated.
    for (method, hot, active, want) in [
        ("advantage-nas", 1, 1, Some("edge_gradient")),
        ("advantage-exact", 1, 1, Some("removals")),
        ("reinforce", 1, 1, None),
        ("gdas", 1, 1, Some("edge_gradient")),
        ("proxylessnas", 2, 2, Some("edge_gradient")),
        ("darts", 4, 4, Some("edge_gradient")),
        ("nasp", 1, 4, Some("edge_gradient")),
    ] {
        let file = dump(&["--method", method, "--seed", "7"]);
        check(&file, 16, 4, 4);
        let count = |name: &str| -> Vec<usize> {
            let edges = file.get(name).values.chunks_exact(4);
            edges.map(|edge| edge.iter().filter(|value| **value != 0.0).count()).collect()
        };
        assert_eq!((count("proposal/weights"), count("proposal/active")), (vec![hot; 6], vec![active; 6]), "{method}");
        let mut feedback = vec!["loss"];
        feedback.extend(want);
        feedback.sort_unstable();
        assert_eq!(file.names("feedback"), feedback, "{method}");
        assert_eq!(file.notes["settings"]["method"], method);
        assert_eq!((&file.notes["step"]["set"], &file.notes["step"]["steady"]), (&"validation".into(), &true.into()));
        if let Some(removals) = file.tensors.get("feedback/removals") {
            assert!(removals.values.iter().all(|loss| *loss > 0.0) && removals.shape == [6]);
        }
    }

    // Other sizes, the zero operation, the weights' own step; the same command leaves the same bytes.
    let changed = ["--method", "snas", "--set", "cifar10.zero=true", "--set", "cifar10.batch=9", "--set"];
    let changed = [&changed[..], &["cifar10.channels=3", "--step", "weights", "--after", "21"]].concat();
    let file = dump(&changed);
    check(&file, 9, 3, 5);
    assert_eq!(file.notes["candidates"][4], "none");
    assert_eq!(file.notes["step"]["set"], "training");
    assert!(file.number("/step/after") >= 21.0);
    let bytes = fs::read(&path).unwrap();
    dump(&changed);
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[test]
fn what_can_not_be_dumped_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().to_str().unwrap();
    let out = folder.path().join("x.safetensors").to_str().unwrap().to_owned();
    let start = ["dump", "cifar10", "--preset", "tiny", "--data", empty, "--out", &out];
    fail(1, &start, &["CIFAR-10 not found in ", "`advnas data fetch cifar10`"]);
    fail(2, &[&start[..], &["--method", "best"]].concat(), &["best"]);
    fail(2, &[&start[..], &["--set", "cifar10.cels=2"]].concat(), &["unknown setting \"cifar10.cels\""]);
    // Before anything is computed, or even looked for.
    let elsewhere = |out: &str| ["dump", "cifar10", "--data", empty, "--out", out].map(str::to_owned);
    fail(2, &elsewhere(empty).each_ref().map(String::as_str), &["--out must name a file, ", " is a folder"]);
    fail(2, &elsewhere(&format!("{out}/x")).each_ref().map(String::as_str), &["--out: there is no folder "]);
    assert!(!Path::new(&out).exists());
    let Some(data) = real_data("cifar10") else { return };
    let cache = folder.path().join("cache").to_str().unwrap().to_owned();
    let start = ["dump", "cifar10", "--preset", "tiny", "--data", data.to_str().unwrap(), "--cache", &cache];
    let late = ["--after", "60", "--out", &out];
    fail(2, &[&start[..], &late].concat(), &["--after must be below 60, the steps of this search, got 60"]);
}
