-- +goose Up
-- An app key is a session without a browser: a sync client or a script sends it to one app.
ALTER TABLE sessions ADD COLUMN kind TEXT NOT NULL DEFAULT 'browser' CHECK (kind IN ('browser', 'app_key'));
ALTER TABLE sessions ADD COLUMN host TEXT NOT NULL DEFAULT '' CHECK ((host <> '') = (kind = 'app_key')); -- the only one that the key opens

-- Keys have no idle limit and may never expire, so in an index with them, the search for sessions that end too late would go through
-- every key.
DROP INDEX sessions_by_expiry;
CREATE INDEX sessions_by_expiry ON sessions (expires_at) WHERE kind = 'browser';
CREATE INDEX keys_by_expiry ON sessions (expires_at) WHERE kind = 'app_key';
CREATE INDEX keys_by_creation ON sessions (created_at) WHERE kind = 'app_key';

-- +goose Down
DELETE FROM sessions WHERE kind = 'app_key';
DROP INDEX keys_by_creation;
DROP INDEX keys_by_expiry;
DROP INDEX sessions_by_expiry;
CREATE INDEX sessions_by_expiry ON sessions (expires_at);
ALTER TABLE sessions DROP COLUMN host;
ALTER TABLE sessions DROP COLUMN kind;
