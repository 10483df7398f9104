//! Profiles: so far, who has one.

use quivive_app::ports::Profiles;
use quivive_delivery::{Time, Write};
use quivive_domain::UserId;
use uuid::Uuid;

use crate::Database;

statements! {
    CREATE = "INSERT INTO profile (account, process, created_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";

    REMOVE = "DELETE FROM profile WHERE account = $1 AND process = $2";
}

impl Profiles for Database {
    fn create(&self, account: UserId, process: Uuid, now: Time) -> Write {
        Write::any(CREATE, vec![account.0.into(), process.into(), now.into()])
    }

    fn remove(&self, account: UserId, process: Uuid) -> Write {
        Write::any(REMOVE, vec![account.0.into(), process.into()])
    }
}
