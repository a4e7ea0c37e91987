// Package migrations holds the steps that build the database, in order; goose runs them.
package migrations

import "embed"

// FS holds one SQL file a step, named by its version.
//
//go:embed *.sql
var FS embed.FS
