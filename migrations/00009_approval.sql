-- +goose Up
-- False only for an account that somebody created at /signup, until an administrator approves it.
ALTER TABLE users ADD COLUMN approved INTEGER NOT NULL DEFAULT 1 CHECK (approved IN (0, 1));

-- The usernames of deleted accounts, which are not given out again. Each is an HMAC: everything of a deleted account goes.
CREATE TABLE deleted_usernames (
    key BLOB PRIMARY KEY
) STRICT, WITHOUT ROWID;

-- +goose Down
DROP TABLE deleted_usernames;
ALTER TABLE users DROP COLUMN approved;
