package wxtest_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

func TestTheServerListsItsLivingCodesNewestFirst(t *testing.T) {
	srv, clock := newTimedServer(t)
	assert.Empty(t, srv.Codes())
	client := srv.Client()
	start := clock.now()
	var want []wxtest.Code
	for _, request := range []wxqrcode.Request{
		wxqrcode.Permanent(wxqrcode.SceneID(7)),
		wxqrcode.Temporary(wxqrcode.SceneStr("登录-1"), time.Minute),
		wxqrcode.Temporary(wxqrcode.SceneID(1<<32-1), time.Hour),
		wxqrcode.Permanent(wxqrcode.SceneStr("poster")),
	} {
		code, err := client.Create(t.Context(), request)
		require.NoError(t, err)
		c := wxtest.Code{
			Ticket: code.Ticket, URL: code.URL, Action: request.Action(), Scene: request.Scene().Key(), CreatedAt: clock.now(),
		}
		if !code.ExpiresAt.IsZero() {
			c.ExpiresAt = c.CreatedAt.Add(request.Lifetime())
		}
		want = append([]wxtest.Code{c}, want...)
		clock.advance(time.Second)
	}
	assert.Equal(t, want, srv.Codes())

	_, err := client.Create(t.Context(), wxqrcode.Permanent(wxqrcode.SceneID(7)))
	require.NoError(t, err)
	assert.Equal(t, want, srv.Codes(), "a permanent code that is asked for again is the same one")

	clock.advance(start.Add(61 * time.Second).Sub(clock.now()))
	assert.Equal(t, []wxtest.Code{want[0], want[1], want[3]}, srv.Codes(), "the minute is over")
}

func TestTheServerListsTheSceneThatEventsWillCarry(t *testing.T) {
	srv := newServer(t)
	create(t, srv, `{"action_name":"QR_STR_SCENE","action_info":{"scene":{"scene_str":"\u0041"}}}`)
	create(t, srv, `{"action_name":"QR_LIMIT_SCENE","expire_seconds":60,"action_info":{"scene":{"scene_id":5}}}`)
	codes := srv.Codes()
	require.Len(t, codes, 1, "a ticket without a code is none")
	assert.Equal(t, `\u0041`, codes[0].Scene, "WeChat does not know the escape")
	assert.Equal(t, codes[0].Scene, sceneOf(t, srv, codes[0].Ticket), "what events carry")
}

func TestSomebodyWhoFollowedBeforeScans(t *testing.T) {
	srv, c, ticket := newScene(t, nil)
	srv.Follow("o-old-friend")
	assert.Empty(t, c.pushes(), "nothing is pushed")
	assert.Equal(t, wxqrcode.EventScan, scan(t, srv, c, ticket, "o-old-friend").Type)
	srv.Follow("o-old-friend")
	_, err := srv.Unfollow(t.Context(), "o-old-friend")
	require.NoError(t, err)
	assert.Equal(t, wxqrcode.EventSubscribe, scan(t, srv, c, ticket, "o-old-friend").Type)
}

func TestTheServerIsAHandlerToo(t *testing.T) {
	srv := newServer(t)
	elsewhere := httptest.NewServer(srv)
	defer elsewhere.Close()
	tokens, err := wxqrcode.NewTokenSource(srv.AppID(), srv.AppSecret(), wxqrcode.WithAPIURL(elsewhere.URL))
	require.NoError(t, err)
	client, err := wxqrcode.NewClient(tokens, wxqrcode.WithAPIURL(elsewhere.URL), wxqrcode.WithImageURL(elsewhere.URL))
	require.NoError(t, err)
	code, err := client.Create(t.Context(), wxqrcode.Permanent(wxqrcode.SceneStr("poster")))
	require.NoError(t, err)
	_, err = client.Image(t.Context(), code.Ticket)
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, imageStatus(t, srv, code.Ticket), "it is the same WeChat at its own address")
	assert.Equal(t, 1, srv.Calls("qrcode/create"))
}

func TestACutAbortsWhereNoConnectionCanBeTakenOver(t *testing.T) {
	srv := newServer(t)
	srv.Fail("token", 1, wxtest.Failure{Cut: true})
	r := httptest.NewRequest(http.MethodGet, "/cgi-bin/token", nil)
	assert.PanicsWithValue(t, http.ErrAbortHandler, func() { srv.ServeHTTP(httptest.NewRecorder(), r) })
}
