//! The device layer on the software CUDA device, and on machines that have nothing: what is missing is said, nothing
//! panics.

use std::fs;
use std::process::Command;

use crate::support::{self, device, in_child, numbers_only, say};
use advantage_nas::network::toy::Toy;
use advantage_nas::random::Streams;
use advantage_nas_gpu::device::source::{Constant, Parameter, Signature};
use advantage_nas_gpu::device::{Source, compile, compiler_version, devices};
use advantage_nas_gpu::toy::ToySupernet;
use advantage_nas_gpu::{Device, Error};
use advantage_nas_software_cuda::SoftwareDevice;

/// Runs a test again in a child where the loader finds only what is in a folder.
fn in_child_with(test: &str, folder: &std::path::Path) -> bool {
    const MARK: &str = "BARE";
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture"]).env(MARK, "1").env("LD_LIBRARY_PATH", folder);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&output.stderr));
    false
}

/// Without libraries, the message says which names were tried. A machine that has the libraries can't show it.
#[test]
fn without_libraries() {
    let folder = tempfile::tempdir().unwrap();
    if !in_child_with("device::without_libraries", folder.path()) {
        return;
    }
    match devices() {
        Err(error @ Error::NoLibrary { .. }) => {
            let message = error.to_string();
            assert!(message.contains("looked for libcuda.so, ") && message.contains("libcuda.so.1)"), "{message}");
        }
        there => say(&format!("SKIPPED the driver's absence: this machine answers {there:?}")),
    }
    match compiler_version() {
        Err(error @ Error::NoLibrary { .. }) => {
            let message = error.to_string();
            assert!(message.contains("libnvrtc.so.13") && message.contains("nvidia-cuda-nvrtc"), "{message}");
        }
        there => say(&format!("SKIPPED the compiler's absence: this machine answers {there:?}")),
    }
}

/// A library of that name that is no driver lacks functions; it is called too old, and the first missing one is named.
#[test]
fn with_a_library_that_lacks_functions() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("libcuda.so");
    let built = Command::new("g++").args(["-shared", "-x", "c", "/dev/null", "-o"]).arg(&library).status();
    if !built.is_ok_and(|status| status.success()) {
        say("SKIPPED with_a_library_that_lacks_functions: g++ is not installed");
        return;
    }
    if in_child_with("device::with_a_library_that_lacks_functions", folder.path()) {
        let message = devices().unwrap_err().to_string();
        assert!(message.contains("too old: its library has no cuInit; needed is one for CUDA 12.0"), "{message}");
    }
}

#[test]
fn without_a_device() {
    if in_child("device::without_a_device", |device| vec![device.devices(0)]) {
        let error = Device::open(0, support::cache()).unwrap_err();
        assert!(matches!(error, Error::NoDevice { .. }), "{error}");
        assert!(error.to_string().contains("CUDA_ERROR_NO_DEVICE"), "{error}");
    }
}

/// A driver that does not start says why; its status may be one that was invented after this crate.
#[test]
fn with_a_driver_that_does_not_start() {
    let all = |device: SoftwareDevice| [34, 803, 999, 1234].map(|status| device.clone().init(status)).to_vec();
    if in_child("device::with_a_driver_that_does_not_start", all) {
        let error = devices().unwrap_err();
        assert!(matches!(error, Error::NoDevice { .. }), "{error}");
        let parts = match std::env::var("SOFTWARE_CUDA_INIT").unwrap().as_str() {
            "34" => ["CUDA_ERROR_STUB_LIBRARY (", "for linking"],
            "803" => ["CUDA_ERROR_SYSTEM_DRIVER_MISMATCH (", "update without a restart"],
            "999" => ["CUDA_ERROR_UNKNOWN (", "SOFTWARE_CUDA_INIT=999"],
            _ => ["it finds no device: status 1234 (", "SOFTWARE_CUDA_INIT=1234"],
        };
        assert!(parts.iter().all(|part| error.to_string().contains(part)), "{error}");
    }
}

#[test]
fn with_an_old_driver() {
    if in_child("device::with_an_old_driver", |device| vec![device.driver(11_080)]) {
        let error = devices().unwrap_err();
        let expected = "the CUDA driver is too old: it supports CUDA 11.8; needed is one for CUDA 12.0 or newer";
        assert_eq!(error.to_string(), expected);
    }
}

/// A driver of the 12 series opens, but code of a compiler of the 13 series is not for it.
#[test]
fn with_a_compiler_that_is_newer_than_the_driver() {
    if in_child("device::with_a_compiler_that_is_newer_than_the_driver", |device| vec![device.driver(12_040)]) {
        let error = ToySupernet::new(&device(), Toy::paper(), &Streams::new(0), &[0]).unwrap_err();
        assert!(error.to_string().contains("it supports CUDA 12.4, the compiler is that of 13."), "{error}");
        assert!(error.to_string().contains("(NVRTC of CUDA 12 would do)"), "{error}");
    }
}

#[test]
fn devices_are_described() {
    if in_child("device::devices_are_described", |device| vec![device.devices(2).capability(8, 0)]) {
        let devices = devices().unwrap();
        assert_eq!(devices.len(), 2);
        assert_eq!((devices[1].ordinal, devices[1].architecture().as_str()), (1, "sm_80"));
        assert!(devices[0].emulated && devices[0].describe().contains("emulated"));
        let error = Device::open(2, support::cache()).unwrap_err();
        assert_eq!(error.to_string(), "there is no CUDA device 2: the driver finds 2, counted from 0");
    }
}

#[test]
fn memory_is_accounted_for_before_it_is_taken() {
    if in_child("device::memory_is_accounted_for_before_it_is_taken", |device| vec![device.memory(64 << 20)]) {
        let device = device();
        let (free, total) = device.memory().unwrap();
        let error = device.zeros::<f32>("something large", 1 << 25).unwrap_err();
        assert!(matches!(&error, Error::OutOfMemory { needed, .. } if *needed == 1 << 27), "{error}");
        assert!(error.to_string().contains("something large needs 134217728 bytes of device memory"), "{error}");
        let error = ToySupernet::new(&device, Toy::paper(), &Streams::new(0), &[0; 1000]).unwrap_err();
        assert!(error.to_string().contains("the toy regression of 1000 trials needs "), "{error}");
        assert!(matches!(device.zeros::<f64>("everything", usize::MAX), Err(Error::TooLarge { .. })));
        // Nothing of it was kept.
        assert_eq!(device.memory().unwrap(), (free, total));
        device.zeros::<f32>("something small", 1 << 20).unwrap();
    }
}

#[test]
fn buffers_hold_what_was_written() {
    if in_child("device::buffers_hold_what_was_written", numbers_only) {
        let device = device();
        let mut buffer = device.zeros::<u32>("numbers", 5).unwrap();
        buffer.write(&[1, 2, 3]).unwrap();
        assert_eq!(buffer.to_vec().unwrap(), [1, 2, 3, 0, 0]);
        assert!(matches!(buffer.write(&[0; 6]), Err(Error::TooLarge { what: "numbers", got: 6, most: 5 })));
        assert!(matches!(buffer.read(&mut [0; 6]), Err(Error::TooLarge { .. })));
        buffer.read(&mut []).unwrap();
        assert!(device.upload::<f64>("nothing", &[]).is_ok());
        let error =
            device.record("nothing".to_owned(), || Err(Error::NoDevice { problem: "made up".to_owned() })).unwrap_err();
        assert!(error.to_string().contains("made up"));
        assert!(device.time(|| buffer.write(&[7])).unwrap().as_secs() < 60);
    }
}

const BROKEN: Source = Source {
    name: "broken",
    constants: &[],
    descriptions: &[],
    files: &[
        ("one.cuh", "__device__ int one() { return 1; }\n"),
        ("two.cu", "\nextern \"C\" __global__ void k() { none(); }\n"),
    ],
    kernels: &[Signature { names: &["k"], tf32: None, parameters: &[], expected: None }],
};

#[test]
fn errors_of_the_compiler_have_flags_file_and_line() {
    if in_child("device::errors_of_the_compiler_have_flags_file_and_line", numbers_only) {
        let error = compile::compile(&BROKEN, "sm_90", &["-DMORE"]).unwrap_err().to_string();
        let parts =
            ["can't compile broken for sm_90", "--gpu-architecture=sm_90", "--fmad=false", "-DMORE", "two.cu", "none"];
        for part in parts {
            assert!(error.contains(part), "{error:?} lacks {part:?}");
        }
        assert_eq!(error.lines().count(), 1);
    }
}

const SOUND: Source = Source {
    name: "sound",
    constants: &[Constant::new("ONE", 1)],
    descriptions: &[],
    files: &[("sound.cu", "extern \"C\" __global__ void k(float* x) { x[threadIdx.x] = ONE; }\n")],
    kernels: &[Signature { names: &["k"], tf32: None, parameters: &[Parameter::writes::<f32>("x")], expected: None }],
};

#[test]
fn compiled_kernels_are_cached() {
    if !in_child("device::compiled_kernels_are_cached", numbers_only) {
        return;
    }
    let cache = tempfile::tempdir().unwrap();
    let device = Device::open(0, cache.path().to_owned()).unwrap();
    let files = || {
        let entries = fs::read_dir(cache.path().join("kernels")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
    };
    device.module(&SOUND).unwrap().kernel("k").unwrap();
    let first = files();
    assert_eq!(first.len(), 1);
    let name = first[0].file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with("sound-") && name.ends_with(".cubin"), "{name}");
    let written = fs::read(&first[0]).unwrap();
    // Used as it is: what stands there is what is loaded.
    device.module(&SOUND).unwrap();
    assert_eq!(files(), first);
    // Another text has another name.
    let other =
        Source { files: &[("sound.cu", "extern \"C\" __global__ void k(float* x) { x[0] = 2.0f; }\n")], ..SOUND };
    device.module(&other).unwrap();
    assert_eq!(files().len(), 2);
    // So has the same text with another constant.
    device.module(&Source { constants: const { &[Constant::new("ONE", 2)] }, ..SOUND }).unwrap();
    assert_eq!(files().len(), 3);
    // What is damaged is compiled anew: cut, changed, empty.
    let mut changed = written.clone();
    *changed.last_mut().unwrap() ^= 1;
    for damaged in [&written[..written.len() - 1], &changed, &written[..20], b""] {
        fs::write(&first[0], damaged).unwrap();
        device.module(&SOUND).unwrap().kernel("k").unwrap();
        // The compiler of the software device does not give the same bytes every time.
        assert_eq!(fs::read(&first[0]).unwrap().len(), written.len());
    }
    let error = device.module(&SOUND).unwrap().kernel("absent").unwrap_err();
    assert!(error.to_string().contains("find kernel absent in module sound"), "{error}");
    // A folder that can't be written costs time, nothing else.
    let file = tempfile::NamedTempFile::new().unwrap();
    Device::open(0, file.path().to_owned()).unwrap().module(&SOUND).unwrap();
    assert!(SoftwareDevice::is_active());
}
