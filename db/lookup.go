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

// lookups answer the questions that requests ask again and again, on connections of their own with the statements
// prepared. They go past database/sql, whose bookkeeping takes longer than the answer.
type lookups struct {
	files  *fileWatch
	free   chan *lookup
	count  int
	closed chan struct{}
	once   sync.Once
}

// lookup is one connection. A question is known by its place among those that the lookups were opened with.
type lookup struct {
	conn      driver.Conn
	questions []*question
}

type question struct {
	statement driver.Stmt
	row       lookupRow
	found     int // rows the last time, at most 64: so much room is made the next time
}

func openLookups(files *fileWatch, settings string, count int, statements ...string) (*lookups, error) {
	l := &lookups{files: files, free: make(chan *lookup, count), closed: make(chan struct{})}
	for range count {
		conn, err := (&sqlite3.SQLiteDriver{}).Open(dsn(files.path, settings))
		if err != nil {
			return l, err
		}
		one := &lookup{conn: conn}
		for _, text := range statements {
			statement, err := conn.Prepare(text)
			if err != nil {
				return l, errors.Join(err, one.close())
			}
			one.questions = append(one.questions, &question{statement: statement})
		}
		l.free <- one
		l.count++
	}
	return l, nil
}

// take waits for a connection no longer than a write would.
func (l *lookups) take() (*lookup, error) {
	if err := l.files.err(); err != nil {
		return nil, err
	}
	select {
	case one := <-l.free:
		return one, nil
	default:
	}
	timer := time.NewTimer(writeWait)
	defer timer.Stop()
	select {
	case one := <-l.free:
		return one, nil
	case <-timer.C:
		return nil, fmt.Errorf("%w: waiting to read", ErrUnavailable)
	case <-l.closed:
		return nil, fmt.Errorf("%w: it is closed", ErrUnavailable)
	}
}

// askAll asks a question and scans the rows of its answer.
func askAll[T any](l *lookups, which int, scan func(scanner) (T, error), args ...driver.Value) (all []T, err error) {
	one, err := l.take()
	if err != nil {
		return nil, err
	}
	defer func() { l.free <- one }()
	q := one.questions[which]
	//lint:ignore SA1019 with a context it would watch for the end of the request, which costs more than the answer
	rows, err := q.statement.Query(args)
	if err != nil {
		return nil, unavailable(err)
	}
	defer rows.Close()
	if q.row == nil {
		q.row = make(lookupRow, len(rows.Columns()))
	}
	all = make([]T, 0, q.found)
	for {
		clear(q.row) // what fails may leave a row as it was
		err := rows.Next(q.row)
		if errors.Is(err, io.EOF) {
			q.found = min(len(all), 64)
			return all, nil
		}
		if err != nil {
			return nil, unavailable(err)
		}
		found, err := scan(q.row)
		if err != nil {
			return nil, err
		}
		all = append(all, found)
	}
}

// ask is askAll for the only row, or ErrNotFound.
func ask[T any](l *lookups, which int, scan func(scanner) (T, error), args ...driver.Value) (found T, err error) {
	all, err := askAll(l, which, scan, args...)
	if err == nil && len(all) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return found, err
	}
	return all[0], nil
}

// close waits for the lookups that are under way. To close twice is no error.
func (l *lookups) close() error {
	if l == nil {
		return nil
	}
	var errs []error
	l.once.Do(func() {
		close(l.closed)
		for range l.count {
			errs = append(errs, (<-l.free).close())
		}
	})
	return errors.Join(errs...)
}

func (l *lookup) close() error {
	var errs []error
	for _, q := range l.questions {
		errs = append(errs, q.statement.Close())
	}
	return errors.Join(append(errs, l.conn.Close())...)
}

// scanner is a row of an answer: database/sql's, or a lookupRow.
type scanner interface{ Scan(dest ...any) error }

// lookupRow is a row as the driver hands it over. It scans into the types that the questions ask for.
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
			return fmt.Errorf("column %d holds %T, not what %T needs", i, r[i], to)
		}
	}
	return nil
}
