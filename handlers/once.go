package handlers

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"sync"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"porchlight/db"
)

// This file makes sure that a form sent twice does its work once. Each such form has a random id. The browser shows the
// response to the last press, which must not be "This username is taken" or "This link is not valid".

// formID returns the id of a form, or "" if it has none.
func formID(body formBody) string {
	if id := body.get("form"); len(id) == db.TokenLength {
		return id
	}
	return ""
}

// once returns the first response again if a form is sent twice within a few seconds. It is for responses that set no cookie. Both forms
// must agree in every field and come from the same session.
func (h *handler) once(handle func(*fiber.Ctx, formBody) error) fiber.Handler {
	return withForm(func(c *fiber.Ctx, body formBody) error {
		if formID(body) == "" {
			return handle(c, body)
		}
		id := c.Path() + "\x00" + string(c.Body())
		if session, ok := c.Locals(sessionKey).(*db.Session); ok {
			id = session.ID + id
		}
		key := sha256.Sum256([]byte(id))
		defer h.forms.lock(string(key[:]))()
		if first, ok := h.answers.load(key); ok {
			return first.send(c)
		}
		if err := handle(c, body); err != nil {
			return err
		}
		h.answers.store(key, c.Response())
		return nil
	})
}

const (
	answerLifetime = 10 * time.Second
	maxAnswers     = 1000
	answerMaxSize  = 64 << 10
)

// formAnswers stores responses to forms. Some contain a secret, such as recovery codes, so they are kept only in memory, and
// not for long.
type formAnswers struct {
	mu    sync.Mutex
	byKey map[[sha256.Size]byte]formAnswer
}

type formAnswer struct {
	status                int
	location, contentType string
	body                  []byte
}

func (f *formAnswers) load(key [sha256.Size]byte) (formAnswer, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	answer, ok := f.byKey[key]
	return answer, ok
}

// store stores a successful response for answerLifetime.
func (f *formAnswers) store(key [sha256.Size]byte, r *fasthttp.Response) {
	if r.StatusCode() >= fiber.StatusBadRequest || len(r.Body()) > answerMaxSize {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.byKey) >= maxAnswers {
		return
	}
	if f.byKey == nil {
		f.byKey = map[[sha256.Size]byte]formAnswer{}
	}
	f.byKey[key] = formAnswer{
		r.StatusCode(), string(r.Header.Peek(fiber.HeaderLocation)), string(r.Header.ContentType()), bytes.Clone(r.Body()),
	}
	time.AfterFunc(answerLifetime, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.byKey, key)
	})
}

func (a formAnswer) send(c *fiber.Ctx) error {
	if a.location != "" {
		return c.Redirect(a.location, a.status)
	}
	c.Set(fiber.HeaderContentType, a.contentType)
	return c.Status(a.status).Send(a.body)
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
// cookie, because the browser may not have received the first one. The id of the form proves nothing by itself: on a shared computer,
// somebody may have noted it.
func (h *handler) createOnce(c *fiber.Ctx, body formBody, method string, create func() (db.User, error)) error {
	form := formID(body)
	if form != "" {
		defer h.forms.lock(form)()
	}
	username, err := h.Store.UsernameByForm(form)
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
