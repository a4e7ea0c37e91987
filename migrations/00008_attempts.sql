-- +goose Up
-- Attempts at a secret that failed. They count for 15 minutes, so the old ones are dropped: their keys were plain hashes of
-- what may have been a password, typed into the wrong field. A key is now an HMAC of a counter's name, under a key derived
-- from porchlight.key.
DROP TABLE tries;
DROP TABLE streaks;

CREATE TABLE attempts (
    id        INTEGER PRIMARY KEY,
    key       BLOB    NOT NULL,
    failed_at INTEGER NOT NULL
) STRICT;

CREATE INDEX attempts_by_key ON attempts (key, failed_at);
CREATE INDEX attempts_by_age ON attempts (failed_at);

-- How many attempts at an account have failed in a row, without a success in between.
CREATE TABLE consecutive_failures (
    key            BLOB    PRIMARY KEY,
    failures       INTEGER NOT NULL,
    last_failed_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX consecutive_failures_by_age ON consecutive_failures (last_failed_at);

-- +goose Down
DROP TABLE consecutive_failures;
DROP TABLE attempts;

CREATE TABLE tries (
    id       INTEGER PRIMARY KEY,
    key      BLOB    NOT NULL,
    tried_at INTEGER NOT NULL
) STRICT;

CREATE INDEX tries_by_key ON tries (key, tried_at);
CREATE INDEX tries_by_age ON tries (tried_at);

CREATE TABLE streaks (
    key           BLOB    PRIMARY KEY,
    failures      INTEGER NOT NULL,
    last_tried_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX streaks_by_age ON streaks (last_tried_at);
