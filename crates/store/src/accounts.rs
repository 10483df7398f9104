//! People's accounts and their earlier passwords.

use quivive_app::ports::{Accounts, EmailChange, Read, Waiting};
use quivive_delivery::{Fault, Time, Value, Write};
use quivive_domain::{Account, AccountState, Address, PasswordHash, Role, TokenId, UserId};
use uuid::Uuid;

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

    /// Guarded like a grant; that the address is free is a guard too, so that a taken one is a miss and no error.
    SET_EMAIL = "UPDATE account SET email = $1, email_canonical = $2, credential_epoch = credential_epoch + 1, \
        security_version = security_version + 1, verified_at = COALESCE(verified_at, $3), touched = $3 \
        WHERE id = $4 AND security_version = $5 \
        AND NOT EXISTS (SELECT 1 FROM account WHERE email_canonical = $2 AND id <> $4)";

    EMAIL_CHANGE = "SELECT token, account, email, email_canonical, workflow, attempted \
        FROM email_change WHERE token = $1";

    OPEN_EMAIL_CHANGES = "SELECT token, account, email, email_canonical, workflow, attempted \
        FROM email_change WHERE account = $1 AND workflow IS NOT NULL ORDER BY token";

    INSERT_EMAIL_CHANGE = "INSERT INTO email_change (token, account, email, email_canonical, workflow, attempted) \
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";

    END_EMAIL_CHANGE = "DELETE FROM email_change WHERE token = $1";

    /// Guarded like a grant.
    SET_STATE = "UPDATE account SET state = $1, security_version = security_version + 1, \
        credential_epoch = credential_epoch + $2, touched = $3 WHERE id = $4 AND security_version = $5";

    /// A guard: it touches the row of one that is left, so that whoever would take that one away meanwhile waits. What the row
    /// must be is said again outside: there PostgreSQL looks once more when it had to wait for the row itself.
    ANOTHER_ADMINISTRATOR = "UPDATE account SET touched = $1 WHERE id = (SELECT id FROM account \
        WHERE roles <> 'user' AND state = 'active' AND ' ' || roles || ' ' LIKE '% admin %' AND id <> $2 LIMIT 1) \
        AND roles <> 'user' AND state = 'active' AND ' ' || roles || ' ' LIKE '% admin %'";

    PAGE = concat!(
        "SELECT account.id, ", account_columns!(), " FROM account WHERE account.id > $1 ORDER BY account.id LIMIT $2"
    );

    /// The first condition is the index's own.
    PAGE_BY_STATE = concat!(
        "SELECT account.id, ", account_columns!(), " FROM account \
         WHERE account.state <> 'active' AND account.state = $1 AND account.id > $2 ORDER BY account.id LIMIT $3"
    );

    /// Nearly all are.
    PAGE_ACTIVE = concat!(
        "SELECT account.id, ", account_columns!(), " FROM account \
         WHERE account.id > $1 AND account.state = 'active' ORDER BY account.id LIMIT $2"
    );

    NEVER_VERIFIED = "SELECT id FROM account WHERE verified_at IS NULL AND created_at <= $1 AND roles = 'user' \
        ORDER BY created_at LIMIT $2";

    ERASE = "DELETE FROM account WHERE id = $1 AND security_version = $2 AND (verified_at IS NULL) = $3";

    ERASE_HISTORY = "DELETE FROM password_history WHERE account = $1";

    ERASE_GUESSES = "DELETE FROM guess WHERE id = $1";

    ERASE_DEVICES = "DELETE FROM device WHERE account = $1";

    ERASE_TOKENS = "DELETE FROM one_time_token WHERE account = $1";

    ERASE_EMAIL_CHANGES = "DELETE FROM email_change WHERE account = $1";

    ERASE_LETTERS = "DELETE FROM letter_count WHERE account = $1";

    ERASE_PROFILE = "DELETE FROM profile WHERE account = $1";

    /// The claim is a note about the database, once for all: it stays when its account or its role goes.
    CLAIM_FIRST_ADMINISTRATOR = "INSERT INTO meta (name, value) SELECT 'first_administrator', $1 \
        WHERE NOT EXISTS (SELECT 1 FROM account WHERE roles <> 'user' AND ' ' || roles || ' ' LIKE '% admin %') \
        ON CONFLICT DO NOTHING";

    SET_ROLES = "UPDATE account SET roles = $1, security_version = security_version + 1 \
        WHERE id = $2 AND security_version = $3";

    @pairs

    /// Differs because each reads a list in JSON by a function of its own, and a number in base 16.
    THOSE_THERE = "SELECT id FROM account WHERE id IN (SELECT unhex(value, '-') FROM json_each($1)) ORDER BY id",
        "SELECT id FROM account WHERE id IN (SELECT decode(replace(value, '-', ''), 'hex') \
            FROM json_array_elements_text(CAST(CAST($1 AS TEXT) AS JSON))) ORDER BY id";

    /// Differs because each reads a list in JSON by a function of its own.
    TAKEN = "SELECT email_canonical FROM account WHERE email_canonical IN (SELECT value FROM json_each($1))",
        "SELECT email_canonical FROM account WHERE email_canonical IN \
            (SELECT json_array_elements_text(CAST(CAST($1 AS TEXT) AS JSON)))";
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
        hash: Option<&PasswordHash>,
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
            vec![
                hash.map_or(Value::Null, |hash| text(hash).into()),
                now.into(),
                id,
                seen,
            ],
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

    fn set_email(&self, account: &Account, address: &Address, now: Time) -> Write {
        let params = vec![
            address.typed().to_owned().into(),
            address.canonical().to_owned().into(),
            now.into(),
            account.id.0.into(),
            account.security_version.into(),
        ];
        Write::one(SET_EMAIL, params)
    }

    fn email_change(&self, token: TokenId) -> Read<'_, Option<EmailChange>> {
        self.one(EMAIL_CHANGE, vec![token.0.into()], email_change)
    }

    fn open_email_changes(&self, account: UserId) -> Read<'_, Vec<EmailChange>> {
        self.all(OPEN_EMAIL_CHANGES, vec![account.0.into()], email_change)
    }

    fn insert_email_change(&self, change: &EmailChange) -> Write {
        let params = vec![
            change.token.0.into(),
            change.account.0.into(),
            change.address.typed().to_owned().into(),
            change.address.canonical().to_owned().into(),
            change.attempt.map(|attempt| attempt.workflow_id).into(),
            change.attempt.map(|attempt| attempt.attempted_id).into(),
        ];
        Write::one(INSERT_EMAIL_CHANGE, params)
    }

    fn end_email_change(&self, token: TokenId) -> Write {
        Write::one(END_EMAIL_CHANGE, vec![token.0.into()])
    }

    fn set_state(&self, account: &Account, state: AccountState, now: Time) -> Write {
        let params = vec![
            state.as_str().into(),
            u32::from(state == AccountState::Inactive).into(),
            now.into(),
            account.id.0.into(),
            account.security_version.into(),
        ];
        Write::one(SET_STATE, params)
    }

    fn another_administrator(&self, but: UserId, now: Time) -> Write {
        Write::one(ANOTHER_ADMINISTRATOR, vec![now.into(), but.0.into()])
    }

    fn page(
        &self,
        after: Option<UserId>,
        state: Option<AccountState>,
        limit: u32,
    ) -> Read<'_, Vec<Account>> {
        // No account has the nil id.
        let mut params = vec![after.map_or(Uuid::nil(), |id| id.0).into(), limit.into()];
        let sql = match state {
            None => PAGE,
            Some(AccountState::Active) => PAGE_ACTIVE,
            Some(state) => {
                params.insert(0, state.as_str().into());
                PAGE_BY_STATE
            }
        };
        self.all(sql, params, |cells| {
            account(cells.take("account.id")?, cells)
        })
    }

    fn never_verified(&self, before: Time, limit: u32) -> Read<'_, Vec<UserId>> {
        let params = vec![before.into(), limit.into()];
        self.all(NEVER_VERIFIED, params, |cells| {
            Ok(UserId(cells.take("id")?))
        })
    }

    fn those_there(&self, ids: &[UserId]) -> Read<'_, Vec<UserId>> {
        let ids = serde_json::json!(ids).to_string();
        self.all(self.spoken(THOSE_THERE), vec![ids.into()], |cells| {
            Ok(UserId(cells.take("account.id")?))
        })
    }

    fn taken(&self, addresses: &[String]) -> Read<'_, Vec<String>> {
        let addresses = serde_json::json!(addresses).to_string();
        self.all(self.spoken(TAKEN), vec![addresses.into()], |cells| {
            cells.take("account.email_canonical")
        })
    }

    fn erase(&self, account: &Account) -> Vec<Write> {
        let id = account.id.0;
        let unverified = account.verified_at.is_none();
        let params = vec![
            id.into(),
            account.security_version.into(),
            unverified.into(),
        ];
        let beside = [
            ERASE_HISTORY,
            ERASE_GUESSES,
            ERASE_DEVICES,
            ERASE_TOKENS,
            ERASE_EMAIL_CHANGES,
            ERASE_LETTERS,
            ERASE_PROFILE,
        ];
        let beside = beside.map(|sql| Write::any(sql, vec![id.into()]));
        [Write::one(ERASE, params)]
            .into_iter()
            .chain(beside)
            .collect()
    }

    fn scrub(&self) -> Read<'_, ()> {
        self.executor.scrub()
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
    let email = address(cells)?;
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

fn email_change(cells: &mut Cells) -> Result<EmailChange, Fault> {
    let (token, account) = (
        cells.take("email_change.token")?,
        cells.take("email_change.account")?,
    );
    let address = address(cells)?;
    let workflow: Option<Uuid> = cells.take("email_change.workflow")?;
    let attempted: Option<Uuid> = cells.take("email_change.attempted")?;
    Ok(EmailChange {
        token,
        account,
        address,
        attempt: workflow
            .zip(attempted)
            .map(|(workflow_id, attempted_id)| Waiting {
                workflow_id,
                attempted_id,
            }),
    })
}

/// As typed and canonical.
fn address(cells: &mut Cells) -> Result<Address, Fault> {
    let typed: String = cells.take("email")?;
    let canonical: String = cells.take("email_canonical")?;
    Address::stored(typed, canonical)
        .ok_or_else(|| Fault::Internal("email_canonical holds no address".to_owned()))
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
