package handlers

import "porchlight/db"

// usedApps holds the apps of a device as its row shows them, most recently used first.
type usedApps []usedApp

type usedApp struct {
	Host     string
	LastUsed moment
}

func newUsedApps(uses []db.AppUse) (apps usedApps) {
	for _, use := range uses {
		apps = append(apps, usedApp{use.Host, newMoment(use.LastUsedAt)})
	}
	return apps
}

// appsShown is how many apps a row names. Its details name all.
const appsShown = 3

// Shown returns the apps that the row names.
func (a usedApps) Shown() usedApps { return a[:min(len(a), appsShown)] }

// More returns how many other apps there are.
func (a usedApps) More() int { return max(len(a)-appsShown, 0) }
