package wxtest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

// Laws: every body is either refused or gives a code; the event of a code can be
// read, as XML and as JSON, and both say the same; a client's own request is never
// refused and comes back as it was.
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
		request := wxqrcode.Temporary(wxqrcode.SceneStr(body), time.Hour)
		if own, err := request.Body(); err == nil {
			scene, errcode := srv.SceneOf(string(own))
			require.Zero(t, errcode)
			require.Equal(t, body, scene)
			checkEvents(t, srv, scene)
		}
	})
}

func checkEvents(t *testing.T, srv *wxtest.Server, scene string) {
	t.Helper()
	asXML, asJSON := srv.ScanMessages(scene)
	e := parse(t, string(asJSON))
	assert.Equal(t, scene, e.EventKey)
	e.EventKey = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(e.EventKey) // as XML reads them
	assert.Equal(t, e, parse(t, string(asXML)))
}
