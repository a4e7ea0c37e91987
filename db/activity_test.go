package db_test

import "testing"

// Renaming to the same name and downloading again increase the count of one entry.
func TestRepeatsAreOneEntry(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	for range 3 {
		if err := c.Rename(c.ctx(), c.laptop.Session, c.phone.ID, "Pocket"); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := c.RecordExport(c.ctx(), c.laptop.Session); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Rename(c.ctx(), c.laptop.Session, c.phone.ID, "Phone"); err != nil {
		t.Fatal(err)
	}
	c.wantLatest(c.alice,
		happening{"renamed", "198.51.100.20", "Pocket", c.phone.ID, firefoxOnLinux, 3},
		happening{"exported", "192.0.2.10", firefoxOnLinux, c.laptop.ID, firefoxOnLinux, 2},
		happening{"renamed", "198.51.100.20", "Phone", c.phone.ID, firefoxOnLinux, 1})
}
