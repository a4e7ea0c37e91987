package handlers_test

import (
	"testing"

	"porchlight/db/dbtest"
)

func TestMain(m *testing.M) { dbtest.Run(m) }
