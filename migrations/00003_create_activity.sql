-- +goose Up
CREATE TABLE activity (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id     INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    kind        TEXT    NOT NULL,
    happened_at INTEGER NOT NULL,
    ip          TEXT    NOT NULL DEFAULT '',   -- of the session that it happened to, or of the try that failed
    device_name TEXT    NOT NULL DEFAULT '',   -- likewise
    session_id  TEXT    NOT NULL DEFAULT '',   -- outlives the session, so no foreign key
    done_by     TEXT    NOT NULL DEFAULT '',   -- the name of the device that did it, or 'command'
    count       INTEGER NOT NULL DEFAULT 1     -- how often in a row, for what repeats
) STRICT;

-- One user's activity, newest first.
CREATE INDEX activity_by_user ON activity (user_id, id DESC);

-- The sweep: what is older than it is kept.
CREATE INDEX activity_by_age ON activity (happened_at);

-- +goose Down
DROP TABLE activity;
