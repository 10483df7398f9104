CREATE TABLE event (
    pos INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, id BLOB NOT NULL, type TEXT NOT NULL, version INTEGER NOT NULL,
    key TEXT NOT NULL, priority INTEGER NOT NULL, time INTEGER NOT NULL, recorded_at INTEGER NOT NULL,
    workflow_id BLOB NOT NULL, correlation_id BLOB NOT NULL, causation_id BLOB, subject TEXT, actor_kind TEXT NOT NULL,
    actor_id BLOB, request_id TEXT, traceparent TEXT, context_key TEXT, context BLOB, body BLOB NOT NULL,
    personal_key TEXT, personal BLOB, chain BLOB NOT NULL
) STRICT;
CREATE TABLE log_head (
    one INTEGER PRIMARY KEY CHECK (one = 1), next_pos INTEGER NOT NULL, chain BLOB NOT NULL, epoch INTEGER NOT NULL
) STRICT;
INSERT INTO log_head VALUES (1, 1, zeroblob(32), 1);
