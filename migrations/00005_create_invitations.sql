-- +goose Up
CREATE TABLE invitations (
    username   TEXT    PRIMARY KEY,                                  -- one at a time: a new one makes the old one void
    token_hash BLOB    NOT NULL UNIQUE,                              -- SHA-256 of the token in the link
    user_id    INTEGER REFERENCES users (id) ON DELETE CASCADE,      -- whose password it sets; NULL makes a new account
    email      TEXT,
    is_admin   INTEGER NOT NULL DEFAULT 0 CHECK (is_admin IN (0, 1)),
    expires_at INTEGER NOT NULL
) STRICT;

CREATE INDEX invitations_by_user ON invitations (user_id);
CREATE INDEX invitations_by_expiry ON invitations (expires_at);

-- +goose Down
DROP TABLE invitations;
