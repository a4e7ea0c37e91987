package handlers_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"porchlight/handlers/handlerstest"
)

// pack and unpack use gzip, for the tests of bodies and static files.
func pack(text string) string {
	var packed bytes.Buffer
	writer, _ := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	io.WriteString(writer, text)
	writer.Close()
	return packed.String()
}

func unpack(t testing.TB, packed string) string {
	t.Helper()
	reader, err := gzip.NewReader(strings.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(reader)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Where the length of a body is given twice, a proxy may see one request and the server two. The connection ends after the refusal, so
// the second request, which the proxy did not check, is never answered.
func TestTwoLengths(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenHouse(t)
	const (
		chunked  = "0\r\n\r\n"
		smuggled = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
	)
	post := func(path, lengths string) string {
		return "POST " + path + " HTTP/1.1\r\nHost: x\r\n" + lengths + "\r\n" + chunked
	}
	for _, line := range []string{"Content-Length: 5", "content-length: 0", "CONTENT-LENGTH: 5"} {
		for _, path := range []string{"/login", "/auth/forward"} {
			if got := statuses(c, post(path, "Transfer-Encoding: chunked\r\n"+line+"\r\n")+smuggled); !slices.Equal(got, []int{400}) {
				t.Errorf("%s, %s: statuses %v", path, line, got)
			}
		}
	}
	// With one length both are answered: the connection stays open, and a header with a similar name has no effect.
	last := strings.Replace(smuggled, "\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1)
	if got := statuses(c, post("/logout", "Transfer-Encoding: chunked\r\nX-Upload-Content-Length: 5\r\n")+last); !slices.Equal(got,
		[]int{200, 200}) {
		t.Errorf("one length: statuses %v", got)
	}
}

// statuses sends bytes on one connection, and returns the status of every answer until the server closes it.
func statuses(h *handlerstest.House, requests string) (statuses []int) {
	h.T.Helper()
	conn, err := net.Dial("tcp", h.At)
	if err != nil {
		h.T.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil { // for a server that does not close it
		h.T.Fatal(err)
	}
	if _, err := io.WriteString(conn, requests); err != nil {
		h.T.Fatal(err)
	}
	for reader := bufio.NewReader(conn); ; {
		if _, err := reader.Peek(1); err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
				h.T.Errorf("after %v the connection stays open: %v", statuses, err)
			}
			return statuses
		}
		response, err := http.ReadResponse(reader, nil)
		if err != nil {
			h.T.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, response.Body); err != nil {
			h.T.Fatal(err)
		}
		statuses = append(statuses, response.StatusCode)
	}
}
