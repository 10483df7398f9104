//! [`OneTimeTokens`] over a [`World`].

use quivive_delivery::{Time, Write};
use quivive_domain::one_time::{OneTimeToken, Purpose};
use quivive_domain::{TokenId, UserId};

use super::commits::{any, row};
use super::{State, World};
use crate::ports::{OneTimeTokens, Read};

fn hour(now: Time) -> i64 {
    now.as_second().div_euclid(3600)
}

fn letters(state: &State, account: UserId, kind: &'static str, now: Time) -> u32 {
    let counted = state.letters.get(&(account, kind)).copied();
    counted
        .filter(|(at, _)| *at == hour(now))
        .map_or(0, |(_, count)| count)
}

impl OneTimeTokens for World {
    fn by_id(&self, id: TokenId) -> Read<'_, Option<OneTimeToken>> {
        self.read(|s| s.one_time.get(&id).map(|(token, _)| token.clone()))
    }

    fn end_open(&self, account: UserId, purpose: Purpose, now: Time) -> Write {
        any(
            self.write("one_time_token end_open", &[account.0], move |s| {
                let tokens = s.one_time.values_mut().map(|(token, _)| token);
                let open = tokens.filter(|t| {
                    t.account == account && t.purpose == purpose && t.used_at.is_none()
                });
                open.map(|t| t.ended_at = t.ended_at.or(Some(now))).count() as u64
            }),
        )
    }

    fn end_newer(&self, than: TokenId, account: UserId, purpose: Purpose, now: Time) -> Write {
        any(self.write("one_time_token end_newer", &[than.0], move |s| {
            let tokens = s.one_time.values_mut().map(|(token, _)| token);
            let mine = tokens.filter(|t| t.account == account && t.purpose == purpose);
            let newer = mine.filter(|t| t.id > than && t.used_at.is_none());
            newer.map(|t| t.ended_at = t.ended_at.or(Some(now))).count() as u64
        }))
    }

    fn insert(&self, token: &OneTimeToken, now: Time) -> Write {
        let token = token.clone();
        self.write("one_time_token insert", &[token.id.0], move |s| {
            u64::from(s.one_time.insert(token.id, (token.clone(), now)).is_none())
        })
    }

    fn redeem(&self, id: TokenId, now: Time) -> Write {
        self.write("one_time_token redeem", &[id.0], move |s| {
            let token = s.one_time.get_mut(&id).map(|(token, _)| token);
            row(
                token,
                |t| t.used_at.is_none() && t.ended_at.is_none(),
                |t| t.used_at = Some(now),
            )
        })
    }

    fn count_letter(&self, account: UserId, kind: &'static str, limit: u32, now: Time) -> Write {
        self.write("letter_count", &[account.0], move |s| {
            let count = letters(s, account, kind, now);
            if count < limit {
                s.letters.insert((account, kind), (hour(now), count + 1));
            }
            u64::from(count < limit)
        })
    }

    fn letters(&self, account: UserId, kind: &'static str, now: Time) -> Read<'_, u32> {
        self.read(|s| letters(s, account, kind, now))
    }
}
