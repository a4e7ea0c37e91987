package handlers

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"porchlight/db"
)

const (
	rowsShown    = 20  // other devices on the page at first; "Show all" shows the rest
	maxRows      = 100 // of the rest on one page: browsers take seconds for several hundred forms
	maxPages     = 100
	rowsFiltered = 10 // with this many other devices, the list has a field that filters them
	recentShown  = 5  // entries of activity below the list
)

// sessionList is the data of the list section, both as a part of the page and as a fragment.
type sessionList struct {
	Now     moment
	Current sessionRow
	Others  []sessionRow
	Count   int // of the other devices, including those that are not shown
	Page    int // which hundred of the other devices is shown; 0 is the first few
	Recent  []activityEntry
	Status  notice // what has just happened, for the status region; only in the fragment
}

// lastActivity returns the id of the newest activity when the list was read, or 0. The event stream of the page begins after it, so it
// must not be newer than the devices.
func (l sessionList) lastActivity() int64 {
	if len(l.Recent) == 0 {
		return 0
	}
	return l.Recent[0].ID
}

// Folded reports whether there are more devices than the list shows at first.
func (l sessionList) Folded() bool { return l.Count > rowsShown }

// Next returns the next page, or 0 if this is the last one.
func (l sessionList) Next() int {
	if l.Page < maxPages && l.Count > l.Page*maxRows {
		return l.Page + 1
	}
	return 0
}

// Previous returns the page before this one, or 0 if this is the first one.
func (l sessionList) Previous() int { return max(l.Page-1, 0) }

// Filtered reports whether the list is long enough for a field to filter it.
func (l sessionList) Filtered() bool { return len(l.Others) >= rowsFiltered }

// newOnes returns the ids of the devices that are shown as new.
func (l sessionList) newOnes() (ids []string) {
	for _, row := range l.Others {
		if row.IsNew {
			ids = append(ids, row.ID)
		}
	}
	return ids
}

// find returns the row of a session, or nil if the list does not show it.
func (l *sessionList) find(id string) *sessionRow {
	if l.Current.ID == id {
		return &l.Current
	}
	for i := range l.Others {
		if l.Others[i].ID == id {
			return &l.Others[i]
		}
	}
	return nil
}

// sessionRow is everything that the row of a device shows.
type sessionRow struct {
	rowFacts
	Apps usedApps
}

// rowFacts is sessionRow without its apps.
type rowFacts struct {
	ID           string
	Path         string // of the list, below which the forms of the row are
	DeviceName   string
	CustomName   string
	NameError    string // what is wrong with the name that was typed; CustomName is then that name
	NamedBy      string // the device that gave CustomName, if it was another one
	Icon         string // desktop, phone, tablet, terminal, unknown or key
	Host         string // the only one that an app key opens; "" is a browser
	Unused       bool   // an app key that has not opened its app yet
	Endless      bool   // an app key that never expires
	DetectedName string // the browser at sign-in
	Browser      string // as last used
	OtherBrowser string // another than at sign-in that used the session, or ""
	SignInIP     string
	IP           string // as last used from
	UserAgent    string
	Method       string
	SameNetwork  bool // as this device
	NewNetwork   bool
	IsNew        bool
	Shared       bool
	Current      bool
	Twin         bool   // another row has the same name and IP address
	Active       bool   // now
	Ago          string // "Active now" or, for example, "9 minutes ago"
	LastActive   moment
	SignedIn     moment
	Expires      moment // if it is not used
	Ends         moment // even if it is used
}

// Yours reports whether the row is in the list of the person who looks at it. An administrator cannot rename the devices of others.
func (r rowFacts) Yours() bool { return r.Path == sessionsPath }

// rowKey is a sessionRow as the key of a map, which cannot hold a list of apps.
type rowKey struct {
	rowFacts
	apps string
}

// key returns the key of the row in a fragmentCache. A row with a name that was refused is not cached: that name may have any length.
func (r sessionRow) key() (key rowKey, cacheable bool) {
	var apps strings.Builder
	for _, app := range r.Apps {
		apps.WriteString(app.Host + "\t" + app.LastUsed.Machine() + "\n")
	}
	return rowKey{r.rowFacts, apps.String()}, r.NameError == ""
}

// activeNow is how long after its last use a device counts as active now.
const activeNow = 3 * time.Minute

// newRow returns the row of a session in the list of the session own.
func (h *handler) newRow(session, own db.Session) sessionRow {
	current := session.ID == own.ID
	row := sessionRow{rowFacts: rowFacts{
		ID: session.ID, Path: sessionsPath, DeviceName: session.DeviceName, CustomName: session.CustomName, NamedBy: session.NamedBy,
		Icon: session.DeviceKind, Host: session.Host,
		DetectedName: session.DetectedName, Browser: session.Browser, OtherBrowser: session.OtherBrowser,
		SignInIP: session.SignInIP, IP: session.IP, UserAgent: session.UserAgent, Method: session.Method,
		SameNetwork: !current && session.Network != "" && session.Network == own.Network, NewNetwork: !current && session.NewNetwork,
		IsNew: !current && session.IsNew, Shared: session.Shared, Current: current,
		LastActive: newMoment(session.LastActiveAt), SignedIn: newMoment(session.CreatedAt), Expires: newMoment(session.ExpiresAt),
		Ends: newMoment(session.EndsAt),
	}}
	if session.Kind == db.AppKey {
		row.Icon, row.Unused, row.Endless = "key", len(session.Apps) == 0, session.NeverExpires()
		row.SameNetwork = row.SameNetwork && !row.Unused // until then, its address is that of the browser that created it
	} else {
		row.Apps = newUsedApps(session.Apps) // the row of a key names its only app
	}
	now := h.Store.Now()
	if row.Active = current || now.Sub(session.LastActiveAt) < activeNow; row.Active {
		row.Ago = "Active now"
	} else {
		row.Ago = row.LastActive.ago(now)
	}
	return row
}

// markTwins marks the rows whose buttons would otherwise have the same name for a screen reader.
func markTwins(rows []sessionRow) {
	type name struct{ device, ip string }
	first := map[name]int{}
	for i := range rows {
		key := name{rows[i].DeviceName, rows[i].IP}
		if twin, found := first[key]; found {
			rows[twin].Twin, rows[i].Twin = true, true
		} else {
			first[key] = i
		}
	}
}

// loadList reads the caller's devices: this one, and then the others, most recently active first.
func (h *handler) loadList(c *fiber.Ctx, page int) (sessionList, error) {
	own, err := h.readOwnSession(c)
	if err != nil {
		return sessionList{}, err
	}
	recent, err := h.Store.Activity(own.UserID, 0, recentShown) // before the devices: see lastActivity
	if err != nil {
		return sessionList{}, err
	}
	list := sessionList{Now: newMoment(h.Store.Now()), Current: h.newRow(own, own), Recent: newEntries(recent, own)}
	limit := rowsShown
	if page > 0 {
		limit = page * maxRows
	}
	sessions, total, err := h.Store.Sessions(own.UserID, limit+1)
	if err != nil {
		return list, err
	}
	others := slices.DeleteFunc(sessions, func(session db.Session) bool { return session.ID == own.ID })
	others = others[:min(limit, len(others))]
	list.Count = max(total-1, len(others))
	if page > 0 { // the last page, if there are fewer by now
		list.Page = min(page, max(1, (len(others)+maxRows-1)/maxRows))
		others = others[(list.Page-1)*maxRows:]
	}
	list.Others = make([]sessionRow, 0, len(others))
	for _, session := range others {
		list.Others = append(list.Others, h.newRow(session, own))
	}
	markTwins(list.Others)
	return list, nil
}

// listPage returns the page that a request, or the page from which htmx sent it, asks for with "all".
func listPage(c *fiber.Ctx) int {
	page, _ := strconv.Atoi(cmp.Or(c.Query("all"), currentURL(c).Query().Get("all")))
	return min(max(page, 0), maxPages)
}
