package handlers

import (
	"sync"
	"time"
)

// seldom keeps the log from filling with what happens again and again: each thing is told once a minute.
type seldom struct {
	mu   sync.Mutex
	told map[string]time.Time
}

// seldomKept bounds what is remembered. Beyond it everything is forgotten, and told once more.
const seldomKept = 1000

// tell answers whether to tell this now.
func (s *seldom) tell(what string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if last, told := s.told[what]; told && now.Sub(last).Abs() < time.Minute {
		return false
	}
	if s.told == nil || len(s.told) >= seldomKept {
		s.told = map[string]time.Time{}
	}
	s.told[what] = now
	return true
}
