package wxtest_test

import (
	"bytes"
	"image/jpeg"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode/wxtest"
)

func TestShowQRCode_Image(t *testing.T) {
	srv, clock := newTimedServer(t)
	code := create(t, srv, someCode)
	address := srv.URL() + "/cgi-bin/showqrcode?ticket=" + url.QueryEscape(string(code.Ticket))
	r := send(t, http.MethodGet, address, "")
	assert.Equal(t, 200, r.status)
	date := func(d time.Duration) string { return clock.now().Add(d).Format(http.TimeFormat) }
	r.header.Del("Connection") // closed by the client of the test
	assert.Equal(t, http.Header{
		"Accept-Ranges":  {"bytes"},
		"Cache-Control":  {"max-age=604800"},
		"Content-Length": {strconv.Itoa(len(r.body))},
		"Content-Type":   {"image/jpg"},
		"Date":           {date(0)},
		"Expires":        {date(7 * 24 * time.Hour)},
		"Server":         {"nginx/1.4.1"},
	}, r.header)

	img, err := jpeg.Decode(bytes.NewReader([]byte(r.body)))
	require.NoError(t, err)
	assert.Equal(t, 430, img.Bounds().Dx())
	assert.Equal(t, 430, img.Bounds().Dy())

	head := send(t, http.MethodHead, address, "")
	assert.Equal(t, 200, head.status)
	assert.Empty(t, head.body)
}

func TestShowQRCode_NotFound(t *testing.T) {
	srv := newServer(t)
	code := create(t, srv, someCode)
	// Every ticket contains + and /, so escaping it twice changes it.
	good := url.QueryEscape(string(code.Ticket))
	show := srv.URL() + wxtest.EndpointImage
	for name, test := range map[string]struct{ method, address string }{
		"no ticket":              {"GET", show},
		"an empty ticket":        {"GET", show + "?ticket="},
		"an unknown ticket":      {"GET", show + "?ticket=gQH47joAAAAAAAAAASxodHRw"},
		"a ticket escaped twice": {"GET", show + "?ticket=" + url.QueryEscape(good)},
		"a truncated ticket":     {"GET", show + "?ticket=" + good[:len(good)-1]},
		"POST":                   {"POST", show + "?ticket=" + good},
		"another path":           {"GET", srv.URL() + "/cgi-bin/user/info"},
		"the root":               {"GET", srv.URL() + "/"},
		"a longer path":          {"GET", show + "/?ticket=" + good},
	} {
		t.Run(name, func(t *testing.T) {
			r := send(t, test.method, test.address, "")
			assert.Equal(t, 404, r.status)
			assert.Equal(t, "text/html", r.header.Get("Content-Type"))
			assert.Contains(t, r.body, "<h1>404 Not Found</h1>")
		})
	}
}

func TestTicket_Characters(t *testing.T) {
	for _, test := range []struct {
		name            string
		opts            []wxtest.Option
		statusUnescaped int
	}{
		{"contains + and /", nil, 404},
		{"realistic", []wxtest.Option{wxtest.WithRealisticTickets()}, 200},
	} {
		t.Run(test.name, func(t *testing.T) {
			srv := newServer(t, test.opts...)
			for range 100 {
				code := create(t, srv, someCode)
				assert.Equal(t, test.opts == nil, strings.Contains(string(code.Ticket), "+/"))
				assert.Equal(t, test.opts == nil, strings.ContainsAny(string(code.Ticket), "+/"))
				assert.Equal(t, test.statusUnescaped, send(t, http.MethodGet, srv.URL()+"/cgi-bin/showqrcode?ticket="+string(code.Ticket), "").status)
				assert.Equal(t, 200, imageStatus(t, srv, code.Ticket))
			}
		})
	}
}
