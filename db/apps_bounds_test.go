package db_test

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// This file tests that the notes of apps stay within bounds, whatever hosts a client invents, and that none is lost before it is written.

// invented is a host that a client invents.
func invented(i int) string { return fmt.Sprintf("made%05d.example.com", i) }

func madeUp(from, to int) (hosts []string) {
	for i := from; i < to; i++ {
		hosts = append(hosts, invented(i))
	}
	return hosts
}

func TestTheFiftyMostRecentAppsAreStored(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.use(c.desk, invented(0)) // the laptop was there too: this one stays when the laptop's goes
	c.flush()
	for i := range maxApps + 10 {
		c.use(c.laptop, invented(i))
		c.clock.Advance(2 * time.Second)
		if i%7 == 0 {
			c.flush()
		}
	}
	c.flush()
	c.wantApps(c.laptop, madeUp(10, maxApps+10)...)

	// The host that was unused for longest is used again, so the next one is dropped.
	c.use(c.laptop, invented(10))
	c.flush()
	c.clock.Advance(time.Second)
	c.use(c.laptop, invented(100))
	c.flush()
	c.wantApps(c.laptop, slices.Concat([]string{invented(10)}, madeUp(12, maxApps+10), []string{invented(100)})...)

	// As many new hosts as are stored replace all of the old ones.
	c.clock.Advance(time.Second)
	c.use(c.laptop, madeUp(200, 200+maxApps)...)
	c.flush()
	c.wantApps(c.laptop, madeUp(200, 200+maxApps)...)
	c.wantApps(c.desk, invented(0))
}

// A client may request any host under the cookie domain. That must fill neither the memory nor the table, and must not displace the
// notes of others.
func TestHostsThatAClientInventsAreBounded(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.countWrites()
	first := c.authorize(c.laptop, invented(0))
	c.UseApp(first, false)
	for i := range 10_000 {
		c.use(c.laptop, invented(i))
	}
	c.use(c.phone, notes)
	c.use(c.desk, notes)
	c.clock.Advance(time.Second)
	c.UseApp(first, false) // it is already noted, so it is noted again
	c.flush()
	if n := c.writtenFor(c.laptop); n != maxApps {
		t.Errorf("%d notes were kept in memory, want %d", n, maxApps)
	}
	if got := c.lastUsed(c.laptop, invented(0)); !got.Equal(c.clock.Now()) {
		t.Errorf("a noted app was last used at %v, want %v", got, c.clock.Now())
	}
	if got := len(c.appsOf(c.laptop)); got != maxApps {
		t.Errorf("%d apps are on disk, want %d", got, maxApps)
	}
	c.wantApps(c.phone, notes)
	c.wantApps(c.desk, notes)

	// The flush has made room.
	c.clock.Advance(time.Second)
	c.use(c.laptop, notes)
	c.flush()
	if !slices.Contains(c.appsOf(c.laptop), notes) {
		t.Error("an app that was used after the flush is not noted")
	}
}

// While nothing can be written, the bound applies and no note is lost.
func TestAppsThatCannotBeWrittenStayNoted(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.countWrites()
	c.exec(`CREATE TRIGGER refuse_apps BEFORE INSERT ON session_apps BEGIN SELECT RAISE(ABORT, 'refused'); END`)
	noted := c.clock.Now()
	c.use(c.laptop, madeUp(0, maxApps)...)
	c.use(c.desk, notes)
	for i := range 5 {
		if err := c.Flush(c.ctx()); err == nil {
			t.Error("the flush succeeded")
		}
		c.clock.Advance(time.Second)
		c.use(c.laptop, madeUp(1000*(i+1), 1000*(i+1)+100)...)
	}
	c.exec(`DROP TRIGGER refuse_apps`)
	c.flush()
	c.wantApps(c.laptop, madeUp(0, maxApps)...)
	c.wantApps(c.desk, notes)
	if got := c.lastUsed(c.desk, notes); !got.Equal(noted) {
		t.Errorf("last used at %v, want %v", got, noted)
	}
	if n := c.writtenFor(c.laptop); n != maxApps {
		t.Errorf("%d notes were kept in memory, want %d", n, maxApps)
	}
}

// Notes of apps are not lost if other notes cannot be written.
func TestAppsStayNotedWhileTouchesCannotBeWritten(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.clock.Advance(time.Hour)
	c.Touch(c.alive(c.laptop))
	c.use(c.laptop, notes)
	c.exec(`CREATE TRIGGER refuse_touch BEFORE UPDATE ON sessions BEGIN SELECT RAISE(ABORT, 'refused'); END`)
	if err := c.Flush(c.ctx()); err == nil {
		t.Error("no error")
	}
	c.exec(`DROP TRIGGER refuse_touch`)
	c.flush()
	c.wantApps(c.laptop, notes)
}

// If a batch fails halfway, nothing of it is written.
func TestABatchOfAppsIsWrittenAsAWhole(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.exec(`
		CREATE TRIGGER refuse_one BEFORE INSERT ON session_apps WHEN NEW.host = 'photos.example.com'
		BEGIN SELECT RAISE(ABORT, 'refused'); END`)
	c.use(c.laptop, notes, "photos.example.com", "wiki.example.com")
	if err := c.Flush(c.ctx()); err == nil {
		t.Error("no error")
	}
	c.wantApps(c.laptop)
	c.exec(`DROP TRIGGER refuse_one`)
	c.flush()
	c.wantApps(c.laptop, notes, "photos.example.com", "wiki.example.com")
}

func TestAUseDuringAFlushIsNotLost(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.use(c.laptop, notes)
	arrived, release := c.holdWriter()
	flushed := make(chan error)
	go func() { flushed <- c.Flush(c.ctx()) }()
	arrived(1)
	c.clock.Advance(time.Second)
	c.use(c.laptop, notes, "photos.example.com")
	release()
	if err := <-flushed; err != nil {
		t.Error(err)
	}
	if got := c.lastUsed(c.laptop, notes); !got.Equal(c.clock.Now().Add(-time.Second)) {
		t.Fatalf("the flush that was under way wrote %v: it was not under way", got)
	}
	c.flush()
	c.wantApps(c.laptop, notes, "photos.example.com")
	for _, host := range []string{notes, "photos.example.com"} {
		if got := c.lastUsed(c.laptop, host); !got.Equal(c.clock.Now()) {
			t.Errorf("%s was last used at %v, want %v", host, got, c.clock.Now())
		}
	}
}

// Notes that are made during a flush are for the next one, so there are at most twice as many as between two flushes.
func TestHostsThatAClientInventsDuringAFlushAreBounded(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.use(c.laptop, invented(0))
	arrived, release := c.holdWriter()
	flushed := make(chan error)
	go func() { flushed <- c.Flush(c.ctx()) }()
	arrived(1)
	c.use(c.laptop, madeUp(0, 1000)...)
	release()
	if err := <-flushed; err != nil {
		t.Error(err)
	}
	c.use(c.laptop, madeUp(1000, 2000)...)
	c.countWrites()
	c.flush()
	if n := c.writtenFor(c.laptop); n == 0 || n > 2*maxApps {
		t.Errorf("%d notes were kept in memory, want %d at most", n, 2*maxApps)
	}
}
