-- About 250 bytes. Read by id at each use of a token and by address at each login.
-- `touched` is what the fence writes: a compare-and-set must touch its row.
CREATE TABLE account (
    id               BLOB    NOT NULL PRIMARY KEY,
    email            TEXT    NOT NULL,
    email_canonical  TEXT    NOT NULL UNIQUE,
    display_name     TEXT,
    locale           TEXT    NOT NULL,
    state            TEXT    NOT NULL,
    verified_at      INTEGER,
    password         TEXT,
    credential_epoch INTEGER NOT NULL,
    security_version INTEGER NOT NULL,
    token_version    INTEGER NOT NULL,
    roles            TEXT    NOT NULL,
    created_at       INTEGER NOT NULL,
    touched          INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
-- For counting administrators. Partial: accounts with the default role, nearly all, are not in it and pay nothing.
CREATE INDEX account_privileged ON account (roles, state) WHERE roles <> 'user';
-- For finding those that were never verified.
CREATE INDEX account_unverified ON account (created_at) WHERE verified_at IS NULL;
-- For listing those that were locked or deactivated.
CREATE INDEX account_barred ON account (state) WHERE state <> 'active';

-- Earlier password hashes, by the credential epoch in which each was replaced: unique and rising for an account.
CREATE TABLE password_history (
    account BLOB    NOT NULL,
    epoch   INTEGER NOT NULL,
    hash    TEXT    NOT NULL,
    PRIMARY KEY (account, epoch)
) STRICT, WITHOUT ROWID;

-- Counters of guesses, by path: the id of an account or of a device, or the digest of an address without an account. Only
-- the last expires.
CREATE TABLE guess (
    id           BLOB    NOT NULL PRIMARY KEY,
    window_from  INTEGER NOT NULL,
    reserved     INTEGER NOT NULL,
    wrong        INTEGER NOT NULL,
    in_a_row     INTEGER NOT NULL,
    locks        INTEGER NOT NULL,
    locked_until INTEGER,
    expires_at   INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX guess_expiring ON guess (expires_at) WHERE expires_at IS NOT NULL;

-- Devices are only looked up within an account, so that is the key; an account has few.
CREATE TABLE device (
    account    BLOB    NOT NULL,
    token_hash BLOB    NOT NULL,
    id         BLOB    NOT NULL,
    name       TEXT    NOT NULL,
    kind       TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    used_at    INTEGER NOT NULL,
    PRIMARY KEY (account, token_hash)
) STRICT, WITHOUT ROWID;

CREATE TABLE session (
    id               BLOB    NOT NULL PRIMARY KEY,
    account          BLOB    NOT NULL,
    device           BLOB,
    created_at       INTEGER NOT NULL,
    last_seen_at     INTEGER NOT NULL,
    idle_until       INTEGER NOT NULL,
    expires_at       INTEGER NOT NULL,
    ended_at         INTEGER,
    ip               TEXT,
    look_at          INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
-- For listing, counting and ending the open sessions of an account. Partial: what has ended is out of it.
CREATE INDEX session_open ON session (account) WHERE ended_at IS NULL;
-- For ending those whose time is over. `look_at` is no later than that time; it stays where it is while the session is used,
-- so that a refresh does not pay for the index: whoever looks then moves it.
CREATE INDEX session_due ON session (look_at) WHERE ended_at IS NULL;

-- `proved_at`: when the person proved a factor, for the tokens of its family.
-- A use is all of it or nothing: a token that was used and does not say how could not be judged.
CREATE TABLE refresh_token (
    id             BLOB    NOT NULL PRIMARY KEY,
    hash           BLOB    NOT NULL,
    family         BLOB    NOT NULL,
    session        BLOB    NOT NULL,
    generation     INTEGER NOT NULL,
    user_version   INTEGER NOT NULL,
    global_version INTEGER NOT NULL,
    created_at     INTEGER NOT NULL,
    proved_at      INTEGER NOT NULL,
    expires_at     INTEGER NOT NULL,
    used_at        INTEGER,
    used_by        BLOB,
    successor      BLOB,
    successor_key  TEXT,
    CHECK ((used_at IS NULL) = (used_by IS NULL) AND (used_at IS NULL) = (successor IS NULL)
        AND (used_at IS NULL) = (successor_key IS NULL))
) STRICT, WITHOUT ROWID;

-- Rotations of all tokens. The highest version is what new tokens carry; the highest whose grace is over is the lowest that
-- is accepted. A row never changes, so a later rotation moves no earlier deadline.
CREATE TABLE global_rotation (
    version    INTEGER PRIMARY KEY,
    rotated_at INTEGER NOT NULL,
    cut_off_at INTEGER NOT NULL
) STRICT;
INSERT INTO global_rotation (version, rotated_at, cut_off_at) VALUES (1, 0, 0);

CREATE TABLE one_time_token (
    id               BLOB    NOT NULL PRIMARY KEY,
    purpose          TEXT    NOT NULL,
    account          BLOB    NOT NULL,
    key_id           TEXT    NOT NULL,
    credential_epoch INTEGER NOT NULL,
    log_epoch        INTEGER NOT NULL,
    issued_at        INTEGER NOT NULL,
    expires_at       INTEGER NOT NULL,
    used_at          INTEGER,
    ended_at         INTEGER
) STRICT, WITHOUT ROWID;
-- For ending the older tokens of an account when a new one is made.
CREATE INDEX one_time_token_account ON one_time_token (account, purpose, issued_at);

-- Addresses that accounts are to go by, by the token that decides; with the attempt that waits, unless it takes one back.
CREATE TABLE email_change (
    token           BLOB NOT NULL PRIMARY KEY,
    account         BLOB NOT NULL,
    email           TEXT NOT NULL,
    email_canonical TEXT NOT NULL,
    workflow        BLOB,
    attempted       BLOB,
    CHECK ((workflow IS NULL) = (attempted IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX email_change_account ON email_change (account);

-- Letters of a kind to an account, in the hour (since 1970) of the last one: one row, begun again each hour.
CREATE TABLE letter_count (
    account BLOB    NOT NULL,
    kind    TEXT    NOT NULL,
    hour    INTEGER NOT NULL,
    used    INTEGER NOT NULL,
    PRIMARY KEY (account, kind)
) STRICT, WITHOUT ROWID;

-- Who has a profile, and the process that gave it to them: undoing that one removes this row, undoing another does not.
CREATE TABLE profile (
    account    BLOB    NOT NULL PRIMARY KEY,
    process    BLOB    NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Sign-ins a day (since 1970, UTC), by generation: see ReadModel of the delivery engine. A reason is there where one failed.
CREATE TABLE sign_in_day (
    generation INTEGER NOT NULL,
    day        INTEGER NOT NULL,
    outcome    TEXT    NOT NULL,
    reason     TEXT    NOT NULL,
    count      INTEGER NOT NULL,
    PRIMARY KEY (generation, day, outcome, reason)
) STRICT, WITHOUT ROWID;

-- What services sign their requests with. Few; read by id at each use.
CREATE TABLE api_key (
    id         BLOB    NOT NULL PRIMARY KEY,
    owner      BLOB    NOT NULL,
    name       TEXT    NOT NULL,
    scopes     TEXT    NOT NULL,
    hash       BLOB    NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER,
    used_at    INTEGER
) STRICT, WITHOUT ROWID;

-- The schemas of registered event types. Few, and read at start; up to 16 KiB each, so an ordinary table.
CREATE TABLE event_schema (
    type       TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    schema     TEXT    NOT NULL,
    order_key  TEXT,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (type, version)
) STRICT;

-- What services handed over under a name, for seven days: the row is what makes a repetition one.
CREATE TABLE receipt (
    token      BLOB    NOT NULL PRIMARY KEY,
    content    BLOB    NOT NULL,
    event_id   BLOB    NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
-- For forgetting the oldest.
CREATE INDEX receipt_age ON receipt (created_at);

-- Requests with an Idempotency-Key that were decided, and what they were answered: for a day. Both digests are keyed. One that
-- is not done was refused, and may be tried again.
CREATE TABLE answer (
    token      BLOB    NOT NULL PRIMARY KEY,
    content    BLOB    NOT NULL,
    answer     BLOB,
    done       INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
-- For forgetting the oldest.
CREATE INDEX answer_age ON answer (created_at);

-- Webhook endpoints: few, read whole at a start. `events` holds patterns with a space between them, `versions` a JSON
-- object from types to versions.
CREATE TABLE webhook_endpoint (
    id            BLOB    NOT NULL PRIMARY KEY,
    url           TEXT    NOT NULL,
    description   TEXT    NOT NULL,
    events        TEXT    NOT NULL,
    sending_order TEXT    NOT NULL,
    signatures    TEXT    NOT NULL,
    disabled      TEXT,
    failing_since INTEGER,
    versions      TEXT    NOT NULL,
    created_by    BLOB,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    revision      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Sealed under a key that is not in the database. An endpoint has one that does not expire, and for a day after a rotation
-- the one before.
CREATE TABLE webhook_secret (
    endpoint   BLOB    NOT NULL,
    id         BLOB    NOT NULL,
    sealed     BLOB    NOT NULL,
    public_key BLOB    NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    PRIMARY KEY (endpoint, id)
) STRICT, WITHOUT ROWID;

-- The last recovery of each endpoint: a replay of its subscription, and how many of its messages were taken.
CREATE TABLE webhook_recovery (
    endpoint   BLOB    NOT NULL PRIMARY KEY,
    generation INTEGER NOT NULL,
    after_pos  INTEGER NOT NULL,
    upto_pos   INTEGER NOT NULL,
    sent       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The newest attempts of each endpoint, written some at a time.
CREATE TABLE webhook_attempt (
    endpoint   BLOB    NOT NULL,
    id         BLOB    NOT NULL,
    event_id   BLOB    NOT NULL,
    event_type TEXT    NOT NULL,
    number     INTEGER NOT NULL,
    at         INTEGER NOT NULL,
    latency_ms INTEGER NOT NULL,
    status     INTEGER,
    error      TEXT,
    PRIMARY KEY (endpoint, id)
) STRICT, WITHOUT ROWID;
