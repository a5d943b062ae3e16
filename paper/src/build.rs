//! What this program was built from: to be recorded with every run, and shown by `advnas info`.

/// Version of the crate.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Commit of the sources; `unknown` outside a checkout, ending in `-dirty` if the sources differ from it.
pub const COMMIT: &str = env!("ADVNAS_COMMIT");
/// The compiler.
pub const RUSTC: &str = env!("ADVNAS_RUSTC");
/// The target that was compiled for.
pub const TARGET: &str = env!("ADVNAS_TARGET");
/// `release` or `debug`.
pub const PROFILE: &str = env!("ADVNAS_PROFILE");
/// Version and commit in one.
pub const VERSION_AND_COMMIT: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("ADVNAS_COMMIT"), ")");

/// The device of a run on this processor.
const CPU: &str = "cpu";

/// What a run was computed with; two runs are only bit-identical if all of it agrees.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Provenance {
    /// Version of the program.
    pub version: String,
    /// Commit of its sources.
    pub commit: String,
    /// The compiler.
    pub rustc: String,
    /// The target that was compiled for.
    pub target: String,
    /// `release` or `debug`.
    pub profile: String,
    /// The device.
    pub device: String,
    /// Instruction sets of the processor that make a difference.
    pub cpu_features: String,
    /// Flags that the kernels were compiled with, on a CUDA device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_flags: Option<String>,
}

impl Provenance {
    /// Of this program on this processor.
    #[must_use]
    pub fn of_this_cpu() -> Self {
        Self {
            version: VERSION.to_owned(),
            commit: COMMIT.to_owned(),
            rustc: RUSTC.to_owned(),
            target: TARGET.to_owned(),
            profile: PROFILE.to_owned(),
            device: CPU.to_owned(),
            cpu_features: advantage_nas_cpu::cpu_features(),
            kernel_flags: None,
        }
    }

    /// Whether the network ran on the processor.
    #[must_use]
    pub fn is_on_cpu(&self) -> bool {
        self.device == CPU
    }
}
