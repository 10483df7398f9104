//! Statistics: read models, in generations. A reader takes those of the generation that its subscription has at that moment.

use quivive_app::ports::{Read, SignInCount, SignInStatistics, SignIns};
use quivive_delivery::subscriber::ReadModel;
use quivive_delivery::{BoxFuture, Fault, Write};

use crate::Database;

statements! {
    COUNT_SIGN_IN = "INSERT INTO sign_in_day (generation, day, outcome, reason, count) VALUES ($1, $2, $3, $4, 1) \
        ON CONFLICT (generation, day, outcome, reason) DO UPDATE SET count = sign_in_day.count + 1";

    SIGN_INS = "SELECT day, outcome, reason, count FROM sign_in_day \
        WHERE generation = (SELECT generation FROM subscription WHERE name = $1) AND day BETWEEN $2 AND $3 \
        ORDER BY day, outcome, reason";

    OLDER_SIGN_INS = "SELECT EXISTS (SELECT 1 FROM sign_in_day WHERE generation < $1)";

    NEWER_SIGN_INS = "SELECT EXISTS (SELECT 1 FROM sign_in_day WHERE generation > $1)";

    /// A month at a time.
    DELETE_SIGN_INS = "DELETE FROM sign_in_day WHERE (generation, day) IN \
        (SELECT generation, day FROM sign_in_day WHERE generation <> $1 LIMIT 500)";
}

impl SignInStatistics for Database {
    fn count_sign_in(&self, generation: u32, day: i64, what: SignIns, reason: &str) -> Write {
        Write::one(
            COUNT_SIGN_IN,
            vec![
                generation.into(),
                day.into(),
                what.word().into(),
                reason.to_owned().into(),
            ],
        )
    }

    fn sign_ins(
        &self,
        subscription: &'static str,
        from: i64,
        to: i64,
    ) -> Read<'_, Vec<SignInCount>> {
        let params = vec![subscription.into(), from.into(), to.into()];
        self.all(SIGN_INS, params, |cells| {
            Ok(SignInCount {
                day: cells.take("sign_in_day.day")?,
                what: what(&cells.take::<String>("sign_in_day.outcome")?)?,
                reason: cells.take("sign_in_day.reason")?,
                count: cells.take("sign_in_day.count")?,
            })
        })
    }
}

impl ReadModel for Database {
    fn has_others(&self, generation: u32) -> BoxFuture<'_, Result<bool, Fault>> {
        Box::pin(async move {
            for sql in [OLDER_SIGN_INS, NEWER_SIGN_INS] {
                let found: bool = self
                    .single(sql, vec![generation.into()], |cells| cells.take("found"))
                    .await?;
                if found {
                    return Ok(true);
                }
            }
            Ok(false)
        })
    }

    fn delete_others(&self, generation: u32) -> Write {
        Write::any(DELETE_SIGN_INS, vec![generation.into()])
    }
}

fn what(word: &str) -> Result<SignIns, Fault> {
    SignIns::ALL
        .into_iter()
        .find(|known| known.word() == word)
        .ok_or_else(|| {
            Fault::Internal(format!("sign_in_day.outcome holds {word:?}, which is none"))
        })
}
