//! Showing again who one is: what is dangerous asks for a proof that is fresh, and a token that somebody got hold of is none.

use quivive_delivery::{Fault, Time};
use quivive_domain::session::Session;
use quivive_domain::{Account, Password, Permission, SessionId, UserId};

use crate::kernel::{Commit, Cx, Reservation};
use crate::ports::{Device, Path};
use crate::sessions::touch;
use crate::{devices, guesses, passwords};

/// Who asks, and when they last proved a factor.
#[derive(Debug, Clone, Copy)]
pub struct Proven {
    pub user: UserId,
    pub at: Time,
}

/// Why somebody may not do what not everybody may, and only who has just shown that it is them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// No role of who asks grants it, or not any more; or it is not for them to do to an administrator.
    Forbidden,
    StepUpRequired,
}

impl Proven {
    pub fn is_fresh(&self, cx: &Cx) -> bool {
        cx.now() < self.at + cx.settings.lifetimes.step_up
    }

    /// The administrator who asks, as they are now: fence by this account what is done for them.
    pub async fn administrator(&self, cx: &Cx) -> Result<Result<Account, Denied>, Fault> {
        self.permitted(cx, Permission::Administration).await
    }

    /// The same of whoever may that.
    pub async fn permitted(
        &self,
        cx: &Cx,
        permission: Permission,
    ) -> Result<Result<Account, Denied>, Fault> {
        Ok(match cx.permitted(self.user, permission).await? {
            None => Err(Denied::Forbidden),
            Some(_) if !self.is_fresh(cx) => Err(Denied::StepUpRequired),
            Some(account) => Ok(account),
        })
    }
}

/// What an operator has done begins with this commit: an administrator's misses when they are none any more. `None` is the
/// system, for which speak the server itself and its command line.
pub async fn operated(cx: &Cx, by: Option<Proven>) -> Result<Result<Commit, Denied>, Fault> {
    let Some(proven) = by else {
        return Ok(Ok(Commit::default()));
    };
    let administrator = proven.administrator(cx).await?;
    Ok(administrator.map(|administrator| cx.fenced(&administrator)))
}

/// Who asks for something that is done to an account.
#[derive(Debug, Clone, Copy)]
pub enum By {
    Owner,
    Administrator(Proven),
    System,
}

impl By {
    /// What is done for them begins with this commit: an administrator's misses when they are none any more.
    pub async fn commit(&self, cx: &Cx) -> Result<Result<Commit, Denied>, Fault> {
        let by = match self {
            Self::Owner | Self::System => None,
            Self::Administrator(proven) => Some(*proven),
        };
        operated(cx, by).await
    }
}

/// Somebody who is signed in and gives their password again. It is a guess and counts like one, on the path of the session's
/// device: a stranger's guesses do not keep the owner from it, and who has got hold of the session has that one path.
pub struct Again {
    user: UserId,
    session: Option<Session>,
    device: Option<Device>,
}

/// What became of the guess; the commit settles it.
pub enum Shown {
    /// It was right: the commit is fenced by the account.
    Right(Commit),
    Wrong(Commit),
    /// The path is closed.
    NotCompared,
}

impl Again {
    pub async fn of(cx: &Cx, user: UserId, session: SessionId) -> Result<Self, Fault> {
        let view = cx.sessions.view(session, cx.now()).await?;
        let session = view.map(|view| view.session);
        let device = devices::of_session(cx, session.as_ref()).await?;
        Ok(Self {
            user,
            session,
            device,
        })
    }

    pub async fn reserve(&self, cx: &Cx) -> Result<Reservation, Fault> {
        guesses::reserve(cx, Some(self.user), self.path()).await
    }

    fn path(&self) -> Path {
        Path::of(self.user, self.device.as_ref())
    }

    pub async fn judge(
        &self,
        cx: &Cx,
        account: &Account,
        guess: &Password,
    ) -> Result<Shown, Fault> {
        let Some(verdict) = passwords::compare(cx, guess, Some(account)).await? else {
            return Ok(Shown::NotCompared);
        };
        if !verdict.matches {
            let mut commit = Commit::default();
            guesses::wrong(&mut commit, cx, Some(account.id)).await?;
            return Ok(Shown::Wrong(commit));
        }
        let mut commit = cx.fenced(account);
        guesses::right(&mut commit, cx, self.device.as_ref());
        if self.device.is_some() {
            commit.write(cx.guesses.end_row(account.id));
        }
        Ok(Shown::Right(commit))
    }

    /// The session, if it still is one. The commit misses when somebody ends it meanwhile.
    pub fn goes_on(self, commit: &mut Commit, cx: &Cx) -> Option<Session> {
        let session = self.session.filter(|session| session.is_live(cx.now()))?;
        commit.write(touch(cx, &session, session.idle_until));
        Some(session)
    }
}
