//! Facts about the database itself, by name: above all the fingerprints of the keys it was used with, which nodes compare
//! at start.

use quivive_app::ports::Read;
use quivive_delivery::Write;

use crate::Database;

statements! {
    GET = "SELECT value FROM meta WHERE name = $1";

    SET = "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";

    ADD = "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING";

    SWAP = "UPDATE meta SET value = $1 WHERE name = $2 AND value = $3";

    UNSET = "DELETE FROM meta WHERE name = $1";
}

impl Database {
    /// What is noted under a name.
    pub fn meta(&self, name: &str) -> Read<'_, Option<String>> {
        self.one(GET, vec![name.to_owned().into()], |cells| {
            cells.take("meta.value")
        })
    }

    /// Notes a value under a name, in place of the one there is.
    #[expect(
        clippy::unused_self,
        reason = "a write of this database, as those of the ports are"
    )]
    pub fn set_meta(&self, name: &str, value: &str) -> Write {
        Write::one(SET, vec![name.to_owned().into(), value.to_owned().into()])
    }

    /// Notes a value under a name where there is what was found there; misses when that has changed meanwhile.
    #[expect(
        clippy::unused_self,
        reason = "a write of this database, as those of the ports are"
    )]
    pub fn swap_meta(&self, name: &str, found: Option<&str>, value: &str) -> Write {
        let (name, value) = (name.to_owned().into(), value.to_owned().into());
        match found {
            Some(found) => Write::one(SWAP, vec![value, name, found.to_owned().into()]),
            None => Write::one(ADD, vec![name, value]),
        }
    }

    /// Takes a note away; misses when there is none.
    #[expect(
        clippy::unused_self,
        reason = "a write of this database, as those of the ports are"
    )]
    pub fn unset_meta(&self, name: &str) -> Write {
        Write::one(UNSET, vec![name.to_owned().into()])
    }
}
