//! The memory of this machine, and whether runs fit into it. A process that takes more than there is gets killed without a word.

use std::fmt;

use sysinfo::System;

use crate::error::{Error, Result};

/// Bytes, as text in MiB or, from ten of them on, in GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = self.0 as f64 / f64::from(1 << 20);
        if mib < 10_240.0 { write!(f, "{mib:.0} MiB") } else { write!(f, "{:.0} GiB", mib / 1024.0) }
    }
}

/// The memory of a machine in bytes; in a container whose control group has less, that of the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// All of it, with the swap space unless a group limits it.
    pub total: u64,
    /// What new processes can have without swapping.
    pub available: u64,
}

impl Machine {
    /// This machine; nothing where its memory can't be asked for.
    #[must_use]
    pub fn this() -> Option<Self> {
        let mut system = System::new();
        system.refresh_memory();
        let (total, available) = (system.total_memory(), system.available_memory());
        let (total, available) = match system.cgroup_limits() {
            Some(group) if group.total_memory < total => (group.total_memory, available.min(group.free_memory)),
            _ => (total + system.total_swap(), available),
        };
        (total > 0).then_some(Self { total, available })
    }

    /// Refuses what is more than the whole machine has; warns of what is more than it has left.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn check(&self, needed: u64, at_once: usize) -> Result<()> {
        if needed > self.total {
            return Err(Error::Memory { needed: Bytes(needed), at_once, total: Bytes(self.total) });
        }
        if needed > self.available {
            let (needed, available) = (Bytes(needed), Bytes(self.available));
            tracing::warn!(
                "about {needed} of memory are needed, {available} are available: this will be slow, or be killed"
            );
        }
        Ok(())
    }
}

/// Refuses runs, `at_once` at the same time, that need more memory than this machine has; `needed` is that of every run in bytes, `shared`
/// what there is once for all of them.
///
/// # Errors
/// [`Error::Memory`].
pub fn check(mut needed: Vec<usize>, at_once: usize, shared: usize) -> Result<()> {
    // The largest may meet.
    needed.sort_unstable_by(|one, other| other.cmp(one));
    needed.truncate(at_once);
    if needed.is_empty() {
        return Ok(());
    }
    let sum = needed.iter().fold(shared, |sum: usize, bytes| sum.saturating_add(*bytes));
    match Machine::this() {
        Some(machine) => machine.check(sum as u64, needed.len()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_with_both_sizes() {
        let gib = 1 << 30;
        let machine = Machine { total: 24 * gib, available: 20 * gib };
        machine.check(24 * gib, 1).unwrap();
        let error = machine.check(24 * gib + 1, 2).unwrap_err();
        assert!(error.is_usage());
        assert_eq!(
            error.to_string(),
            "2 runs at the same time need about 24 GiB of memory, this machine has 24 GiB; smaller networks and minibatches need less"
        );
        let error = machine.check(441 * gib, 1).unwrap_err().to_string();
        assert!(error.starts_with("a run needs about 441 GiB of memory, this machine has 24 GiB;"), "{error}");
    }

    #[test]
    fn this_machine_holds_this_test() {
        let machine = Machine::this().expect("its memory is known here");
        assert!(machine.available <= machine.total && machine.total > 64 << 20, "{machine:?}");
        check(vec![1 << 20; 3], 2, 1 << 20).unwrap();
        // Two of them at once, though each alone would fit.
        let most = usize::try_from(machine.total).unwrap();
        assert!(matches!(check(vec![1, most / 3 * 2, most / 3 * 2], 2, 0), Err(Error::Memory { at_once: 2, .. })));
        check(vec![1, most / 3 * 2, most / 3 * 2], 1, 0).unwrap();
        assert!(check(vec![1, most / 3 * 2], 1, most / 2).is_err());
        assert!(check(vec![usize::MAX; 2], 2, 1).is_err());
        check(Vec::new(), 2, usize::MAX).unwrap();
    }
}
