-- +goose Up
-- Administrators see which hosts without a rule are used. The index gives each host once, however many sessions use it.
CREATE INDEX session_apps_by_host ON session_apps (host);

-- +goose Down
DROP INDEX session_apps_by_host;
