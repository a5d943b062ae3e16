//! Graphs: sequences of launches that are recorded once and submitted as one.

use std::fmt;

use cudarc::driver::CudaGraph;
use cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};

use super::{Device, failed};
use crate::error::{Error, Result};

/// Recorded launches. What was an argument is frozen; what changes from one submission to the next lies in device
/// memory.
pub struct Graph {
    name: String,
    graph: CudaGraph,
}

impl fmt::Debug for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Graph").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Device {
    /// Records what `work` launches. It is run once before, because the driver loads a kernel when it is launched for
    /// the first time, which recordings don't stand. `work` must allocate nothing and copy nothing. The name is for
    /// messages: which kernels, with which flags.
    ///
    /// The buffers that the launches work on must outlive every submission of the graph, which nobody but this crate makes: it keeps
    /// them in one struct.
    ///
    /// # Errors
    /// Those of `work`; what the driver says.
    pub fn record(&self, name: String, mut work: impl FnMut() -> Result<()>) -> Result<Graph> {
        let title = &name;
        let failed = |what: &'static str| failed(move || format!("{what} graph {title}"));
        work()?;
        // Captures must not see what is still under way.
        self.synchronize()?;
        let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        self.stream.begin_capture(mode).map_err(failed("begin to record"))?;
        let worked = work();
        // Ended in any case, or the stream is of no use any more; but the first error is the one that tells.
        let graph = self.stream.end_capture(CUgraphInstantiate_flags(0));
        worked?;
        let graph = graph.map_err(failed("record"))?.ok_or_else(|| Error::Driver {
            operation: format!("record graph {title}"),
            problem: "nothing was launched".to_owned(),
        })?;
        graph.upload().map_err(failed("upload"))?;
        Ok(Graph { name, graph })
    }
}

impl Graph {
    /// Submits the launches.
    ///
    /// # Errors
    /// What the driver says.
    pub(crate) fn launch(&self) -> Result<()> {
        self.graph.launch().map_err(failed(|| format!("launch graph {}", self.name)))
    }

    /// Says of a failure that was found after the graph was submitted that it may be the graph's.
    #[must_use]
    pub fn blame(&self, error: Error) -> Error {
        error.after(&format!("graph {}", self.name))
    }
}
