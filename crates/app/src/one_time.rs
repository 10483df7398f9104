//! One-time tokens: made as a row and an id, derived as a secret only when a letter is written or a token comes back.

use std::time::Duration;

use quivive_delivery::{Fault, Write};
use quivive_domain::one_time::{OneTimeToken, Presented, Purpose};
use quivive_domain::{Account, TokenId};

use crate::kernel::{Commit, Cx, Families, Subject};

/// Adds a new token to a commit and ends the older ones of its purpose. Its secret exists nowhere yet.
pub fn issue(
    commit: &mut Commit,
    cx: &Cx,
    account: &Account,
    purpose: Purpose,
    lifetime: Duration,
) -> TokenId {
    let token = OneTimeToken {
        id: TokenId(cx.ids.next()),
        purpose,
        account: account.id,
        key: cx.keys.current().to_owned(),
        credential_epoch: account.credential_epoch,
        log_epoch: cx.log_epoch(),
        expires_at: cx.now() + lifetime,
        used_at: None,
        ended_at: None,
    };
    commit.write(cx.one_time.end_open(account.id, purpose, cx.now()));
    commit.write(cx.one_time.insert(&token, cx.now()));
    token.id
}

/// The text for a letter: derived from the row, under the key it was made with. `None` when that key is gone.
pub fn derive(families: &Families, token: &OneTimeToken) -> Option<String> {
    let mac = families
        .keys
        .mac(&token.key, token.purpose.as_str(), &token.message())?;
    Some(Presented::assemble(token.id, &mac))
}

/// Whom a presented token is about: its account, else a digest of its id, else the source.
pub async fn subject(
    cx: &Cx,
    presented: Option<&Presented>,
    purpose: Purpose,
) -> Result<Subject, Fault> {
    match (find(cx, presented, purpose).await?, presented) {
        (Some(token), _) => Ok(Subject::Account(token.account)),
        (None, Some(presented)) => cx.digest("token", presented.id.0.as_bytes()).await,
        (None, None) => cx.source().await,
    }
}

/// The row of a presented token, if the token is genuine and of that purpose. The one place that verifies them.
pub async fn find(
    cx: &Cx,
    presented: Option<&Presented>,
    purpose: Purpose,
) -> Result<Option<OneTimeToken>, Fault> {
    let Some(presented) = presented else {
        return Ok(None);
    };
    let Some(token) = cx.one_time.by_id(presented.id).await? else {
        return Ok(None);
    };
    let mac = cx.keys.mac(&token.key, purpose.as_str(), &token.message());
    let genuine = token.purpose == purpose
        && token.log_epoch == cx.log_epoch()
        && mac.is_some_and(|mac| presented.has_mac(&mac));
    Ok(genuine.then_some(token))
}

/// Whether an account has had all its letters of a purpose for this hour.
pub async fn letters_spent(cx: &Cx, account: &Account, purpose: Purpose) -> Result<bool, Fault> {
    let sent = cx
        .one_time
        .letters(account.id, purpose.as_str(), cx.now())
        .await?;
    Ok(sent >= cx.settings.lifetimes.letters_an_hour)
}

/// Counts a letter; misses when they are spent.
pub fn count_letter(cx: &Cx, account: &Account, purpose: Purpose) -> Write {
    let limit = cx.settings.lifetimes.letters_an_hour;
    cx.one_time
        .count_letter(account.id, purpose.as_str(), limit, cx.now())
}
