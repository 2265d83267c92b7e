package main

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheCallbackServerTakesOnlyWhatIsSigned(t *testing.T) {
	c, err := listen(t.Context(), "AAAAA")
	require.NoError(t, err)
	defer c.close()
	const good = "?timestamp=1714037059&nonce=486452656&signature=899cf89e464efb63f54ddac96b0a0a235f53aa78" // the official example
	const event = `{"ToUserName":"gh_1","FromUserName":"o1","CreateTime":1714037059,"MsgType":"event","Event":"SCAN","EventKey":"7"}`
	for _, test := range []struct {
		name, method, query, body string
		status                    int
	}{
		{"a signed event", http.MethodPost, good, event, 200},
		{"no signature", http.MethodPost, "", event, 403},
		{"another timestamp", http.MethodPost, strings.Replace(good, "1714037059", "1714037058", 1), event, 403},
		{"no event", http.MethodPost, good, "nonsense", 400},
		{"too much", http.MethodPost, good, strings.Repeat(" ", maxPush+1), 413},
		{"a URL that is tried out", http.MethodGet, good + "&echostr=4375120948345356249", "", 200},
		{"a URL that somebody else tries out", http.MethodGet, "?echostr=4375120948345356249", "", 403},
	} {
		t.Run(test.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), test.method, c.url+test.query, strings.NewReader(test.body))
			require.NoError(t, err)
			res, err := http.DefaultClient.Do(req)
			require.NoError(t, err)
			defer res.Body.Close()
			assert.Equal(t, test.status, res.StatusCode)
			body, err := io.ReadAll(res.Body)
			require.NoError(t, err)
			switch {
			case test.status == 200 && test.method == http.MethodPost:
				assert.Equal(t, "7", (<-c.events).EventKey)
				assert.Equal(t, "success", string(body))
			case test.status == 200:
				assert.Equal(t, "4375120948345356249", string(body))
			}
			assert.Empty(t, c.events)
		})
	}
}
