package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"porchlight/db/demo"
)

// This file serves a throw-away database with people, devices, apps and activity that look like those of a real server.

type demoCommand struct{}

func (demoCommand) Run(e *environment) (err error) {
	folder, err := os.MkdirTemp("", "porchlight-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	e.settings.Data = folder
	if _, err := demo.Seed(e.ctx, e.databaseOptions(), time.Now()); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	e.greet = func(out io.Writer) {
		fmt.Fprintf(out, "Open %s and sign in as ada, who is an administrator, or as ben.\nTheir password: %s\n"+
			"Everything is deleted when the demo stops.\n", e.settings.url, demo.Password)
	}
	return serve(e, "")
}
