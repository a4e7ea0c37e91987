-- +goose Up
-- The address that a user entered and has not confirmed yet. The row is the same if the address belongs to somebody else, so that it tells
-- nothing.
CREATE TABLE email_changes (
    user_id    INTEGER PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    email      TEXT    NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX email_changes_by_expiry ON email_changes (expires_at);

-- +goose Down
DROP TABLE email_changes;
