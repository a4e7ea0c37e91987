package db_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"porchlight/db"
	"porchlight/db/dbtest"
)

const (
	accountPassword    = "quartz lamp fjord"
	accountNewPassword = "umber quill basil"
	accountWrong       = "not the password of anybody"
	accountIP          = "203.0.113.7"
)

// accountStore is a store whose tests sign in through Authenticate.
type accountStore struct{ *house }

func openAccountStore(t testing.TB) *accountStore {
	t.Helper()
	return &accountStore{openHouse(t)}
}

func (s *accountStore) add(new db.NewUser) db.User {
	s.t.Helper()
	if new.Password == "" {
		new.Password = accountPassword
	}
	user, err := s.CreateUser(context.Background(), new)
	if err != nil {
		s.t.Fatal(err)
	}
	return user
}

// signIn begins a session without Authenticate.
func (s *accountStore) signIn(user db.User, device string) (token string, session db.Session) {
	s.t.Helper()
	token, session, err := s.SignIn(context.Background(), user,
		db.NewSession{Client: db.Client{DeviceName: device, DeviceKind: "desktop", IP: accountIP}})
	if err != nil {
		s.t.Fatal(err)
	}
	return token, session
}

// try checks a password without beginning a session.
func (s *accountStore) try(name, password, ip string) error {
	_, err := s.Authenticate(context.Background(), name, password, clientOf(ip, "Firefox on Linux"))
	return err
}

// trySession checks a password and begins a session.
func (s *accountStore) trySession(name, password, ip string) error {
	user, err := s.Authenticate(context.Background(), name, password, clientOf(ip, "Firefox on Linux"))
	if err == nil {
		s.signIn(user, "Firefox on Linux")
	}
	return err
}

func clientOf(ip, deviceName string) db.Client {
	return db.Client{IP: ip, DeviceName: deviceName}
}

func (s *accountStore) rows(query string, args ...any) []string {
	s.t.Helper()
	return dbtest.Rows(s.t, s.options.Path, query, args...)
}

func (s *accountStore) wantRows(want []string, query string, args ...any) {
	s.t.Helper()
	if got := s.rows(query, args...); !slices.Equal(got, want) {
		s.t.Errorf("%s\n got %q\nwant %q", query, got, want)
	}
}

func (s *accountStore) wantErr(got, want error) {
	s.t.Helper()
	if !errors.Is(got, want) {
		s.t.Fatalf("got %v, want %v", got, want)
	}
}

func TestSetPasswordEndsEverySession(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := openAccountStore(t)
	alice, bob := s.add(db.NewUser{Username: "alice"}), s.add(db.NewUser{Username: "bob"})
	one, _ := s.signIn(alice, "Firefox on Linux")
	two, _ := s.signIn(alice, "Safari on iPhone")
	other, _ := s.signIn(bob, "Chrome on macOS")

	if err := s.SetPassword(ctx, db.CommandLine, " ALICE ", accountNewPassword); err != nil {
		t.Fatal(err)
	}
	for _, token := range []string{one, two} {
		_, err := s.Resume(token)
		s.wantErr(err, db.ErrNotFound)
	}
	if _, err := s.Resume(other); err != nil {
		t.Error("somebody else's session has ended:", err)
	}
	s.wantErr(s.try("alice", accountPassword, accountIP), db.ErrWrongPassword)
	s.wantErr(s.try("alice", accountNewPassword, accountIP), nil)
	s.wantErr(s.try("bob", accountPassword, accountIP), nil)
	s.wantRows([]string{"password_changed command ", "revoked command Firefox on Linux", "revoked command Safari on iPhone"},
		`SELECT kind, done_by, device_name FROM activity WHERE user_id = ? AND kind <> 'signed_in' ORDER BY kind, device_name`, alice.ID)
	s.wantRows([]string{}, `SELECT id FROM activity WHERE user_id = ? AND kind <> 'signed_in'`, bob.ID)

	s.wantErr(s.SetPassword(ctx, db.CommandLine, "nobody", accountNewPassword), db.ErrNotFound)
	var invalid db.Invalid
	if err := s.SetPassword(ctx, db.CommandLine, "bob", "short"); !errors.As(err, &invalid) || invalid["password"] == "" {
		t.Errorf("a short password: %v", err)
	}
	s.wantErr(s.try("bob", accountPassword, accountIP), nil)
}

// A user who was authenticated just before the password was set must not get a session for the old password.
func TestSignInAgainstSetPassword(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := openAccountStore(t)
	s.add(db.NewUser{Username: "alice"})
	user, err := s.Authenticate(ctx, "alice", accountPassword, db.Client{IP: accountIP})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SetPassword(ctx, db.CommandLine, "alice", accountNewPassword); err != nil {
		t.Fatal(err)
	}
	_, _, err = s.SignIn(ctx, user, db.NewSession{Client: db.Client{DeviceName: "Firefox on Linux", DeviceKind: "desktop", IP: accountIP}})
	s.wantErr(err, db.ErrWrongPassword)
	s.wantRows([]string{}, `SELECT id FROM sessions`)
}

func TestDisableAndEnableUser(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := openAccountStore(t)
	alice, bob := s.add(db.NewUser{Username: "alice"}), s.add(db.NewUser{Username: "bob"})
	token, _ := s.signIn(alice, "Firefox on Linux")
	other, _ := s.signIn(bob, "Chrome on macOS")

	for range 2 { // the second time it is no error and records nothing
		s.wantErr(s.DisableUser(ctx, db.CommandLine, "alice", true), nil)
	}
	_, err := s.Resume(token)
	s.wantErr(err, db.ErrNotFound)
	s.wantErr(s.try("alice", accountPassword, accountIP), db.ErrWrongPassword)
	s.wantRows([]string{"disabled command", "revoked command"},
		`SELECT kind, done_by FROM activity WHERE user_id = ? AND kind <> 'signed_in' ORDER BY id`, alice.ID)
	s.wantRows([]string{"1"}, `SELECT disabled FROM users WHERE username = 'alice'`)
	s.wantRows([]string{}, `SELECT id FROM sessions WHERE user_id = ?`, alice.ID)
	if _, err := s.Resume(other); err != nil {
		t.Error("somebody else's session has ended:", err)
	}

	for range 2 {
		s.wantErr(s.EnableUser(ctx, db.CommandLine, "alice"), nil)
	}
	_, err = s.Resume(token)
	s.wantErr(err, db.ErrNotFound) // enabling brings no session back
	s.wantErr(s.try("alice", accountPassword, accountIP), nil)
	s.wantRows([]string{"disabled command", "revoked command", "enabled command"},
		`SELECT kind, done_by FROM activity WHERE user_id = ? AND kind IN ('disabled', 'revoked', 'enabled') ORDER BY id`, alice.ID)

	s.wantErr(s.DisableUser(ctx, db.CommandLine, "nobody", true), db.ErrNotFound)
}

func TestDeleteUser(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := openAccountStore(t)
	alice := s.add(db.NewUser{Username: "alice"})
	bob := s.add(db.NewUser{Username: "bob", Email: "bob@example.com"})
	kept, _ := s.signIn(alice, "Firefox on Linux")
	token, _ := s.signIn(bob, "Chrome on macOS")
	if _, _, err := s.Invite(ctx, db.CommandLine, db.NewUser{Username: "bob"}); err != nil {
		t.Fatal(err)
	}
	s.wantErr(s.try("bob", accountWrong, accountIP), db.ErrWrongPassword)

	s.wantErr(s.DeleteUser(ctx, db.CommandLine, "bob@example.com", true), db.ErrNotFound) // commands accept only usernames
	s.wantErr(s.DeleteUser(ctx, db.CommandLine, "Bob", true), nil)
	s.wantErr(s.DeleteUser(ctx, db.CommandLine, "bob", true), db.ErrNotFound)
	_, err := s.Resume(token)
	s.wantErr(err, db.ErrNotFound)
	s.wantRows([]string{"alice"}, `SELECT username FROM users`)
	s.wantRows([]string{"1"}, `SELECT DISTINCT user_id FROM sessions`)
	s.wantRows([]string{"1"}, `SELECT DISTINCT user_id FROM activity`)
	s.wantRows([]string{}, `SELECT username FROM invitations`)
	s.wantRows([]string{}, `SELECT key FROM consecutive_failures`)
	if _, err := s.Resume(kept); err != nil {
		t.Error("somebody else's session has ended:", err)
	}

	again := s.add(db.NewUser{Username: "bob", Reuse: true})
	if again.ID == bob.ID {
		t.Error("the id of a deleted account was used again")
	}
}

// Notes about a deleted account must not keep other notes from being written.
func TestFlushAfterAccountWasDeleted(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := openAccountStore(t)
	alice, bob := s.add(db.NewUser{Username: "alice"}), s.add(db.NewUser{Username: "bob"})
	_, session := s.signIn(bob, "Chrome on macOS")
	s.clock.Advance(2 * time.Minute)
	s.Touch(session)
	s.wantErr(s.try("bob", accountWrong, accountIP), db.ErrWrongPassword)
	s.wantErr(s.try("alice", accountWrong, accountIP), db.ErrWrongPassword)
	s.wantErr(s.DeleteUser(ctx, db.CommandLine, "bob", true), nil)

	for range 2 {
		if err := s.Flush(ctx); err != nil {
			t.Errorf("flush: %v", err)
		}
	}
	s.wantRows([]string{"1 sign_in_failed 1"}, `SELECT user_id, kind, count FROM activity WHERE kind = 'sign_in_failed'`)
	_ = alice
}

func TestDeleteAccountKeepsTheLastAdministrator(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := openAccountStore(t)
	alice := s.add(db.NewUser{Username: "alice"}) // the first: an administrator
	token, session := s.signIn(alice, "Firefox on Linux")
	s.add(db.NewUser{Username: "bob"})
	s.add(db.NewUser{Username: "carol", IsAdmin: true})

	s.wantErr(s.DisableUser(ctx, db.CommandLine, "carol", true), nil) // a disabled administrator does not count
	s.wantErr(s.DeleteAccount(ctx, session, db.Client{IP: accountIP}, accountPassword), db.ErrLastAdmin)
	if _, err := s.Resume(token); err != nil {
		t.Error("after a refusal:", err)
	}
	s.wantRows([]string{"alice", "bob", "carol"}, `SELECT username FROM users ORDER BY id`)
	s.wantRows([]string{}, `SELECT id FROM attempts`) // the password was right

	s.wantErr(s.EnableUser(ctx, db.CommandLine, "carol"), nil)
	s.wantErr(s.DeleteAccount(ctx, session, db.Client{IP: accountIP}, accountPassword), nil)
	s.wantRows([]string{"bob", "carol"}, `SELECT username FROM users ORDER BY id`)
}

func TestTwoAdministratorsDeleteThemselvesAtOnce(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := openAccountStore(t)
	_, one := s.signIn(s.add(db.NewUser{Username: "alice"}), "Firefox on Linux")
	_, two := s.signIn(s.add(db.NewUser{Username: "carol", IsAdmin: true}), "Safari on iPhone")
	errs := make(chan error, 2)
	for _, session := range []db.Session{one, two} {
		go func() { errs <- s.DeleteAccount(ctx, session, db.Client{IP: accountIP}, accountPassword) }()
	}
	deleted, refused := 0, 0
	for range 2 {
		switch err := <-errs; {
		case err == nil:
			deleted++
		case errors.Is(err, db.ErrLastAdmin):
			refused++
		default:
			t.Error(err)
		}
	}
	if deleted != 1 || refused != 1 {
		t.Errorf("%d deleted, %d refused", deleted, refused)
	}
	s.wantRows([]string{"1"}, `SELECT COUNT(*) FROM users WHERE is_admin = 1`)
}

func TestDeleteAccountByAnEndedSession(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := openAccountStore(t)
	s.add(db.NewUser{Username: "alice"})
	bob := s.add(db.NewUser{Username: "bob"})
	_, session := s.signIn(bob, "Chrome on macOS")
	s.wantErr(s.SignOut(ctx, session), nil)
	s.wantErr(s.DeleteAccount(ctx, session, db.Client{IP: accountIP}, accountPassword), db.ErrSessionEnded)
	s.wantRows([]string{"alice", "bob"}, `SELECT username FROM users ORDER BY id`)
}

// The failures of a deleted account must not count for a later account with the same name.
func TestDeleteAccountForgetsItsAttempts(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := openAccountStore(t)
	s.add(db.NewUser{Username: "alice"})
	bob := s.add(db.NewUser{Username: "bob"})
	_, session := s.signIn(bob, "Chrome on macOS")
	for range 3 {
		_, err := s.Authenticate(ctx, "bob", "not it", db.Client{IP: accountIP})
		s.wantErr(err, db.ErrWrongPassword)
	}
	s.wantErr(s.DeleteAccount(ctx, session, db.Client{IP: accountIP}, accountPassword), nil)
	s.wantRows([]string{"3"}, `SELECT COUNT(*) FROM attempts`) // those of the address
	s.wantRows(nil, `SELECT key FROM consecutive_failures`)
}
