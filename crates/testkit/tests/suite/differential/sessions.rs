//! Signing in, and what follows from it.

use std::sync::Arc;

use quivive_app::kernel::Actor;
use quivive_app::step_up::By;
use quivive_app::testing::password;
use quivive_app::workflows::sessions;
use quivive_domain::refresh;
use secrecy::SecretString;

use super::driver::{Driver, PASSWORDS, shown};

impl Driver {
    pub(super) fn log_in(&mut self, at: usize, right: bool) -> sessions::log_in::LogIn {
        let person = &self.people[at];
        let (id, email, chosen) = (person.id, person.address.clone(), person.password);
        let typed = if right {
            PASSWORDS[chosen]
        } else {
            "no one's password at all"
        };
        let mut theirs = self.held.iter().rev().filter(|held| held.user == id);
        let device = theirs.find_map(|held| held.device.clone());
        let known = !self.random.one_in(3);
        sessions::log_in::LogIn {
            email,
            password: password(typed),
            device_token: device.filter(|_| known).map(SecretString::from),
        }
    }

    pub(super) async fn sign_in(&mut self, right: bool) {
        let (at, _) = self.somebody().await;
        let mut command = self.log_in(at, right);
        if !right && self.random.one_in(3) {
            "stranger@example.org".clone_into(&mut command.email);
        }
        let user = self.people[at].id;
        if let Some(tokens) = self.run(command, Actor::Anonymous, shown).await {
            self.keep(user, &tokens);
        }
    }

    pub(super) async fn guess_until_locked(&mut self) {
        let (at, _) = self.somebody().await;
        for _ in 0..6 {
            let mut command = self.log_in(at, false);
            command.device_token = None;
            self.run(command, Actor::Anonymous, shown).await;
        }
    }

    /// Of one of the last, which may have been used: then it is reused.
    pub(super) async fn refresh(&mut self) {
        let Some(at) = self.session() else { return };
        let held = &self.held[at];
        let user = held.user;
        let command = sessions::refresh_tokens::RefreshTokens {
            token: refresh::Presented::parse(&held.refresh),
            device_token: held.device.clone().map(SecretString::from),
        };
        if let Some(tokens) = self.run(command, Actor::Anonymous, shown).await {
            self.keep(user, &tokens);
        }
    }

    pub(super) async fn step_up(&mut self) {
        let Some(at) = self.session() else { return };
        let (user, session) = (self.held[at].user, self.held[at].session);
        let chosen = self.random.below(PASSWORDS.len());
        let command = sessions::step_up::StepUp {
            user,
            session,
            password: password(PASSWORDS[chosen]),
        };
        if let Some(tokens) = self.run(command, Actor::User(user), shown).await {
            self.keep(user, &tokens);
        }
    }

    pub(super) async fn end_sessions(&mut self) {
        let Some(at) = self.session() else { return };
        let (user, session) = (self.held[at].user, self.held[at].session);
        let who = Actor::User(user);
        match self.random.below(4) {
            0 | 1 => {
                let command = sessions::revoke_session::RevokeSession::of(user, session);
                self.run(command, who, |()| "ended".to_owned()).await;
            }
            2 => {
                let families = Arc::clone(self.machine.kernel.families());
                let token = Some(self.held[at].refresh.as_str());
                let out = sessions::log_out::LogOut::resolve(&families, None, token).await;
                match out.expect("no fault") {
                    Some(command) => drop(self.run(command, who, |()| "out".to_owned()).await),
                    None => self.tell("logs nobody out"),
                }
            }
            _ => {
                let command = sessions::revoke_all_sessions::RevokeAllSessions {
                    user,
                    by: By::Owner,
                    except: self.random.one_in(2).then_some(session),
                };
                let show = |r: &sessions::revoke_all_sessions::Reply| r.sessions_ended.to_string();
                self.run(command, who, show).await;
            }
        }
    }
}
