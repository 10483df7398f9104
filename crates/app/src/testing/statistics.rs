//! Counts of sign-ins in a [`World`], where every subscription is of its first generation.

use quivive_delivery::subscriber::ReadModel;
use quivive_delivery::{BoxFuture, Expect, Fault, Write};

use super::World;
use crate::ports::{Read, SignInCount, SignInStatistics, SignIns};

impl SignInStatistics for World {
    fn count_sign_in(&self, generation: u32, day: i64, what: SignIns, reason: &str) -> Write {
        let key = (generation, day, what.word(), reason.to_owned());
        self.write("sign_in_day count", &[], move |state| {
            *state.sign_ins.entry(key.clone()).or_default() += 1;
            1
        })
    }

    fn sign_ins(&self, _: &'static str, from: i64, to: i64) -> Read<'_, Vec<SignInCount>> {
        self.read(|state| {
            let counts = state.sign_ins.iter();
            let counts = counts
                .filter(|((generation, day, ..), _)| *generation == 1 && (from..=to).contains(day));
            let counts = counts.map(|((_, day, word, reason), count)| SignInCount {
                day: *day,
                what: SignIns::ALL
                    .into_iter()
                    .find(|what| what.word() == *word)
                    .expect("one of them"),
                reason: reason.clone(),
                count: *count,
            });
            counts.collect()
        })
    }
}

impl ReadModel for World {
    fn has_others(&self, generation: u32) -> BoxFuture<'_, Result<bool, Fault>> {
        self.read(|state| state.sign_ins.keys().any(|key| key.0 != generation))
    }

    fn delete_others(&self, generation: u32) -> Write {
        let write = self.write("sign_in_day delete", &[], move |state| {
            state.sign_ins.retain(|key, _| key.0 == generation);
            1
        });
        Write {
            expect: Expect::Any,
            ..write
        }
    }
}
