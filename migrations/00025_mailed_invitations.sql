-- +goose Up
-- An invitation can be mailed. The outbox holds no token: each attempt to send it makes one.
ALTER TABLE outbox ADD COLUMN invitation TEXT NOT NULL DEFAULT ''; -- its username; '' is another message

-- The tokens that were mailed. An attempt that seemed to fail may have arrived, so the last ones stay valid.
CREATE TABLE invitation_tokens (
    token_hash BLOB    PRIMARY KEY, -- SHA-256 of the token in the link
    username   TEXT    NOT NULL REFERENCES invitations (username) ON DELETE CASCADE,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX invitation_tokens_by_username ON invitation_tokens (username, created_at DESC);

-- +goose Down
DROP TABLE invitation_tokens;
ALTER TABLE outbox DROP COLUMN invitation;
