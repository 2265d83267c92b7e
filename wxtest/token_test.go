package wxtest_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

// Results of checkToken.
const (
	valid   = 0
	invalid = 40001
	expired = 42001
)

func TestToken_Format(t *testing.T) {
	srv := newServer(t)
	for range 50 {
		r := legacyToken(t, srv)
		assert.Regexp(t, `^[A-Za-z0-9_-]{136,157}$`, r.AccessToken)
		assert.Equal(t, 7200, r.ExpiresIn)
		assert.Equal(t, 200, r.status)
		assert.Contains(t, r.header.Get("Content-Type"), "application/json")
	}
}

func TestLegacyToken_OldTokenIsValidForFiveMinutes(t *testing.T) {
	srv, clock := newTimedServer(t)
	first := legacyToken(t, srv).AccessToken
	clock.advance(time.Hour)
	second := legacyToken(t, srv).AccessToken
	require.NotEqual(t, first, second)

	clock.advance(5*time.Minute - 1)
	assert.Equal(t, valid, checkToken(t, srv, first), "within the overlap")
	third := legacyToken(t, srv).AccessToken
	clock.advance(1)
	assert.Equal(t, invalid, checkToken(t, srv, first), "a third token does not prolong the overlap")
	assert.Equal(t, valid, checkToken(t, srv, second))
	clock.advance(2 * time.Hour)
	assert.Equal(t, invalid, checkToken(t, srv, first), "it was replaced, not expired")
	assert.Equal(t, expired, checkToken(t, srv, third))
}

func TestLegacyToken_OverlapEndsWithLifetime(t *testing.T) {
	srv, clock := newTimedServer(t)
	first := legacyToken(t, srv).AccessToken
	clock.advance(2*time.Hour - time.Minute)
	legacyToken(t, srv)
	clock.advance(time.Minute - 1)
	assert.Equal(t, valid, checkToken(t, srv, first))
	clock.advance(1)
	assert.Equal(t, expired, checkToken(t, srv, first))
}

func TestStableToken_SameUntilFiveMinutesBeforeExpiry(t *testing.T) {
	srv, clock := newTimedServer(t)
	first := stableToken(t, srv, false)
	assert.Equal(t, 7200, first.ExpiresIn)

	clock.advance(115*time.Minute - 1)
	same := stableToken(t, srv, false)
	assert.Equal(t, first.AccessToken, same.AccessToken)
	assert.Equal(t, 300, same.ExpiresIn, "the rest of the lifetime, in whole seconds")

	clock.advance(1)
	second := stableToken(t, srv, false)
	assert.NotEqual(t, first.AccessToken, second.AccessToken)
	assert.Equal(t, 7200, second.ExpiresIn)

	clock.advance(5*time.Minute - 1)
	assert.Equal(t, valid, checkToken(t, srv, first.AccessToken), "old and new overlap")
	assert.Equal(t, second.AccessToken, stableToken(t, srv, false).AccessToken)
	clock.advance(1)
	assert.Equal(t, expired, checkToken(t, srv, first.AccessToken))
	assert.Equal(t, valid, checkToken(t, srv, second.AccessToken))
}

func TestStableToken_ForceRefreshInvalidatesOldToken(t *testing.T) {
	srv, clock := newTimedServer(t)
	first := stableToken(t, srv, false).AccessToken
	second := stableToken(t, srv, true).AccessToken
	require.NotEqual(t, first, second)
	assert.Equal(t, invalid, checkToken(t, srv, first))
	assert.Equal(t, valid, checkToken(t, srv, second))

	clock.advance(30*time.Second - 1)
	assert.Equal(t, second, stableToken(t, srv, true).AccessToken, "less than 30 s apart")
	assert.Equal(t, valid, checkToken(t, srv, second))
	clock.advance(1)
	assert.NotEqual(t, second, stableToken(t, srv, true).AccessToken, "30 s apart")
	assert.Equal(t, invalid, checkToken(t, srv, second))
}

func TestStableToken_TwentyForceRefreshesADay(t *testing.T) {
	srv, clock := newTimedServer(t)
	seen := map[string]bool{stableToken(t, srv, false).AccessToken: true}
	last := ""
	for i := range 20 {
		last = stableToken(t, srv, true).AccessToken
		require.False(t, seen[last], "refresh %d", i+1)
		seen[last] = true
		clock.advance(30 * time.Second)
	}
	assert.Equal(t, last, stableToken(t, srv, true).AccessToken, "the 21st of the day")
	assert.Equal(t, valid, checkToken(t, srv, last))

	clock.advance(24*time.Hour - 20*30*time.Second - 1)
	current := stableToken(t, srv, false).AccessToken
	assert.Equal(t, current, stableToken(t, srv, true).AccessToken, "still the same day")
	clock.advance(1)
	assert.NotEqual(t, current, stableToken(t, srv, true).AccessToken, "24 hours after the first")
}

func TestToken_EndpointsAreIndependent(t *testing.T) {
	srv, clock := newTimedServer(t)
	stable := stableToken(t, srv, false).AccessToken
	legacy := legacyToken(t, srv).AccessToken
	legacyToken(t, srv)
	stableToken(t, srv, true)
	assert.Equal(t, valid, checkToken(t, srv, legacy), "force_refresh affects stable tokens only")
	clock.advance(10 * time.Minute)
	assert.Equal(t, invalid, checkToken(t, srv, legacy))
	assert.Equal(t, invalid, checkToken(t, srv, stable))
	stable = stableToken(t, srv, false).AccessToken
	legacyToken(t, srv)
	clock.advance(10 * time.Minute)
	assert.Equal(t, valid, checkToken(t, srv, stable), "a legacy token does not replace a stable one")
}

func TestWithTokenLifetime_Overlap(t *testing.T) {
	for lifetime, overlap := range map[time.Duration]time.Duration{
		5 * time.Second: time.Second, 25 * time.Minute: 5 * time.Minute, time.Hour: 5 * time.Minute, 2 * time.Hour: 5 * time.Minute,
	} {
		srv, clock := newTimedServer(t, wxtest.WithTokenLifetime(lifetime))
		legacy := legacyToken(t, srv)
		assert.InDelta(t, lifetime.Seconds(), legacy.ExpiresIn, 0)
		stable := stableToken(t, srv, false).AccessToken
		legacyToken(t, srv)
		clock.advance(overlap - 1)
		assert.Equal(t, valid, checkToken(t, srv, legacy.AccessToken))
		clock.advance(1)
		assert.Equal(t, invalid, checkToken(t, srv, legacy.AccessToken))

		clock.advance(lifetime - 2*overlap - 1)
		assert.Equal(t, stable, stableToken(t, srv, false).AccessToken)
		clock.advance(1)
		assert.NotEqual(t, stable, stableToken(t, srv, false).AccessToken)
	}
}

func TestToken_ExpiresInIsAtLeastOneSecond(t *testing.T) {
	srv, clock := newTimedServer(t, wxtest.WithTokenLifetime(time.Millisecond))
	r := legacyToken(t, srv)
	assert.Equal(t, 1, r.ExpiresIn)
	clock.advance(time.Millisecond)
	assert.Equal(t, expired, checkToken(t, srv, r.AccessToken))
}

func TestNewServer_InvalidOptionsMeanDefaults(t *testing.T) {
	srv := newServer(t, nil, wxtest.WithTokenLifetime(0), wxtest.WithTokenLifetime(-time.Second),
		wxtest.WithPushTimeout(0), wxtest.WithPushTimeout(-time.Second), wxtest.WithNow(nil))
	assert.Equal(t, 7200, legacyToken(t, srv).ExpiresIn)
	code := create(t, srv, someCode)
	info, err := code.Ticket.Inspect()
	require.NoError(t, err)
	assert.WithinDuration(t, time.Now(), info.CreatedAt, time.Minute)
	assert.Equal(t, "door", sceneOf(t, srv, code.Ticket), "the push does not time out")
}

func TestServer_RevokeTokens(t *testing.T) {
	srv, clock := newTimedServer(t)
	replaced := legacyToken(t, srv).AccessToken
	legacy := legacyToken(t, srv).AccessToken
	stable := stableToken(t, srv, false).AccessToken
	srv.RevokeTokens()
	for _, token := range []string{replaced, legacy, stable} {
		assert.Equal(t, invalid, checkToken(t, srv, token))
	}
	newStable, newLegacy := stableToken(t, srv, false).AccessToken, legacyToken(t, srv).AccessToken
	assert.NotEqual(t, stable, newStable)
	assert.Equal(t, valid, checkToken(t, srv, newStable))
	assert.Equal(t, valid, checkToken(t, srv, newLegacy))

	clock.advance(3 * time.Hour)
	srv.RevokeTokens()
	assert.Equal(t, invalid, checkToken(t, srv, stable), "revoked before it expired")
	assert.Equal(t, expired, checkToken(t, srv, newStable), "expired before the second revocation")
}

func TestStableToken_ForceRefreshWithoutValidToken(t *testing.T) {
	srv, _ := newTimedServer(t)
	first := stableToken(t, srv, true).AccessToken
	srv.RevokeTokens()
	second := stableToken(t, srv, true).AccessToken
	assert.NotEqual(t, first, second)
	assert.Equal(t, valid, checkToken(t, srv, second))
}

func TestLegacyToken_Errcodes(t *testing.T) {
	srv := newServer(t)
	id, secret := srv.AppID(), srv.AppSecret()
	for name, test := range map[string]struct {
		method, grantType, appID, secret string
		want                             int
	}{
		"no grant type":      {"GET", "", id, secret, 40002},
		"another grant type": {"GET", "authorization_code", id, secret, 40002},
		"no appid":           {"GET", "client_credential", "", secret, 41002},
		"another appid":      {"GET", "client_credential", "wx0123456789abcdef", secret, 40013},
		"no secret":          {"GET", "client_credential", id, "", 41004},
		"another secret":     {"GET", "client_credential", id, "0123456789abcdef0123456789abcdef", 40001},
		"POST":               {"POST", "client_credential", id, secret, 43001},
		"valid":              {"GET", "client_credential", id, secret, 0},
	} {
		t.Run(name, func(t *testing.T) {
			q := url.Values{}
			for key, value := range map[string]string{"grant_type": test.grantType, "appid": test.appID, "secret": test.secret} {
				if value != "" {
					q.Set(key, value)
				}
			}
			r := send(t, test.method, srv.URL()+"/cgi-bin/token?"+q.Encode(), "")
			assert.Equal(t, test.want, r.Errcode)
			assert.Equal(t, 200, r.status)
			assert.Equal(t, test.want == 0, r.AccessToken != "")
		})
	}
}

func TestStableToken_Errcodes(t *testing.T) {
	srv := newServer(t)
	good := fmt.Sprintf(`{"grant_type":"client_credential","appid":%q,"secret":%q}`, srv.AppID(), srv.AppSecret())
	for name, test := range map[string]struct {
		method, body string
		want         int
	}{
		"valid":                  {"POST", good, 0},
		"force_refresh false":    {"POST", strings.Replace(good, "}", `,"force_refresh":false}`, 1), 0},
		"force_refresh null":     {"POST", strings.Replace(good, "}", `,"force_refresh":null}`, 1), 0},
		"force_refresh as text":  {"POST", strings.Replace(good, "}", `,"force_refresh":"true"}`, 1), 47001},
		"GET":                    {"GET", good, 43002},
		"an empty body":          {"POST", "", 44002},
		"no grant type":          {"POST", strings.Replace(good, "grant_type", "granttype", 1), 40002},
		"a name in another case": {"POST", strings.Replace(good, "grant_type", "Grant_Type", 1), 40002},
		"another grant type":     {"POST", strings.Replace(good, "client_credential", "x", 1), 40002},
		"no appid":               {"POST", strings.Replace(good, "appid", "id", 1), 41002},
		"another appid":          {"POST", strings.Replace(good, srv.AppID(), "wx00", 1), 40013},
		"no secret":              {"POST", strings.Replace(good, "secret", "s", 1), 41004},
		"a secret that is null":  {"POST", strings.Replace(good, `"`+srv.AppSecret()+`"`, "null", 1), 41004},
		"another secret":         {"POST", strings.Replace(good, srv.AppSecret(), "00", 1), 40125},
	} {
		t.Run(name, func(t *testing.T) {
			r := send(t, test.method, srv.URL()+"/cgi-bin/stable_token", test.body)
			assert.Equal(t, test.want, r.Errcode)
			assert.Equal(t, 200, r.status)
			assert.Equal(t, test.want == 0, r.AccessToken != "")
		})
	}
}

func TestCreate_RejectsTokens(t *testing.T) {
	srv := newServer(t)
	token := legacyToken(t, srv).AccessToken
	other := newServer(t)
	for name, test := range map[string]struct {
		token string
		want  int
	}{
		"none":                        {"", 41001},
		"a short one":                 {"token", 40014},
		"135 characters":              {strings.Repeat("a", 135), 40014},
		"136 that were not issued":    {strings.Repeat("a", 136), 40001},
		"157 that were not issued":    {strings.Repeat("a", 157), 40001},
		"158 characters":              {strings.Repeat("a", 158), 40014},
		"a character too many":        {strings.Repeat("a", 140) + "=", 40014},
		"a wrong character inside":    {strings.Repeat("a", 70) + "%" + strings.Repeat("a", 70), 40014},
		"of another account":          {legacyToken(t, other).AccessToken, 40001},
		"valid":                       {token, 0},
		"without its first character": {token[1:] + "a", 40001},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, test.want, checkToken(t, srv, test.token))
		})
	}
	r := send(t, http.MethodPost, srv.URL()+"/cgi-bin/qrcode/create", someCode)
	assert.Equal(t, 41001, r.Errcode, "no parameter at all")
}

func TestTokenSource_BothEndpoints(t *testing.T) {
	srv := newServer(t)
	for endpoint, opts := range map[string][]wxqrcode.Option{
		"stable_token": srv.Options(),
		"token":        append(srv.Options(), wxqrcode.WithLegacyToken()),
	} {
		source, err := wxqrcode.NewTokenSource(srv.AppID(), srv.AppSecret(), opts...)
		require.NoError(t, err)
		token, err := source.AccessToken(t.Context())
		require.NoError(t, err)
		assert.Equal(t, valid, checkToken(t, srv, token))
		assert.Equal(t, 1, srv.Calls(endpoint))
	}
}

func TestClient_RecoversFromRevokedTokens(t *testing.T) {
	srv := newServer(t)
	client := srv.Client()
	request := wxqrcode.Temporary(wxqrcode.SceneStr("door"), time.Hour)
	_, err := client.Create(t.Context(), request)
	require.NoError(t, err)
	srv.RevokeTokens()
	_, err = client.Create(t.Context(), request)
	require.NoError(t, err)
	assert.Equal(t, 2, srv.Calls("stable_token"))
	assert.Equal(t, 3, srv.Calls("qrcode/create"), "one of them rejected")
}
