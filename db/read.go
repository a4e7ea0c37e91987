package db

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// statement is a prepared query that nearly every request runs. It runs without a context, because the driver would start a goroutine to
// watch the context, which costs as much as the query.
type statement struct {
	*sql.Stmt
	files *fileWatch
	turns chan struct{} // one for each connection; all statements of the pool share them
}

// openStatements prepares queries on a pool of their own, so that they do not wait for a long list.
func (s *Store) openStatements(queries map[*statement]string) (err error) {
	if s.tokens, err = s.openWatchedPool(readerSettings, readers); err != nil {
		return err
	}
	turns := make(chan struct{}, readers)
	for q, text := range queries {
		q.files, q.turns = s.files, turns
		if q.Stmt, err = s.tokens.Prepare(text); err != nil {
			return err
		}
	}
	return nil
}

// query scans every row. It waits for a connection as long as a write waits for its turn.
func (q *statement) query(scan func(scanner) error, args ...any) error {
	if err := q.files.err(); err != nil {
		return err
	}
	if err := q.enter(); err != nil {
		return err
	}
	defer func() { <-q.turns }()
	rows, err := q.QueryContext(context.Background(), args...)
	if err != nil {
		return unavailable(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return unavailable(err)
		}
	}
	return unavailable(rows.Err())
}

func (q *statement) enter() error {
	select {
	case q.turns <- struct{}{}:
		return nil
	default:
	}
	timer := time.NewTimer(writeWait)
	defer timer.Stop()
	select {
	case q.turns <- struct{}{}:
		return nil
	case <-timer.C:
		return fmt.Errorf("%w: waiting to read", ErrUnavailable)
	}
}

// scanner is a row of *sql.Row or *sql.Rows.
type scanner interface{ Scan(dest ...any) error }

// queryOne returns the only row, or ErrNotFound.
func queryOne[T any](q *statement, scan func(scanner) (T, error), args ...any) (found T, err error) {
	err = ErrNotFound
	if failed := q.query(func(row scanner) error {
		found, err = scan(row)
		return err
	}, args...); failed != nil {
		err = failed
	}
	return found, err
}

// queryAll runs a query that is not prepared, and returns every row.
func queryAll[T any](ctx context.Context, s *Store, scan func(scanner) (T, error), query string, args ...any) (all []T, err error) {
	rows, err := s.reader.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, unavailable(err)
	}
	defer rows.Close()
	for rows.Next() {
		row, err := scan(rows)
		if err != nil {
			return nil, unavailable(err)
		}
		all = append(all, row)
	}
	return all, unavailable(rows.Err())
}
