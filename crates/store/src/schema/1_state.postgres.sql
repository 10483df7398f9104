-- State on PostgreSQL: see 1_state.sqlite.sql for what each table and index is for, and 1_log.postgres.sql for what is different.
CREATE TABLE account (
    id BYTEA NOT NULL PRIMARY KEY,
    email TEXT COLLATE "C" NOT NULL,
    email_canonical TEXT COLLATE "C" NOT NULL UNIQUE,
    display_name TEXT COLLATE "C",
    locale TEXT COLLATE "C" NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    verified_at BIGINT,
    password TEXT COLLATE "C",
    credential_epoch BIGINT NOT NULL,
    security_version BIGINT NOT NULL,
    token_version BIGINT NOT NULL,
    roles TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    touched BIGINT NOT NULL
);
CREATE INDEX account_privileged ON account (roles, state) WHERE roles <> 'user';
CREATE INDEX account_unverified ON account (created_at) WHERE verified_at IS NULL;
CREATE INDEX account_barred ON account (state) WHERE state <> 'active';

CREATE TABLE password_history (
    account BYTEA NOT NULL,
    epoch BIGINT NOT NULL,
    hash TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (account, epoch)
);

CREATE TABLE guess (
    id BYTEA NOT NULL PRIMARY KEY,
    window_from BIGINT NOT NULL,
    reserved BIGINT NOT NULL,
    wrong BIGINT NOT NULL,
    in_a_row BIGINT NOT NULL,
    locks BIGINT NOT NULL,
    locked_until BIGINT,
    expires_at BIGINT
);
CREATE INDEX guess_expiring ON guess (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE device (
    account BYTEA NOT NULL,
    token_hash BYTEA NOT NULL,
    id BYTEA NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    used_at BIGINT NOT NULL,
    PRIMARY KEY (account, token_hash)
);

CREATE TABLE session (
    id BYTEA NOT NULL PRIMARY KEY,
    account BYTEA NOT NULL,
    device BYTEA,
    created_at BIGINT NOT NULL,
    last_seen_at BIGINT NOT NULL,
    idle_until BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    ended_at BIGINT,
    ip TEXT COLLATE "C",
    look_at BIGINT NOT NULL
);
CREATE INDEX session_open ON session (account) WHERE ended_at IS NULL;
CREATE INDEX session_due ON session (look_at) WHERE ended_at IS NULL;

CREATE TABLE refresh_token (
    id BYTEA NOT NULL PRIMARY KEY,
    hash BYTEA NOT NULL,
    family BYTEA NOT NULL,
    session BYTEA NOT NULL,
    generation BIGINT NOT NULL,
    user_version BIGINT NOT NULL,
    global_version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    proved_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT,
    used_by BYTEA,
    successor BYTEA,
    successor_key TEXT COLLATE "C",
    CHECK ((used_at IS NULL) = (used_by IS NULL) AND (used_at IS NULL) = (successor IS NULL)
        AND (used_at IS NULL) = (successor_key IS NULL))
);

CREATE TABLE global_rotation (
    version BIGINT PRIMARY KEY,
    rotated_at BIGINT NOT NULL,
    cut_off_at BIGINT NOT NULL
);
INSERT INTO global_rotation (version, rotated_at, cut_off_at) VALUES (1, 0, 0);

CREATE TABLE one_time_token (
    id BYTEA NOT NULL PRIMARY KEY,
    purpose TEXT COLLATE "C" NOT NULL,
    account BYTEA NOT NULL,
    key_id TEXT COLLATE "C" NOT NULL,
    credential_epoch BIGINT NOT NULL,
    log_epoch BIGINT NOT NULL,
    issued_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT,
    ended_at BIGINT
);
CREATE INDEX one_time_token_account ON one_time_token (account, purpose, issued_at);

CREATE TABLE email_change (
    token BYTEA NOT NULL PRIMARY KEY,
    account BYTEA NOT NULL,
    email TEXT COLLATE "C" NOT NULL,
    email_canonical TEXT COLLATE "C" NOT NULL,
    workflow BYTEA,
    attempted BYTEA,
    CHECK ((workflow IS NULL) = (attempted IS NULL))
);
CREATE INDEX email_change_account ON email_change (account);

CREATE TABLE letter_count (
    account BYTEA NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    hour BIGINT NOT NULL,
    used BIGINT NOT NULL,
    PRIMARY KEY (account, kind)
);

CREATE TABLE profile (
    account BYTEA NOT NULL PRIMARY KEY,
    process BYTEA NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE sign_in_day (
    generation BIGINT NOT NULL,
    day BIGINT NOT NULL,
    outcome TEXT COLLATE "C" NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    count BIGINT NOT NULL,
    PRIMARY KEY (generation, day, outcome, reason)
);

CREATE TABLE api_key (
    id BYTEA NOT NULL PRIMARY KEY,
    owner BYTEA NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    scopes TEXT COLLATE "C" NOT NULL,
    hash BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT,
    used_at BIGINT
);

CREATE TABLE event_schema (
    type TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    schema TEXT COLLATE "C" NOT NULL,
    order_key TEXT COLLATE "C",
    created_at BIGINT NOT NULL,
    PRIMARY KEY (type, version)
);

CREATE TABLE receipt (
    token BYTEA NOT NULL PRIMARY KEY,
    content BYTEA NOT NULL,
    event_id BYTEA NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX receipt_age ON receipt (created_at);

CREATE TABLE answer (
    token BYTEA NOT NULL PRIMARY KEY,
    content BYTEA NOT NULL,
    answer BYTEA,
    done BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX answer_age ON answer (created_at);

CREATE TABLE webhook_endpoint (
    id BYTEA NOT NULL PRIMARY KEY,
    url TEXT COLLATE "C" NOT NULL,
    description TEXT COLLATE "C" NOT NULL,
    events TEXT COLLATE "C" NOT NULL,
    sending_order TEXT COLLATE "C" NOT NULL,
    signatures TEXT COLLATE "C" NOT NULL,
    disabled TEXT COLLATE "C",
    failing_since BIGINT,
    versions TEXT COLLATE "C" NOT NULL,
    created_by BYTEA,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    revision BIGINT NOT NULL
);

CREATE TABLE webhook_secret (
    endpoint BYTEA NOT NULL,
    id BYTEA NOT NULL,
    sealed BYTEA NOT NULL,
    public_key BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    PRIMARY KEY (endpoint, id)
);

CREATE TABLE webhook_recovery (
    endpoint BYTEA NOT NULL PRIMARY KEY,
    generation BIGINT NOT NULL,
    after_pos BIGINT NOT NULL,
    upto_pos BIGINT NOT NULL,
    sent BIGINT NOT NULL
);

CREATE TABLE webhook_attempt (
    endpoint BYTEA NOT NULL,
    id BYTEA NOT NULL,
    event_id BYTEA NOT NULL,
    event_type TEXT COLLATE "C" NOT NULL,
    number BIGINT NOT NULL,
    at BIGINT NOT NULL,
    latency_ms BIGINT NOT NULL,
    status BIGINT,
    error TEXT COLLATE "C",
    PRIMARY KEY (endpoint, id)
);
