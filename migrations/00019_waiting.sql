-- +goose Up
-- Few accounts wait for approval, and pages for administrators ask for them.
CREATE INDEX users_waiting ON users (username) WHERE approved = 0;

-- +goose Down
DROP INDEX users_waiting;
