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
