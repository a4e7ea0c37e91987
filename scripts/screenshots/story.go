package main

import (
	"bytes"
	_ "embed"
	"encoding/base64"
	"html/template"
	"net/url"

	"github.com/chromedp/chromedp"
)

// This file takes the picture at the top of the README: a phone signs out the library's computer, where the next click in an app leads to
// the sign-in page. What the two browsers show is real. story.html puts frames and captions around it.

//go:embed story.html
var storyHTML string

var storyTemplate = template.Must(template.New("story").Parse(storyHTML))

// The screens of story.html are wider than its frames. They are taken with the pixels that the frames have in the picture.
const (
	phoneScale  = 2 * 300. / 360
	windowScale = 2 * 460. / 640
)

// screen is what a browser shows.
type screen struct {
	Address string // host and path
	Images  map[string]template.URL
}

const signOut = `document.querySelector('[data-confirm*="sign out Firefox on Linux"]')`

func takeStory(phone, library browser) error {
	app, err := library.look(
		chromedp.EmulateViewport(640, 233, chromedp.EmulateScale(windowScale)),
		chromedp.Navigate(notes+"/Reading%20list"))
	if err != nil {
		return err
	}
	press, err := phone.look(
		chromedp.EmulateViewport(360, 600, chromedp.EmulateScale(phoneScale)),
		chromedp.Navigate(auth+"/sessions"),
		chromedp.Evaluate(`scrollTo(0, document.querySelector('main h2').offsetTop - 20); `+signOut+`.click()`, nil))
	if err != nil {
		return err
	}
	if err := chromedp.Run(phone, chromedp.Evaluate(signOut+`.click()`, nil), chromedp.Poll(`!`+signOut, nil)); err != nil {
		return err
	}
	ask, err := library.look(
		chromedp.EmulateViewport(640, 353, chromedp.EmulateScale(windowScale)),
		chromedp.Click(`a[href="Middlemarch"]`, chromedp.ByQuery),
		chromedp.WaitReady("[name=username]", chromedp.ByQuery),
		chromedp.Poll(`document.activeElement.name === 'username'`, nil),                                  // Chromium scrolls there
		chromedp.Evaluate(`scrollTo(0, 0); document.activeElement.style.caretColor = 'transparent'`, nil)) // the caret would blink
	if err != nil {
		return err
	}
	for _, scheme := range schemes {
		var page bytes.Buffer
		err := storyTemplate.Execute(&page, map[string]any{"Scheme": scheme, "Press": press, "App": app, "Ask": ask})
		if err != nil {
			return err
		}
		if err := phone.take(picture{name: "story-" + scheme, html: page.String(), width: 800}); err != nil {
			return err
		}
	}
	return nil
}

// look returns what the browser shows after the actions, in each colour scheme.
func (b browser) look(actions ...chromedp.Action) (screen, error) {
	s := screen{Images: map[string]template.URL{}}
	var location string
	if err := chromedp.Run(b, append(actions, chromedp.Location(&location))...); err != nil {
		return s, err
	}
	at, err := url.Parse(location)
	if err != nil {
		return s, err
	}
	s.Address = at.Host + at.Path
	for _, scheme := range schemes {
		var taken []byte
		if err := chromedp.Run(b, colourScheme(scheme), chromedp.CaptureScreenshot(&taken)); err != nil {
			return s, err
		}
		s.Images[scheme] = template.URL("data:image/png;base64," + base64.StdEncoding.EncodeToString(taken))
	}
	return s, nil
}
