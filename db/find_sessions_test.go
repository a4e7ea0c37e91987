package db_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"porchlight/db"
)

// This file tests the list of everybody's sessions.

// found returns the ids that a filter selects.
func (c *cast) found(filter db.SessionFilter) (ids []string) {
	c.t.Helper()
	sessions, err := c.FindSessions(filter, 50)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, session := range sessions {
		ids = append(ids, session.ID)
	}
	return ids
}

func TestFindSessions(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.clock.Advance(48 * time.Hour)
	tablet := c.signIn(c.bob, chromeOnMac, "192.0.2.40")
	c.use(tablet, notes)
	c.flush()
	c.exec(`UPDATE sessions SET last_ip = '198.51.100.9' WHERE id = $1`, c.phone.ID)
	ended := c.signIn(c.bob, chromeOnMac, "192.0.2.41")
	c.exec(`UPDATE sessions SET expires_at = $1 WHERE id = $2`, c.clock.Now().UnixMilli(), ended.ID)
	began := c.texts(`SELECT id FROM sessions WHERE id <> $1 ORDER BY rowid DESC`, ended.ID)
	if began[0] != tablet.ID || len(began) != 4 {
		t.Fatalf("the sessions, newest first, are %q", began)
	}
	ofAlice := slices.DeleteFunc(slices.Clone(began), func(id string) bool { return id != c.phone.ID && id != c.laptop.ID })
	signedInFrom := c.text(`SELECT ip FROM sessions WHERE id = $1`, c.phone.ID)
	for name, test := range map[string]struct {
		filter db.SessionFilter
		want   []string
	}{
		"everything":           {db.SessionFilter{}, began},
		"a person":             {db.SessionFilter{Username: " Alice "}, ofAlice},
		"nobody":               {db.SessionFilter{Username: "carol"}, nil},
		"an app":               {db.SessionFilter{Host: notes}, []string{tablet.ID}},
		"another app":          {db.SessionFilter{Host: "photos.example.com"}, nil},
		"the address it began": {db.SessionFilter{IP: signedInFrom, Username: "alice"}, []string{c.phone.ID}},
		"the address now":      {db.SessionFilter{IP: "198.51.100.9"}, []string{c.phone.ID}},
		"unused for a day":     {db.SessionFilter{UnusedFor: 24 * time.Hour}, began[1:]},
		"unused for a week":    {db.SessionFilter{UnusedFor: 7 * 24 * time.Hour}, nil},
		"several at once":      {db.SessionFilter{Username: "bob", UnusedFor: 24 * time.Hour}, []string{c.desk.ID}},
	} {
		if got := c.found(test.filter); !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
	c.exec(`UPDATE users SET disabled = 1 WHERE username = 'bob'`)
	if got := c.found(db.SessionFilter{}); !slices.Equal(got, ofAlice) {
		t.Errorf("of a disabled account: %q", got)
	}
}

func TestFindSessionsInPages(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	want := c.found(db.SessionFilter{})
	for _, username := range []string{"", "alice"} {
		var got []string
		filter := db.SessionFilter{Username: username}
		for range 5 {
			page, err := c.FindSessions(filter, 1)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
			got = append(got, page[0].ID)
			filter.Before = page[0].Position
		}
		if whole := c.found(db.SessionFilter{Username: username}); !slices.Equal(got, whole) || username == "" && !slices.Equal(got, want) {
			t.Errorf("%q: %q in pages, %q at once", username, got, whole)
		}
	}
}

func TestRevokeSessions(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	ids := []string{c.laptop.ID, c.desk.ID, c.phone.ID, c.desk.ID, "nowhere", `"`}
	count, err := c.RevokeSessions(c.ctx(), db.Administrator(c.laptop.Session), ids)
	if err != nil || count != 2 {
		t.Errorf("RevokeSessions: %d, %v", count, err)
	}
	c.wantEnded(c.desk, c.phone)
	c.alive(c.laptop)
	c.wantLatest(c.bob, happening{db.Revoked, c.desk.IP, c.desk.DeviceName, c.desk.ID, "admin alice", 1})
	tablet := c.signIn(c.bob, chromeOnMac, "192.0.2.40")
	if _, err := c.RevokeSessions(c.ctx(), db.Administrator(tablet.Session), []string{c.laptop.ID}); !errors.Is(err, db.ErrNotAdmin) {
		t.Error("by somebody who is no administrator:", err)
	}
	c.alive(c.laptop)
}
