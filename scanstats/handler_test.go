package scanstats

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func inShanghai() *time.Location { return shanghai }

func TestHandlerShowsWhatTheStoreCounted(t *testing.T) {
	for _, dialect := range dialects {
		t.Run(dialect.String(), func(t *testing.T) {
			d := newDatabase(t, dialect)
			s := newTestStore(t, d, testConfig())
			require.NoError(t, s.Record(t.Context(), followed("o-1", "poster", now)))
			require.NoError(t, s.Label(t.Context(), "poster", Label{Name: "南京路"}))
			page := s.Handler(letIn)

			answer := httptest.NewRecorder()
			page.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/report.json?from=2026-11-01&to=2026-11-21&by=week", nil))
			require.Equal(t, http.StatusOK, answer.Code, answer.Body)
			var got Report
			require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &got))
			want, err := s.Report(t.Context(), Query{From: now.AddDate(0, 0, -20), By: Week})
			require.NoError(t, err)
			assert.Equal(t, want.Total, got.Total)
			assert.Equal(t, want.Scenes, got.Scenes)
			assert.Len(t, got.Buckets, len(want.Buckets))

			answer = httptest.NewRecorder()
			page.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/report.csv", nil))
			assert.Contains(t, answer.Body.String(), "\nposter,南京路,,1,1,1,0,")

			answer = httptest.NewRecorder()
			s.Handler(nil).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/report.json", nil))
			assert.Equal(t, http.StatusForbidden, answer.Code)
			assert.NotContains(t, answer.Body.String(), "poster")
		})
	}
}

func TestInABrowserAnySceneOfAStoreIsText(t *testing.T) {
	browser := startBrowser(t)
	s := newTestStore(t, newDatabase(t, SQLite), testConfig())
	for _, scene := range anyTexts {
		require.NoError(t, s.Record(t.Context(), followed("o-1", scene, now)))
	}
	server := httptest.NewServer(s.Handler(letIn))
	defer server.Close()
	ctx, cancel := chromedp.NewContext(browser)
	defer cancel()
	require.NoError(t, chromedp.Do(ctx, chromedp.Navigate(server.URL)))
	require.NoError(t, chromedp.Do(ctx, chromedp.WaitVisible("#table tbody tr")))
	names, err := chromedp.Run(ctx, chromedp.Evaluate[[]string](`[...document.querySelectorAll('#table tbody a')].map(a => a.textContent)`))
	require.NoError(t, err)
	require.Len(t, names, len(anyTexts))
	shown := strings.Join(names, "|")
	for _, scene := range []string{`'; DROP TABLE scanstats_scene; --`, `<script>window.pwned = 1</script>`, "中文", "😀"} {
		assert.Contains(t, shown, scene)
	}
	clean, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`window.pwned === undefined`))
	require.NoError(t, err)
	assert.True(t, clean)
}
