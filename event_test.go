package wxqrcode_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
)

func readFixture(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	require.NoError(t, err)
	return b
}

// jsonPushes returns the two messages of the official page, which are JSON.
func jsonPushes(t testing.TB) (plain, decrypted []byte) {
	t.Helper()
	var page struct {
		Plain  struct{ Body string }
		Secure struct{ Message string }
	}
	require.NoError(t, json.Unmarshal(readFixture(t, "push.json"), &page))
	return []byte(page.Plain.Body), []byte(page.Secure.Message)
}

const fixtureTicket = "gQHi8DoAAAAAAAAAASxodHRwOi8vd2VpeGluLnFxLmNvbS9xL0UweTNxNi1sdlA3RklyRnNKbUFvAAIELdnUUgMEAAAAAA=="

func TestParseEvent_Fixtures(t *testing.T) {
	plain, decrypted := jsonPushes(t)
	event := func(account, openID string, created int64, e wxqrcode.EventType, key string, ticket wxqrcode.Ticket) wxqrcode.Event {
		return wxqrcode.Event{
			ToUserName: account, OpenID: openID, CreatedAt: time.Unix(created, 0).UTC(), MsgType: "event", Type: e, EventKey: key, Ticket: ticket,
		}
	}
	for _, tt := range []struct {
		name  string
		body  []byte
		want  wxqrcode.Event
		scene string // empty for none
	}{
		{
			"a follow after a scan", readFixture(t, "subscribe.xml"),
			event("gh_45072270791c", "o7Lp5t6n59DeX3U0C7Kric9qEx-Q", 1389684286, wxqrcode.EventSubscribe, "qrscene_1000", fixtureTicket), "1000",
		},
		{
			"a scan of a follower", readFixture(t, "scan.xml"),
			event("gh_45072270791c", "o7Lp5t6n59DeX3U0C7Kric9qEx-Q", 1389684184, wxqrcode.EventScan, "1000", fixtureTicket), "1000",
		},
		{
			"a follow after a payment", readFixture(t, "subscribe_after_payment.xml"),
			event("gh_fcc4da210ff0", "oiPuduCHIBb2aHvZoqSm1t7KbXtw", 1493702623, wxqrcode.EventSubscribe, "last_trade_no_4002752001201704258347703919", ""), "",
		},
		{"an unfollow", readFixture(t, "unsubscribe.xml"), event("toUser", "FromUser", 123456789, wxqrcode.EventUnsubscribe, "", ""), ""},
		{"an event in JSON", plain, event("gh_97417a04a28d", "o9AgO5Kd5ggOC-bXrbNODIiE3bGY", 1714037059, "debug_demo", "", ""), ""},
		{"a decrypted event in JSON", decrypted, event("gh_97417a04a28d", "o9AgO5Kd5ggOC-bXrbNODIiE3bGY", 1714112445, "debug_demo", "", ""), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e, err := wxqrcode.ParseEvent(tt.body)
			require.NoError(t, err)
			assert.Equal(t, tt.want, *e)
			scene, ok := e.SceneKey()
			assert.Equal(t, tt.scene, scene)
			assert.Equal(t, tt.scene != "", ok)
		})
	}
}

// The reader is tested in internal/message: here is what ParseEvent makes of a
// push that the reader accepts.
func TestParseEvent_Header(t *testing.T) {
	const body = `{"ToUserName":"gh_1","FromUserName":"oUser","CreateTime":1389684184,"MsgType":"event","Event":"SCAN","EventKey":"1000","Ticket":"gQHi"}`
	scan := wxqrcode.Event{
		ToUserName: "gh_1", OpenID: "oUser", CreatedAt: time.Unix(1389684184, 0).UTC(),
		MsgType: "event", Type: wxqrcode.EventScan, EventKey: "1000", Ticket: "gQHi",
	}
	text, click := scan, scan
	text.MsgType, text.Type, text.EventKey, text.Ticket = "text", "", "", ""
	click.Type, click.EventKey, click.Ticket = "CLICK", "", ""
	for _, tt := range []struct {
		name     string
		old, new string
		want     *wxqrcode.Event // nil for malformed
	}{
		{"a scan", "", "", &scan},
		{"the name of the event in another case", "SCAN", "scan", &scan},
		{"a text", `"event"`, `"text"`, &text},
		{"another event", "SCAN", "CLICK", &click},
		{"no ToUserName", `"ToUserName":"gh_1",`, ``, nil},
		{"no FromUserName", `"oUser"`, `""`, nil},
		{"no CreateTime", `"CreateTime":1389684184,`, ``, nil},
		{"no CreateTime in a text", `1389684184,"MsgType":"event"`, `"","MsgType":"text"`, nil},
		{"no FromUserName in a text", `"oUser","CreateTime":1389684184,"MsgType":"event"`, `"","CreateTime":1389684184,"MsgType":"text"`, nil},
		{"no MsgType", `"MsgType":"event",`, ``, nil},
		{"no Event", `"Event":"SCAN",`, ``, nil},
		{"a push of a third-party platform", `"MsgType":"event","Event":"SCAN"`, `"InfoType":"authorized"`, nil},
		{"both", `"MsgType"`, `"InfoType":"authorized","MsgType"`, nil},
		{"13 digits", "1389684184", "1389684184000", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			require.Contains(t, body, tt.old)
			e, err := wxqrcode.ParseEvent([]byte(strings.Replace(body, tt.old, tt.new, 1)))
			if tt.want == nil {
				assert.Nil(t, e)
				assert.ErrorIs(t, err, wxqrcode.ErrMalformedEvent)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.want, e)
		})
	}
}

func TestParseEvent_ErrorQuotesNothing(t *testing.T) {
	for _, body := range []string{"", "secret-text", "<secret-text>", "<xml><a secret-text='1'/></xml>", `{"secret-text":1}`, "<xml><MsgType>event</MsgType><Event>SCAN</Event><CreateTime>secret-text</CreateTime></xml>"} {
		_, err := wxqrcode.ParseEvent([]byte(body))
		require.ErrorIs(t, err, wxqrcode.ErrMalformedEvent, body)
		assert.NotContains(t, err.Error(), "secret-text")
	}
}

func TestEvent_SceneKey(t *testing.T) {
	for _, tt := range []struct {
		name  string
		event wxqrcode.Event
		key   string // empty for none
		id    uint32 // 0 for none
	}{
		{"a follow", wxqrcode.Event{Type: wxqrcode.EventSubscribe, EventKey: "qrscene_123"}, "123", 123},
		{"a scan", wxqrcode.Event{Type: wxqrcode.EventScan, EventKey: "123"}, "123", 123},
		{"a follow strips one prefix", wxqrcode.Event{Type: wxqrcode.EventSubscribe, EventKey: "qrscene_qrscene_1"}, "qrscene_1", 0},
		{"a scan strips none", wxqrcode.Event{Type: wxqrcode.EventScan, EventKey: "qrscene_1"}, "qrscene_1", 0},
		{"a follow otherwise", wxqrcode.Event{Type: wxqrcode.EventSubscribe}, "", 0},
		{"a follow with the prefix only", wxqrcode.Event{Type: wxqrcode.EventSubscribe, EventKey: "qrscene_"}, "", 0},
		{"a follow after a payment", wxqrcode.Event{Type: wxqrcode.EventSubscribe, EventKey: "last_trade_no_1"}, "", 0},
		{"a scan without a scene", wxqrcode.Event{Type: wxqrcode.EventScan}, "", 0},
		{"an unfollow", wxqrcode.Event{Type: wxqrcode.EventUnsubscribe, EventKey: "qrscene_1"}, "", 0},
		{"a click", wxqrcode.Event{Type: "CLICK", EventKey: "1"}, "", 0},
		{"the largest ID", wxqrcode.Event{Type: wxqrcode.EventScan, EventKey: "4294967295"}, "4294967295", 4294967295},
		{"a larger number", wxqrcode.Event{Type: wxqrcode.EventScan, EventKey: "4294967296"}, "4294967296", 0},
		{"a leading zero", wxqrcode.Event{Type: wxqrcode.EventScan, EventKey: "007"}, "007", 0},
		{"zero", wxqrcode.Event{Type: wxqrcode.EventScan, EventKey: "0"}, "0", 0},
		{"a sign", wxqrcode.Event{Type: wxqrcode.EventScan, EventKey: "+1"}, "+1", 0},
		{"an underscore", wxqrcode.Event{Type: wxqrcode.EventScan, EventKey: "1_000"}, "1_000", 0},
		{"a full-width digit", wxqrcode.Event{Type: wxqrcode.EventScan, EventKey: "１"}, "１", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			key, ok := tt.event.SceneKey()
			assert.Equal(t, tt.key, key)
			assert.Equal(t, tt.key != "", ok)
			id, ok := tt.event.SceneID()
			assert.Equal(t, tt.id, id)
			assert.Equal(t, tt.id != 0, ok)
		})
	}
}

func TestEvent_SceneComesBack(t *testing.T) {
	for _, s := range []wxqrcode.Scene{wxqrcode.SceneID(123), wxqrcode.SceneStr("qrscene_a"), wxqrcode.SceneStr("测试"), wxqrcode.RandomScene("login_")} {
		for _, e := range []wxqrcode.Event{
			{Type: wxqrcode.EventSubscribe, EventKey: "qrscene_" + s.Key()},
			{Type: wxqrcode.EventScan, EventKey: s.Key()},
		} {
			key, ok := e.SceneKey()
			assert.True(t, ok)
			assert.Equal(t, s.Key(), key)
			wantID, wantIsID := s.ID()
			id, isID := e.SceneID()
			assert.Equal(t, wantIsID, isID)
			assert.Equal(t, wantID, id)
		}
	}
}

func TestEvent_DedupKey(t *testing.T) {
	event := wxqrcode.Event{
		ToUserName: "gh_1", OpenID: "oUser", CreatedAt: time.Unix(1389684184, 0).UTC(),
		MsgType: "event", Type: wxqrcode.EventScan, EventKey: "1000", Ticket: "gQHi",
	}
	same := event
	same.CreatedAt = event.CreatedAt.In(time.FixedZone("UTC+8", 8*60*60))
	same.Ticket, same.MsgType = "", "other"
	assert.Equal(t, event.DedupKey(), same.DedupKey(), "zone, ticket and MsgType are not part of it")

	assert.Regexp(t, `^[0-9a-f]{64}$`, event.DedupKey())
	assert.NotContains(t, event.DedupKey(), fmt.Sprintf("%x", "oUser"))

	keys := map[string]string{event.DedupKey(): "the event"}
	for name, change := range map[string]func(*wxqrcode.Event){
		"another account":             func(e *wxqrcode.Event) { e.ToUserName = "gh_2" },
		"another user":                func(e *wxqrcode.Event) { e.OpenID = "oOther" },
		"another second":              func(e *wxqrcode.Event) { e.CreatedAt = e.CreatedAt.Add(time.Second) },
		"another type":                func(e *wxqrcode.Event) { e.Type = wxqrcode.EventSubscribe },
		"another key":                 func(e *wxqrcode.Event) { e.EventKey = "1001" },
		"fields that are exchanged":   func(e *wxqrcode.Event) { e.ToUserName, e.OpenID = e.OpenID, e.ToUserName },
		"a border one character off":  func(e *wxqrcode.Event) { e.ToUserName, e.OpenID = "gh_1o", "User" },
		"a digit moved into the time": func(e *wxqrcode.Event) { e.OpenID, e.CreatedAt = "oUser1", time.Unix(389684184, 0) },
		"a length in a field":         func(e *wxqrcode.Event) { e.Type, e.EventKey = "SCAN4:1000", "" },
	} {
		e := event
		change(&e)
		other, taken := keys[e.DedupKey()]
		assert.False(t, taken, "%s has the key of %s", name, other)
		keys[e.DedupKey()] = name
	}
}
