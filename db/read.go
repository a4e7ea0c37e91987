package db

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"time"
)

// readPool is a pool of read-only connections. It prepares each query once. Queries run without a context, because the driver would
// start a goroutine to watch the context, which costs as much as a query.
type readPool struct {
	*sql.DB
	files    *fileWatch
	turns    chan struct{} // one slot for each connection
	prepared sync.Map      // the *sql.Stmt of each query
}

// scanner is a row of *sql.Row or *sql.Rows.
type scanner interface{ Scan(dest ...any) error }

// queryAll returns every row.
func queryAll[T any](p *readPool, scan func(scanner) (T, error), query string, args ...any) (all []T, err error) {
	if err := p.files.err(); err != nil {
		return nil, err
	}
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer func() { <-p.turns }()
	statement, err := p.prepare(query)
	if err != nil {
		return nil, storeError(err)
	}
	rows, err := statement.QueryContext(context.Background(), args...)
	return scanAll(rows, err, scan)
}

// usualRows is enough for most lists. Growing to it row by row would allocate twice as much.
const usualRows = 16

// scanAll returns every row of a query that returned rows and err, and closes the rows.
func scanAll[T any](rows *sql.Rows, err error, scan func(scanner) (T, error)) (all []T, _ error) {
	if err != nil {
		return nil, storeError(err)
	}
	defer rows.Close()
	for rows.Next() {
		row, err := scan(rows)
		if err != nil {
			return nil, storeError(err)
		}
		if all == nil {
			all = make([]T, 0, usualRows)
		}
		all = append(all, row)
	}
	return all, storeError(rows.Err())
}

// enter waits for a free connection, at most as long as a write waits for its turn.
func (p *readPool) enter() error {
	select {
	case p.turns <- struct{}{}:
		return nil
	default:
	}
	select {
	case p.turns <- struct{}{}:
		return nil
	case <-time.After(writeWait):
		return fmt.Errorf("%w: waiting to read", ErrUnavailable)
	}
}

func (p *readPool) prepare(query string) (*sql.Stmt, error) {
	if known, ok := p.prepared.Load(query); ok {
		return known.(*sql.Stmt), nil
	}
	statement, err := p.Prepare(query)
	if err == nil {
		p.prepared.Store(query, statement)
	}
	return statement, err
}

// queryOne returns the only row, or ErrNotFound.
func queryOne[T any](p *readPool, scan func(scanner) (T, error), query string, args ...any) (found T, err error) {
	all, err := queryAll(p, scan, query, args...)
	if err == nil && len(all) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return found, err
	}
	return all[0], nil
}

func scanText(row scanner) (text string, err error) {
	err = row.Scan(&text)
	return text, err
}

// queryValue returns the only column of the only row.
func queryValue[T any](p *readPool, query string, args ...any) (T, error) {
	return queryOne(p, func(row scanner) (value T, err error) {
		err = row.Scan(&value)
		return value, err
	}, query, args...)
}
