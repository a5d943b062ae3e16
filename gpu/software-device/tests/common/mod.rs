//! A test runs twice: in the test program, which starts a child on the software device, and in that child.

use advantage_nas_software_cuda::SoftwareDevice;
use cudarc::driver::{CudaContext, CudaModule};
use cudarc::nvrtc::{CompileOptions, compile_ptx_with_opts};
use std::io::Write;
use std::sync::Arc;

/// Says something whether or not the test's output is captured.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// In the parent: runs the test `name` in a child on `device` and returns what it printed. In the child: `None`.
///
/// # Panics
/// If the child fails.
pub fn parent(name: &str, device: impl FnOnce(SoftwareDevice) -> SoftwareDevice) -> Option<String> {
    if SoftwareDevice::is_active() {
        return None;
    }
    if let Some(why) = SoftwareDevice::missing() {
        say(&format!("SKIPPED {name}: {why}"));
        return Some(String::new());
    }
    let output = device(SoftwareDevice::install().unwrap()).rerun(name).unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} on the emulated device: {}\n{text}", output.status);
    assert!(text.contains("1 passed"), "{name} did not run:\n{text}");
    Some(text)
}

pub fn context() -> Arc<CudaContext> {
    CudaContext::new(0).unwrap()
}

pub fn module(context: &Arc<CudaContext>, source: &str) -> Arc<CudaModule> {
    let options = CompileOptions { arch: Some("compute_90"), ..Default::default() };
    match compile_ptx_with_opts(source, options) {
        Ok(ptx) => context.load_module(ptx).unwrap(),
        Err(error) => panic!("{error:?}"),
    }
}
