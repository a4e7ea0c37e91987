// Package notify sends the messages that wait in the database: by mail, to ntfy, and to a webhook.
package notify

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"porchlight/db"
)

const (
	// sentAtOnce is how many messages of one way are sent at once. All of them are done within sendTimeout, before the claim on them ends.
	sentAtOnce  = 4
	sendTimeout = 30 * time.Second

	// stopWait is how long messages may still be sent after the server has begun to stop. The others are sent after the next start.
	stopWait = 2 * time.Second

	lookEvery  = time.Minute            // at the latest, in case the clock was changed
	lookPause  = 100 * time.Millisecond // at the earliest, because clients can cause commits
	retryAfter = 5 * time.Second        // when the database does not answer
)

// Options configure where messages are sent.
type Options struct {
	Store   *db.Store
	URL     *url.URL // the public address; every link is built from it
	Mail    *Mailer  // nil for none
	Ntfy    *url.URL // nil for none
	Webhook *url.URL // nil for none
	Log     *slog.Logger
}

// Sender sends the messages of the outbox.
type Sender struct {
	Options
	poster *poster
	ways   []*way
}

// way is one way to send messages, with the server behind it. A server that is down holds up no other way.
type way struct {
	name    db.Way
	send    func(context.Context, db.Message) error
	wake    chan struct{} // receives after a commit
	mu      sync.Mutex
	failing string // the last error that was logged; "" after a success
}

// New returns a Sender. It sends nothing before Run.
func New(options Options) *Sender {
	s := &Sender{Options: options, poster: newPoster()}
	add := func(name db.Way, on bool, send func(context.Context, db.Message) error) {
		if on {
			s.ways = append(s.ways, &way{name: name, send: send, wake: make(chan struct{}, 1)})
		}
	}
	add(db.Mail, s.Mail != nil, s.sendMail)
	add(db.Ntfy, s.Ntfy != nil, s.sendNtfy)
	add(db.Webhook, s.Webhook != nil, s.sendWebhook)
	return s
}

// Run sends what is due until the context ends.
func (s *Sender) Run(ctx context.Context) {
	if len(s.ways) == 0 {
		return
	}
	defer s.poster.client.CloseIdleConnections()
	sending, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(stopWait, cancel) })()
	var running sync.WaitGroup
	for _, w := range s.ways {
		running.Go(func() { s.runWay(ctx, sending, w) })
	}
	s.Store.Follow(ctx, func() error { // until the context ends
		for _, w := range s.ways {
			select {
			case w.wake <- struct{}{}:
			default:
			}
		}
		return nil
	})
	running.Wait()
}

func (s *Sender) runWay(ctx, sending context.Context, w *way) {
	for ctx.Err() == nil {
		messages, err := s.Store.ClaimMessages(ctx, w.name, sentAtOnce)
		if err != nil && ctx.Err() == nil {
			s.Log.Error("cannot read the messages to send", "way", w.name, "error", err)
			pause(ctx, retryAfter)
			continue
		}
		if len(messages) == 0 {
			s.awaitDue(ctx, w)
			continue
		}
		var running sync.WaitGroup
		for _, m := range messages {
			running.Go(func() { s.deliver(sending, w, m) })
		}
		running.Wait()
	}
}

// awaitDue returns when a message may be due.
func (s *Sender) awaitDue(ctx context.Context, w *way) {
	wait := lookEvery
	if next, err := s.Store.NextDue(w.name); err == nil {
		wait = min(max(next.Sub(s.Store.Now()), 0), lookEvery)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-w.wake:
	case <-timer.C:
	}
	pause(ctx, lookPause)
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// refusal is a permanent error: another attempt would fail, too.
type refusal struct{ error }

// deliver sends a message and reports the result to the store.
func (s *Sender) deliver(ctx context.Context, w *way, m db.Message) {
	limited, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	failure := w.send(limited, m)
	if failure != nil && ctx.Err() != nil {
		return // cut off by the stop; it is sent again after the next start
	}
	ctx = context.WithoutCancel(ctx)
	var givenUp bool
	var err error
	switch {
	case failure == nil:
		s.logResult(w, m, nil)
		err = s.Store.Delivered(ctx, m)
	case errors.As(failure, new(refusal)):
		s.Log.Error("message refused permanently", "way", w.name, "kind", m.Kind, "user", m.Username, "error", failure)
		err = s.Store.Refused(ctx, m, failure.Error())
	default:
		s.logResult(w, m, failure)
		givenUp, err = s.Store.Failed(ctx, m, failure.Error())
	}
	if err != nil {
		s.Log.Error("cannot record whether a message was sent; it may be sent again", "way", w.name, "error", err)
	}
	if givenUp {
		s.Log.Error("gave up on a message after a day", "way", w.name, "kind", m.Kind, "user", m.Username, "error", failure)
	}
}

// logResult logs a failure once, until another error follows or a message is delivered.
func (s *Sender) logResult(w *way, m db.Message, failure error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case failure == nil && w.failing != "":
		s.Log.Info("messages get through again", "way", w.name)
		w.failing = ""
	case failure != nil && failure.Error() != w.failing:
		s.Log.Warn("cannot send a message; it is retried for a day", "way", w.name, "kind", m.Kind, "user", m.Username, "error", failure)
		w.failing = failure.Error()
	}
}

func (s *Sender) sendMail(ctx context.Context, m db.Message) error {
	return s.Mail.Send(ctx, m.Address, s.compose(m))
}
