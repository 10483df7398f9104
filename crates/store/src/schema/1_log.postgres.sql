-- The log on PostgreSQL. What a table is for is said in 1_log.sqlite.sql, whose tables and columns these are (a test compares);
-- here is said what is different. Texts are compared byte by byte, as on SQLite: an index in the order of a locale is wrong after
-- an upgrade of the C library.
CREATE TABLE event (
    pos BIGINT PRIMARY KEY,
    epoch BIGINT NOT NULL,
    id BYTEA NOT NULL,
    type TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    priority BIGINT NOT NULL,
    time BIGINT NOT NULL,
    recorded_at BIGINT NOT NULL,
    workflow_id BYTEA NOT NULL,
    correlation_id BYTEA NOT NULL,
    causation_id BYTEA,
    subject TEXT COLLATE "C",
    actor_kind TEXT COLLATE "C" NOT NULL,
    actor_id BYTEA,
    request_id TEXT COLLATE "C",
    traceparent TEXT COLLATE "C",
    context_key TEXT COLLATE "C",
    context BYTEA,
    body BYTEA NOT NULL,
    personal_key TEXT COLLATE "C",
    personal BYTEA,
    chain BYTEA NOT NULL
) PARTITION BY RANGE (pos);

-- The partitions of the log. The name of each says its last position.
CREATE VIEW event_partition AS
    SELECT relname AS name, CAST(substr(relname, 12) AS BIGINT) AS upto
    FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid WHERE inhparent = CAST('event' AS regclass);

-- Drops the partitions that end at or below a position. A transaction that has read the log and is still open, such as that of
-- a dump, holds this up: then it fails soon, for whoever comes to read behind it waits too.
CREATE FUNCTION drop_events(last BIGINT) RETURNS VOID LANGUAGE plpgsql SET lock_timeout = '500ms' AS $$
DECLARE
    part NAME;
BEGIN
    FOR part IN SELECT name FROM event_partition WHERE upto <= last LOOP
        EXECUTE format('DROP TABLE %I', part);
    END LOOP;
END $$;

-- What commits append to, as their last statement, until a sequencer gives the events their places. The number is given when the
-- row is inserted, after all the locks of its commit: so events of one key are numbered in the order of their commits. A cache
-- of more than 1 would give each connection numbers of its own.
CREATE TABLE event_in (
    seq BIGINT GENERATED ALWAYS AS IDENTITY (CACHE 1) PRIMARY KEY,
    id BYTEA NOT NULL,
    type TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    priority BIGINT NOT NULL,
    time BIGINT NOT NULL,
    workflow_id BYTEA NOT NULL,
    correlation_id BYTEA NOT NULL,
    causation_id BYTEA,
    subject TEXT COLLATE "C",
    actor_kind TEXT COLLATE "C" NOT NULL,
    actor_id BYTEA,
    request_id TEXT COLLATE "C",
    traceparent TEXT COLLATE "C",
    context_key TEXT COLLATE "C",
    context BYTEA,
    body BYTEA NOT NULL,
    personal_key TEXT COLLATE "C",
    personal BYTEA,
    digest BYTEA NOT NULL
);

CREATE TABLE log_head (
    one BIGINT PRIMARY KEY CHECK (one = 1),
    next_pos BIGINT NOT NULL,
    chain BYTEA NOT NULL,
    epoch BIGINT NOT NULL
);
INSERT INTO log_head (one, next_pos, chain, epoch) VALUES (1, 1, decode(repeat('00', 32), 'hex'), 1);

CREATE TABLE search (
    pos BIGINT PRIMARY KEY,
    id BYTEA NOT NULL,
    type TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C",
    workflow_id BYTEA NOT NULL,
    correlation_id BYTEA NOT NULL,
    address_tag BYTEA,
    ip_tag BYTEA
);
CREATE INDEX search_id ON search (id);
CREATE INDEX search_type ON search (type);
CREATE INDEX search_subject ON search (subject) WHERE subject IS NOT NULL;
CREATE INDEX search_workflow ON search (workflow_id);
CREATE INDEX search_correlation ON search (correlation_id);
CREATE INDEX search_address ON search (address_tag) WHERE address_tag IS NOT NULL;
CREATE INDEX search_ip ON search (ip_tag) WHERE ip_tag IS NOT NULL;

CREATE TABLE search_head (
    one BIGINT PRIMARY KEY CHECK (one = 1),
    pos BIGINT NOT NULL
);
INSERT INTO search_head (one, pos) VALUES (1, 0);

CREATE TABLE anchor (
    one BIGINT PRIMARY KEY CHECK (one = 1),
    pos BIGINT NOT NULL,
    chain BYTEA NOT NULL,
    key_id TEXT COLLATE "C",
    signature BYTEA
);
INSERT INTO anchor (one, pos, chain) VALUES (1, 0, decode(repeat('00', 32), 'hex'));

CREATE TABLE archive (
    from_pos BIGINT PRIMARY KEY,
    to_pos BIGINT NOT NULL,
    chain BYTEA NOT NULL,
    recorded_until BIGINT NOT NULL,
    file TEXT COLLATE "C" NOT NULL,
    digest BYTEA NOT NULL,
    events BIGINT NOT NULL
);

CREATE TABLE subscription (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL UNIQUE,
    position BIGINT NOT NULL,
    paused BIGINT NOT NULL DEFAULT 0 CHECK (paused IN (0, 1)),
    running BIGINT NOT NULL DEFAULT 0 CHECK (running IN (0, 1)),
    suspect BIGINT NOT NULL DEFAULT 0,
    crashes BIGINT NOT NULL DEFAULT 0,
    generation BIGINT NOT NULL DEFAULT 1
);

CREATE TABLE replay (
    name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    subscription TEXT COLLATE "C" NOT NULL UNIQUE,
    generation BIGINT NOT NULL,
    from_pos BIGINT NOT NULL,
    to_pos BIGINT,
    asked_by BYTEA NOT NULL
);

CREATE TABLE lane (
    subscription BIGINT NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    done BIGINT NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    attempts BIGINT NOT NULL,
    due BIGINT NOT NULL,
    since BIGINT NOT NULL,
    event_id BYTEA NOT NULL,
    position BIGINT NOT NULL,
    event_type TEXT COLLATE "C" NOT NULL,
    error_class TEXT COLLATE "C",
    error TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (subscription, key)
);

CREATE TABLE process (
    id BYTEA NOT NULL PRIMARY KEY,
    kind TEXT COLLATE "C" NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    step BIGINT NOT NULL,
    deadline BIGINT NOT NULL,
    begun_by TEXT COLLATE "C" NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    workflow_id BYTEA NOT NULL,
    correlation_id BYTEA NOT NULL,
    subject TEXT COLLATE "C"
);
CREATE INDEX process_deadline ON process (deadline) WHERE state = 'doing';

CREATE TABLE open_attempt (
    workflow_id BYTEA NOT NULL PRIMARY KEY,
    kind TEXT COLLATE "C" NOT NULL,
    attempted_id BYTEA NOT NULL,
    after_pos BIGINT NOT NULL,
    deadline BIGINT NOT NULL,
    waiting BIGINT NOT NULL CHECK (waiting IN (0, 1)),
    node BYTEA NOT NULL
);

CREATE TABLE node (
    id BYTEA NOT NULL PRIMARY KEY,
    place BYTEA NOT NULL,
    beat BIGINT NOT NULL,
    reads BIGINT NOT NULL
);

CREATE TABLE lease (
    name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    node BYTEA,
    epoch BIGINT NOT NULL,
    wanted BYTEA,
    needs BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE subject_key (
    name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    wrapped BYTEA
);

CREATE TABLE meta (
    name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    value TEXT COLLATE "C" NOT NULL
);
