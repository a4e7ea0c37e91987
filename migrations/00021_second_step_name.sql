-- +goose Up
-- Wrong codes are counted by user, not by the name that was typed.
ALTER TABLE second_steps DROP COLUMN name;

-- +goose Down
ALTER TABLE second_steps ADD COLUMN name TEXT NOT NULL DEFAULT '';
