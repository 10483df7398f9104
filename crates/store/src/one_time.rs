//! One-time tokens, and the count of the letters that carry them.

use quivive_app::ports::{OneTimeTokens, Read};
use quivive_delivery::{Fault, Time, Write};
use quivive_domain::one_time::{OneTimeToken, Purpose};
use quivive_domain::{TokenId, UserId};

use crate::rows::Cells;
use crate::{Database, int};

statements! {
    BY_ID = "SELECT purpose, account, key_id, credential_epoch, log_epoch, expires_at, used_at, ended_at \
        FROM one_time_token WHERE id = $1";

    END_OPEN = "UPDATE one_time_token SET ended_at = $1 \
        WHERE account = $2 AND purpose = $3 AND used_at IS NULL AND ended_at IS NULL";

    /// Ids rise.
    END_NEWER = "UPDATE one_time_token SET ended_at = $1 \
        WHERE account = $2 AND purpose = $3 AND id > $4 AND used_at IS NULL AND ended_at IS NULL";

    INSERT = "INSERT INTO one_time_token \
        (id, purpose, account, key_id, credential_epoch, log_epoch, issued_at, expires_at) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING";

    REDEEM = "UPDATE one_time_token SET used_at = $1 WHERE id = $2 AND used_at IS NULL AND ended_at IS NULL";

    /// The first letter of all, the first of an hour, or one more below the limit. The SELECT is for a limit of nothing;
    /// the casts are because nothing else there tells PostgreSQL the parameter's type.
    COUNT_LETTER = "INSERT INTO letter_count (account, kind, hour, used) \
        SELECT $1, $2, $3, 1 WHERE CAST($4 AS BIGINT) > 0 \
        ON CONFLICT (account, kind) DO UPDATE SET hour = excluded.hour, \
        used = CASE WHEN letter_count.hour = excluded.hour THEN letter_count.used + 1 ELSE 1 END \
        WHERE letter_count.hour <> excluded.hour OR letter_count.used < CAST($4 AS BIGINT)";

    LETTERS = "SELECT used FROM letter_count WHERE account = $1 AND kind = $2 AND hour = $3";
}

impl OneTimeTokens for Database {
    fn by_id(&self, id: TokenId) -> Read<'_, Option<OneTimeToken>> {
        self.one(BY_ID, vec![id.0.into()], move |cells| token(id, cells))
    }

    fn end_open(&self, account: UserId, purpose: Purpose, now: Time) -> Write {
        Write::any(
            END_OPEN,
            vec![now.into(), account.0.into(), purpose.as_str().into()],
        )
    }

    fn end_newer(&self, than: TokenId, account: UserId, purpose: Purpose, now: Time) -> Write {
        let purpose = purpose.as_str().into();
        let params = vec![now.into(), account.0.into(), purpose, than.0.into()];
        Write::any(END_NEWER, params)
    }

    fn insert(&self, token: &OneTimeToken, now: Time) -> Write {
        Write::one(
            INSERT,
            vec![
                token.id.0.into(),
                token.purpose.as_str().into(),
                token.account.0.into(),
                token.key.clone().into(),
                token.credential_epoch.into(),
                int(token.log_epoch),
                now.into(),
                token.expires_at.into(),
            ],
        )
    }

    fn redeem(&self, id: TokenId, now: Time) -> Write {
        Write::one(REDEEM, vec![now.into(), id.0.into()])
    }

    fn count_letter(&self, account: UserId, kind: &'static str, limit: u32, now: Time) -> Write {
        let params = vec![
            account.0.into(),
            kind.into(),
            hour(now).into(),
            limit.into(),
        ];
        Write::one(COUNT_LETTER, params)
    }

    fn letters(&self, account: UserId, kind: &'static str, now: Time) -> Read<'_, u32> {
        let params = vec![account.0.into(), kind.into(), hour(now).into()];
        let used = self.one(LETTERS, params, |cells| cells.take("letter_count.used"));
        Box::pin(async move { Ok(used.await?.unwrap_or(0)) })
    }
}

fn token(id: TokenId, cells: &mut Cells) -> Result<OneTimeToken, Fault> {
    let word: String = cells.take("one_time_token.purpose")?;
    let Some(purpose) = Purpose::stored(&word) else {
        let text =
            format!("one_time_token.purpose holds {word:?}, which no version up to this one wrote");
        return Err(Fault::Internal(text));
    };
    Ok(OneTimeToken {
        id,
        purpose,
        account: cells.take("one_time_token.account")?,
        key: cells.take("one_time_token.key_id")?,
        credential_epoch: cells.take("one_time_token.credential_epoch")?,
        log_epoch: cells.take("one_time_token.log_epoch")?,
        expires_at: cells.take("one_time_token.expires_at")?,
        used_at: cells.take("one_time_token.used_at")?,
        ended_at: cells.take("one_time_token.ended_at")?,
    })
}

/// Hours since 1970.
fn hour(now: Time) -> i64 {
    now.as_second().div_euclid(3600)
}
