//! A worker pool for independent tasks, such as the trials of a search. What a task computes can't depend on the number of
//! threads: tasks share nothing and each runs on one thread.

use rayon::prelude::*;

use crate::error::{Error, Result};

/// Works on all tasks with at most `threads` threads; the answers are in the order of the tasks.
///
/// # Errors
/// If the threads can't be started.
pub fn map<T: Send, R: Send>(threads: usize, tasks: Vec<T>, work: impl Fn(T) -> R + Send + Sync) -> Result<Vec<R>> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads.min(tasks.len()).max(1))
        .build()
        .map_err(|error| Error::Process { action: "start threads", problem: error.to_string() })?;
    Ok(pool.install(|| tasks.into_par_iter().with_max_len(1).map(work).collect()))
}
