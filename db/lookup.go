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

// lookups answer one question of those that requests ask again and again, each on a connection of its own with its statement
// prepared. They go past database/sql, whose bookkeeping takes longer than the answer.
type lookups[T any] struct {
	scan   func(scanner) (T, error)
	free   chan *lookup
	count  int
	closed chan struct{}
	once   sync.Once
}

type lookup struct {
	conn      driver.Conn
	statement driver.Stmt
	row       lookupRow
	found     int // rows the last time, at most 64: so much room is made the next time
}

func openLookups[T any](path, settings, query string, count int, scan func(scanner) (T, error)) (*lookups[T], error) {
	l := &lookups[T]{scan: scan, free: make(chan *lookup, count), closed: make(chan struct{})}
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

// all runs the question. It waits for its turn no longer than a write would.
func (l *lookups[T]) all(args ...driver.Value) ([]T, error) {
	var one *lookup
	select {
	case one = <-l.free:
	default:
		timer := time.NewTimer(writeWait)
		defer timer.Stop()
		select {
		case one = <-l.free:
		case <-timer.C:
			return nil, fmt.Errorf("%w: waiting to read", ErrUnavailable)
		case <-l.closed:
			return nil, fmt.Errorf("%w: it is closed", ErrUnavailable)
		}
	}
	defer func() { l.free <- one }()
	return ask(one, l.scan, args)
}

// only is the only row of the answer, or ErrNotFound.
func (l *lookups[T]) only(args ...driver.Value) (found T, err error) {
	all, err := l.all(args...)
	if err == nil && len(all) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return found, err
	}
	return all[0], nil
}

func ask[T any](l *lookup, scan func(scanner) (T, error), args []driver.Value) (all []T, err error) {
	//lint:ignore SA1019 with a context it would watch for the end of the request, which costs more than the answer
	rows, err := l.statement.Query(args)
	if err != nil {
		return nil, unavailable(err)
	}
	defer rows.Close()
	if l.row == nil {
		l.row = make(lookupRow, len(rows.Columns()))
	}
	all = make([]T, 0, l.found)
	for {
		clear(l.row) // what fails may leave a row as it was
		err := rows.Next(l.row)
		if errors.Is(err, io.EOF) {
			l.found = min(len(all), 64)
			return all, nil
		}
		if err != nil {
			return nil, unavailable(err)
		}
		one, err := scan(l.row)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
}

// close waits for the lookups that are under way. To close twice is no error.
func (l *lookups[T]) close() error {
	if l == nil {
		return nil
	}
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

// scanner is a row of an answer: database/sql's, or a lookupRow.
type scanner interface{ Scan(dest ...any) error }

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
