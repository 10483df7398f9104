//! People's accounts and their earlier passwords.

use quivive_app::ports::{Accounts, Read};
use quivive_delivery::{Fault, Time, Value, Write};
use quivive_domain::{Account, AccountState, Address, PasswordHash, Role, UserId};

use crate::rows::Cells;
use crate::{Database, guesses, int};

/// What [`account`] reads, in its order; the id is not among it because whoever asks has it.
macro_rules! account_columns {
    () => {
        "account.email, account.email_canonical, account.display_name, account.locale, account.state, \
         account.verified_at, account.password, account.credential_epoch, account.security_version, \
         account.token_version, account.roles, account.created_at"
    };
}
pub(crate) use account_columns;

statements! {
    BY_ID = concat!("SELECT ", account_columns!(), " FROM account WHERE account.id = $1");

    BY_ADDRESS = concat!(
        "SELECT account.id, ", account_columns!(), " FROM account WHERE account.email_canonical = $1"
    );

    /// The first condition is the index's own, so only accounts with more than the default role are looked at.
    ADMINISTRATORS = "SELECT count(*) FROM account \
        WHERE roles <> 'user' AND state = 'active' AND ' ' || roles || ' ' LIKE '% admin %'";

    HISTORY = "SELECT hash FROM password_history WHERE account = $1 ORDER BY epoch DESC LIMIT $2";

    /// Takes any conflict: of the canonical address, and of the id.
    INSERT = "INSERT INTO account (id, email, email_canonical, display_name, locale, state, verified_at, password, \
        credential_epoch, security_version, token_version, roles, created_at, touched) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $13) ON CONFLICT DO NOTHING";

    FENCE = "UPDATE account SET touched = $1 WHERE id = $2 AND security_version = $3";

    KEEP_OLD_PASSWORD = "INSERT INTO password_history (account, epoch, hash) \
        SELECT id, credential_epoch, password FROM account \
        WHERE id = $1 AND security_version = $2 AND password IS NOT NULL ON CONFLICT DO NOTHING";

    TRIM_HISTORY = "DELETE FROM password_history WHERE account = $1 AND epoch NOT IN \
        (SELECT epoch FROM password_history WHERE account = $1 ORDER BY epoch DESC LIMIT $2)";

    SET_PASSWORD = "UPDATE account SET password = $1, credential_epoch = credential_epoch + 1, \
        security_version = security_version + 1, token_version = token_version + 1, touched = $2 \
        WHERE id = $3 AND security_version = $4";

    ROTATE = "UPDATE account SET security_version = security_version + 1, token_version = token_version + 1, \
        touched = $1 WHERE id = $2 AND security_version = $3";

    /// Guarded like a grant: it must not put the hash of an old password over a new one.
    REHASH = "UPDATE account SET password = $1 WHERE id = $2 AND security_version = $3";

    /// Keeps the first time.
    VERIFY = "UPDATE account SET verified_at = COALESCE(verified_at, $1) WHERE id = $2";

    /// The claim is a note about the database, once for all: it stays when its account or its role goes.
    CLAIM_FIRST_ADMINISTRATOR = "INSERT INTO meta (name, value) SELECT 'first_administrator', $1 \
        WHERE NOT EXISTS (SELECT 1 FROM account WHERE roles <> 'user' AND ' ' || roles || ' ' LIKE '% admin %') \
        ON CONFLICT DO NOTHING";

    SET_ROLES = "UPDATE account SET roles = $1, security_version = security_version + 1 \
        WHERE id = $2 AND security_version = $3";
}

impl Accounts for Database {
    fn by_id(&self, id: UserId) -> Read<'_, Option<Account>> {
        self.one(BY_ID, vec![id.0.into()], move |cells| account(id, cells))
    }

    fn by_address(&self, address: &Address) -> Read<'_, Option<Account>> {
        let canonical = address.canonical().to_owned();
        self.one(BY_ADDRESS, vec![canonical.into()], |cells| {
            account(cells.take("account.id")?, cells)
        })
    }

    fn administrators(&self) -> Read<'_, u32> {
        self.single(ADMINISTRATORS, Vec::new(), |cells| {
            cells.take("count of administrators")
        })
    }

    fn password_history(&self, id: UserId, limit: u32) -> Read<'_, Vec<PasswordHash>> {
        self.all(HISTORY, vec![id.0.into(), limit.into()], |cells| {
            cells.take("password_history.hash").map(PasswordHash::new)
        })
    }

    fn insert(&self, account: &Account) -> Vec<Write> {
        let row = Write::one(
            INSERT,
            vec![
                account.id.0.into(),
                account.email.typed().to_owned().into(),
                account.email.canonical().to_owned().into(),
                account.display_name.clone().into(),
                account.locale.clone().into(),
                account.state.as_str().into(),
                account.verified_at.into(),
                account.password.as_ref().map(text).into(),
                account.credential_epoch.into(),
                account.security_version.into(),
                account.token_version.into(),
                roles_text(&account.roles, None).into(),
                account.created_at.into(),
            ],
        );
        vec![row, guesses::open(account.id.0, account.created_at)]
    }

    fn fence(&self, account: &Account, now: Time) -> Write {
        Write::one(
            FENCE,
            vec![
                now.into(),
                account.id.0.into(),
                account.security_version.into(),
            ],
        )
    }

    fn set_password(
        &self,
        account: &Account,
        hash: &PasswordHash,
        keep: u32,
        now: Time,
    ) -> Vec<Write> {
        let id = Value::from(account.id.0);
        let seen = Value::from(account.security_version);
        let mut writes = Vec::with_capacity(3);
        if account.password.is_some() {
            writes.push(Write::one(
                KEEP_OLD_PASSWORD,
                vec![id.clone(), seen.clone()],
            ));
        }
        writes.push(Write::any(TRIM_HISTORY, vec![id.clone(), int(keep)]));
        writes.push(Write::one(
            SET_PASSWORD,
            vec![text(hash).into(), now.into(), id, seen],
        ));
        writes
    }

    fn rotate(&self, account: &Account, now: Time) -> Write {
        let id = account.id.0.into();
        let params = vec![now.into(), id, account.security_version.into()];
        Write::one(ROTATE, params)
    }

    fn rehash(&self, account: &Account, hash: &PasswordHash) -> Write {
        let params = vec![
            text(hash).into(),
            account.id.0.into(),
            account.security_version.into(),
        ];
        Write::one(REHASH, params)
    }

    fn verify_address(&self, id: UserId, now: Time) -> Write {
        Write::one(VERIFY, vec![now.into(), id.0.into()])
    }

    fn claim_first_administrator(&self, now: Time) -> Write {
        Write::one(CLAIM_FIRST_ADMINISTRATOR, vec![now.to_string().into()])
    }

    fn grant_role(&self, account: &Account, role: Role) -> Write {
        let roles = roles_text(&account.roles, Some(role));
        let params = vec![
            roles.into(),
            account.id.0.into(),
            account.security_version.into(),
        ];
        Write::one(SET_ROLES, params)
    }
}

/// Reads [`account_columns`].
pub(crate) fn account(id: UserId, cells: &mut Cells) -> Result<Account, Fault> {
    let typed: String = cells.take("account.email")?;
    let canonical: String = cells.take("account.email_canonical")?;
    let email = Address::stored(typed, canonical)
        .ok_or_else(|| Fault::Internal("account.email_canonical holds no address".to_owned()))?;
    Ok(Account {
        id,
        email,
        display_name: cells.take("account.display_name")?,
        locale: cells.take("account.locale")?,
        state: AccountState::stored(&word(cells, "account.state")?),
        verified_at: cells.take("account.verified_at")?,
        password: cells
            .take::<Option<String>>("account.password")?
            .map(PasswordHash::new),
        credential_epoch: cells.take("account.credential_epoch")?,
        security_version: cells.take("account.security_version")?,
        token_version: cells.take("account.token_version")?,
        roles: roles(&word(cells, "account.roles")?),
        created_at: cells.take("account.created_at")?,
    })
}

fn word(cells: &mut Cells, column: &'static str) -> Result<std::borrow::Cow<'static, str>, Fault> {
    cells.take(column)
}

/// A word that this version does not know gives no authority, so it is left out.
pub(crate) fn roles(text: &str) -> Vec<Role> {
    text.split(' ').filter_map(Role::parse).collect()
}

/// Known words in the order of their declaration, so that the default role alone is always the text `user`.
fn roles_text(roles: &[Role], granted: Option<Role>) -> String {
    let held = |role: &Role| roles.contains(role) || granted == Some(*role);
    let words: Vec<_> = Role::ALL
        .into_iter()
        .filter(held)
        .map(Role::as_str)
        .collect();
    words.join(" ")
}

fn text(hash: &PasswordHash) -> String {
    hash.phc().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_survive_as_words_in_one_order() {
        let both = roles_text(&[Role::User, Role::Admin], None);
        assert_eq!(both, "admin user");
        assert_eq!(roles_text(&[Role::User], Some(Role::Admin)), both);
        assert_eq!(roles_text(&[Role::User], Some(Role::User)), "user");
        assert_eq!(roles(&both), [Role::Admin, Role::User]);
        assert_eq!(roles("user seller"), [Role::User]);
        assert_eq!(roles(&roles_text(&[], None)), []);
    }
}
