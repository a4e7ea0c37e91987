package handlers

import (
	"slices"
	"sync"
)

// This file bounds how many event streams a user may have open.

const maxStreams = 20 // of one user

// streams holds the open streams of each user, oldest first.
type streams struct {
	mu     sync.Mutex
	byUser map[int64][]*eventStream
}

// enter adds a stream, and replaces another one if the user has too many.
//
// Refusing the new stream would leave the page that somebody looks at without one: a client that has gone is noticed only at the next
// heartbeat, so a few impatient reloads would be enough, and a stolen session could fill the places forever.
func (s *streams) enter(stream *eventStream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byUser == nil {
		s.byUser = map[int64][]*eventStream{}
	}
	open := append(s.byUser[stream.userID], stream)
	if len(open) > maxStreams {
		i := toReplace(open)
		close(open[i].replaced)
		open = slices.Delete(open, i, i+1)
	}
	s.byUser[stream.userID] = open
}

// toReplace returns the index of the oldest stream of the session that has the most, so that no session can take the places of others.
func toReplace(open []*eventStream) (oldest int) {
	count := map[string]int{}
	for _, stream := range open {
		count[stream.sessionID]++
	}
	for i, stream := range open {
		if count[stream.sessionID] > count[open[oldest].sessionID] {
			oldest = i
		}
	}
	return oldest
}

// leave removes a stream that has ended, unless it was replaced.
func (s *streams) leave(stream *eventStream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	open := slices.DeleteFunc(s.byUser[stream.userID], func(one *eventStream) bool { return one == stream })
	s.byUser[stream.userID] = open
	if len(open) == 0 {
		delete(s.byUser, stream.userID)
	}
}
