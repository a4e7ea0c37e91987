package db

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// AppUse is an app that a session was used for.
type AppUse struct {
	Host       string // in lower case, without port
	LastUsedAt time.Time
}

// maxApps is how many apps are stored for a session: the most recently used ones.
const maxApps = 50

// appsOfSession selects the apps of a session as one column for parseAppUses: "notes.example.com 1763460120000,…". A host contains
// neither separator.
const appsOfSession = `COALESCE((SELECT group_concat(a.host || ' ' || a.last_used_at) FROM session_apps a WHERE a.session_id = s.id), '')`

// parseAppUses returns the apps, most recently used first.
func parseAppUses(text string) (uses []AppUse) {
	if text == "" {
		return nil
	}
	for use := range strings.SplitSeq(text, ",") {
		host, at, _ := strings.Cut(use, " ")
		ms, _ := strconv.ParseInt(at, 10, 64) // an INTEGER column of a STRICT table
		uses = append(uses, AppUse{host, time.UnixMilli(ms)})
	}
	slices.SortFunc(uses, func(a, b AppUse) int {
		return cmp.Or(b.LastUsedAt.Compare(a.LastUsedAt), strings.Compare(a.Host, b.Host))
	})
	return uses
}

// appUse is the key of a note: the session, and the app that it was used for.
type appUse struct{ sessionID, host string }

// useApp notes that a session was used for an app. It notes at most maxApps apps of one session, so that a client that invents
// hosts cannot fill the memory.
func (p *pending) useApp(use appUse, at int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, noted := p.apps[use]; !noted {
		if p.appsOf[use.sessionID] >= maxApps {
			return
		}
		p.appsOf[use.sessionID]++
	}
	p.apps[use] = note{at: at}
}

// recountApps counts the apps that were noted during a flush.
func (p *pending) recountApps() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.appsOf)
	for use := range p.apps {
		p.appsOf[use.sessionID]++
	}
}

// writeApps writes which apps were used. It writes nothing for a session that has ended in the meantime.
func (s *Store) writeApps(tx *tx, batch map[appUse]note) error {
	sessions := map[string]bool{}
	for use, n := range batch {
		sessions[use.sessionID] = true
		if _, err := tx.Exec(`
			INSERT INTO session_apps (session_id, host, last_used_at)
			SELECT id, $1, $2
			FROM sessions
			WHERE id = $3
			ON CONFLICT (session_id, host) DO UPDATE SET last_used_at = excluded.last_used_at`, use.host, n.at, use.sessionID); err != nil {
			return err
		}
	}
	for id := range sessions {
		if err := tx.wakeUserOf(id); err != nil {
			return err
		}
		if _, err := tx.Exec(`
			DELETE FROM session_apps
			WHERE session_id = $1 AND host IN (SELECT host FROM session_apps
			                                   WHERE session_id = $1
			                                   ORDER BY last_used_at DESC, host
			                                   LIMIT -1 OFFSET $2)`, id, maxApps); err != nil {
			return err
		}
	}
	return nil
}
