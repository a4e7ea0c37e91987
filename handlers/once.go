package handlers

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
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

// once returns the first response again if a form is sent twice within a few seconds. Later, it rejects a form whose response was shown
// once (see renderSecret): reloading that page sends the form again. once is for responses that set no cookie. Both forms must come from
// the same session and agree in every field, except in those of the confirm page.
func (h *handler) once(handle func(*fiber.Ctx, formBody) error) fiber.Handler {
	return withForm(func(c *fiber.Ctx, body formBody) error {
		if formID(body) == "" {
			return handle(c, body)
		}
		sessionID := ""
		if session, ok := c.Locals(sessionKey).(*db.Session); ok {
			sessionID = session.ID
		}
		key := sha256.Sum256(fmt.Appendf(nil, "%q", []any{sessionID, c.Path(), body.fields()}))
		defer h.forms.lock(string(key[:]))()
		first, used := h.answers.load(key, h.Store.Now())
		switch {
		case first != nil:
			return first.send(c)
		case used:
			return errFormUsed
		}
		if err := handle(c, body); err != nil {
			return err
		}
		h.answers.store(key, c.Response(), h.Store.Now())
		if c.Locals(shownOnceKey) != nil {
			h.answers.markUsed(key)
		}
		return nil
	})
}

var errFormUsed = problem{fiber.StatusConflict,
	"This form was already sent. Porchlight showed the result once and can't show it again. If you missed it, create another."}

const shownOnceKey = "shown once"

// renderSecret renders a page with a secret that is shown once. The form that asked for it must have gone through once.
func renderSecret(c *fiber.Ctx, view string, p any) error {
	c.Locals(shownOnceKey, true)
	return c.Render(view, p)
}

const (
	answerLifetime = 10 * time.Second
	maxAnswers     = 1000
	maxAnswerBytes = 64 << 10

	maxUsedForms = 10_000
)

// formAnswers stores responses to forms. Some contain a secret, such as recovery codes, so they are kept only in memory, and
// not for long.
type formAnswers struct {
	mu    sync.Mutex
	byKey map[formKey]formAnswer
	used  []formKey // the forms that must not be sent again, oldest first, at most maxUsedForms
}

type formKey = [sha256.Size]byte

type formAnswer struct {
	at                    time.Time
	status                int
	location, contentType string
	body                  []byte
}

// load returns the response to a form, or nil if there is none from the last answerLifetime, and reports whether the form is marked as
// used.
func (f *formAnswers) load(key formKey, now time.Time) (answer *formAnswer, used bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if a, ok := f.byKey[key]; ok && now.Sub(a.at) < answerLifetime {
		answer = &a
	}
	return answer, slices.Contains(f.used, key)
}

// markUsed remembers that a form must not be sent again, until maxUsedForms others were.
func (f *formAnswers) markUsed(key formKey) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.used) == maxUsedForms {
		f.used = slices.Delete(f.used, 0, 1)
	}
	f.used = append(f.used, key)
}

// store stores a successful response for answerLifetime.
func (f *formAnswers) store(key formKey, r *fasthttp.Response, now time.Time) {
	if r.StatusCode() >= fiber.StatusBadRequest || len(r.Body()) > maxAnswerBytes {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.byKey) >= maxAnswers {
		return
	}
	if f.byKey == nil {
		f.byKey = map[formKey]formAnswer{}
	}
	f.byKey[key] = formAnswer{
		now, r.StatusCode(), string(r.Header.Peek(fiber.HeaderLocation)), string(r.Header.ContentType()), bytes.Clone(r.Body()),
	}
	time.AfterFunc(answerLifetime, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.byKey, key)
	})
}

func (a *formAnswer) send(c *fiber.Ctx) error {
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
