-- +goose Up
CREATE TABLE users (
    id            INTEGER PRIMARY KEY AUTOINCREMENT, -- an id is never used again, so a late request cannot meet a stranger
    username      TEXT    NOT NULL UNIQUE,           -- trimmed and lower-cased
    email         TEXT    UNIQUE,                    -- trimmed and lower-cased; NULL when not set
    password_hash TEXT    NOT NULL,                  -- Argon2id, in PHC format
    is_admin      INTEGER NOT NULL DEFAULT 0 CHECK (is_admin IN (0, 1)),
    disabled      INTEGER NOT NULL DEFAULT 0 CHECK (disabled IN (0, 1)),
    created_at    INTEGER NOT NULL                   -- this and every other …_at: milliseconds since 1970, UTC
) STRICT;

-- +goose Down
DROP TABLE users;
