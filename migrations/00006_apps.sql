-- +goose Up
-- Who may reach a guarded host. A host without a row is open as --apps-default says; one with a row, to those that it names.
CREATE TABLE app_rules (
    host     TEXT    PRIMARY KEY,                                  -- lower case, no port, no trailing dot; a leading *. is any one label
    everyone INTEGER NOT NULL DEFAULT 0 CHECK (everyone IN (0, 1)), -- every signed-in user
    admins   INTEGER NOT NULL DEFAULT 0 CHECK (admins IN (0, 1))
) STRICT, WITHOUT ROWID;

CREATE TABLE app_rule_users (
    host    TEXT    NOT NULL REFERENCES app_rules (host) ON DELETE CASCADE,
    user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    PRIMARY KEY (host, user_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX app_rule_users_by_user ON app_rule_users (user_id);

-- Which hosts a session was used for, and when last.
CREATE TABLE session_apps (
    session_id   TEXT    NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    host         TEXT    NOT NULL,
    last_used_at INTEGER NOT NULL,
    PRIMARY KEY (session_id, host)
) STRICT, WITHOUT ROWID;

-- +goose Down
DROP TABLE session_apps;
DROP TABLE app_rule_users;
DROP TABLE app_rules;
