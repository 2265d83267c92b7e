package scanstats

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestStore_Location(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	require.NoError(t, err)
	t.Run("the default is Shanghai", func(t *testing.T) {
		s := newTestStore(t, newDatabase(t, SQLite), testConfig())
		loc, err := s.Location(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "Asia/Shanghai", loc.String())
	})
	for _, dialect := range []Dialect{Postgres, MySQL} {
		t.Run("with a spool, opened during an outage: "+dialect.String(), func(t *testing.T) {
			d := newDatabase(t, dialect)
			c := testConfig()
			c.Location = berlin
			require.NoError(t, newTestStore(t, d, c).Close())

			proxy := newProxy(t)
			proxy.disconnect()
			s := newTestStore(t, proxy.route(t, d), spoolConfig(t)) // without Config.Location
			_, err := s.Location(t.Context())
			require.ErrorIs(t, err, ErrUnavailable)
			require.ErrorContains(t, err, "scanstats: location: ")

			proxy.reconnect()
			loc, err := s.Location(t.Context())
			require.NoError(t, err)
			assert.Equal(t, "Europe/Berlin", loc.String())

			proxy.disconnect()
			loc, err = s.Location(t.Context())
			require.NoError(t, err, "it is known now")
			assert.Equal(t, "Europe/Berlin", loc.String())
		})
	}
	t.Run("a closed store", func(t *testing.T) {
		s, err := newStore(newDatabase(t, SQLite).open(t), SQLite, testConfig())
		require.NoError(t, err)
		require.NoError(t, s.Close())
		_, err = s.Location(t.Context())
		require.ErrorIs(t, err, ErrClosed)
	})
}
