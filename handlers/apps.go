package handlers

import (
	"strconv"
	"strings"
	"time"

	"porchlight/db"
)

// usedApps are the apps of a device as its row shows them. They are text, so that rows can be compared: see rowCache. Each
// line is one: the host, when it was used in milliseconds, and how long ago that is.
type usedApps string

// appsShown is how many apps a row names; the details name all.
const appsShown = 4

func newUsedApps(uses db.AppUses, now time.Time) usedApps {
	var text strings.Builder
	for _, use := range uses.All() {
		text.WriteString(use.Host + "\t" + strconv.FormatInt(use.LastUsedAt.UnixMilli(), 10) + "\t" + newMoment(use.LastUsedAt).ago(now) + "\n")
	}
	return usedApps(text.String())
}

// usedApp is one of them, for the template.
type usedApp struct {
	Host     string
	LastUsed moment
	Ago      string
}

// All lists them, last used first.
func (a usedApps) All() (all []usedApp) {
	for line := range strings.Lines(string(a)) {
		parts := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		ms, _ := strconv.ParseInt(parts[1], 10, 64)
		all = append(all, usedApp{parts[0], newMoment(time.UnixMilli(ms)), parts[2]})
	}
	return all
}

// Shown are those that the row names, and More is how many others there are.
func (a usedApps) Shown() []usedApp {
	all := a.All()
	return all[:min(len(all), appsShown)]
}

func (a usedApps) More() int { return max(strings.Count(string(a), "\n")-appsShown, 0) }
