-- +goose Up
-- Tries at a secret that failed, or that are being checked just now. A key is the SHA-256 of an account's or an
-- address's name: what people type by mistake into the name field may be a password.
CREATE TABLE tries (
    id       INTEGER PRIMARY KEY,
    key      BLOB    NOT NULL,
    tried_at INTEGER NOT NULL
) STRICT;

CREATE INDEX tries_by_key ON tries (key, tried_at);
CREATE INDEX tries_by_age ON tries (tried_at);

-- How many tries at an account have failed in a row, without a success between.
CREATE TABLE streaks (
    key           BLOB    PRIMARY KEY,
    failures      INTEGER NOT NULL,
    last_tried_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX streaks_by_age ON streaks (last_tried_at);

-- +goose Down
DROP TABLE streaks;
DROP TABLE tries;
