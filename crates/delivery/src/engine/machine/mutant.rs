//! Faults in the machine that the simulation must find: a simulation that misses one proves nothing.
//!
//! They are compiled in for this crate's own tests alone, and one is chosen at run time.

/// A fault. The places that have one ask [`is`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mutant {
    PriorityIgnored,
    AttemptsSpentWhileOpen,
    ManyProbes,
    PausedGoesOn,
    StoppedGoesOn,
    CrashesNotCounted,
    BegunWithoutMark,
}

#[cfg(test)]
thread_local! {
    static CHOSEN: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

/// From now on this thread's machines have this fault.
#[cfg(test)]
pub(super) fn choose(mutant: Option<Mutant>) {
    CHOSEN.set(mutant);
}

#[cfg(test)]
pub(super) fn is(mutant: Mutant) -> bool {
    CHOSEN.get() == Some(mutant)
}

#[cfg(not(test))]
pub(super) const fn is(_: Mutant) -> bool {
    false
}
