//! Faults in the machine that the simulation must find: a simulation that misses one proves nothing.
//!
//! They are compiled in for this crate's own tests alone, and one is chosen at run time.

/// Lists the faults, and all of them once more for the simulation.
macro_rules! mutants {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A fault. The place that has it asks [`is`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Mutant {
            $($(#[$doc])* $name,)*
        }

        #[cfg(test)]
        impl Mutant {
            pub(super) const ALL: &'static [Self] = &[$(Self::$name),*];
        }
    };
}

mutants! {
    /// Events of one key are ready together.
    KeyOrderIgnored,
    /// The least important goes first.
    PriorityIgnored,
    /// An event flows though its key has a lane.
    LaneBypassed,
    /// A hang keeps its place in the window.
    HangHoldsUp,
    /// The cursor is saved over events whose lane has no row.
    CursorOverLanes,
    /// The row of a lane goes as soon as it is caught up.
    RowDroppedEarly,
    /// That an event is ahead of the cursor is not remembered.
    MarkForgotten,
    /// The row beside the effects of an event does not say that the event is done.
    EffectsWithoutRow,
    /// A dead letter whose save fails is not told again.
    LetterLost,
    /// Nor is an alert.
    AlertLost,
    /// An event is tried for ever.
    AttemptsNotCounted,
    /// A handler that asks for time does not get it.
    WaitIgnored,
    /// Of a batch only the first event is looked at.
    BatchForgotten,
    /// A redrive goes on with the event after the one that was parked.
    RedriveSkips,
    /// A discard passes over all that waits behind the event too.
    DiscardDropsLane,
    /// What is lost to retention is not told.
    LossUntold,
    /// A key goes on after it while the database does not know.
    LossOvertaken,
    /// A lane loses the first event that stays, too.
    ExpiryTooFar,
    /// A lane takes part in a sweep that has passed events of it.
    LateLaneJoins,
    /// A lane that had no room for an event takes the next.
    FullLaneGoesOn,
    /// A key goes on before the database has that it was decided about.
    BegunUntold,
    AttemptsSpentWhileOpen,
    ManyProbes,
    /// More and more are under way at once.
    PlacesWithoutEnd,
    PausedGoesOn,
    StoppedGoesOn,
    /// A stop is not told from a crash.
    StopNotSaved,
    /// What is done comes again after a stop.
    StopLeavesGaps,
    CrashesNotCounted,
    BegunWithoutMark,
    /// What a node commits after another took over counts. Built into the model of the database, where the guard is.
    #[cfg(test)]
    EpochIgnored,
    /// After a crash several events are under way at once.
    CarefulInParallel,
    /// A replay goes on after its last position.
    RangeIgnored,
    /// A generation takes the other's place before it is as far.
    SwapTooEarly,
    /// It does with keys in trouble.
    SwapInTrouble,
    /// It goes on though the other was paused.
    SwapResumes,
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
