package handlers

import (
	"bufio"
	"encoding/json"

	"github.com/gofiber/fiber/v2"

	"porchlight/db"
)

// apiActivity is what happened to an account, as the API tells it.
type apiActivity struct {
	ID         int64  `json:"id"`
	Kind       string `json:"kind"`
	At         string `json:"at"`
	IP         string `json:"ip"`
	DeviceName string `json:"deviceName"`
	SessionID  string `json:"sessionId"`
	By         string `json:"by"`
	Count      int    `json:"count"`
}

func newAPIActivity(a db.Activity) apiActivity {
	return apiActivity{ID: a.ID, Kind: a.Kind, At: rfc3339(a.At), IP: a.IP, DeviceName: a.DeviceName, SessionID: a.SessionID, By: a.By, Count: a.Count}
}

// exportedAccount and exportedSession are what is kept about a user, but for the secrets: no hash, no token.
type exportedAccount struct {
	Username  string `json:"username"`
	Email     string `json:"email"`
	IsAdmin   bool   `json:"isAdmin"`
	CreatedAt string `json:"createdAt"`
}

type exportedSession struct {
	apiSession
	DeviceKind string `json:"deviceKind"`
	UserAgent  string `json:"userAgent"`
	Shared     bool   `json:"shared"`
}

// apiExport hands out all that is kept about the user. The activity can be long, so it is written as it is read.
func (h *handler) apiExport(c *fiber.Ctx) error {
	current := currentSession(c)
	if err := h.store.RecordExport(c.UserContext(), current); err != nil {
		return err
	}
	account, err := h.store.Account(c.UserContext(), current)
	if err != nil {
		return err
	}
	sessions, _, err := h.store.Sessions(c.UserContext(), current.UserID, 0)
	if err != nil {
		return err
	}
	kept := []exportedSession{}
	for _, session := range sessions {
		kept = append(kept, exportedSession{newAPISession(session, current), session.DeviceKind, session.UserAgent, session.Shared})
	}
	ctx, log := c.UserContext(), h.Log // the request is gone when the body is written
	c.Set(fiber.HeaderContentType, fiber.MIMEApplicationJSON)
	c.Set(fiber.HeaderContentDisposition, `attachment; filename="porchlight.json"`)
	c.Context().SetBodyStreamWriter(func(w *bufio.Writer) {
		if err := h.writeExport(w, exportedAccount{account.Username, account.Email, account.IsAdmin, rfc3339(account.CreatedAt)}, kept, func(each func(db.Activity) error) error {
			return h.store.EachActivity(ctx, current.UserID, each)
		}); err != nil {
			log.Error("an export was cut short", "user", current.Username, "error", err)
		}
	})
	return nil
}

// writeExport writes one JSON object, its last list row by row.
func (h *handler) writeExport(w *bufio.Writer, account exportedAccount, sessions []exportedSession, activity func(func(db.Activity) error) error) error {
	head, err := json.Marshal(struct {
		Account  exportedAccount   `json:"account"`
		Sessions []exportedSession `json:"sessions"`
		Devices  []struct{}        `json:"devices"`
	}{account, sessions, []struct{}{}})
	if err != nil {
		return err
	}
	w.Write(head[:len(head)-1]) // the object goes on
	w.WriteString(`,"activity":[`)
	first := true
	err = activity(func(a db.Activity) error {
		row, err := json.Marshal(newAPIActivity(a))
		if err != nil {
			return err
		}
		if !first {
			w.WriteByte(',')
		}
		first = false
		_, err = w.Write(row)
		return err
	})
	if err != nil {
		return err // without its end the file is no JSON, so nobody takes half for all
	}
	w.WriteString("]}\n")
	return w.Flush()
}
