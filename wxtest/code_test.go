package wxtest_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

func TestServer_CodesNewestFirst(t *testing.T) {
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
	assert.Equal(t, want, srv.Codes(), "the same permanent code")

	clock.advance(start.Add(61 * time.Second).Sub(clock.now()))
	assert.Equal(t, []wxtest.Code{want[0], want[1], want[3]}, srv.Codes(), "one has expired")
}

func TestServer_CodesHaveSceneOfEvents(t *testing.T) {
	srv := newServer(t)
	create(t, srv, `{"action_name":"QR_STR_SCENE","action_info":{"scene":{"scene_str":"\u0041"}}}`)
	create(t, srv, `{"action_name":"QR_LIMIT_SCENE","expire_seconds":60,"action_info":{"scene":{"scene_id":5}}}`)
	codes := srv.Codes()
	require.Len(t, codes, 1, "a ticket without a code is not listed")
	assert.Equal(t, `\u0041`, codes[0].Scene, "the escape as it was sent")
	assert.Equal(t, codes[0].Scene, sceneOf(t, srv, codes[0].Ticket))
}
