//! What services sign their requests with.

use quivive_app::ports::{ApiKeyView, ApiKeys, Read};
use quivive_delivery::{Fault, Time, Write};
use quivive_domain::api_key::{ApiKey, Scope};
use quivive_domain::{AccountState, ApiKeyId};

use crate::Database;
use crate::accounts::roles;
use crate::rows::Cells;

statements! {
    VIEW = "SELECT k.id, k.owner, k.name, k.scopes, k.created_at, k.expires_at, k.revoked_at, k.used_at, \
        k.hash, a.state, a.roles FROM api_key k JOIN account a ON a.id = k.owner WHERE k.id = $1";

    LIST = "SELECT id, owner, name, scopes, created_at, expires_at, revoked_at, used_at FROM api_key \
        ORDER BY id DESC LIMIT $1";

    INSERT = "INSERT INTO api_key (id, owner, name, scopes, hash, created_at, expires_at) \
        VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING";

    REVOKE = "UPDATE api_key SET revoked_at = $1 WHERE id = $2 AND revoked_at IS NULL";

    NOTE_USE = "UPDATE api_key SET used_at = $1 WHERE id = $2";
}

impl ApiKeys for Database {
    fn view(&self, id: ApiKeyId) -> Read<'_, Option<ApiKeyView>> {
        self.one(VIEW, vec![id.0.into()], |cells| {
            Ok(ApiKeyView {
                key: key(cells)?,
                hash: cells.take("api_key.hash")?,
                owner_state: AccountState::stored(&cells.take::<String>("account.state")?),
                owner_roles: roles(&cells.take::<String>("account.roles")?),
            })
        })
    }

    fn list(&self, limit: u32) -> Read<'_, Vec<ApiKey>> {
        self.all(LIST, vec![limit.into()], key)
    }

    fn insert(&self, key: &ApiKey, hash: [u8; 32]) -> Write {
        Write::one(
            INSERT,
            vec![
                key.id.0.into(),
                key.owner.0.into(),
                key.name.clone().into(),
                scopes_text(&key.scopes).into(),
                hash.into(),
                key.created_at.into(),
                key.expires_at.into(),
            ],
        )
    }

    fn revoke(&self, id: ApiKeyId, now: Time) -> Write {
        Write::one(REVOKE, vec![now.into(), id.0.into()])
    }

    fn note_use(&self, id: ApiKeyId, now: Time) -> Write {
        Write::any(NOTE_USE, vec![now.into(), id.0.into()])
    }
}

fn key(cells: &mut Cells) -> Result<ApiKey, Fault> {
    Ok(ApiKey {
        id: cells.take("api_key.id")?,
        owner: cells.take("api_key.owner")?,
        name: cells.take("api_key.name")?,
        scopes: scopes(&cells.take::<String>("api_key.scopes")?),
        created_at: cells.take("api_key.created_at")?,
        expires_at: cells.take("api_key.expires_at")?,
        revoked_at: cells.take("api_key.revoked_at")?,
        used_at: cells.take("api_key.used_at")?,
    })
}

/// A word that this version does not know gives no authority, so it is left out.
fn scopes(text: &str) -> Vec<Scope> {
    text.split(' ').filter_map(Scope::parse).collect()
}

fn scopes_text(scopes: &[Scope]) -> String {
    let words: Vec<_> = scopes.iter().map(|scope| scope.as_str()).collect();
    words.join(" ")
}
