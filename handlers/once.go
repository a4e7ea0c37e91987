package handlers

import (
	"cmp"
	"errors"
	"sync"

	"github.com/gofiber/fiber/v2"

	"porchlight/db"
)

// This file makes a form that an impatient person sends twice do its work once. Each form that signs somebody in has a random id. The
// browser shows the answer to the last press, so that must not be "This username is taken".

// formID returns the id of a form, or "" if it has none.
func formID(body formBody) string {
	if id := body.get("form"); len(id) == db.TokenLength {
		return id
	}
	return ""
}

// formLocks makes requests with the same form wait for each other.
type formLocks struct {
	mu   sync.Mutex
	byID map[string]*formLock
}

type formLock struct {
	sync.Mutex
	requests int // that hold it or wait for it
}

func (f *formLocks) lock(id string) (unlock func()) {
	f.mu.Lock()
	if f.byID == nil {
		f.byID = map[string]*formLock{}
	}
	lock := f.byID[id]
	if lock == nil {
		lock = &formLock{}
		f.byID[id] = lock
	}
	lock.requests++
	f.mu.Unlock()
	lock.Lock()
	return func() {
		lock.Unlock()
		f.mu.Lock()
		defer f.mu.Unlock()
		if lock.requests--; lock.requests == 0 {
			delete(f.byID, id)
		}
	}
}

// createOnce signs in the user that create returns. If the form has just done so, it checks the password and gives that session a new
// cookie, because the browser may not have got the first one. The id of the form alone proves nothing: on a shared computer, somebody may
// have noted it.
func (h *handler) createOnce(c *fiber.Ctx, body formBody, method string, create func() (db.User, error)) error {
	form := formID(body)
	if form != "" {
		defer h.forms.lock(form)()
	}
	username, err := h.Store.BegunBy(form)
	var user db.User
	switch {
	case err == nil:
		user, err = h.Store.Authenticate(c.UserContext(), username, body.secret("password"), h.client(c))
	case errors.Is(err, db.ErrNotFound):
		user, err = create()
	}
	newSession := db.NewSession{Method: method, Form: form}
	if errors.Is(err, db.ErrSecondFactor) { // create has changed nothing yet
		return cmp.Or(h.beginSecondStep(c, user, h.sessionFor(c, newSession)), err)
	}
	if err != nil {
		return err
	}
	return h.startSession(c, user, newSession)
}
