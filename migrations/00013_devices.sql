-- +goose Up
-- Browsers that a user has signed in from before. They outlive their sessions.
CREATE TABLE devices (
    id            TEXT    PRIMARY KEY,         -- public and random
    user_id       INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    token_hash    BLOB    NOT NULL,            -- SHA-256 of the device cookie, which several users of one browser share
    detected_name TEXT    NOT NULL,            -- the browser at the last sign-in
    device_kind   TEXT    NOT NULL CHECK (device_kind IN ('desktop', 'phone', 'tablet', 'terminal', 'unknown')),
    custom_name   TEXT    NOT NULL DEFAULT '', -- '' is none
    named_by      TEXT    NOT NULL DEFAULT '', -- as in sessions
    first_seen_at INTEGER NOT NULL,
    last_seen_at  INTEGER NOT NULL,            -- at the last sign-in
    UNIQUE (user_id, token_hash)
) STRICT;
CREATE INDEX devices_by_token ON devices (token_hash);
CREATE INDEX devices_by_user ON devices (user_id, last_seen_at DESC);
CREATE INDEX devices_by_age ON devices (last_seen_at);
ALTER TABLE sessions ADD COLUMN device_id TEXT REFERENCES devices (id) ON DELETE SET NULL;
CREATE INDEX sessions_by_device ON sessions (device_id) WHERE device_id IS NOT NULL;

-- The form that the session began with. A form that is sent twice makes one session.
ALTER TABLE sessions ADD COLUMN form_hash BLOB; -- SHA-256
CREATE INDEX sessions_by_form ON sessions (form_hash) WHERE form_hash IS NOT NULL;

-- +goose Down
DROP INDEX sessions_by_form;
ALTER TABLE sessions DROP COLUMN form_hash;
DROP INDEX sessions_by_device;
ALTER TABLE sessions DROP COLUMN device_id;
DROP TABLE devices;
