package handlers_test

import (
	"encoding/base64"
	"regexp"
	"strings"
	"testing"

	"porchlight/handlers/handlerstest"
)

// This file fuzzes the Authorization header of auth checks, as forward_fuzz_test.go does the others. KEY stands for bob's key.

func FuzzForwardKey(f *testing.F) {
	c := handlerstest.OpenCast(f, behindProxy)
	key, _ := c.CreateKey(c.Bob.Token(), notes)
	alice := withCookie(c.Alice.Token())
	asBearer := regexp.MustCompile(`^(?i:bearer) +` + key + `$`)
	word := regexp.MustCompile(`(^|[ \t,;:="'])plk_`)
	for _, value := range []string{
		"", "Bearer KEY", "bearer   KEY", "Bearer\tKEY", "BearerKEY", "Bearer xKEY", "Bearer KEY, Basic eDp5", "KEY", "Token KEY", "Bearer PLK_",
		"Basic", "Basic =", "Basic eDp5", "Basic KEY", "Basic eDpwbGtf", "Digest a=\"KEY\"", "Bearer a.b_plk_c", "\xff", "Bearer plk_\xff",
	} {
		f.Add(value, false)
	}
	for _, pair := range []string{"bob:KEY", ":KEY", "KEY:", "KEY", "a:b:KEY", "a:KEY ", "\xff:KEY", "a:xKEY", "a:b"} {
		f.Add(pair, true)
	}
	f.Fuzz(func(t *testing.T, value string, encode bool) {
		c.T = t
		value = strings.ReplaceAll(value, "KEY", key)
		if encode {
			value = "Basic " + base64.StdEncoding.EncodeToString([]byte(value))
		}
		if len(value) > 10<<10 || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return
		}
		got := c.Raw(forward.raw("GET", append(toNotes.forwarded(), "Authorization", value, "Cookie", alice)...))
		value = strings.Trim(value, " \t")
		scheme, encoded, _ := strings.Cut(value, " ")
		pair, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(strings.TrimSpace(encoded), "="))
		isBasic := strings.EqualFold(scheme, "Basic") && err == nil
		_, password, _ := strings.Cut(string(pair), ":")
		switch opens := asBearer.MatchString(value) || isBasic && password == key; {
		case opens:
			passes(t, got, "bob")
			if got.Header.Values("Authorization") != nil {
				t.Errorf("the app gets %q", got.Header.Values("Authorization"))
			}
		case word.MatchString(value) || isBasic && word.Match(pair):
			stops(t, got, 401, "")
		default:
			passes(t, got, "alice")
			if echoed := got.Header.Get("Authorization"); echoed != value {
				t.Errorf("the app gets %q of %q", echoed, value)
			}
		}
	})
}
