-- +goose Up
-- The authenticator app of a user (TOTP, RFC 6238).
CREATE TABLE totp (
    user_id      INTEGER PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    secret       BLOB    NOT NULL, -- nonce and AES-256-GCM of 20 bytes, with a key from porchlight.key and the user id as additional data
    last_counter INTEGER NOT NULL, -- of the last accepted code; neither that code nor an older one works again
    on_at        INTEGER NOT NULL, -- 0 while it is being set up
    created_at   INTEGER NOT NULL
) STRICT;

-- The passkeys of a user (WebAuthn).
CREATE TABLE passkeys (
    id            TEXT    PRIMARY KEY,  -- public and random
    user_id       INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    user_handle   BLOB    NOT NULL,     -- by which authenticators know the user; the same for all passkeys of a user
    credential_id BLOB    NOT NULL UNIQUE,
    credential    BLOB    NOT NULL,     -- JSON with the public key
    sign_count    INTEGER NOT NULL,     -- the authenticator's counter; 0 if it has none
    name          TEXT    NOT NULL,
    created_at    INTEGER NOT NULL,
    last_used_at  INTEGER NOT NULL      -- 0 is never
) STRICT;
CREATE INDEX passkeys_by_user ON passkeys (user_id, created_at);

CREATE TABLE recovery_codes (
    user_id   INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    code_hash BLOB    NOT NULL, -- SHA-256 of 80 random bits
    used_at   INTEGER NOT NULL, -- 0 is not yet
    PRIMARY KEY (user_id, code_hash)
) STRICT, WITHOUT ROWID;

-- Sign-ins whose password was right, and which wait for the second factor.
CREATE TABLE second_steps (
    token_hash BLOB    PRIMARY KEY, -- SHA-256 of the token in a cookie of the browser that sent the password
    user_id    INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name       TEXT    NOT NULL,    -- the username or e-mail address that was typed
    device_id  TEXT    NOT NULL,    -- '' is a browser that is not known
    shared     INTEGER NOT NULL CHECK (shared IN (0, 1)),
    attempts   INTEGER NOT NULL DEFAULT 0, -- wrong codes
    done       INTEGER NOT NULL DEFAULT 0 CHECK (done IN (0, 1)), -- a session has begun
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX second_steps_by_user ON second_steps (user_id, device_id, expires_at DESC);
CREATE INDEX second_steps_by_expiry ON second_steps (expires_at);

-- The WebAuthn challenges that were answered. Each works once.
CREATE TABLE used_challenges (
    challenge_hash BLOB    PRIMARY KEY,
    used_at        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX used_challenges_by_age ON used_challenges (used_at);

ALTER TABLE sessions ADD COLUMN confirmed_at INTEGER NOT NULL DEFAULT 0; -- when it last checked a password or a passkey
ALTER TABLE invitations ADD COLUMN reset_second_factor INTEGER NOT NULL DEFAULT 0 CHECK (reset_second_factor IN (0, 1));

-- +goose Down
ALTER TABLE invitations DROP COLUMN reset_second_factor;
ALTER TABLE sessions DROP COLUMN confirmed_at;
DROP TABLE used_challenges;
DROP TABLE second_steps;
DROP TABLE recovery_codes;
DROP TABLE passkeys;
DROP TABLE totp;
