package handlers

import (
	"cmp"
	"encoding/json"
	"errors"
	"mime"

	"github.com/gofiber/fiber/v2"
)

// isJSON reports whether the Content-Type is JSON.
func isJSON(c *fiber.Ctx) bool {
	kind, _, _ := mime.ParseMediaType(c.Get(fiber.HeaderContentType))
	return kind == fiber.MIMEApplicationJSON
}

// requireJSON rejects bodies that are neither empty nor JSON. Another site cannot send JSON without a preflight request.
func requireJSON(c *fiber.Ctx) error {
	if err := requireJSONBody(c); err != nil {
		return err
	}
	return c.Next()
}

func requireJSONBody(c *fiber.Ctx) error {
	if len(c.Body()) > 0 && !isJSON(c) {
		return problem{fiber.StatusUnsupportedMediaType, "Send the body as application/json."}
	}
	return nil
}

// readJSON reads the body into to. Malformed JSON is 400, and a value of the wrong type 422. Unknown keys are ignored.
func readJSON(c *fiber.Ctx, to any) error {
	if len(c.Body()) == 0 {
		return nil
	}
	err := json.Unmarshal(c.Body(), to)
	var wrongType *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrongType):
		where := cmp.Or(wrongType.Field, "The body")
		return problem{fiber.StatusUnprocessableEntity, where + " has the wrong type: " + wrongType.Value + "."}
	case err != nil:
		return problem{fiber.StatusBadRequest, "The body is not valid JSON."}
	}
	return nil
}
