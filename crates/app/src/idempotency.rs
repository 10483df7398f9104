//! Requests that their callers may repeat: under a key of their choice the first one is carried out, and the others get its
//! answer again (`draft-ietf-httpapi-idempotency-key-header`).
//!
//! **Guarantee.** What is done under a key is done once, however often and in however many requests at a time it is asked for,
//! within a day: that it was carried out is a row of the outcome's commit, and a guard of every other one. The answer is
//! written when it is given. When the server dies in between, or answers with an error, a repetition learns that it was
//! carried out, and no more. A refusal has such a row, too, so that it takes as long; what comes next replaces it.
//!
//! **Not guaranteed.** What the engine does about subscriptions and dead letters is in commits of its own: after a crash in
//! between, a repetition does it again.

use quivive_delivery::{CommitError, Fault, Log};

use crate::forgetting;
use crate::kernel::{Families, Kernel, Once};

/// How a repetition is known. The name belongs to who gives it, for one route: `scope` says both. Neither the name nor the
/// content, which may hold a password, can be told from the digests without the name itself and a key that the database
/// does not hold.
pub fn once(families: &Families, scope: &[u8], name: &[u8], content: &[u8]) -> Once {
    let whole = |parts: [&[u8]; 2]| {
        let [first, second] = parts;
        let length = (first.len() as u64).to_be_bytes();
        [&length[..], first, second].concat()
    };
    Once {
        token: families
            .keys
            .digest("idempotency key", &whole([scope, name])),
        content: families
            .keys
            .digest("idempotency content", &whole([name, content])),
    }
}

/// Keeps what was answered. Without it a repetition learns that the request was carried out, if it was.
pub async fn keep(kernel: &Kernel, once: &Once, answer: Vec<u8>) -> Result<(), CommitError> {
    let families = kernel.families();
    let write = families.answers.keep(once, answer, families.clock.now());
    kernel.change(vec![write]).await
}

/// Forgets the answers that nobody asks for any more.
pub(crate) async fn forget(families: &Families, log: &dyn Log) -> Result<(), Fault> {
    let (answers, now) = (&families.answers, families.clock.now());
    forgetting::forget(log, || answers.has_forgettable(now), || answers.forget(now)).await
}
