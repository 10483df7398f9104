//! One-time tokens: made as a row and an id, derived as a secret only when a letter is written or a token comes back.

use quivive_delivery::{Fault, Reason as Reasons};
use quivive_domain::one_time::{OneTimeToken, Presented, Purpose, Redeemable};
use quivive_domain::{Account, TokenId};

use crate::kernel::{Commit, Cx, Families, Subject};
use crate::ports::EmailChange;

/// Adds a new token to a commit, ends the older ones of its purpose and counts its letter: misses when the letters of this
/// hour are spent. Its secret exists nowhere yet.
pub fn issue(commit: &mut Commit, cx: &Cx, account: &Account, purpose: Purpose) -> TokenId {
    commit.write(cx.one_time.end_open(account.id, purpose, cx.now()));
    let token = add(commit, cx, account, purpose);
    let (kind, limit) = (purpose.as_str(), cx.settings.lifetimes.letters_an_hour);
    commit.write(cx.one_time.count_letter(account.id, kind, limit, cx.now()));
    token
}

/// Adds a new token beside those there are, without counting its letter: for what the owner must be able to do whatever
/// happened before.
pub fn add(commit: &mut Commit, cx: &Cx, account: &Account, purpose: Purpose) -> TokenId {
    let token = OneTimeToken {
        id: TokenId(cx.ids.next()),
        purpose,
        account: account.id,
        key: cx.keys.current().to_owned(),
        credential_epoch: account.credential_epoch,
        log_epoch: cx.log_epoch(),
        expires_at: cx.now() + cx.settings.lifetimes.one_time(purpose),
        used_at: None,
        ended_at: None,
    };
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

/// Why a presented token is not redeemed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Reasons)]
pub enum Unredeemable {
    TokenNotFound,
    TokenExpired,
    TokenAlreadyUsed,
    UserNotFound,
}

/// Judges a presented token. If it is good: its account, and a fenced commit that uses it up, to which the workflow adds what
/// it opens.
pub async fn redeem(
    cx: &Cx,
    presented: Option<&Presented>,
    purpose: Purpose,
) -> Result<Result<(Account, Commit), Unredeemable>, Fault> {
    let Some(token) = find(cx, presented, purpose).await? else {
        return Ok(Err(Unredeemable::TokenNotFound));
    };
    let Some(account) = cx.accounts.by_id(token.account).await? else {
        return Ok(Err(Unredeemable::UserNotFound));
    };
    Ok(match token.redeemable(account.credential_epoch, cx.now()) {
        Redeemable::Used => Err(Unredeemable::TokenAlreadyUsed),
        Redeemable::Expired => Err(Unredeemable::TokenExpired),
        Redeemable::Yes => {
            let mut commit = cx.fenced(&account);
            commit.write(cx.one_time.redeem(token.id, cx.now()));
            Ok((account, commit))
        }
    })
}

/// The row of a presented token, if the token is genuine and of that purpose. The one place that verifies them.
async fn find(
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

/// What a presented token changes.
pub async fn email_change(
    cx: &Cx,
    presented: Option<&Presented>,
) -> Result<Option<EmailChange>, Fault> {
    match presented {
        Some(presented) => cx.accounts.email_change(presented.id).await,
        None => Ok(None),
    }
}

/// Whether an account has had all its letters of a purpose for this hour.
pub async fn letters_spent(cx: &Cx, account: &Account, purpose: Purpose) -> Result<bool, Fault> {
    let sent = cx
        .one_time
        .letters(account.id, purpose.as_str(), cx.now())
        .await?;
    Ok(sent >= cx.settings.lifetimes.letters_an_hour)
}
