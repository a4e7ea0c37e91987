-- +goose Up
-- When an invitation was made. Until now, only its end was known, which moves when its mail is sent again.
ALTER TABLE invitations ADD COLUMN created_at INTEGER NOT NULL DEFAULT 0;
UPDATE invitations SET created_at = expires_at - 259200000; -- 72 hours

-- +goose Down
ALTER TABLE invitations DROP COLUMN created_at;
