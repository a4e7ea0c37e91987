-- +goose Up
-- The groups of users. There is no table of groups: a group exists because a user is in it or a rule names it.
CREATE TABLE user_groups (
    user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name    TEXT    NOT NULL, -- trimmed and lower-cased
    PRIMARY KEY (user_id, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX user_groups_by_name ON user_groups (name);

-- The groups that a rule names.
CREATE TABLE app_rule_groups (
    host TEXT NOT NULL REFERENCES app_rules (host) ON DELETE CASCADE,
    name TEXT NOT NULL,
    PRIMARY KEY (host, name)
) STRICT, WITHOUT ROWID;

ALTER TABLE invitations ADD COLUMN group_names TEXT NOT NULL DEFAULT ''; -- of the new account, separated by commas

-- +goose Down
ALTER TABLE invitations DROP COLUMN group_names;
DROP TABLE app_rule_groups;
DROP TABLE user_groups;
