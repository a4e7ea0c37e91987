// Package views holds the templates. A file whose name begins with an underscore is a fragment, which a page includes
// and a handler may render alone; every other file is a page.
package views

import "embed"

// FS holds one folder for each thing that has pages. "all:" because embed leaves out names with an underscore.
//
//go:embed all:account all:activity all:admin all:confirm all:errors all:forms all:forward all:invite all:layouts all:login all:logout all:reset all:sessions all:setup all:signup
var FS embed.FS
