-- +goose Up
-- Sessions on shared computers that end too late, because the clock was ahead: their limit is so short that the index of all
-- sessions by expiry would lead through nearly all of them.
CREATE INDEX sessions_shared_by_expiry ON sessions (expires_at) WHERE shared = 1;

-- +goose Down
DROP INDEX sessions_shared_by_expiry;
