//! The numbers and names of a running product, already checked. Configuration becomes this once, at the start.

use std::collections::BTreeMap;

use quivive_domain::guess::GuessPolicy;
use quivive_domain::session::Lifetimes;
use quivive_domain::{Account, PasswordPolicy, Role, UserId};

/// Everything a workflow may consult besides state.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The product's name in letters and pages.
    pub product: String,
    /// `iss` of access tokens: the public URL, without a slash at its end.
    pub issuer: String,
    /// `aud` of access tokens.
    pub audience: String,
    pub lifetimes: Lifetimes,
    /// Roles whose people may have other numbers of sessions.
    pub max_sessions_of: Vec<(Role, u32)>,
    /// People who have a number of their own.
    pub max_sessions_of_users: BTreeMap<UserId, u32>,
    /// Access tokens of which it is remembered that their signature is good.
    pub verified_tokens: usize,
    pub guesses: GuessPolicy,
    pub passwords: PasswordPolicy,
    /// Earlier passwords that may not return, the current one among them.
    pub password_history: u32,
    pub links: Links,
    /// Whether strangers may register.
    pub registration_open: bool,
}

/// Where the links in letters lead: templates in which `{token}` is replaced. Never made from a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Links {
    pub verify: String,
    pub reset: String,
    pub forgot: String,
    pub change_email: String,
    pub revert_email: String,
}

impl Links {
    /// The hosted pages under a public URL.
    pub fn hosted(public_url: &str) -> Self {
        let base = public_url.trim_end_matches('/');
        Self {
            verify: format!("{base}/verify?token={{token}}"),
            reset: format!("{base}/reset?token={{token}}"),
            forgot: format!("{base}/forgot"),
            change_email: format!("{base}/email-change?token={{token}}"),
            revert_email: format!("{base}/email-revert?token={{token}}"),
        }
    }

    pub fn with_token(template: &str, token: &str) -> String {
        template.replace("{token}", token)
    }
}

impl Settings {
    /// The defaults, for a public URL.
    pub fn for_url(public_url: &str) -> Self {
        let issuer = public_url.trim_end_matches('/').to_owned();
        Self {
            product: "Quivive".to_owned(),
            audience: issuer.clone(),
            links: Links::hosted(&issuer),
            issuer,
            lifetimes: Lifetimes::default(),
            max_sessions_of: Vec::new(),
            max_sessions_of_users: BTreeMap::new(),
            verified_tokens: 16_384,
            guesses: GuessPolicy::default(),
            passwords: PasswordPolicy::default(),
            password_history: 5,
            registration_open: true,
        }
    }

    /// Sessions that this person may have: as many as are theirs alone, or else the fewest that one of their roles allows.
    pub fn max_sessions(&self, account: &Account) -> u32 {
        if let Some(max) = self.max_sessions_of_users.get(&account.id) {
            return *max;
        }
        let theirs = |(role, _): &&(Role, u32)| account.roles.contains(role);
        let limits = self.max_sessions_of.iter().filter(theirs);
        let fewest = limits.map(|(_, max)| *max).min();
        fewest.unwrap_or(self.lifetimes.max_sessions)
    }
}
