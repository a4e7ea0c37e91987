-- +goose Up
-- The links in mails. Opening one changes nothing; the form on its page uses it, once.
CREATE TABLE links (
    token_hash BLOB    PRIMARY KEY, -- SHA-256 of the token in the link
    user_id    INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    kind       TEXT    NOT NULL CHECK (kind IN ('email', 'reset', 'not_me')),
    data       TEXT    NOT NULL,    -- JSON: the address to confirm, or the event that the alert was about
    message_id INTEGER NOT NULL,    -- of the message that it was made for; 0 is none
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX links_by_user ON links (user_id, kind, created_at DESC);
CREATE INDEX links_by_expiry ON links (expires_at);

-- The ways in which the server can tell users something, as it was last started. Commands use them too.
CREATE TABLE ways (
    way TEXT PRIMARY KEY CHECK (way IN ('mail', 'ntfy', 'webhook'))
) STRICT, WITHOUT ROWID;

-- The messages that wait to be sent. They hold no token.
CREATE TABLE outbox (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id     INTEGER REFERENCES users (id) ON DELETE CASCADE, -- NULL is nobody: it is not sent, but takes as long to write
    way         TEXT    NOT NULL CHECK (way IN ('mail', 'ntfy', 'webhook')),
    address     TEXT    NOT NULL,    -- an e-mail address or an ntfy topic; '' for the webhook
    former      INTEGER NOT NULL CHECK (former IN (0, 1)), -- another address has replaced this one
    kind        TEXT    NOT NULL,    -- as in activity, or else 'test', 'email_link' or 'reset_link'
    is_link     INTEGER NOT NULL CHECK (is_link IN (0, 1)), -- somebody waits for this link
    about       TEXT    NOT NULL,    -- alerts of one kind about the same session or device are summed up
    happened_at INTEGER NOT NULL,    -- this and the following as in activity
    ip          TEXT    NOT NULL,
    device_name TEXT    NOT NULL,
    session_id  TEXT    NOT NULL,
    device_id   TEXT    NOT NULL,    -- of the session; '' is none
    done_by     TEXT    NOT NULL,
    count       INTEGER NOT NULL,
    attempts    INTEGER NOT NULL DEFAULT 0, -- how many times a sender has claimed it
    next_at     INTEGER NOT NULL,    -- when it may be claimed
    give_up_at  INTEGER NOT NULL,
    last_error  TEXT    NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX outbox_by_way ON outbox (way, is_link DESC, next_at);
CREATE INDEX outbox_by_user ON outbox (user_id, is_link DESC, id DESC);
CREATE INDEX outbox_by_id ON outbox (is_link, id DESC);
CREATE INDEX outbox_by_age ON outbox (give_up_at);

-- When the last alert of a kind about a session or device was sent, or will be.
CREATE TABLE recent_alerts (
    user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    kind    TEXT    NOT NULL,
    about   TEXT    NOT NULL,
    at      INTEGER NOT NULL,
    PRIMARY KEY (user_id, kind, about)
) STRICT, WITHOUT ROWID;
CREATE INDEX recent_alerts_by_age ON recent_alerts (at);

-- The last result of each way, for each user.
CREATE TABLE deliveries (
    user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    way     TEXT    NOT NULL CHECK (way IN ('mail', 'ntfy', 'webhook')),
    at      INTEGER NOT NULL,
    error   TEXT    NOT NULL, -- '' is delivered
    PRIMARY KEY (user_id, way)
) STRICT, WITHOUT ROWID;

CREATE TABLE alert_settings (
    user_id    INTEGER PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    mail       INTEGER NOT NULL CHECK (mail IN (0, 1)),
    ntfy_topic TEXT    NOT NULL, -- '' is none
    off        TEXT    NOT NULL  -- the kinds that the user does not want, separated by spaces
) STRICT;

-- Nobody is alerted to the first sign-in of an account.
ALTER TABLE users ADD COLUMN has_signed_in INTEGER NOT NULL DEFAULT 0 CHECK (has_signed_in IN (0, 1));
UPDATE users
SET has_signed_in = 1
WHERE EXISTS (SELECT 1 FROM sessions s WHERE s.user_id = users.id)
   OR EXISTS (SELECT 1 FROM devices d WHERE d.user_id = users.id)
   OR EXISTS (SELECT 1 FROM activity a WHERE a.user_id = users.id AND a.kind = 'signed_in');

-- +goose Down
ALTER TABLE users DROP COLUMN has_signed_in;
DROP TABLE alert_settings;
DROP TABLE deliveries;
DROP TABLE recent_alerts;
DROP TABLE outbox;
DROP TABLE ways;
DROP TABLE links;
