package wxqrcode

import (
	"context"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNewTransport_CopiesTheDefaultWith64IdleConnections(t *testing.T) {
	own, ok := newTransport().(*http.Transport)
	require.True(t, ok)
	assert.NotSame(t, http.DefaultTransport, own)
	assert.Equal(t, 64, own.MaxIdleConnsPerHost)
	assert.NotNil(t, own.DialContext)
	assert.NotNil(t, own.Proxy, "the proxy of the environment")
}

func TestNewTransport_KeepsTheProgramsOwnDefault(t *testing.T) {
	old := http.DefaultTransport
	defer func() { http.DefaultTransport = old }()

	http.DefaultTransport = http.NewFileTransport(http.Dir("."))
	assert.Equal(t, http.DefaultTransport, newTransport())

	dialed := false
	http.DefaultTransport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		dialed = true
		return nil, ctx.Err()
	}}
	_, _ = newTransport().(*http.Transport).DialContext(t.Context(), "tcp", "example")
	assert.True(t, dialed, "with its dial function")

	http.DefaultTransport = &http.Transport{}
	assert.Nil(t, newTransport().(*http.Transport).DialContext)
}

func TestNewTransport_DialsForThreeSeconds(t *testing.T) {
	old := http.DefaultTransport
	defer func() { http.DefaultTransport = old }()
	http.DefaultTransport = &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		assert.Equal(t, "tcp example:443", network+" "+address)
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		_, err := newTransport().(*http.Transport).DialContext(t.Context(), "tcp", "example:443")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 3*time.Second, time.Since(start))
	})
}
