//! Requests that their callers may repeat: under a key of their choice the first one is carried out, and the others get its
//! answer again (`draft-ietf-httpapi-idempotency-key-header`).
//!
//! **Guarantee.** What is done under a key is done once, however often and in however many requests at a time it is asked for,
//! within a day: that it was carried out is a row of the outcome's commit, and a guard of every other one. The answer is
//! written when it is given. When the server dies in between, a repetition learns that it was carried out, and no more.
//!
//! **Not guaranteed.** What the engine does about subscriptions and dead letters is in commits of its own: after a crash in
//! between, a repetition does it again, as it does what was carried out but answered with an error.

use quivive_delivery::{CommitError, Fault, Log, Transaction};

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

/// What became of it: an answer that is kept, or none, where it was refused and may be tried again.
pub async fn settle(
    kernel: &Kernel,
    once: &Once,
    answer: Option<Vec<u8>>,
) -> Result<(), CommitError> {
    let families = kernel.families();
    let write = match answer {
        Some(answer) => families.answers.keep(once, answer, families.clock.now()),
        None => families.answers.drop_refused(once),
    };
    kernel.change(vec![write]).await
}

/// Forgets the answers that nobody asks for any more.
pub(crate) async fn forget(families: &Families, log: &dyn Log) -> Result<(), Fault> {
    let now = families.clock.now();
    while families.answers.has_forgettable(now).await? {
        let transaction = Transaction {
            writes: vec![families.answers.forget(now)],
            records: Vec::new(),
        };
        match log.commit(transaction).await {
            Ok(_) => {}
            Err(CommitError::Fault(fault)) => return Err(fault),
            Err(CommitError::Missed(_)) => return Ok(()),
        }
    }
    Ok(())
}
