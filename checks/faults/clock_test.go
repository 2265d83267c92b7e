//go:build linux && (amd64 || arm64)

package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/callback"
)

// clockPath is the prefix of paths that the child opens to have its wall clock changed
// by that many seconds. They do not exist.
const clockPath = "/wxqrcode-clock/"

func init() { children["clock"] = runClockChild }

// runClocks changes the wall clock of a child process by changing the results of its
// system calls. The clock of the machine is unchanged.
func runClocks(t *testing.T, b *table) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "output")
	output, err := os.Create(file)
	require.NoError(t, err)
	defer output.Close()
	offset := int64(0)
	ws, err := trace("clock", nil, output, (*tracedChild).hideFastClock, func(at *tracedChild) error {
		switch {
		case at.entry && at.call == syscall.SYS_OPENAT:
			if text, ok := strings.CutPrefix(at.text(at.args[1]), clockPath); ok {
				offset, err = strconv.ParseInt(text, 10, 64)
				return err
			}
		case !at.entry && at.call == syscall.SYS_CLOCK_GETTIME && at.args[0] == clockRealtime:
			seconds, err := at.word(at.args[1])
			if err != nil {
				return err
			}
			return at.setWord(at.args[1], uint64(int64(seconds)+offset))
		}
		return nil
	})
	if errors.Is(err, errNoTrace) {
		b.partial = true
		t.Run("clocks", func(t *testing.T) { t.Skip(err) })
		return
	}
	require.NoError(t, err)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.True(t, ws.Exited() && ws.ExitStatus() == 0, "%v\n%s", ws, text)
	require.NotRegexp(t, secretParts, string(text))
	for line := range bytes.Lines(text) {
		var o observation
		require.NoError(t, json.Unmarshal(line, &o), "%s", line)
		b.addChild(t, o)
	}
}

const (
	clockRealtime  = 0
	auxVDSO        = 33 // AT_SYSINFO_EHDR
	auxIgnore      = 1
	wordSize       = 8
	endOfAuxiliary = 0
)

// hideFastClock hides the vDSO from a new process, so that Go reads the clock by system
// calls.
func (t *tracedChild) hideFastClock() error {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", t.pid))
	if err != nil {
		return err
	}
	fields := strings.Fields(string(text)) // the last two: stack and program
	at, err := strconv.ParseUint(fields[len(fields)-2], 0, 64)
	if err != nil {
		return err
	}
	// The stack has argc, the arguments, 0, the environment, 0, and the auxiliary vector
	// of pairs of words.
	for zeros := 0; zeros < 2; {
		at += wordSize
		w, err := t.word(at)
		if err != nil {
			return err
		}
		if w == 0 {
			zeros++
		}
	}
	for at += wordSize; ; at += 2 * wordSize {
		switch w, err := t.word(at); {
		case err != nil:
			return err
		case w == endOfAuxiliary:
			return nil
		case w == auxVDSO:
			return t.setWord(at, auxIgnore)
		}
	}
}

// jump sets the wall clock off by a duration, and checks it.
func jump(off time.Duration) {
	wall, steady := time.Now().Round(0), time.Now()
	set := clockOff
	_, err := os.Open(fmt.Sprint(clockPath, int64(off/time.Second)))
	if !errors.Is(err, os.ErrNotExist) {
		panic(err)
	}
	jumped := time.Now().Round(0).Sub(wall) - time.Since(steady)
	if d := jumped - (off - set); d.Abs() > 30*time.Second {
		panic(fmt.Sprintf("the clock jumped by %v, not by %v", jumped, off-set))
	}
	clockOff = off
}

var clockOff time.Duration

// runClockChild is the child process. It prints a line per observation, and panics if a
// check fails.
func runClockChild() {
	for _, j := range []struct {
		name string
		off  time.Duration
	}{
		{"clock jumps 1 h forward", time.Hour},
		{"clock jumps 24 h forward", 24 * time.Hour},
		{"clock jumps 1 h back", -time.Hour},
		{"clock jumps 24 h back", -24 * time.Hour},
	} {
		for _, life := range []struct {
			call string
			live func(off time.Duration) (sees, retried string)
		}{
			{"a token in memory", tokenInMemory},
			{"a token fetch in flight", tokenOnItsWay},
			{"a backoff", waitForTry},
			{"a `Waiter`", waitForScan},
			{"a redelivered push", pushAgain},
			{"a token in a store", tokenInStore},
			{"a token stored by an instance with this clock", tokenFromOffStore},
			{"a push", pushWhileOff},
		} {
			leaks := countLeaks()
			sees, retried := life.live(j.off)
			jump(0)
			check(leaks.wait())
			check(json.NewEncoder(os.Stdout).Encode(observation{j.name, life.call, []string{sees, retried, "nothing", "nothing"}}))
		}
	}
}

// A counter serves different tokens and counts requests.
type counter struct {
	*wechat
	source *wxqrcode.TokenSource
}

func newCounter(opts ...wxqrcode.Option) *counter {
	c := &counter{wechat: newWeChat()}
	c.inject(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"access_token":"%s-%d","expires_in":7200}`, newToken, c.requests())
	})
	c.source = c.newSource(opts...)
	return c
}

func (c *counter) newSource(opts ...wxqrcode.Option) *wxqrcode.TokenSource {
	return must(wxqrcode.NewTokenSource(appID, appSecret, append(opts, wxqrcode.WithAPIURL(c.URL))...))
}

// many gets the token a thousand times, and returns how many requests were sent.
func (c *counter) many(source *wxqrcode.TokenSource) string {
	before := c.requests()
	first := must(source.AccessToken(context.Background()))
	for range 1000 {
		if must(source.AccessToken(context.Background())) != first {
			panic("another token")
		}
	}
	switch n := c.requests() - before; n {
	case 0:
		return "nothing"
	case 1:
		return "1 token request"
	default:
		panic(fmt.Sprint(n, " requests"))
	}
}

const fine = "no error"

func tokenInMemory(off time.Duration) (string, string) {
	c := newCounter()
	defer c.close()
	must(c.source.AccessToken(context.Background()))
	jump(off)
	return fine, c.many(c.source)
}

func tokenOnItsWay(off time.Duration) (string, string) {
	c := newCounter()
	defer c.close()
	c.inject(func(w http.ResponseWriter, r *http.Request) {
		jump(off)
		io.WriteString(w, responses[r.URL.Path])
	})
	must(c.source.AccessToken(context.Background()))
	return fine, c.many(c.source)
}

func waitForTry(off time.Duration) (string, string) {
	e := newEnv(context.Background(), create, must(os.MkdirTemp("", "wxqrcode")))
	defer func() {
		e.close()
		check(os.RemoveAll(e.folder))
	}()
	e.wechat.inject(func(w http.ResponseWriter, _ *http.Request) {
		jump(off)
		e.wechat.reset()
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	check(must(create.begin(e))(context.Background()))
	if e.attempts() != 2 {
		panic(fmt.Sprint(e.attempts(), " tries"))
	}
	return fine, "nothing"
}

func waitForScan(off time.Duration) (string, string) {
	waiter := new(callback.Waiter)
	scan := waiter.Expect(wxqrcode.SceneStr("desk-7"), time.Minute)
	jump(off)
	waiter.Notify(must(wxqrcode.ParseEvent([]byte("<xml><ToUserName>gh_1</ToUserName><FromUserName>o-ann</FromUserName><CreateTime>1700000000</CreateTime>" +
		"<MsgType>event</MsgType><Event>SCAN</Event><EventKey>desk-7</EventKey><Ticket>t</Ticket></xml>"))))
	must(scan.Wait(context.Background()))
	return fine, "nothing"
}

// pushAgain redelivers a push after a clock change, to a handler that ignores timestamps.
// Deduplication does not use the wall clock.
func pushAgain(off time.Duration) (string, string) {
	r := newReceiver(func(c *callback.Config) { c.MaxAge = -1 })
	defer r.Close()
	l := newPush("7", time.Now())
	must(r.post(l))
	jump(off)
	if answer := must(r.post(l)); answer != "200 success" || r.count() != 1 {
		panic(fmt.Sprint(answer, ", runs: ", r.count()))
	}
	return fine, "nothing"
}

// tokenInStore loads a token that was stored at the right time in another instance, which
// fetches one if the token seems to be expired.
func tokenInStore(off time.Duration) (string, string) {
	store := &fileStore{}
	c := newCounter(wxqrcode.WithTokenStore(store))
	defer c.close()
	must(c.source.AccessToken(context.Background()))
	jump(off)
	another := c.newSource(wxqrcode.WithTokenStore(store))
	retried := c.many(another)
	// A rejected token is replaced, even if it seems to be valid.
	another.InvalidateToken(context.Background(), must(another.AccessToken(context.Background())))
	if got := c.many(another); got != "1 token request" {
		panic(got)
	}
	return fine, retried
}

// tokenFromOffStore loads a token that an instance with a wrong clock stored in an
// instance with the right one.
func tokenFromOffStore(off time.Duration) (string, string) {
	store := &fileStore{}
	c := newCounter(wxqrcode.WithTokenStore(store))
	defer c.close()
	jump(off)
	must(c.source.AccessToken(context.Background()))
	jump(0)
	return fine, c.many(c.newSource(wxqrcode.WithTokenStore(store)))
}

// A fileStore stores a token without monotonic clock readings, like a file.
type fileStore struct{ kept atomic.Pointer[[]byte] }

func (s *fileStore) Load(context.Context, string) (t wxqrcode.Token, err error) {
	text := s.kept.Load()
	if text == nil {
		return t, wxqrcode.ErrTokenNotFound
	}
	return t, json.Unmarshal(*text, &t)
}

func (s *fileStore) Update(ctx context.Context, key string, fn func(context.Context, wxqrcode.Token) (wxqrcode.Token, error)) (wxqrcode.Token, error) {
	current, _ := s.Load(ctx, key)
	t, err := fn(ctx, current)
	if err == nil {
		text := must(json.Marshal(t))
		s.kept.Store(&text)
	}
	return t, err
}

// pushWhileOff pushes to a machine whose clock is wrong, then right again.
func pushWhileOff(off time.Duration) (string, string) {
	r := newReceiver(nil)
	defer r.Close()
	l := newPush("7", time.Now())
	jump(off)
	answer := must(r.post(l))
	jump(0)
	if again := must(r.post(l)); again != "200 success" || r.count() != 1 {
		panic(fmt.Sprint(again, ", runs: ", r.count()))
	}
	return answer + ", until the clock is right", "nothing"
}
