package wxtest_test

import (
	"errors"
	"io"
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

// Laws: a body is rejected or creates a code; the event of a code can be read,
// as XML and as JSON, with the same values; the request of a client is
// accepted, and its scene comes back unchanged.
func FuzzCreate(f *testing.F) {
	for _, body := range []string{
		someCode, temporaryID("4294967296"), permanentID("0"), temporaryStr(`\\\u6d4b]]>\"`), temporaryStr("\u2028<&>"),
		permanentStr("\r\n"), `{"action_name":"QR_SCENE","action_info":{"scene_id":7}}`, "{}", "",
	} {
		f.Add(body)
	}
	srv := wxtest.NewServer()
	f.Cleanup(srv.Close)
	f.Fuzz(func(t *testing.T, body string) {
		if scene, errcode := srv.SceneOf(body); errcode == 0 {
			checkEvents(t, srv, scene)
		}
		if request := wxqrcode.Temporary(wxqrcode.SceneStr(body), time.Hour); request.Validate() == nil {
			scene, errcode := srv.SceneOf(requestBody(t, request))
			require.Zero(t, errcode)
			require.Equal(t, body, scene)
			checkEvents(t, srv, scene)
		}
	})
}

// requestBody returns the body that a client sends. It is not the JSON of the
// request, which has \u escapes.
func requestBody(t *testing.T, r wxqrcode.Request) (body string) {
	t.Helper()
	client, err := wxqrcode.NewClient(wxqrcode.StaticToken("token"), wxqrcode.WithHTTPClient(&http.Client{
		Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			b, err := io.ReadAll(r.Body)
			body = string(b)
			return nil, errors.Join(err, errors.New("not sent"))
		}),
	}), wxqrcode.WithRetry(wxqrcode.RetryPolicy{MaxAttempts: 1}))
	require.NoError(t, err)
	_, err = client.Create(t.Context(), r)
	require.ErrorContains(t, err, "not sent")
	return body
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func checkEvents(t *testing.T, srv *wxtest.Server, scene string) {
	t.Helper()
	asXML, asJSON := srv.ScanMessages(scene)
	e := parse(t, string(asJSON))
	assert.Equal(t, scene, e.EventKey)
	e.EventKey = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(e.EventKey) // as XML normalizes them
	assert.Equal(t, e, parse(t, string(asXML)))
}

// Law: Inspect returns the parts of a ticket of the server.
func FuzzTicket(f *testing.F) {
	f.Add("http://weixin.qq.com/q/02wPFKBmPJfu21QQPIxycG", uint32(1659576756), uint32(86400))
	f.Add("https://w/", uint32(1), uint32(0))
	f.Add("http://weixin.qq.com/q/", uint32(1<<32-1), uint32(2592000))
	f.Fuzz(func(t *testing.T, address string, created, seconds uint32) {
		lifetime := time.Duration(seconds) * time.Second
		if !isCodeURL(address) || lifetime > wxqrcode.MaxLifetime || seconds >= created && seconds > 0 {
			return // no server creates such a ticket
		}
		want := wxqrcode.TicketInfo{URL: address, CreatedAt: time.Unix(int64(created), 0), Lifetime: lifetime}
		if lifetime > 0 {
			want.ExpiresAt = want.CreatedAt.Add(lifetime)
		}
		for _, realistic := range []bool{false, true} {
			ticket := wxtest.NewTicket(address, want.CreatedAt, lifetime, realistic)
			require.NotEqual(t, realistic, strings.Contains(string(ticket), "+/"))
			for _, s := range []string{string(ticket), strings.TrimRight(string(ticket), "=")} {
				info, err := wxqrcode.Ticket(s).Inspect()
				require.NoError(t, err)
				require.Equal(t, want, info)
			}
		}
	})
}

// isCodeURL reports whether address can be the URL of a code: printable ASCII
// that fits into a field of a ticket.
func isCodeURL(address string) bool {
	u, err := url.Parse(address)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && len(address) < 255 &&
		!strings.ContainsFunc(address, func(r rune) bool { return r <= ' ' || r > '~' })
}
