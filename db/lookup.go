package db

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/mattn/go-sqlite3"
)

// lookups answer the one question that every request asks, each on a connection of its own with its statement prepared.
// They go past database/sql, whose bookkeeping takes longer than the answer.
type lookups struct {
	free   chan *lookup
	count  int
	closed chan struct{}
	once   sync.Once
}

type lookup struct {
	conn      driver.Conn
	statement driver.Stmt
	row       lookupRow
}

func openLookups(path, settings, query string, count int) (*lookups, error) {
	l := &lookups{free: make(chan *lookup, count), closed: make(chan struct{})}
	for range count {
		conn, err := (&sqlite3.SQLiteDriver{}).Open(dsn(path, settings))
		if err != nil {
			return l, err
		}
		statement, err := conn.Prepare(query)
		if err != nil {
			return l, errors.Join(err, conn.Close())
		}
		l.free <- &lookup{conn: conn, statement: statement}
		l.count++
	}
	return l, nil
}

// session runs the question. It waits for its turn no longer than a write would.
func (l *lookups) session(args ...driver.Value) (Session, error) {
	var one *lookup
	select {
	case one = <-l.free:
	default:
		timer := time.NewTimer(writeWait)
		defer timer.Stop()
		select {
		case one = <-l.free:
		case <-timer.C:
			return Session{}, fmt.Errorf("%w: waiting to read", ErrUnavailable)
		case <-l.closed:
			return Session{}, fmt.Errorf("%w: it is closed", ErrUnavailable)
		}
	}
	defer func() { l.free <- one }()
	return one.session(args)
}

func (l *lookup) session(args []driver.Value) (Session, error) {
	//lint:ignore SA1019 with a context it would watch for the end of the request, which costs more than the answer
	rows, err := l.statement.Query(args)
	if err != nil {
		return Session{}, unavailable(err)
	}
	defer rows.Close()
	if l.row == nil {
		l.row = make(lookupRow, len(rows.Columns()))
	}
	clear(l.row) // what fails may leave a row as it was
	err = rows.Next(l.row)
	if errors.Is(err, io.EOF) {
		return Session{}, ErrNotFound
	}
	if err != nil {
		return Session{}, unavailable(err)
	}
	return scanSession(l.row)
}

// close waits for the lookups that are under way. To close twice is no error.
func (l *lookups) close() error {
	var errs []error
	l.once.Do(func() {
		close(l.closed)
		for range l.count {
			one := <-l.free
			errs = append(errs, one.statement.Close(), one.conn.Close())
		}
	})
	return errors.Join(errs...)
}

// lookupRow is a row as the driver hands it over. It scans into the types that a Session has.
type lookupRow []driver.Value

func (r lookupRow) Scan(dest ...any) error {
	for i, to := range dest {
		var ok bool
		switch to := to.(type) {
		case *string:
			*to, ok = r[i].(string)
		case *int64:
			*to, ok = r[i].(int64)
		case *bool:
			var n int64
			n, ok = r[i].(int64)
			*to = n != 0
		}
		if !ok {
			return fmt.Errorf("column %d of a session holds %T, not what %T needs", i, r[i], to)
		}
	}
	return nil
}
