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

// clockPath is what the child opens, in vain, to have its wall clock set: so many seconds
// from the right time.
const clockPath = "/wxqrcode-clock/"

func init() { children["clock"] = liveThroughJumps }

// runClocks lets a child live through jumps of its wall clock. The machine's own is left
// alone: the child asks the kernel for the time, and gets another.
func runClocks(t *testing.T, b *table) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "output")
	output, err := os.Create(file)
	require.NoError(t, err)
	defer output.Close()
	offset := int64(0)
	ws, err := trace("clock", nil, output, (*traced).hideFastClock, func(at *traced) error {
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
		t.Run("a clock that jumps", func(t *testing.T) { t.Skip(err) })
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
		b.take(t, o)
	}
}

const (
	clockRealtime  = 0
	auxVDSO        = 33 // AT_SYSINFO_EHDR
	auxIgnore      = 1
	wordSize       = 8
	endOfAuxiliary = 0
)

// hideFastClock takes from a program that has just begun what lets it read the clock
// without a system call. Go then makes one.
func (t *traced) hideFastClock() error {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", t.pid))
	if err != nil {
		return err
	}
	fields := strings.Fields(string(text)) // the last two: stack and program
	at, err := strconv.ParseUint(fields[len(fields)-2], 0, 64)
	if err != nil {
		return err
	}
	// The stack holds the number of arguments, the arguments, 0, the environment, 0, and
	// pairs of words, the auxiliary vector.
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

// jump sets the wall clock so far off the right time, and checks that it is.
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

// liveThroughJumps is the child: it prints an observation a line, and panics if anything
// is not as it should be.
func liveThroughJumps() {
	for _, j := range []struct {
		name string
		off  time.Duration
	}{
		{"the clock jumps 1 h ahead", time.Hour},
		{"the clock jumps 24 h ahead", 24 * time.Hour},
		{"the clock jumps 1 h back", -time.Hour},
		{"the clock jumps 24 h back", -24 * time.Hour},
	} {
		for _, life := range []struct {
			call string
			live func(off time.Duration) (sees, retried string)
		}{
			{"a token in memory", tokenInMemory},
			{"a token on its way", tokenOnItsWay},
			{"the wait for a further try", waitForTry},
			{"a `Waiter`", waitForScan},
			{"a push that comes again", pushAgain},
			{"a token in a store", tokenInStore},
			{"a token that another put into a store while its clock was so", tokenFromOffStore},
			{"a push", pushWhileOff},
		} {
			leaks := countLeaks()
			sees, retried := life.live(j.off)
			jump(0)
			check(leaks.left())
			check(json.NewEncoder(os.Stdout).Encode(observation{j.name, life.call, []string{sees, retried, "nothing", "nothing"}}))
		}
	}
}

// A counter serves tokens, each another, and counts them.
type counter struct {
	*wechat
	source *wxqrcode.TokenSource
}

func newCounter(opts ...wxqrcode.Option) *counter {
	c := &counter{wechat: newWeChat()}
	c.breaks(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"access_token":"%s-%d","expires_in":7200}`, newToken, c.requests())
	})
	c.source = c.newSource(opts...)
	return c
}

func (c *counter) newSource(opts ...wxqrcode.Option) *wxqrcode.TokenSource {
	return must(wxqrcode.NewTokenSource(appID, appSecret, append(opts, wxqrcode.WithAPIURL(c.URL))...))
}

// many asks for the token a thousand times, and returns how many requests that took.
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
		return "one token is fetched"
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
	c.breaks(func(w http.ResponseWriter, r *http.Request) {
		jump(off)
		io.WriteString(w, answers[r.URL.Path])
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
	e.wechat.breaks(func(w http.ResponseWriter, _ *http.Request) {
		jump(off)
		e.wechat.mend()
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	check(must(create.begin(e))(context.Background()))
	if e.tries() != 2 {
		panic(fmt.Sprint(e.tries(), " tries"))
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

// pushAgain lets a push come again at another time, to a handler that does not look at
// timestamps: what it remembers does not go by the wall clock.
func pushAgain(off time.Duration) (string, string) {
	r := newReceiver(func(c *callback.Config) { c.MaxAge = -1 })
	defer r.Close()
	l := newLetter("7", time.Now())
	must(r.post(l))
	jump(off)
	if answer := must(r.post(l)); answer != "200 success" || r.count() != 1 {
		panic(fmt.Sprint(answer, ", runs: ", r.count()))
	}
	return fine, "nothing"
}

// tokenInStore lets another instance take a token from the store that was put there at the
// right time; it asks for another if that one looks dead.
func tokenInStore(off time.Duration) (string, string) {
	store := &fileStore{}
	c := newCounter(wxqrcode.WithTokenStore(store))
	defer c.close()
	must(c.source.AccessToken(context.Background()))
	jump(off)
	another := c.newSource(wxqrcode.WithTokenStore(store))
	retried := c.many(another)
	// However long a token seems to live: one that WeChat refuses is replaced.
	another.InvalidateToken(context.Background(), must(another.AccessToken(context.Background())))
	if got := c.many(another); got != "one token is fetched" {
		panic(got)
	}
	return fine, retried
}

// tokenFromOffStore lets an instance with the right clock find what one with another put
// into the store.
func tokenFromOffStore(off time.Duration) (string, string) {
	store := &fileStore{}
	c := newCounter(wxqrcode.WithTokenStore(store))
	defer c.close()
	jump(off)
	must(c.source.AccessToken(context.Background()))
	jump(0)
	return fine, c.many(c.newSource(wxqrcode.WithTokenStore(store)))
}

// A fileStore keeps a token as a file would: without what a time has of the steady clock.
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

// pushWhileOff lets WeChat push at the right time to a machine whose clock is off, and
// then right again.
func pushWhileOff(off time.Duration) (string, string) {
	r := newReceiver(nil)
	defer r.Close()
	l := newLetter("7", time.Now())
	jump(off)
	answer := must(r.post(l))
	jump(0)
	if again := must(r.post(l)); again != "200 success" || r.count() != 1 {
		panic(fmt.Sprint(again, ", runs: ", r.count()))
	}
	return answer + ", until the clock is right", "nothing"
}
