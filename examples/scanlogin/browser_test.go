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

// Environment variables: the path of a browser, and whether one is required.
const (
	envBrowser        = "WXQRCODE_BROWSER"
	envRequireBrowser = "WXQRCODE_REQUIRE_BROWSER"
)

// browserTimeout is the timeout of a test in a browser.
const browserTimeout = 60 * time.Second

// browserPath returns the program of a Chromium or Chrome, or skips the test.
func browserPath(t *testing.T) string {
	t.Helper()
	// Chrome first: on Ubuntu 24.04 AppArmor denies the sandbox to a Chromium that
	// is not from a package, such as that of the GitHub runners
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

// startBrowser starts a headless browser with a new profile. newWindow opens
// its windows.
func startBrowser(t *testing.T) context.Context {
	t.Helper()
	path := browserPath(t)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), browserTimeout) // the context of t ends before the browser is closed
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
		chromedp.Flag("disable-dev-shm-usage", true), // small in containers
		chromedp.Flag("disable-sync", true),
		chromedp.Flag("no-proxy-server", true),
	}
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // the sandbox does not work as root
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

// newWindow opens a private window, which has its own cookies. The test fails
// if the page logs an error, of the script or of its Content-Security-Policy.
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

// waitForCode waits for the image of the code and returns its URL.
func waitForCode(window context.Context, t *testing.T) (image string) {
	t.Helper()
	require.NoError(t, chromedp.Do(window, chromedp.WaitVisible("#code[src]")))
	width, err := chromedp.Run(window, chromedp.Evaluate[int](
		`document.querySelector('#code').decode().then(() => document.querySelector('#code').naturalWidth)`, chromedp.EvalAwaitPromise))
	require.NoError(t, err, "load the image")
	require.Equal(t, 430, width)
	image, err = chromedp.Run(window, chromedp.JavascriptAttribute[string]("#code", "src"))
	require.NoError(t, err)
	return image
}

// assertWelcome waits for the greeting.
func assertWelcome(window context.Context, t *testing.T, greeting string) {
	t.Helper()
	require.NoError(t, chromedp.Do(window, chromedp.WaitVisible("#welcome")))
	text, err := chromedp.Run(window, chromedp.Text("#greeting"))
	require.NoError(t, err)
	assert.Equal(t, greeting, text)
}

func TestBrowser_Login(t *testing.T) {
	checkLeak(t)
	browser := startBrowser(t)
	s := newSite(t, nil)
	ann, eve := newWindow(browser, t), newWindow(browser, t)
	require.NoError(t, chromedp.Do(ann, chromedp.Navigate(s.url)))
	require.NoError(t, chromedp.Do(eve, chromedp.Navigate(s.url)))
	annsCode, evesCode := waitForCode(ann, t), waitForCode(eve, t)
	require.NotEqual(t, annsCode, evesCode)

	s.scan(t, ticketOf(t, annsCode), "o-ann")
	assertWelcome(ann, t, "Welcome, follower …-ann")
	require.NoError(t, chromedp.Do(ann, chromedp.Reload()))
	assertWelcome(ann, t, "Welcome, follower …-ann")

	// Eve has another code and no session.
	hidden, err := chromedp.Run(eve, chromedp.Evaluate[bool](`document.querySelector('#welcome').hidden`))
	require.NoError(t, err)
	assert.True(t, hidden)
	require.NoError(t, chromedp.Do(eve, chromedp.Reload()))
	s.scan(t, ticketOf(t, waitForCode(eve, t)), "o-eve")
	assertWelcome(eve, t, "Welcome, follower …-eve")

	require.NoError(t, chromedp.Do(ann, chromedp.Click("#logout")))
	require.NotEqual(t, annsCode, waitForCode(ann, t), "a new login begins")
}

func TestBrowser_ExpiredCode(t *testing.T) {
	checkLeak(t)
	browser := startBrowser(t)
	s := newSite(t, func(l *login) { l.codeTTL = 2 * time.Second })
	window := newWindow(browser, t)
	require.NoError(t, chromedp.Do(window, chromedp.Navigate(s.url), chromedp.WaitVisible("#again"), chromedp.WaitNotVisible("#code")))
	message, err := chromedp.Run(window, chromedp.Text("#message"))
	require.NoError(t, err)
	assert.Equal(t, "The code has expired.", message)
	expired, err := chromedp.Run(window, chromedp.JavascriptAttribute[string]("#code", "src"))
	require.NoError(t, err)
	require.NoError(t, chromedp.Do(window, chromedp.Click("#again"), chromedp.WaitReady(`#code:not([src="`+expired+`"])`)), "wait for another code")
}

func TestBrowser_SandboxButtons(t *testing.T) {
	checkLeak(t)
	browser := startBrowser(t)
	s := newSite(t, nil)
	window := newWindow(browser, t)
	require.NoError(t, chromedp.Do(window, chromedp.Navigate(s.url)))
	waitForCode(window, t)
	require.NoError(t, chromedp.Do(window, chromedp.Click(`[data-who="follower"]`)))
	assertWelcome(window, t, "Welcome, follower …ower")
}
