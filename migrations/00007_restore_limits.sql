-- +goose Up
-- The first version of 00002 made no table limits, and databases from then never got it.
CREATE TABLE IF NOT EXISTS limits (
    id              INTEGER PRIMARY KEY CHECK (id = 1),
    idle            INTEGER NOT NULL,
    lifetime        INTEGER NOT NULL,
    shared_idle     INTEGER NOT NULL,
    shared_lifetime INTEGER NOT NULL
) STRICT;

-- Zeros differ from every setting, so the next start brings the sessions in line with the settings.
INSERT OR IGNORE INTO limits (id, idle, lifetime, shared_idle, shared_lifetime) VALUES (1, 0, 0, 0, 0);
