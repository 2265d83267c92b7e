package wxtest_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/callback"
	"github.com/seed-0142d113/wxqrcode/internal/leak"
	"github.com/seed-0142d113/wxqrcode/internal/message"
	"github.com/seed-0142d113/wxqrcode/internal/wxcrypt"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

var allModes = []wxtest.Mode{wxtest.Plain, wxtest.Compatible, wxtest.Secure, wxtest.CloudHosting}

func ignoreEvent(context.Context, *wxqrcode.Event) (callback.Reply, error) { return nil, nil }

func TestConnect_RoundTrip(t *testing.T) {
	const content = "a]]>b\x02]]></Content><FromUserName>o-x</FromUserName>"
	for _, mode := range allModes {
		for format, opts := range map[string][]wxtest.Option{"XML": nil, "JSON": {wxtest.WithJSON()}} {
			t.Run(mode.String()+", "+format, func(t *testing.T) {
				srv := newServer(t, opts...)
				cfg := srv.CallbackConfig(mode)
				var events []wxqrcode.Event
				cfg.OnEvent = func(_ context.Context, e *wxqrcode.Event) (callback.Reply, error) {
					events = append(events, *e)
					switch e.Type {
					case wxqrcode.EventSubscribe:
						return callback.Text("<Welcome> ]]>"), nil
					case wxqrcode.EventScan:
						return callback.News(callback.Article{Title: "first"}, callback.Article{Title: "second"}), nil
					}
					return nil, nil
				}
				var messages []callback.Message
				cfg.OnMessage = func(_ context.Context, m callback.Message) (callback.Reply, error) {
					messages = append(messages, m)
					if m.InfoType != "" {
						return nil, nil
					}
					return callback.Image("media"), nil
				}
				handler, err := callback.New(cfg)
				require.NoError(t, err)
				require.NoError(t, srv.Connect(handler))
				scene := "door ]]>" // split in CDATA
				ticket := create(t, srv, temporaryStr(scene)).Ticket

				// expect checks the delivery and returns the field of the reply
				// at path.
				expect := func(d *wxtest.Delivery, err error, msgType, path string) string {
					t.Helper()
					require.NoError(t, err)
					assert.Equal(t, http.StatusOK, d.Status)
					reply, err := d.Reply()
					require.NoError(t, err)
					assert.Empty(t, d.Warnings())
					assert.Equal(t, msgType, message.Find(string(reply), "MsgType"))
					if reply != nil {
						assert.Equal(t, format == "JSON", message.IsJSON(reply))
						assert.Equal(t, openID, message.Find(string(reply), "ToUserName"))
					}
					return message.Find(string(reply), path)
				}
				d, err := srv.Scan(t.Context(), ticket, openID)
				assert.Equal(t, "<Welcome> ]]>", expect(d, err, "text", "Content"))
				d, err = srv.Scan(t.Context(), ticket, openID)
				path := map[string]string{"XML": "Articles/item/Title", "JSON": "Articles/Title"}[format]
				assert.Equal(t, "first", expect(d, err, "news", path))
				d, err = srv.SendText(t.Context(), openID, content)
				assert.Equal(t, "media", expect(d, err, "image", "Image/MediaId"))
				d, err = srv.PushInfo(t.Context(), "authorized", map[string]string{"AuthorizationCode": "code"})
				assert.Empty(t, expect(d, err, "", ""))
				d, err = srv.Unfollow(t.Context(), openID)
				assert.Empty(t, expect(d, err, "", ""))

				require.Len(t, events, 3)
				assert.Equal(t, "qrscene_"+scene, events[0].EventKey)
				assert.Equal(t, scene, events[1].EventKey)
				require.Len(t, messages, 2)
				assert.Equal(t, openID, messages[0].OpenID)
				assert.Contains(t, string(messages[0].Raw), "a]]>b")
				if format == "JSON" {
					assert.Equal(t, content, messages[0].Field("Content"))
				} else {
					assert.Contains(t, string(messages[0].Raw), "<![CDATA["+content+"]]>")
				}
				assert.Equal(t, "authorized", messages[1].InfoType)
				assert.Equal(t, srv.AppID(), messages[1].Field("AppId"))
				assert.Equal(t, "code", messages[1].Field("AuthorizationCode"))
			})
		}
	}
}

func TestCallbackConfig_Secrets(t *testing.T) {
	srv := newServer(t)
	seen := map[string]bool{}
	for _, mode := range allModes {
		cfg := srv.CallbackConfig(mode)
		if mode == wxtest.CloudHosting {
			assert.Equal(t, callback.Config{CloudHostingSecret: cfg.CloudHostingSecret}, cfg)
			assert.Regexp(t, `^[A-Z2-7]{26}$`, cfg.CloudHostingSecret)
			continue
		}
		assert.Equal(t, callback.Config{Token: cfg.Token, AppID: srv.AppID(), EncodingAESKey: cfg.EncodingAESKey}, cfg)
		assert.Regexp(t, `^[A-Z2-7]{26}$`, cfg.Token)
		seen[cfg.Token], seen[cfg.EncodingAESKey] = true, true
		if mode == wxtest.Plain {
			assert.Empty(t, cfg.EncodingAESKey)
			continue
		}
		_, err := wxcrypt.ParseKey(cfg.EncodingAESKey)
		assert.NoError(t, err)
	}
	assert.Len(t, seen, 6)
}

func TestConnect_Errors(t *testing.T) {
	for _, tt := range []struct {
		name    string
		handler http.Handler
		prepare func(*wxtest.Server)
		want    string
	}{
		{"no handler", nil, func(srv *wxtest.Server) { srv.CallbackConfig(wxtest.Plain) }, "handler"},
		{"no CallbackConfig", http.NotFoundHandler(), func(*wxtest.Server) {}, "CallbackConfig"},
		{"a closed server", http.NotFoundHandler(), func(srv *wxtest.Server) { srv.Close() }, "closed"},
		{"verification fails", http.NotFoundHandler(), func(srv *wxtest.Server) { srv.CallbackConfig(wxtest.Secure) }, "status 404"},
		{"verification of cloud hosting fails", http.NotFoundHandler(), func(srv *wxtest.Server) { srv.CallbackConfig(wxtest.CloudHosting) }, "status 404"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			srv := newServer(t)
			tt.prepare(srv)
			assert.ErrorContains(t, srv.Connect(tt.handler), tt.want)
		})
	}
}

func TestConnect_EndsWithServer(t *testing.T) {
	leak.Check(t)
	srv := wxtest.NewServer()
	var hosts []string
	for range 2 {
		cfg := srv.CallbackConfig(wxtest.Plain)
		cfg.OnEvent = ignoreEvent
		handler, err := callback.New(cfg)
		require.NoError(t, err)
		require.NoError(t, srv.Connect(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			hosts = append(hosts, r.Host)
			handler.ServeHTTP(w, r)
		})))
	}
	_, err := srv.Scan(t.Context(), create(t, srv, someCode).Ticket, openID)
	require.NoError(t, err)
	srv.Close()
	require.Len(t, hosts, 3)
	assert.Equal(t, hosts[1], hosts[2], "the second handler receives the push")
	for _, host := range hosts {
		_, err := trySend(t.Context(), http.MethodGet, "http://"+host, "")
		assert.Error(t, err)
	}
}
