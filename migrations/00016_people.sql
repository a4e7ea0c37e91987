-- +goose Up
-- Who made an invitation: 'command', or 'admin NAME'. Until now, only commands could.
ALTER TABLE invitations ADD COLUMN invited_by TEXT NOT NULL DEFAULT 'command';

-- +goose Down
ALTER TABLE invitations DROP COLUMN invited_by;
