//! What administrators do to an account's state. Each act is a workflow of its own; what they share is here.

use quivive_delivery::Fault;
use quivive_domain::{Account, AccountState};

use crate::kernel::{Commit, Cx};

/// The account that an administrator acts on, or why not: it is not there, or nobody with the right to it asks.
pub async fn acted_on<R>(cx: &Cx, absent: R, forbidden: R) -> Result<Result<Account, R>, Fault> {
    if !cx.request.actor.administers() {
        return Ok(Err(forbidden));
    }
    Ok(cx.account_of_subject().await?.ok_or(absent))
}

/// Begins a commit that gives an account another state. `None`: it is the last active administrator's, who stays one.
/// Misses when anything has raised the account's security version since it was read, or when the other administrator went.
pub async fn into_state(
    cx: &Cx,
    account: &Account,
    state: AccountState,
) -> Result<Option<Commit>, Fault> {
    let mut commit = Commit::default();
    commit.write(cx.accounts.set_state(account, state, cx.now()));
    Ok(spare_the_last(&mut commit, cx, account)
        .await?
        .then_some(commit))
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
