// Package demo creates the database that "porchlight demo" serves and that the pictures in the documentation show.
package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"porchlight/db"
)

// Password is the password of everybody in the demo.
const Password = "warm light on the porch"

// seeder fills a database, with a clock that is set to the past.
type seeder struct {
	*db.Store
	ctx   context.Context
	clock time.Time

	laptop, library string // tokens of ada's sessions
}

// Seed creates the database, as if the last two weeks before now had happened. It returns the token of the session that ada has left on the
// library's computer.
func Seed(ctx context.Context, options db.Options, now time.Time) (library string, err error) {
	d := &seeder{ctx: ctx}
	options.Create, options.Now = true, func() time.Time { return d.clock }
	const day = 24 * time.Hour
	steps := []struct {
		ago time.Duration
		do  func() error
	}{
		{14*day + 95*time.Minute, d.addPeople},
		{9*day + 433*time.Minute, func() error { return d.signIn("ada", ipad, "photos.example.com") }},
		{6*day - 187*time.Minute, d.setUpLaptop},
		{5*day + 318*time.Minute, func() error { return d.signIn("ben", chromeOnWindows, "photos.example.com", "notes.example.com") }},
		{2*day - 52*time.Minute, func() error { return d.signIn("ben", iphone, "photos.example.com") }},
		{26*time.Hour + 13*time.Minute, d.guessPasswords},
		{20*time.Hour + 34*time.Minute, d.signUp},
		{3 * time.Hour, func() error { return d.use(d.laptop, firefoxOnWindows, "mail.example.com") }},
		{10 * time.Minute, d.useLibrary},
	}
	d.clock = now.Add(-steps[0].ago)
	if d.Store, err = db.Open(ctx, options); err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	for _, step := range steps {
		d.clock = now.Add(-step.ago)
		if err := errors.Join(step.do(), d.Flush(ctx)); err != nil {
			return "", err
		}
	}
	return d.library, nil
}

const webkit = " AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1"

// The devices of the demo. Their addresses are reserved for documentation (RFC 5737 and RFC 3849).
var (
	ipad = db.Client{DeviceName: "Safari on iPad", DeviceKind: "tablet", IP: "2001:db8:7::a1",
		UserAgent: "Mozilla/5.0 (iPad; CPU OS 18_6 like Mac OS X)" + webkit}
	iphone = db.Client{DeviceName: "Safari on iPhone", DeviceKind: "phone", IP: "203.0.113.24",
		UserAgent: "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X)" + webkit}
	firefoxOnWindows = db.Client{DeviceName: "Firefox on Windows", DeviceKind: "desktop", IP: "203.0.113.24",
		UserAgent: "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:145.0) Gecko/20100101 Firefox/145.0"}
	chromeOnWindows = db.Client{DeviceName: "Chrome on Windows", DeviceKind: "desktop", IP: "203.0.113.24",
		UserAgent: "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"}
	chromeOnAndroid = db.Client{DeviceName: "Chrome on Android", DeviceKind: "phone", IP: "192.0.2.61",
		UserAgent: "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Mobile Safari/537.36"}
	firefoxInTheLibrary = db.Client{DeviceName: "Firefox on Linux", DeviceKind: "desktop", IP: "198.51.100.80",
		UserAgent: "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"}
	stranger = db.Client{DeviceName: "curl", DeviceKind: "terminal", IP: "192.0.2.200", UserAgent: "curl/8.14.1"}
)

func (d *seeder) addPeople() error {
	for _, name := range []string{"ada", "ben"} {
		if _, err := d.CreateUser(d.ctx, db.NewUser{Username: name, Email: name + "@example.com", Password: Password}); err != nil {
			return err
		}
		if err := d.ChangeUser(d.ctx, db.CommandLine, name, db.UserChange{Groups: &[]string{"family"}}); err != nil {
			return err
		}
	}
	for _, rule := range []db.AppRule{
		{Host: "photos.example.com", Groups: []string{"family"}}, {Host: "mail.example.com", Users: []string{"ada"}},
	} {
		if _, err := d.AllowApp(d.ctx, db.CommandLine, rule); err != nil {
			return err
		}
	}
	return nil
}

func (d *seeder) signIn(username string, client db.Client, apps ...string) error {
	_, _, err := d.begin(username, db.NewSession{Client: client, Remember: true}, apps...)
	return err
}

// begin signs a user in, and uses the apps.
func (d *seeder) begin(username string, newSession db.NewSession, apps ...string) (token string, session db.Session, err error) {
	user, err := d.UserByName(username)
	if err != nil {
		return "", session, err
	}
	newSession.Method = db.ByPassword
	if token, session, err = d.SignIn(d.ctx, user, newSession); err != nil {
		return "", session, err
	}
	return token, session, d.use(token, newSession.Client, apps...)
}

func (d *seeder) use(token string, client db.Client, apps ...string) error {
	for _, app := range apps {
		access, err := d.Authorize(token, app)
		if err != nil {
			return err
		}
		d.UseApp(access, client, true)
	}
	return nil
}

func (d *seeder) setUpLaptop() error {
	token, laptop, err := d.begin("ada", db.NewSession{Client: firefoxOnWindows, Remember: true}, "notes.example.com", "mail.example.com")
	if err != nil {
		return err
	}
	d.laptop = token
	if err := d.Rename(d.ctx, laptop, laptop.ID, "My laptop"); err != nil {
		return err
	}
	_, _, err = d.CreateKey(d.ctx, laptop, db.NewKey{IP: laptop.IP, Name: "Calendar on my phone", Host: "calendar.example.com"})
	return err
}

// guessPasswords fails to sign in as ada.
func (d *seeder) guessPasswords() error {
	for _, guess := range []string{"password", "letmein", "ada12345"} {
		if _, err := d.Authenticate(d.ctx, "ada", guess, stranger); !errors.Is(err, db.ErrWrongPassword) {
			return fmt.Errorf("a guessed password: %w", err)
		}
	}
	return nil
}

// signUp creates an account that waits for approval.
func (d *seeder) signUp() error {
	_, err := d.CreateUser(d.ctx, db.NewUser{Username: "cleo", Password: Password, SignUp: true, IP: chromeOnAndroid.IP})
	if err != nil {
		return err
	}
	return d.signIn("cleo", chromeOnAndroid)
}

// useLibrary leaves ada signed in on the library's computer.
func (d *seeder) useLibrary() (err error) {
	d.library, _, err = d.begin("ada", db.NewSession{Client: firefoxInTheLibrary, Shared: true}, "mail.example.com", "notes.example.com")
	return err
}
