package handlers_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"strings"
	"testing"
)

// pack and unpack are gzip, for the tests of bodies and of static files.
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

// A length that is told in two ways is where a proxy and a server may part a connection at different places.
func TestTwoLengths(t *testing.T) {
	c := openHouse(t)
	const chunked = "0\r\n\r\n"
	for _, line := range []string{"Content-Length: 5", "content-length: 0", "CONTENT-LENGTH: 5"} {
		for _, path := range []string{"/login", "/auth/forward"} {
			got := c.raw("POST " + path + " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n" + line + "\r\n\r\n" + chunked)
			got.is(t, 400)
		}
	}
	got := c.raw("POST /login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nX-Upload-Content-Length: 5\r\n\r\n" + chunked)
	if got.status == 400 {
		t.Errorf("one length: %d %s", got.status, got.body)
	}
}
