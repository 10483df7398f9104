//! The secrets of endpoints: sealed under a key of the vault, so that the database alone gives none of them away.

use quivive_delivery::{Fault, Time};
use quivive_domain::EndpointId;
use quivive_domain::webhook::SigningKeys;
use secrecy::zeroize::Zeroizing;

use crate::kernel::Families;
use crate::ports::{ReadyKeys, StoredSecret};

/// The vault's name of an endpoint's key.
fn vault_key(endpoint: EndpointId) -> String {
    format!("w:{endpoint}")
}

/// New keys, and how they are stored.
pub(crate) async fn fresh(
    families: &Families,
    endpoint: EndpointId,
    now: Time,
) -> Result<(SigningKeys, StoredSecret), Fault> {
    let (mut hmac, mut seed) = (Zeroizing::new([0; 32]), Zeroizing::new([0; 32]));
    families.ids.random(hmac.as_mut_slice());
    families.ids.random(seed.as_mut_slice());
    let keys = SigningKeys::new(*hmac, *seed);
    let id = families.ids.next();
    let key = families.vault.key(&vault_key(endpoint)).await?;
    let stored = StoredSecret {
        id,
        endpoint,
        sealed: key.seal(id.as_bytes(), keys.to_bytes().as_slice()),
        public_key: families.signer.ed25519_public_key(keys.seed()),
        created_at: now,
        expires_at: None,
    };
    Ok((keys, stored))
}

/// Keys, and until when they serve; `None`: they are the newest.
pub(super) type Keys = Vec<(Box<dyn ReadyKeys>, Option<Time>)>;

/// The keys of an endpoint, newest first. What cannot be opened is left out: a vault of another database.
pub(super) async fn open(families: &Families, endpoint: EndpointId) -> Result<Keys, Fault> {
    let secrets = families.webhooks.secrets(endpoint).await?;
    let Some(key) = families.vault.existing(&vault_key(endpoint)).await? else {
        return Ok(Vec::new());
    };
    let opened = secrets.into_iter().filter_map(|secret| {
        let bytes = Zeroizing::new(key.open(secret.id.as_bytes(), &secret.sealed)?);
        let keys = families.signer.with(&SigningKeys::of_bytes(&bytes)?);
        Some((keys, secret.expires_at))
    });
    Ok(opened.collect())
}
