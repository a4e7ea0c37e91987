-- +goose Up
-- Two columns whose names told too little: the name of the device from its User-Agent, and the one that the user gave.
ALTER TABLE sessions RENAME COLUMN device_name TO detected_name;
ALTER TABLE sessions RENAME COLUMN given_name TO custom_name; -- '' is none

-- +goose Down
ALTER TABLE sessions RENAME COLUMN custom_name TO given_name;
ALTER TABLE sessions RENAME COLUMN detected_name TO device_name;
