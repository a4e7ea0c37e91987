package handlers

import (
	"crypto/sha256"
	"testing"
	"testing/synctest"
	"time"

	"github.com/valyala/fasthttp"
)

// Answers may contain secrets, so they are deleted after a while, and only a limited number is kept.
func TestFormAnswersAreForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var answers formAnswers
		count := func() int { // locked, because the answers are forgotten on another goroutine
			answers.mu.Lock()
			defer answers.mu.Unlock()
			return len(answers.byKey)
		}
		var page fasthttp.Response
		page.SetBodyString("abcd-efgh-ijkl-mnop")
		for i := range 2 * maxAnswers {
			answers.store(sha256.Sum256([]byte{byte(i), byte(i >> 8)}), &page)
		}
		page.SetBodyString("another")
		first, known := answers.load(sha256.Sum256([]byte{0, 0}))
		if count() != maxAnswers || !known || string(first.body) != "abcd-efgh-ijkl-mnop" {
			t.Errorf("%d answers; the first is %q", count(), first.body)
		}
		time.Sleep(answerLifetime - 1)
		if count() != maxAnswers {
			t.Error("they were forgotten early")
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if count() != 0 {
			t.Errorf("%d answers are left", count())
		}
		page.SetStatusCode(fasthttp.StatusUnprocessableEntity)
		if answers.store(sha256.Sum256(nil), &page); count() != 0 {
			t.Error("a refusal is kept, so the form cannot be sent again")
		}
	})
}
