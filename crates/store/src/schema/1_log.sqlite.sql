-- The log, appended to by the executor alone. Positions are dense; no secondary index: they cost half the throughput.
CREATE TABLE event (
    pos            INTEGER PRIMARY KEY,
    epoch          INTEGER NOT NULL,
    id             BLOB    NOT NULL,
    type           TEXT    NOT NULL,
    version        INTEGER NOT NULL,
    key            TEXT    NOT NULL,
    priority       INTEGER NOT NULL,
    time           INTEGER NOT NULL,
    recorded_at    INTEGER NOT NULL,
    workflow_id    BLOB    NOT NULL,
    correlation_id BLOB    NOT NULL,
    causation_id   BLOB,
    subject        TEXT,
    actor_kind     TEXT    NOT NULL,
    actor_id       BLOB,
    request_id     TEXT,
    traceparent    TEXT,
    context_key    TEXT,
    context        BLOB,
    body           BLOB    NOT NULL,
    personal_key   TEXT,
    personal       BLOB,
    chain          BLOB    NOT NULL
) STRICT;

-- The one row that says where the log ends: the position the next event gets, and the chain's last link.
CREATE TABLE log_head (
    one      INTEGER PRIMARY KEY CHECK (one = 1),
    next_pos INTEGER NOT NULL,
    chain    BLOB    NOT NULL,
    epoch    INTEGER NOT NULL
) STRICT;
INSERT INTO log_head (one, next_pos, chain, epoch) VALUES (1, 1, zeroblob(32), 1);

-- What the log is searched by: a row for each event, written some milliseconds behind it by a reader of its own. Its indexes
-- are partial where a column may be empty, and each serves the statements of `search` that are named like it. Tags are
-- keyed digests of an address and of where a request came from, under keys that do not outlive the events.
CREATE TABLE search (
    pos            INTEGER PRIMARY KEY,
    id             BLOB    NOT NULL,
    type           TEXT    NOT NULL,
    subject        TEXT,
    workflow_id    BLOB    NOT NULL,
    correlation_id BLOB    NOT NULL,
    address_tag    BLOB,
    ip_tag         BLOB
) STRICT;
CREATE INDEX search_id ON search (id);
CREATE INDEX search_type ON search (type);
CREATE INDEX search_subject ON search (subject) WHERE subject IS NOT NULL;
CREATE INDEX search_workflow ON search (workflow_id);
CREATE INDEX search_correlation ON search (correlation_id);
CREATE INDEX search_address ON search (address_tag) WHERE address_tag IS NOT NULL;
CREATE INDEX search_ip ON search (ip_tag) WHERE ip_tag IS NOT NULL;

-- The one row that says how far the index reaches.
CREATE TABLE search_head (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    pos INTEGER NOT NULL
) STRICT;
INSERT INTO search_head (one, pos) VALUES (1, 0);

-- Where the log begins: what lay up to here was cut by retention, and `chain` was the chain there. Signed by a key that the
-- database does not hold, so that nobody cuts by hand and calls it retention.
CREATE TABLE anchor (
    one       INTEGER PRIMARY KEY CHECK (one = 1),
    pos       INTEGER NOT NULL,
    chain     BLOB    NOT NULL,
    key_id    TEXT,
    signature BLOB
) STRICT;
INSERT INTO anchor (one, pos, chain) VALUES (1, 0, zeroblob(32));

-- What of the log was archived before it was cut, a file for each segment.
CREATE TABLE archive (
    from_pos       INTEGER PRIMARY KEY,
    to_pos         INTEGER NOT NULL,
    chain          BLOB    NOT NULL,
    recorded_until INTEGER NOT NULL,
    file           TEXT    NOT NULL,
    digest         BLOB    NOT NULL,
    events         INTEGER NOT NULL
) STRICT;

-- Durable readers of the log. The number is for the lanes, so that renaming a subscription is one row. How a subscription is
-- as a whole, `Condition` of the delivery engine says.
CREATE TABLE subscription (
    id       INTEGER PRIMARY KEY,
    name     TEXT    NOT NULL UNIQUE,
    position INTEGER NOT NULL,
    paused   INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1)),
    running  INTEGER NOT NULL DEFAULT 0 CHECK (running IN (0, 1)),
    suspect  INTEGER NOT NULL DEFAULT 0,
    crashes  INTEGER NOT NULL DEFAULT 0,
    generation INTEGER NOT NULL DEFAULT 1
) STRICT;

-- Events that a subscription gets again, by one replay at a time. The cursor and the lanes of a replay are those of a subscription of its own name.
CREATE TABLE replay (
    name         TEXT    NOT NULL PRIMARY KEY,
    subscription TEXT    NOT NULL UNIQUE,
    generation   INTEGER NOT NULL,
    from_pos     INTEGER NOT NULL,
    to_pos       INTEGER,
    asked_by     BLOB    NOT NULL
) STRICT, WITHOUT ROWID;

-- Second cursors, one for each key in trouble. Few, and with texts of errors: an ordinary table.
CREATE TABLE lane (
    subscription INTEGER NOT NULL,
    key          TEXT    NOT NULL,
    done         INTEGER NOT NULL,
    state        TEXT    NOT NULL,
    attempts     INTEGER NOT NULL,
    due          INTEGER NOT NULL,
    since        INTEGER NOT NULL,
    event_id     BLOB    NOT NULL,
    position     INTEGER NOT NULL,
    event_type   TEXT    NOT NULL,
    error_class  TEXT,
    error        TEXT    NOT NULL,
    PRIMARY KEY (subscription, key)
) STRICT;

-- Processes of several steps under way, by the event that began each: a row goes with its last step, done or undone.
CREATE TABLE process (
    id             BLOB    NOT NULL PRIMARY KEY,
    kind           TEXT    NOT NULL,
    state          TEXT    NOT NULL,
    step           INTEGER NOT NULL,
    deadline       INTEGER NOT NULL,
    begun_by       TEXT    NOT NULL,
    key            TEXT    NOT NULL,
    workflow_id    BLOB    NOT NULL,
    correlation_id BLOB    NOT NULL,
    subject        TEXT
) STRICT, WITHOUT ROWID;
-- For finding those that are late.
CREATE INDEX process_deadline ON process (deadline) WHERE state = 'doing';

-- Attempts without an outcome: a row comes with each workflow and goes with its outcome, so the table stays small.
CREATE TABLE open_attempt (
    workflow_id  BLOB    NOT NULL PRIMARY KEY,
    kind         TEXT    NOT NULL,
    attempted_id BLOB    NOT NULL,
    after_pos    INTEGER NOT NULL,
    deadline     INTEGER NOT NULL,
    waiting      INTEGER NOT NULL CHECK (waiting IN (0, 1)),
    node         BLOB    NOT NULL
) STRICT, WITHOUT ROWID;

-- The servers at work on the database, each for one run. On SQLite there is one, which has all, so the table is empty.
-- `place` is that of its data directory; `beat` when it last said that it lives, by the clock of the database; `reads` how many
-- versions of events its program knows, 0 of one that delivers nothing.
CREATE TABLE node (
    id    BLOB    NOT NULL PRIMARY KEY,
    place BLOB    NOT NULL,
    beat  INTEGER NOT NULL,
    reads INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Which node has a subscription, or a duty that is done once. Each commit of who has it begins with a guard on the epoch, which
-- rises with each claim. `wanted` is the node that asks for it; `needs` how much a node must read to be of use.
CREATE TABLE lease (
    name   TEXT    NOT NULL PRIMARY KEY,
    node   BLOB,
    epoch  INTEGER NOT NULL,
    wanted BLOB,
    needs  INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- The keys of subjects where several servers share them, wrapped under a key that is in no database; without the bytes, one
-- that was destroyed. On SQLite they are in a file beside the other keys, and the table is empty.
CREATE TABLE subject_key (
    name    TEXT NOT NULL PRIMARY KEY,
    wrapped BLOB
) STRICT, WITHOUT ROWID;

-- Facts about the database itself, such as the fingerprints of the keys it was used with.
CREATE TABLE meta (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
