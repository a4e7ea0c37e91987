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

// A device cannot pass for the command line or for an administrator.
func TestActorOfADevice(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	for name, want := range map[string]string{
		"command": `"command"`, "admin bob": `"admin bob"`, "Kitchen tablet": "Kitchen tablet", "commander": "commander", "admins": "admins",
	} {
		if err := c.Rename(c.ctx(), c.laptop.Session, c.laptop.ID, name); err != nil {
			t.Fatal(err)
		}
		if err := c.Rename(c.ctx(), c.alive(c.laptop), c.phone.ID, "Phone"); err != nil {
			t.Fatal(err)
		}
		c.wantLatest(c.alice, happening{"renamed", "198.51.100.20", "Phone", c.phone.ID, want, 1})
	}
}
