-- +goose Up
-- The tokens of sessions that were revoked. A browser that still sends one is told to delete the apps' cookies. No row names a user.
CREATE TABLE revoked_tokens (
    token_hash BLOB    PRIMARY KEY, -- as it was in sessions
    expires_at INTEGER NOT NULL     -- when the browser deletes the cookie at the latest
) STRICT, WITHOUT ROWID;
CREATE INDEX revoked_tokens_by_expiry ON revoked_tokens (expires_at);

-- Whether the server keeps such tokens, as it was last started. Commands revoke sessions too.
ALTER TABLE limits ADD COLUMN keep_revoked INTEGER NOT NULL DEFAULT 0 CHECK (keep_revoked IN (0, 1));

-- +goose Down
ALTER TABLE limits DROP COLUMN keep_revoked;
DROP TABLE revoked_tokens;
