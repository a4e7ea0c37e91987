-- +goose Up
CREATE TABLE sessions (
    id             TEXT    PRIMARY KEY,         -- the public name, random; tells nothing about the token
    token_hash     BLOB    NOT NULL UNIQUE,     -- SHA-256 of the token in the cookie; the token itself is kept nowhere
    user_id        INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    device_name    TEXT    NOT NULL,            -- made from the User-Agent once, at sign-in
    given_name     TEXT    NOT NULL DEFAULT '', -- the name that the user gave; '' is none
    device_kind    TEXT    NOT NULL CHECK (device_kind IN ('desktop', 'phone', 'tablet', 'terminal', 'unknown')),
    user_agent     TEXT    NOT NULL,            -- at most 512 bytes
    ip             TEXT    NOT NULL,            -- at sign-in
    shared         INTEGER NOT NULL CHECK (shared IN (0, 1)), -- a shared or public computer: the short limits apply
    created_at     INTEGER NOT NULL,
    last_active_at INTEGER NOT NULL,
    expires_at     INTEGER NOT NULL             -- when it ends by itself: the idle limit after last_active_at, never past the lifetime
) STRICT;

-- The device list: one user's sessions, last active first, and how many are alive, from the index alone.
CREATE INDEX sessions_by_user ON sessions (user_id, last_active_at DESC, expires_at);

-- The sweep: what has expired, oldest first.
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

-- The limits, in milliseconds, that every expires_at was made with: when the settings change, the sessions follow.
CREATE TABLE limits (
    id              INTEGER PRIMARY KEY CHECK (id = 1),
    idle            INTEGER NOT NULL,
    lifetime        INTEGER NOT NULL,
    shared_idle     INTEGER NOT NULL,
    shared_lifetime INTEGER NOT NULL
) STRICT;

INSERT INTO limits (id, idle, lifetime, shared_idle, shared_lifetime) VALUES (1, 0, 0, 0, 0);

-- +goose Down
DROP TABLE limits;
DROP TABLE sessions;
