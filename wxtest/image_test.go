package wxtest_test

import (
	"bytes"
	"image/jpeg"
	"net/http"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
)

func TestShowQRCodeServesAPictureAsWeChatDoes(t *testing.T) {
	srv := newServer(t)
	code := create(t, srv, someCode)
	address := srv.URL() + "/cgi-bin/showqrcode?ticket=" + url.QueryEscape(string(code.Ticket))
	r := send(t, http.MethodGet, address, "")
	assert.Equal(t, 200, r.status)
	assert.Equal(t, "image/jpg", r.header.Get("Content-Type"))
	assert.Equal(t, "max-age=604800", r.header.Get("Cache-Control"))
	assert.Equal(t, strconv.Itoa(len(r.body)), r.header.Get("Content-Length"))

	picture, err := jpeg.Decode(bytes.NewReader([]byte(r.body)))
	require.NoError(t, err)
	assert.Equal(t, 430, picture.Bounds().Dx())
	assert.Equal(t, 430, picture.Bounds().Dy())

	head := send(t, http.MethodHead, address, "")
	assert.Equal(t, 200, head.status)
	assert.Empty(t, head.body)
}

func TestShowQRCodeAnswers404WithAPage(t *testing.T) {
	srv := newServer(t)
	code := create(t, srv, someCode)
	// Every ticket of the server has a + and a /, so escaping it twice changes it.
	good := url.QueryEscape(string(code.Ticket))
	show := srv.URL() + "/cgi-bin/showqrcode"
	for name, test := range map[string]struct{ method, address string }{
		"no ticket":              {"GET", show},
		"an empty ticket":        {"GET", show + "?ticket="},
		"an unknown ticket":      {"GET", show + "?ticket=gQH47joAAAAAAAAAASxodHRw"},
		"a ticket escaped twice": {"GET", show + "?ticket=" + url.QueryEscape(good)},
		"a ticket cut short":     {"GET", show + "?ticket=" + good[:len(good)-1]},
		"POST":                   {"POST", show + "?ticket=" + good},
		"another path":           {"GET", srv.URL() + "/cgi-bin/user/info"},
		"the root":               {"GET", srv.URL() + "/"},
		"a path that goes on":    {"GET", show + "/?ticket=" + good},
	} {
		t.Run(name, func(t *testing.T) {
			r := send(t, test.method, test.address, "")
			assert.Equal(t, 404, r.status)
			assert.Equal(t, "text/html", r.header.Get("Content-Type"))
			assert.Contains(t, r.body, "<h1>404 Not Found</h1>")
		})
	}
}

func TestEveryTicketMustBeEscaped(t *testing.T) {
	srv := newServer(t)
	for range 100 {
		code := create(t, srv, someCode)
		assert.Contains(t, code.Ticket, "+/")
		assert.Equal(t, 404, send(t, http.MethodGet, srv.URL()+"/cgi-bin/showqrcode?ticket="+string(code.Ticket), "").status)
		assert.Equal(t, 200, imageStatus(t, srv, code.Ticket))
	}
}

func TestClientFetchesPicturesAndMissesThem(t *testing.T) {
	srv, clock := newTimedServer(t)
	client := srv.Client()
	code, err := client.Create(t.Context(), wxqrcode.Temporary(wxqrcode.SceneID(7), time.Hour))
	require.NoError(t, err)
	picture, err := client.Image(t.Context(), code.Ticket)
	require.NoError(t, err)
	assert.NotEmpty(t, picture.Data)
	assert.Equal(t, srv.URL()+"/cgi-bin/showqrcode?ticket="+url.QueryEscape(string(code.Ticket)), client.ImageURL(code.Ticket))

	clock.advance(time.Hour)
	_, err = client.Image(t.Context(), code.Ticket)
	assert.ErrorIs(t, err, wxqrcode.ErrTicketNotFound)
}
