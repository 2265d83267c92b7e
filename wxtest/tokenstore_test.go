package wxtest_test

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

// envFault names the fault of the store in TestTokenStore.
const envFault = "WXTEST_STORE_FAULT"

// TestTokenStore tests a store without a fault, or, in a process of
// TestTokenStore_NoticesFaults, with one.
func TestTokenStore(t *testing.T) {
	fault := os.Getenv(envFault)
	if fault != "" {
		wxtest.SetStoreTimeout(time.Second)
	}
	b := &backend{tokens: make(map[string]wxqrcode.Token), lock: make(chan struct{}, 1)}
	wxtest.TestTokenStore(t, func() wxqrcode.TokenStore {
		s := &faultyStore{b, fault, b.lock}
		if fault == "a lock for each store" {
			s.lock = make(chan struct{}, 1)
		}
		return s
	})
}

// storeFaults has the subtest that notices each fault.
var storeFaults = map[string]string{
	"Load has no error":                "nothing is stored",
	"Load reports another error":       "nothing is stored",
	"fn receives no token":             "token is stored and returned",
	"fn is called twice":               "token is stored and returned",
	"fn is not called for a token":     "token is stored and returned",
	"nothing is stored":                "token is stored and returned",
	"another token is returned":        "token is stored and returned",
	"values are truncated":             "token is stored and returned",
	"times are whole seconds":          "token is stored and returned",
	"ForcedAt is not stored":           "token is stored and returned",
	"an expired token is dropped":      "expired token is passed to fn",
	"errors are wrapped":               "error stores nothing",
	"errors are dropped":               "error stores nothing",
	"an error deletes the token":       "error stores nothing",
	"a force refresh is not stored":    "failed force refresh is stored",
	"Load returns an empty token":      "failed force refresh is stored",
	"a force refresh leaves the token": "failed force refresh is stored",
	"keys are truncated":               "keys are independent",
	"no lock":                          "one call of fn at a time",
	"the lock ends before storing":     "10,000 callers at once",
	"a lock for each store":            "two stores share tokens and lock",
	"waiting ignores the context":      "context of a waiter ends",
	"fn runs without the lock":         "context of a waiter ends",
	"fn has another context":           "context of fn",
	"a panic keeps the lock":           "panic unlocks the key",
	"a panic stores the zero token":    "panic unlocks the key",
	"Goexit keeps the lock":            "Goexit unlocks the key",
	"a late token is stored":           "lost lock does not overwrite a newer token",
	"a late force refresh is stored":   "lost lock does not overwrite a newer token",
	"a late token is returned, stored": "lost lock does not overwrite a newer token",
}

func TestTokenStore_NoticesFaults(t *testing.T) {
	for fault, subtest := range storeFaults {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			name := strings.ReplaceAll(subtest, " ", "_")
			test := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestTokenStore$/^"+name+"$", "-test.timeout=1m")
			test.Env = append(os.Environ(), envFault+"="+fault)
			out, err := test.CombinedOutput()
			require.Error(t, err, string(out))
			assert.Contains(t, string(out), "--- FAIL: TestTokenStore/"+name)
			assert.NotContains(t, string(out), "panic: ")
		})
	}
}

// A backend is the database of the stores.
type backend struct {
	mu     sync.Mutex // guards tokens
	tokens map[string]wxqrcode.Token
	lock   chan struct{} // of all keys
}

// A faultyStore has one fault, or none.
type faultyStore struct {
	*backend
	fault string
	lock  chan struct{}
}

func (s *faultyStore) Load(_ context.Context, key string) (wxqrcode.Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	token, ok := s.tokens[s.truncateKey(key)]
	switch {
	case s.fault == "Load has no error" && !ok:
		return token, nil
	case s.fault == "Load reports another error" && !ok:
		return token, fmt.Errorf("no token")
	case token.Value != "" || s.fault == "Load returns an empty token" && ok:
		return token, nil
	}
	return wxqrcode.Token{}, wxqrcode.ErrTokenNotFound
}

func (s *faultyStore) Update(ctx context.Context, key string, fn func(context.Context, wxqrcode.Token) (wxqrcode.Token, error)) (wxqrcode.Token, error) {
	unlock, err := s.acquire(ctx)
	if err != nil {
		return wxqrcode.Token{}, err
	}
	returned := false
	defer func() {
		if !returned && s.fault == "a panic stores the zero token" {
			s.put(key, wxqrcode.Token{})
		}
		if returned || s.fault != "a panic keeps the lock" && s.fault != "Goexit keeps the lock" {
			unlock()
		}
	}()
	defer context.AfterFunc(ctx, unlock)()
	fnCtx := ctx
	if s.fault == "fn has another context" {
		fnCtx = context.WithoutCancel(ctx)
	}
	current := s.get(key)
	if s.fault == "fn is not called for a token" && current.Value != "" {
		returned = true
		return current, nil
	}
	token, err := fn(fnCtx, current)
	if s.fault == "fn is called twice" {
		token, err = fn(fnCtx, current)
	}
	returned = true
	if s.fault == "the lock ends before storing" {
		unlock()
		time.Sleep(50 * time.Millisecond) // other callers wait for the lock
	}
	return s.finish(ctx, key, token, err)
}

// acquire waits for the lock and returns the function that releases it.
func (s *faultyStore) acquire(ctx context.Context) (unlock func(), err error) {
	switch s.fault {
	case "no lock":
		return func() {}, nil
	case "waiting ignores the context":
		ctx = context.WithoutCancel(ctx)
	}
	select {
	case s.lock <- struct{}{}:
		return sync.OnceFunc(func() { <-s.lock }), nil
	case <-ctx.Done():
		if s.fault == "fn runs without the lock" {
			return func() {}, nil
		}
		return nil, fmt.Errorf("wait for the lock: %w", context.Cause(ctx))
	}
}

// finish stores what fn returned.
func (s *faultyStore) finish(ctx context.Context, key string, token wxqrcode.Token, err error) (wxqrcode.Token, error) {
	if ctx.Err() != nil { // the lock is lost
		switch {
		case s.fault == "a late token is returned, stored":
			err = nil
			s.put(key, token)
		case s.fault == "a late token is stored" && err == nil,
			s.fault == "a late force refresh is stored" && err != nil:
			s.put(key, token)
		}
		return token, cmp.Or(err, context.Cause(ctx))
	}
	stored := token
	switch s.fault {
	case "values are truncated":
		stored.Value = token.Value[:min(len(token.Value), 255)]
	case "times are whole seconds":
		stored.ExpiresAt = token.ExpiresAt.Truncate(time.Second)
	case "ForcedAt is not stored":
		stored.ForcedAt = time.Time{}
	case "a force refresh leaves the token":
		if err != nil && stored.Value == "" {
			stored.Value = s.get(key).Value
		}
	}
	switch {
	case s.fault == "nothing is stored":
	case s.fault == "a force refresh is not stored" && err != nil:
	case err == nil || token != wxqrcode.Token{} || s.fault == "an error deletes the token":
		s.put(key, stored)
	}
	switch s.fault {
	case "another token is returned":
		token.Value += "?"
	case "errors are wrapped":
		if err != nil {
			err = fmt.Errorf("update: %w", err)
		}
	case "errors are dropped":
		err = nil
	}
	return token, err
}

func (s *faultyStore) get(key string) wxqrcode.Token {
	s.mu.Lock()
	defer s.mu.Unlock()
	token := s.tokens[s.truncateKey(key)]
	if s.fault == "fn receives no token" || s.fault == "an expired token is dropped" && time.Now().After(token.ExpiresAt) {
		return wxqrcode.Token{}
	}
	return token
}

func (s *faultyStore) put(key string, token wxqrcode.Token) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[s.truncateKey(key)] = token
}

func (s *faultyStore) truncateKey(key string) string {
	if s.fault == "keys are truncated" {
		key, _, _ = strings.Cut(key, ":")
	}
	return key
}
