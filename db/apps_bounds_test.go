package db_test

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// This file tests that the notes of apps stay within bounds, whatever hosts a client invents, and that none is lost before it is written.

// made is a host that a client makes up.
func made(i int) string { return fmt.Sprintf("made%05d.example.com", i) }

func madeUp(from, to int) (hosts []string) {
	for i := from; i < to; i++ {
		hosts = append(hosts, made(i))
	}
	return hosts
}

func TestFiftyAppsAreKeptThoseUsedLast(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.use(c.desk, made(0)) // where the laptop was, too: what goes from its list stays in this
	c.flush()
	for i := range appsKept + 10 {
		c.use(c.laptop, made(i))
		c.clock.Advance(2 * time.Second)
		if i%7 == 0 {
			c.flush()
		}
	}
	c.flush()
	c.wantApps(c.laptop, madeUp(10, appsKept+10)...)

	// The one that was unused longest is used again, and the next one goes in its place.
	c.use(c.laptop, made(10))
	c.flush()
	c.clock.Advance(time.Second)
	c.use(c.laptop, made(100))
	c.flush()
	c.wantApps(c.laptop, slices.Concat([]string{made(10)}, madeUp(12, appsKept+10), []string{made(100)})...)

	// As many new ones as are kept leave nothing of the old ones.
	c.clock.Advance(time.Second)
	c.use(c.laptop, madeUp(200, 200+appsKept)...)
	c.flush()
	c.wantApps(c.laptop, madeUp(200, 200+appsKept)...)
	c.wantApps(c.desk, made(0))
}

// A client may ask for any host under the cookie domain: neither the memory nor the table fills, and nobody else's
// notes are crowded out.
func TestWhatAClientMakesUpIsBounded(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.countWrites()
	first := c.verify(c.laptop, made(0))
	c.UseApp(first, false)
	for i := range 10_000 {
		c.use(c.laptop, made(i))
	}
	c.use(c.phone, notes)
	c.use(c.desk, notes)
	c.clock.Advance(time.Second)
	c.UseApp(first, false) // noted already: it goes on being noted
	c.flush()
	if n := c.writtenFor(c.laptop); n != appsKept {
		t.Errorf("%d notes were kept in memory, want %d", n, appsKept)
	}
	if got := c.lastUsed(c.laptop, made(0)); !got.Equal(c.clock.Now()) {
		t.Errorf("a noted app was last used at %v, want %v", got, c.clock.Now())
	}
	if got := len(c.appsOf(c.laptop)); got != appsKept {
		t.Errorf("%d apps are on disk, want %d", got, appsKept)
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

// While nothing can be written, the bound holds, and nothing that was noted is lost.
func TestAppsThatCannotBeWrittenStayNoted(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.countWrites()
	c.exec(`CREATE TRIGGER refuse_apps BEFORE INSERT ON session_apps BEGIN SELECT RAISE(ABORT, 'refused'); END`)
	noted := c.clock.Now()
	c.use(c.laptop, madeUp(0, appsKept)...)
	c.use(c.desk, notes)
	for i := range 5 {
		if err := c.Flush(c.ctx()); err == nil {
			t.Error("no error")
		}
		c.clock.Advance(time.Second)
		c.use(c.laptop, madeUp(1000*(i+1), 1000*(i+1)+100)...)
	}
	c.exec(`DROP TRIGGER refuse_apps`)
	c.flush()
	c.wantApps(c.laptop, madeUp(0, appsKept)...)
	c.wantApps(c.desk, notes)
	if got := c.lastUsed(c.desk, notes); !got.Equal(noted) {
		t.Errorf("last used at %v, want %v", got, noted)
	}
	if n := c.writtenFor(c.laptop); n != appsKept {
		t.Errorf("%d notes were kept in memory, want %d", n, appsKept)
	}
}

// Nor do they wait for what else cannot be written for ever.
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

// A batch that is refused half-way leaves nothing half done.
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

// What is noted while a flush is under way is for the next one, which finds two flushes' worth at most.
func TestWhatAClientMakesUpDuringAFlushIsBounded(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.use(c.laptop, made(0))
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
	if n := c.writtenFor(c.laptop); n == 0 || n > 2*appsKept {
		t.Errorf("%d notes were kept in memory, want %d at most", n, 2*appsKept)
	}
}
