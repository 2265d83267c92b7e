package main

import (
	"context"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Where the tests in a real browser find it, and whether they must not be skipped.
const (
	envBrowser        = "WXQRCODE_BROWSER"
	envRequireBrowser = "WXQRCODE_REQUIRE_BROWSER"
)

// browserTimeout bounds all that a test does in a browser, from its start to its end.
const browserTimeout = 60 * time.Second

// browserPath returns the program of a Chromium or Chrome, or skips the test.
func browserPath(t *testing.T) string {
	t.Helper()
	// Chrome first: on Ubuntu 24.04 AppArmor lets a Chromium that came by no package make
	// no sandbox, and GitHub's runners have one of those beside Chrome
	// (https://github.com/actions/runner-images/issues/12096).
	names := []string{"google-chrome", "chromium", "chromium-browser"}
	if name := os.Getenv(envBrowser); name != "" {
		names = []string{name}
	}
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv(envRequireBrowser) == "1" {
		require.FailNow(t, "no browser found", "looked for %q; install Chromium, or name a browser in %s", names, envBrowser)
	}
	t.Skipf("no browser found: looked for %q; install Chromium, or name a browser in %s", names, envBrowser)
	return ""
}

// startBrowser starts a headless browser with a profile of its own. Each window is a
// context made from it with newWindow.
func startBrowser(t *testing.T) context.Context {
	t.Helper()
	path := browserPath(t)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), browserTimeout) // t's ends before the browser is closed
	t.Cleanup(cancel)
	options := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(path),
		chromedp.UserDataDir(t.TempDir()),
		chromedp.Headless,
		chromedp.DisableGPU,
		chromedp.NoFirstRun,
		chromedp.NoDefaultBrowserCheck,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-dev-shm-usage", true), // containers have little of it
		chromedp.Flag("disable-sync", true),
		chromedp.Flag("no-proxy-server", true),
	}
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // which refuses to run as root
	}
	ctx, _ = chromedp.NewExecAllocator(ctx, options...)
	ctx, _ = chromedp.NewContext(ctx)
	require.NoError(t, chromedp.Do(ctx), "start %s", path)
	t.Cleanup(func() {
		assert.NoError(t, chromedp.Cancel(ctx), "close the browser")
		chromedp.FromContext(ctx).Allocator.Wait()
	})
	return ctx
}

// newWindow opens a window that shares no cookies with others, as a private one. The
// test fails if the page logs an error: one of the script's, or something that its
// Content-Security-Policy forbade.
func newWindow(browser context.Context, t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	var mu sync.Mutex // guards faults
	var faults []string
	require.NoError(t, chromedp.Listen(ctx, func(event any) {
		mu.Lock()
		defer mu.Unlock()
		switch e := event.(type) {
		case *log.EventEntryAdded:
			if e.Entry.Level == log.EntryLevelError {
				faults = append(faults, e.Entry.Text)
			}
		case *runtime.EventExceptionThrown:
			faults = append(faults, e.ExceptionDetails.Text)
		}
	}))
	t.Cleanup(func() {
		cancel()
		mu.Lock()
		defer mu.Unlock()
		assert.Empty(t, faults, "errors in the page")
	})
	return ctx
}

// codeOf waits for the picture of the code and returns its address.
func codeOf(window context.Context, t *testing.T) (image string) {
	t.Helper()
	require.NoError(t, chromedp.Do(window, chromedp.WaitVisible("#code[src]")))
	width, err := chromedp.Run(window, chromedp.Evaluate[int](
		`document.querySelector('#code').decode().then(() => document.querySelector('#code').naturalWidth)`, chromedp.EvalAwaitPromise))
	require.NoError(t, err, "load the picture")
	require.Equal(t, 430, width)
	image, err = chromedp.Run(window, chromedp.JavascriptAttribute[string]("#code", "src"))
	require.NoError(t, err)
	return image
}

// assertWelcome waits until the page greets somebody.
func assertWelcome(window context.Context, t *testing.T, greeting string) {
	t.Helper()
	require.NoError(t, chromedp.Do(window, chromedp.WaitVisible("#welcome")))
	text, err := chromedp.Run(window, chromedp.Text("#greeting"))
	require.NoError(t, err)
	assert.Equal(t, greeting, text)
}

func TestInABrowserAScanLogsIn(t *testing.T) {
	noLeak(t)
	browser := startBrowser(t)
	s := newSite(t, nil)
	ann, eve := newWindow(browser, t), newWindow(browser, t)
	require.NoError(t, chromedp.Do(ann, chromedp.Navigate(s.url)))
	require.NoError(t, chromedp.Do(eve, chromedp.Navigate(s.url)))
	annsCode, evesCode := codeOf(ann, t), codeOf(eve, t)
	require.NotEqual(t, annsCode, evesCode)

	s.scan(t, ticketIn(t, annsCode), "o-ann")
	assertWelcome(ann, t, "Welcome, follower …-ann")
	require.NoError(t, chromedp.Do(ann, chromedp.Reload()))
	assertWelcome(ann, t, "Welcome, follower …-ann")

	// Eve's page goes on with a code of her own, and her cookies are no session.
	hidden, err := chromedp.Run(eve, chromedp.Evaluate[bool](`document.querySelector('#welcome').hidden`))
	require.NoError(t, err)
	assert.True(t, hidden)
	require.NoError(t, chromedp.Do(eve, chromedp.Reload()))
	s.scan(t, ticketIn(t, codeOf(eve, t)), "o-eve")
	assertWelcome(eve, t, "Welcome, follower …-eve")

	require.NoError(t, chromedp.Do(ann, chromedp.Click("#logout")))
	require.NotEqual(t, annsCode, codeOf(ann, t), "a new login begins")
}

func TestInABrowserAnExpiredCodeGivesWayToANewOne(t *testing.T) {
	noLeak(t)
	browser := startBrowser(t)
	s := newSite(t, func(l *login) { l.codeLife = 2 * time.Second })
	window := newWindow(browser, t)
	require.NoError(t, chromedp.Do(window, chromedp.Navigate(s.url), chromedp.WaitVisible("#again"), chromedp.WaitNotVisible("#code")))
	message, err := chromedp.Run(window, chromedp.Text("#message"))
	require.NoError(t, err)
	assert.Equal(t, "The code has expired.", message)
	expired, err := chromedp.Run(window, chromedp.JavascriptAttribute[string]("#code", "src"))
	require.NoError(t, err)
	require.NoError(t, chromedp.Do(window, chromedp.Click("#again"), chromedp.WaitReady(`#code:not([src="`+expired+`"])`)), "wait for another code")
}

func TestInABrowserTheButtonsPlayAPhone(t *testing.T) {
	noLeak(t)
	browser := startBrowser(t)
	s := newSite(t, nil)
	window := newWindow(browser, t)
	require.NoError(t, chromedp.Do(window, chromedp.Navigate(s.url)))
	codeOf(window, t)
	require.NoError(t, chromedp.Do(window, chromedp.Click(`[data-who="follower"]`)))
	assertWelcome(window, t, "Welcome, follower …ower")
}
