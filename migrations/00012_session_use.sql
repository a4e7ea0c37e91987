-- +goose Up
-- Where and with which browser a session was last used, and how it began. '' means: as at sign-in.
ALTER TABLE sessions ADD COLUMN last_ip         TEXT NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN last_user_agent TEXT NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN last_browser    TEXT NOT NULL DEFAULT ''; -- detected from last_user_agent
ALTER TABLE sessions ADD COLUMN other_browser   TEXT NOT NULL DEFAULT ''; -- the last one that was not detected_name; '' is none
ALTER TABLE sessions ADD COLUMN network         TEXT NOT NULL DEFAULT ''; -- that it was last used from; '' is not known yet
ALTER TABLE sessions ADD COLUMN method          TEXT NOT NULL DEFAULT ''; -- how the user signed in; '' is from before this was stored
ALTER TABLE sessions ADD COLUMN named_by        TEXT NOT NULL DEFAULT ''; -- the device that gave custom_name; '' is this one
ALTER TABLE sessions ADD COLUMN first_seen_at   INTEGER NOT NULL DEFAULT 0; -- when the device was; 0 is at sign-in
ALTER TABLE sessions ADD COLUMN days_looked     INTEGER NOT NULL DEFAULT 0; -- on how many days the user saw it in the list
ALTER TABLE sessions ADD COLUMN last_looked_day INTEGER NOT NULL DEFAULT 0; -- in days since 1970, UTC

-- The networks that a user has used: the /24 of an IPv4 address, or the /48 of an IPv6 address.
CREATE TABLE networks (
    user_id       INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    network       TEXT    NOT NULL,
    session_id    TEXT    NOT NULL, -- the only session that has used it; '' is several
    first_used_at INTEGER NOT NULL,
    last_used_at  INTEGER NOT NULL,
    PRIMARY KEY (user_id, network)
) STRICT, WITHOUT ROWID;
CREATE INDEX networks_by_user ON networks (user_id, last_used_at DESC);
CREATE INDEX networks_by_age ON networks (last_used_at);

-- +goose Down
DROP TABLE networks;
ALTER TABLE sessions DROP COLUMN last_looked_day;
ALTER TABLE sessions DROP COLUMN days_looked;
ALTER TABLE sessions DROP COLUMN first_seen_at;
ALTER TABLE sessions DROP COLUMN named_by;
ALTER TABLE sessions DROP COLUMN method;
ALTER TABLE sessions DROP COLUMN network;
ALTER TABLE sessions DROP COLUMN other_browser;
ALTER TABLE sessions DROP COLUMN last_browser;
ALTER TABLE sessions DROP COLUMN last_user_agent;
ALTER TABLE sessions DROP COLUMN last_ip;
