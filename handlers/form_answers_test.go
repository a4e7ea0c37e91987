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
			answers.store(sha256.Sum256([]byte{byte(i), byte(i >> 8)}), &page, time.Now())
		}
		page.SetBodyString("another")
		first, _ := answers.load(sha256.Sum256([]byte{0, 0}), time.Now())
		if count() != maxAnswers || first == nil || string(first.body) != "abcd-efgh-ijkl-mnop" {
			t.Fatalf("%d answers; the first is %v", count(), first)
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
		if answers.store(sha256.Sum256(nil), &page, time.Now()); count() != 0 {
			t.Error("a refusal is kept, so the form cannot be sent again")
		}
	})
}

// Only a limited number of used forms is remembered: the newest.
func TestUsedFormsAreBounded(t *testing.T) {
	t.Parallel()
	var answers formAnswers
	key := func(i int) formKey { return sha256.Sum256([]byte{byte(i), byte(i >> 8)}) }
	for i := range maxUsedForms + 1 {
		answers.markUsed(key(i))
	}
	for i, want := range map[int]bool{0: false, 1: true, maxUsedForms: true} {
		if _, used := answers.load(key(i), time.Now()); used != want {
			t.Errorf("form %d is used: %t, want %t", i, used, want)
		}
	}
	if len(answers.used) != maxUsedForms {
		t.Errorf("%d are remembered", len(answers.used))
	}
}
