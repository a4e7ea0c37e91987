-- +goose Up
-- Few users are administrators, and each sign-up looks for all of them.
CREATE INDEX users_administrators ON users (id) WHERE is_admin = 1;

-- A disabled account waits for nothing.
DROP INDEX users_waiting;
CREATE INDEX users_waiting ON users (username) WHERE approved = 0 AND disabled = 0;

-- +goose Down
DROP INDEX users_waiting;
CREATE INDEX users_waiting ON users (username) WHERE approved = 0;
DROP INDEX users_administrators;
