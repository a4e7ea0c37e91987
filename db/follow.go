package db

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"
)

// This file wakes goroutines that wait for changes. They follow the activity table: whatever ends a session has a row there, written in the
// same transaction. A change without a row, such as a later last use, wakes only the goroutines of the process that made it (tx.toWake).

const (
	followEvery = 100 * time.Millisecond // how often to look for commits of other processes
	retryEvery  = time.Second            // the same without stamps, and how long to wait while the database does not answer
)

// Follow calls read, and calls it again after every commit of any process. It returns the error of the context or of read, unless that
// is ErrUnavailable: then it retries.
func (s *Store) Follow(ctx context.Context, read func() error) error {
	for {
		changed := s.Changed() // before read, as the stamp
		stamp, stamped := s.walIndex.loadStamp()
		err := read()
		if err != nil && !errors.Is(err, ErrUnavailable) {
			return err
		}
		if err := s.awaitCommit(ctx, changed, stamp, stamped && err == nil); err != nil {
			return err
		}
	}
}

// awaitCommit returns after a commit of any process. Without a stamp, it cannot see those of other processes, so it returns after
// retryEvery.
func (s *Store) awaitCommit(ctx context.Context, changed <-chan struct{}, before stamp, stamped bool) error {
	every := followEvery
	if !stamped {
		every = retryEvery
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
			return nil
		case <-ticker.C:
		}
		if now, ok := s.walIndex.loadStamp(); !stamped || !ok || now != before {
			return nil
		}
	}
}

// followers are the subscribers to changes of users' sessions. While there are any, one goroutine follows the activity of all users.
type followers struct {
	mu     sync.Mutex
	byUser map[int64]map[chan struct{}]bool
	stop   context.CancelFunc // ends the goroutine; nil when none runs
}

// Subscribe returns a channel that receives after a change that a user's list of sessions may show, until cancel is called. Several
// changes may be received as one.
func (s *Store) Subscribe(userID int64) (changed <-chan struct{}, cancel func()) {
	f := &s.followers
	subscriber := make(chan struct{}, 1)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.byUser[userID] == nil {
		f.byUser[userID] = map[chan struct{}]bool{}
	}
	f.byUser[userID][subscriber] = true
	if f.stop == nil {
		ctx, stop := context.WithCancel(s.running)
		f.stop = stop
		last, err := s.newestActivity()
		if err != nil {
			last = unknownActivity
		}
		s.background.Go(func() { s.followActivity(ctx, last) })
	}
	return subscriber, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.byUser[userID], subscriber)
		if len(f.byUser[userID]) == 0 {
			delete(f.byUser, userID)
		}
		if len(f.byUser) == 0 && f.stop != nil {
			f.stop()
			f.stop = nil
		}
	}
}

// wake wakes the subscribers of these users.
func (f *followers) wake(userIDs ...int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range userIDs {
		for subscriber := range f.byUser[id] {
			select {
			case subscriber <- struct{}{}:
			default: // it has not yet handled the previous change
			}
		}
	}
}

// userIDs returns the users who have subscribers.
func (f *followers) userIDs() []int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Collect(maps.Keys(f.byUser))
}

// maxFollowed is how many new rows of activity are read to find their users. If there are more, every subscriber is woken.
const maxFollowed = 1000

// unknownActivity is the id of the newest row when it could not be read.
const unknownActivity = -1

// newestActivity returns the highest id that a row of activity has had, even if it was deleted.
func (s *Store) newestActivity() (int64, error) {
	return queryValue[int64](s.reader, `SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence WHERE name = 'activity'`)
}

// followActivity wakes the subscribers of each user who has activity after the row with this id.
func (s *Store) followActivity(ctx context.Context, last int64) {
	s.Follow(ctx, func() error {
		newest, err := s.newestActivity()
		if err != nil || newest == last {
			return err
		}
		userIDs := s.followers.userIDs()
		if last != unknownActivity && newest-last <= maxFollowed {
			if userIDs, err = s.usersActiveBetween(last, newest); err != nil {
				return err
			}
		}
		last = newest
		s.followers.wake(userIDs...)
		return nil
	})
}

// usersActiveBetween returns the users who have activity after the row with the id last, up to the one with the id newest. A missing row
// was either replaced by a newer one of the same user (see recordRepeat) or deleted with its account, so if one is missing, the result
// includes the subscribers' users whose accounts no longer exist.
func (s *Store) usersActiveBetween(last, newest int64) (userIDs []int64, err error) {
	userIDs, err = queryAll(s.reader, scanID, `SELECT user_id FROM activity WHERE id > $1 AND id <= $2`, last, newest)
	if err != nil || int64(len(userIDs)) == newest-last {
		return userIDs, err
	}
	for _, id := range s.followers.userIDs() {
		exists, err := queryValue[bool](s.reader, `SELECT EXISTS (SELECT 1 FROM users WHERE id = $1)`, id)
		if err != nil {
			return nil, err
		}
		if !exists {
			userIDs = append(userIDs, id)
		}
	}
	return userIDs, nil
}

func scanID(row scanner) (id int64, err error) {
	err = row.Scan(&id)
	return id, err
}
