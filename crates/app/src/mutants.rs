//! Faults that an experiment must catch. Nothing of this is in a release: without the feature every question is `false`.

/// Whether this run has the named fault in it.
#[cfg(feature = "mutants")]
pub(crate) fn on(fault: &str) -> bool {
    use std::sync::LazyLock;
    #[expect(
        clippy::disallowed_methods,
        reason = "a build for experiments alone; it has no configuration"
    )]
    static FAULT: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("QUIVIVE_MUTANT").ok());
    FAULT.as_deref() == Some(fault)
}

#[cfg(not(feature = "mutants"))]
pub(crate) const fn on(_fault: &str) -> bool {
    false
}
