package db_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"porchlight/db"
)

func (s *accountStore) invite(new db.NewUser) string {
	s.t.Helper()
	token, _, err := s.Invite(context.Background(), db.CommandLine, new)
	if err != nil {
		s.t.Fatal(err)
	}
	return token
}

func (s *accountStore) accept(token, password string) error {
	_, _, err := s.AcceptInvitation(context.Background(), token, password, clientOf(accountIP, "Firefox on Linux"))
	return err
}

func TestInviteNewAccount(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := openAccountStore(t)
	token := s.invite(db.NewUser{Username: " Carol ", Email: "Carol@Example.com"})
	invitation, err := s.Invitation(ctx, token, db.Client{IP: accountIP})
	if err != nil || invitation.Username != "carol" || !invitation.New {
		t.Fatalf("the invitation is %+v, %v", invitation, err)
	}
	s.wantRows([]string{}, `SELECT id FROM users`) // not before it is accepted
	s.wantErr(s.accept(token, accountPassword), nil)
	s.wantRows([]string{"carol carol@example.com 1 0"},
		`SELECT username, email, is_admin, disabled FROM users`) // the first is an administrator
	s.wantRows([]string{"invited command"}, `SELECT kind, done_by FROM activity`)
	s.wantErr(s.try("carol@example.com", accountPassword, accountIP), nil)

	for name, want := range map[string]bool{"dave": false, "erin": true} {
		s.wantErr(s.accept(s.invite(db.NewUser{Username: name, IsAdmin: want}), accountPassword), nil)
		s.wantRows([]string{fmt.Sprintf("%d ", map[bool]int{true: 1}[want])}, `SELECT is_admin, email FROM users WHERE username = ?`, name)
	}
	s.wantRows([]string{}, `SELECT username FROM invitations`)
	s.wantRows([]string{}, `SELECT id FROM attempts`)
}

func TestInviteExistingAccount(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := openAccountStore(t)
	s.add(db.NewUser{Username: "alice"})
	bob := s.add(db.NewUser{Username: "bob"})
	one, _ := s.signIn(bob, "Chrome on macOS")
	token := s.invite(db.NewUser{Username: "BOB"})
	if invitation, err := s.Invitation(ctx, token, db.Client{IP: accountIP}); err != nil || invitation.Username != "bob" || invitation.New {
		t.Fatalf("the invitation is %+v, %v", invitation, err)
	}
	s.wantErr(s.try("bob", accountPassword, accountIP), nil) // an invitation changes nothing until it is accepted
	if _, err := s.Resume(one); err != nil {
		t.Fatal(err)
	}

	s.wantErr(s.accept(token, accountNewPassword), nil)
	_, err := s.Resume(one)
	s.wantErr(err, db.ErrNotFound)
	s.wantErr(s.try("bob", accountPassword, accountIP), db.ErrWrongPassword)
	s.wantErr(s.try("bob", accountNewPassword, accountIP), nil)
	s.wantRows([]string{"bob 0"}, `SELECT username, is_admin FROM users WHERE id = ?`, bob.ID)
	s.wantRows([]string{"invited", "password_changed", "revoked", "signed_in"},
		`SELECT kind FROM activity WHERE user_id = ? ORDER BY kind`, bob.ID)

	for _, new := range []db.NewUser{{Username: "bob", IsAdmin: true}, {Username: "bob", Email: "bob@example.com"}} {
		var invalid db.Invalid
		if _, _, err := s.Invite(ctx, db.CommandLine, new); !errors.As(err, &invalid) {
			t.Errorf("invite %+v: %v", new, err)
		}
	}
	s.wantRows([]string{}, `SELECT username FROM invitations`)
}

func TestInviteRefusesWhatCannotBeAnAccount(t *testing.T) {
	t.Parallel()
	s := openAccountStore(t)
	s.add(db.NewUser{Username: "alice", Email: "alice@example.com"})
	for _, new := range []db.NewUser{
		{Username: ""}, {Username: "a b"}, {Username: "-x"}, {Username: "<b>"}, {Username: "carol", Email: "nowhere"},
		{Username: "carol", Email: "alice@example.com"}, // its link could never work
	} {
		var invalid db.Invalid
		if _, _, err := s.Invite(context.Background(), db.CommandLine, new); !errors.As(err, &invalid) {
			t.Errorf("invite %+v: %v", new, err)
		}
	}
	s.wantRows([]string{}, `SELECT username FROM invitations`)
}

func TestInvitationTokenIsNotStored(t *testing.T) {
	t.Parallel()
	s := openAccountStore(t)
	s.add(db.NewUser{Username: "alice"})
	for _, name := range []string{"alice", "carol"} {
		token := s.invite(db.NewUser{Username: name})
		s.wantRows([]string{name}, `SELECT username FROM invitations WHERE length(token_hash) = 32 AND username = ?`, name)
		for _, file := range []string{s.options.Path, s.options.Path + "-wal"} {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(content), token) {
				t.Errorf("%s holds the token of an invitation", file)
			}
		}
	}
}

func TestInvitationIsValidOnce(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"alice", "carol"} {
		s := openAccountStore(t)
		s.add(db.NewUser{Username: "alice"})
		token := s.invite(db.NewUser{Username: name})
		s.wantErr(s.accept(token, accountNewPassword), nil)
		s.wantErr(s.accept(token, "another dozen pickled lamps"), db.ErrNotFound)
		_, err := s.Invitation(context.Background(), token, db.Client{IP: accountIP})
		s.wantErr(err, db.ErrNotFound)
		s.wantErr(s.try(name, accountNewPassword, accountIP), nil)
	}
}

func TestInvitationLasts72Hours(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"alice", "carol"} {
		s := openAccountStore(t)
		s.add(db.NewUser{Username: "alice"})
		token := s.invite(db.NewUser{Username: name})
		s.clock.Advance(72*time.Hour - time.Millisecond)
		if _, err := s.Invitation(context.Background(), token, db.Client{IP: accountIP}); err != nil {
			t.Fatal("before 72 hours:", err)
		}
		if err := s.Sweep(context.Background(), s.clock.Now()); err != nil {
			t.Fatal(err)
		}
		s.wantRows([]string{name}, `SELECT username FROM invitations`)
		s.clock.Advance(time.Millisecond)
		_, err := s.Invitation(context.Background(), token, db.Client{IP: accountIP})
		s.wantErr(err, db.ErrNotFound)
		s.wantErr(s.accept(token, accountNewPassword), db.ErrNotFound)
		s.wantRows([]string{"alice"}, `SELECT username FROM users`)
		s.wantErr(s.try("alice", accountPassword, accountIP), nil)
		if err := s.Sweep(context.Background(), s.clock.Now()); err != nil {
			t.Fatal(err)
		}
		s.wantRows([]string{}, `SELECT username FROM invitations`)
	}
}

func TestInvitationIsVoid(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for name, after := range map[string]func(s *accountStore, by db.Session) error{
		"a newer one": func(s *accountStore, _ db.Session) error {
			_, _, err := s.Invite(ctx, db.CommandLine, db.NewUser{Username: "bob"})
			return err
		},
		"passwd": func(s *accountStore, _ db.Session) error {
			return s.SetPassword(ctx, db.CommandLine, "bob", "another dozen pickled lamps")
		},
		"change of password": func(s *accountStore, by db.Session) error {
			_, err := s.ChangePassword(ctx, by, db.Client{IP: accountIP},
				db.PasswordChange{Current: accountPassword, New: "another dozen pickled lamps"})
			return err
		},
		"disable": func(s *accountStore, _ db.Session) error { return s.DisableUser(ctx, db.CommandLine, "bob", true) },
		"disable and enable": func(s *accountStore, _ db.Session) error {
			return errors.Join(s.DisableUser(ctx, db.CommandLine, "bob", true), s.EnableUser(ctx, db.CommandLine, "bob"))
		},
		"delete": func(s *accountStore, _ db.Session) error { return s.DeleteUser(ctx, db.CommandLine, "bob", true) },
		"deletion by the user": func(s *accountStore, by db.Session) error {
			return s.DeleteAccount(ctx, by, db.Client{IP: accountIP}, accountPassword)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := openAccountStore(t)
			s.add(db.NewUser{Username: "alice"})
			_, session := s.signIn(s.add(db.NewUser{Username: "bob"}), "Chrome on macOS")
			token := s.invite(db.NewUser{Username: "bob"})
			other := s.invite(db.NewUser{Username: "alice"})
			if err := after(s, session); err != nil {
				t.Fatal(err)
			}
			before := s.rows(`SELECT username, password_hash FROM users`)
			_, err := s.Invitation(ctx, token, db.Client{IP: accountIP})
			s.wantErr(err, db.ErrNotFound)
			s.wantErr(s.accept(token, accountNewPassword), db.ErrNotFound)
			s.wantRows(before, `SELECT username, password_hash FROM users`)
			if _, err := s.Invitation(ctx, other, db.Client{IP: accountIP}); err != nil {
				t.Error("somebody else's invitation:", err)
			}
		})
	}
}

func TestInviteNewerVoidsOlderForNewAccount(t *testing.T) {
	t.Parallel()
	s := openAccountStore(t)
	s.add(db.NewUser{Username: "alice"})
	old := s.invite(db.NewUser{Username: "carol", IsAdmin: true, Email: "carol@example.com"})
	new := s.invite(db.NewUser{Username: "carol"})
	s.wantErr(s.accept(old, accountPassword), db.ErrNotFound)
	s.wantErr(s.accept(new, accountPassword), nil)
	// Nothing of the older invitation is left.
	s.wantRows([]string{"carol  0"}, `SELECT username, email, is_admin FROM users WHERE username = 'carol'`)
}

func TestInviteDisabledAccount(t *testing.T) {
	t.Parallel()
	s := openAccountStore(t)
	s.add(db.NewUser{Username: "alice"})
	s.add(db.NewUser{Username: "bob"})
	if err := s.DisableUser(context.Background(), db.CommandLine, "bob", true); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Invite(context.Background(), db.CommandLine, db.NewUser{Username: "bob"}); err == nil {
		t.Error("a disabled account was invited")
	}
	s.wantRows([]string{}, `SELECT username FROM invitations`)
	s.wantRows([]string{}, `SELECT id FROM activity WHERE kind = 'invited'`)
}

func TestInvitationOfANameThatWasTaken(t *testing.T) {
	t.Parallel()
	s := openAccountStore(t)
	s.add(db.NewUser{Username: "alice"})
	token := s.invite(db.NewUser{Username: "carol", IsAdmin: true})
	stranger := s.add(db.NewUser{Username: "carol"})
	session, _ := s.signIn(stranger, "Chrome on macOS")
	before := s.rows(`SELECT * FROM users`)
	var invalid db.Invalid
	if err := s.accept(token, accountNewPassword); !errors.As(err, &invalid) || invalid["username"] == "" {
		t.Errorf("got %v", err)
	}
	s.wantRows(before, `SELECT * FROM users`)
	s.wantErr(s.try("carol", accountPassword, accountIP), nil)
	if _, err := s.Resume(session); err != nil {
		t.Error("the stranger's session:", err)
	}
	s.wantRows([]string{"signed_in"}, `SELECT kind FROM activity WHERE user_id = ?`, stranger.ID)
	s.wantRows([]string{"carol"}, `SELECT username FROM invitations`) // it stands
}

func TestInvitationAcceptedTwiceAtOnce(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"alice", "carol"} {
		s := openAccountStore(t)
		s.add(db.NewUser{Username: "alice"})
		token := s.invite(db.NewUser{Username: name})
		passwords := []string{"another dozen pickled lamps", "violet anchor drizzle spoon", "copper tunnel walnut breeze",
			"saddle mirror puzzle onion"}
		type result struct {
			password string
			err      error
		}
		results := make(chan result)
		for _, password := range passwords {
			go func() { results <- result{password, s.accept(token, password)} }()
		}
		var winners []string
		for range passwords {
			switch r := <-results; {
			case r.err == nil:
				winners = append(winners, r.password)
			case !errors.Is(r.err, db.ErrNotFound):
				t.Error(r.err)
			}
		}
		if len(winners) != 1 {
			t.Fatalf("%s: %d passed", name, len(winners))
		}
		s.wantErr(s.try(name, winners[0], accountIP), nil)
		s.wantRows([]string{"1"}, `SELECT COUNT(*) FROM users WHERE username = ?`, name)
	}
}

// An invitation from before the account was created is deleted with it. Otherwise the link would create the account again.
func TestDeletedAccountIsNotCreatedAgain(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := openAccountStore(t)
	s.add(db.NewUser{Username: "alice"})
	token, _, err := s.Invite(ctx, db.CommandLine, db.NewUser{Username: "eve"})
	s.wantErr(err, nil)
	s.add(db.NewUser{Username: "eve"})
	s.wantErr(s.DeleteUser(ctx, db.CommandLine, "eve", true), nil)
	_, err = s.Invitation(ctx, token, db.Client{IP: accountIP})
	s.wantErr(err, db.ErrNotFound)
}

func TestInvitationOfADisabledAccount(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := openAccountStore(t)
	s.add(db.NewUser{Username: "alice"})
	s.add(db.NewUser{Username: "bob"})
	_, _, err := s.Invite(ctx, db.CommandLine, db.NewUser{Username: "bob"})
	s.wantErr(err, nil)
	s.wantErr(s.DisableUser(ctx, db.CommandLine, "bob", true), nil)
	s.wantRows(nil, `SELECT username FROM invitations`)
	_, _, err = s.Invite(ctx, db.CommandLine, db.NewUser{Username: "bob"})
	s.wantErr(err, db.ErrDisabled)
}
