package handlers

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/gofiber/fiber/v2"

	"porchlight/db"
)

// problem is an error whose message is shown to the client.
type problem struct {
	status  int
	message string
}

func (p problem) Error() string { return fmt.Sprintf("%d %s", p.status, p.message) }

// generic holds the messages for errors that are not a problem, by status. The text of an error from the router or the server is never
// shown, because it can contain the request's headers, and with them the token.
var generic = map[int]string{
	fiber.StatusBadRequest:                  "This request cannot be understood.",
	fiber.StatusForbidden:                   "This page is out of date. Reload it and try again.",
	fiber.StatusNotFound:                    "There is nothing here.",
	fiber.StatusMethodNotAllowed:            "This cannot be done here.",
	fiber.StatusRequestTimeout:              "This request took too long to arrive.",
	fiber.StatusRequestEntityTooLarge:       "This is too large.",
	fiber.StatusRequestHeaderFieldsTooLarge: "Your browser sent too many cookies. Clear the cookies of this site and try again.",
	fiber.StatusServiceUnavailable:          "The server can't reach its data. Nothing was changed.",
	fiber.StatusInternalServerError:         "Something went wrong. Please try again.",
}

// describe returns the status and the message for an error. It also logs errors that the person who runs the server should know about.
func (h *handler) describe(c *fiber.Ctx, err error) (status int, message string) {
	var known problem
	var routed *fiber.Error
	var throttled db.Throttled
	switch {
	case errors.As(err, &known):
		return known.status, known.message
	case errors.As(err, &throttled):
		ip := h.client(c).IP
		h.logLimited(slog.LevelWarn, "too many attempts", logSubject(ip), "path", c.Path(), "ip", ip)
		c.Set(fiber.HeaderRetryAfter, strconv.Itoa(int(math.Ceil(throttled.RetryAfter.Seconds()))))
		return fiber.StatusTooManyRequests, h.tooManyAttempts(throttled)
	case errors.Is(err, db.ErrNotFound):
		status = fiber.StatusNotFound
	case errors.Is(err, db.ErrWrongPassword): // the account was disabled or deleted during the request
		return fiber.StatusUnprocessableEntity, wrongPassword
	case errors.Is(err, db.ErrNotAdmin): // the role was lost during the request
		return errNotAdmin.status, errNotAdmin.message
	case errors.Is(err, db.ErrSignUpsFull):
		return fiber.StatusServiceUnavailable, "Too many people are waiting for approval. Ask whoever runs this server for an invitation."
	case errors.Is(err, db.ErrBusy):
		c.Set(fiber.HeaderRetryAfter, "2")
		return fiber.StatusServiceUnavailable, "The server is busy. Try again in a moment."
	case errors.Is(err, db.ErrUncertain):
		h.Log.Error("a change may not have been saved", "path", c.Path(), "error", err)
		return fiber.StatusServiceUnavailable,
			"The server can't write its data. Your change may or may not have been saved. Check again in a moment."
	case errors.Is(err, db.ErrUnavailable):
		c.Set(fiber.HeaderRetryAfter, "2")
		h.logLimited(slog.LevelError, "the database does not answer", "", "path", c.Path(), "error", err) // every auth check gets here
		status = fiber.StatusServiceUnavailable
	case errors.As(err, &routed):
		status = routed.Code
	default:
		h.Log.Error("request failed", "path", c.Path(), "error", err)
		status = fiber.StatusInternalServerError
	}
	return status, cmp.Or(generic[status], generic[fiber.StatusBadRequest])
}

// tooManyAttempts returns the message for a throttled request, such as "Too many attempts. Try again in 4 minutes."
func (h *handler) tooManyAttempts(throttled db.Throttled) string {
	if throttled.Locked && throttled.Codes {
		return "Too many wrong codes in a row. Use a device you have signed in on before, or ask whoever runs this server."
	}
	if throttled.Locked && h.Mail {
		return "Too many wrong passwords in a row. Ask for a link by mail under \"Forgot your password?\"."
	}
	if throttled.Locked {
		return "Too many wrong passwords in a row. Ask whoever runs this server for an invitation link."
	}
	return "Too many attempts. Try again in " + quantity(max(1, int(math.Ceil(throttled.RetryAfter.Minutes()))), "minute") + "."
}

// errorPage shows a message as its title or, if it is long, with its first sentence as the title.
type errorPage struct {
	page
	Text string
}

// answerError is the only place where errors become responses: JSON for scripts, a line for htmx, and otherwise a page. It also sets the
// security headers, because a request that is too large never reaches the middleware.
func (h *handler) answerError(c *fiber.Ctx, err error) error {
	h.writeSecurityHeaders(c)
	if errors.Is(err, db.ErrSessionEnded) {
		if err = answerNotSignedIn(c); err == nil {
			return nil
		}
	}
	status, message := h.describe(c, err)
	c.Status(status)
	switch {
	case strings.HasPrefix(c.Path(), "/auth/"), status == fiber.StatusRequestHeaderFieldsTooLarge: // 431, for which the path is unknown
		misconfigured := (status == fiber.StatusForbidden || status == fiber.StatusNotFound) && message != needsFactor
		return h.showRefusal(c, refusalPage{Problem: message, Misconfigured: misconfigured})
	case isAPI(c):
		return c.JSON(fiber.Map{"error": message})
	case isHTMX(c):
		c.Set("HX-Reswap", "none") // the list stays as it is
		return c.Render("layouts/_problem", message)
	}
	p := errorPage{page: h.pageFor(c, message)}
	p.IsError = true
	if first, rest, more := strings.Cut(message, ". "); more && len(message) > 60 {
		p.Title, p.Text = first, rest
	}
	if !strings.Contains(p.Title, ". ") {
		p.Title = strings.TrimSuffix(p.Title, ".")
	}
	return c.Render("errors/index", p)
}

// isHTMX reports whether the request comes from htmx, which wants a fragment.
func isHTMX(c *fiber.Ctx) bool { return c.Get("HX-Request") == "true" }

// isAPI reports whether the response is JSON, errors included.
func isAPI(c *fiber.Ctx) bool {
	switch path := c.Path(); {
	case path == healthPath, path == apiPath, strings.HasPrefix(path, apiPath+"/"), isCeremony(c):
		return true
	case path == signInPath, path == signOutPath:
		return c.Method() == fiber.MethodPost && !isHTMX(c) && !acceptsHTML(c)
	}
	return false
}

// acceptsHTML reports whether the client accepts text/html by name, as browsers do. Scripts send */*.
func acceptsHTML(c *fiber.Ctx) bool {
	return slices.ContainsFunc(strings.Split(c.Get(fiber.HeaderAccept), ","), func(accepted string) bool {
		kind, _, _ := strings.Cut(accepted, ";")
		return strings.EqualFold(strings.TrimSpace(kind), fiber.MIMETextHTML)
	})
}
