//! Counts of sign-ins.

use quivive_delivery::Write;
use quivive_delivery::subscriber::ReadModel;

use super::Read;

/// What is counted of sign-ins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignIns {
    Attempted,
    Succeeded,
    Failed,
}

impl SignIns {
    pub const ALL: [Self; 3] = [Self::Attempted, Self::Succeeded, Self::Failed];

    pub fn word(self) -> &'static str {
        match self {
            Self::Attempted => "attempted",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }
}

/// One count of a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignInCount {
    /// Since 1970, UTC.
    pub day: i64,
    pub what: SignIns,
    /// Why they failed; else empty.
    pub reason: String,
    pub count: u64,
}

/// Sign-ins a day, kept by a subscription in generations.
pub trait SignInStatistics: ReadModel {
    /// One more.
    fn count_sign_in(&self, generation: u32, day: i64, what: SignIns, reason: &str) -> Write;

    /// Those of the subscription's generation, of the days from one to another, by day.
    fn sign_ins(
        &self,
        subscription: &'static str,
        from: i64,
        to: i64,
    ) -> Read<'_, Vec<SignInCount>>;
}
