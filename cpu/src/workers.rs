//! Threads that share the work of one step. The work is cut into pieces that don't depend on how many there are.

use advantage_nas::{Error, Result};
use rayon::prelude::*;

/// A pool of threads, or the calling thread alone.
#[derive(Debug)]
pub(crate) struct Workers {
    pool: Option<rayon::ThreadPool>,
}

impl Workers {
    /// # Errors
    /// [`Error::Setting`] for no thread, [`Error::Other`] if the system refuses them.
    pub(crate) fn new(threads: usize) -> Result<Self> {
        let pool = match threads {
            0 => {
                let got = "0".to_owned();
                return Err(Error::Setting { name: "the number of threads", expected: "at least 1", got });
            }
            1 => None,
            _ => Some(rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(Error::other)?),
        };
        Ok(Self { pool })
    }

    pub(crate) fn count(&self) -> usize {
        self.pool.as_ref().map_or(1, rayon::ThreadPool::current_num_threads)
    }

    /// Number of the thread that calls this, from 0 to the count.
    pub(crate) fn index(&self) -> usize {
        self.pool.as_ref().and_then(rayon::ThreadPool::current_thread_index).unwrap_or(0)
    }

    /// Runs something that uses the threads many times, so that they are woken only once.
    pub(crate) fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match &self.pool {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }

    /// Does two things, at the same time where there are threads for both.
    pub(crate) fn both<A: Send, B: Send>(
        &self,
        one: impl FnOnce() -> A + Send,
        other: impl FnOnce() -> B + Send,
    ) -> (A, B) {
        match &self.pool {
            Some(_) => rayon::join(one, other),
            None => (one(), other()),
        }
    }

    /// Works on every item.
    pub(crate) fn each<I: Send>(&self, items: &mut [I], work: impl Fn(&mut I) + Sync + Send) {
        match &self.pool {
            Some(_) => items.par_iter_mut().with_max_len(1).for_each(work),
            None => items.iter_mut().for_each(work),
        }
    }

    /// Works on every item together with its piece of so many others.
    pub(crate) fn each_with<I: Send, J: Send>(
        &self,
        items: &mut [I],
        others: &mut [J],
        length: usize,
        work: impl Fn(&mut I, &mut [J]) + Sync + Send,
    ) {
        match &self.pool {
            Some(_) => {
                let pairs = items.par_iter_mut().with_max_len(1).zip(others.par_chunks_mut(length));
                pairs.for_each(|(item, piece)| work(item, piece));
            }
            None => items.iter_mut().zip(others.chunks_mut(length)).for_each(|(item, piece)| work(item, piece)),
        }
    }

    /// Works on every piece of so many items; the work gets the number of the piece.
    pub(crate) fn pieces<I: Send>(&self, items: &mut [I], length: usize, work: impl Fn(usize, &mut [I]) + Sync + Send) {
        match &self.pool {
            Some(_) => items.par_chunks_mut(length).enumerate().for_each(|(index, piece)| work(index, piece)),
            None => items.chunks_mut(length).enumerate().for_each(|(index, piece)| work(index, piece)),
        }
    }
}
