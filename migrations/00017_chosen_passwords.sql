-- +goose Up
-- A password that a user with a second factor chose with a link waits in the second step, until the code was right.
ALTER TABLE second_steps ADD COLUMN method TEXT NOT NULL DEFAULT 'password' CHECK (method IN ('password', 'reset', 'invite')); -- how it began
ALTER TABLE second_steps ADD COLUMN new_password_hash TEXT NOT NULL DEFAULT ''; -- '' unless it began with a link
ALTER TABLE second_steps ADD COLUMN link_hash BLOB NOT NULL DEFAULT x'';        -- the token_hash of that link or invitation

-- +goose Down
ALTER TABLE second_steps DROP COLUMN link_hash;
ALTER TABLE second_steps DROP COLUMN new_password_hash;
ALTER TABLE second_steps DROP COLUMN method;
