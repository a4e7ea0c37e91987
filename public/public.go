// Package public holds the static files: our own style sheet, scripts and icons, and htmx as it was published.
package public

import "embed"

// FS holds the files as they are served below /public/.
//
//go:embed app.css refused.css app.js events.js passkeys.js icon.svg favicon.ico vendor
var FS embed.FS
