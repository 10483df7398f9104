//! What administrators do to an account's state. Each act is a workflow of its own; what they share is here.

pub mod erasure;
pub(crate) mod unverified;

use quivive_delivery::Fault;
use quivive_domain::{Account, AccountState};

use crate::kernel::{Commit, Cx};
use crate::step_up::{Denied, Proven};

/// The account that an administrator acts on, with a commit that misses when they are none any more; or why not: it is not
/// there, or nobody with the right to it asks.
pub async fn acted_on<R: From<Denied>>(
    cx: &Cx,
    by: Proven,
    absent: R,
) -> Result<Result<(Account, Commit), R>, Fault> {
    let administrator = match by.administrator(cx).await? {
        Ok(administrator) => administrator,
        Err(denied) => return Ok(Err(denied.into())),
    };
    let commit = cx.fenced(&administrator);
    let account = cx.account_of_subject().await?;
    Ok(account.map(|account| (account, commit)).ok_or(absent))
}

/// Gives an account another state. Says whether that is so: not where it is the last active administrator's, who stays one.
/// Misses when anything has raised the account's security version since it was read, or when the other administrator went.
pub async fn into_state(
    commit: &mut Commit,
    cx: &Cx,
    account: &Account,
    state: AccountState,
) -> Result<bool, Fault> {
    commit.write(cx.accounts.set_state(account, state, cx.now()));
    spare_the_last(commit, cx, account).await
}

/// Adds the guard that another active administrator is left, where the account is one. Says whether there is one.
pub async fn spare_the_last(
    commit: &mut Commit,
    cx: &Cx,
    account: &Account,
) -> Result<bool, Fault> {
    if !account.is_admin() || account.state != AccountState::Active {
        return Ok(true);
    }
    commit.write(cx.accounts.another_administrator(account.id, cx.now()));
    Ok(cx.accounts.administrators().await? > 1)
}
