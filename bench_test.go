package wxqrcode_test

import (
	"bytes"
	"context"
	"encoding/xml"
	"io"
	"net/http"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
)

// A comparison measures ours and its floor by turns, so that whatever slows the
// machine down slows both, and takes the quickest round of each.
type comparison struct {
	floor, ours func()
	batch       int // calls in a round
}

func (c comparison) run(b *testing.B) (floor, ours time.Duration) {
	floor, ours = time.Hour, time.Hour
	for b.Loop() {
		floor = min(floor, timed(c.floor, c.batch))
		ours = min(ours, timed(c.ours, c.batch))
	}
	b.ReportMetric(0, "ns/op") // of both together: of no use
	return floor / time.Duration(c.batch), ours / time.Duration(c.batch)
}

func timed(f func(), times int) time.Duration {
	start := time.Now()
	for range times {
		f()
	}
	return time.Since(start)
}

// Budget: at most 1/15 (0.0667) of encoding/xml into the same fields, and 2
// allocations.
func BenchmarkParseEvent(b *testing.B) {
	body, err := os.ReadFile("testdata/subscribe.xml")
	require.NoError(b, err)
	theirs := func() {
		var m eventXML
		if xml.Unmarshal(body, &m) != nil {
			b.Fatal("not read")
		}
	}
	ours := func() {
		if _, err := wxqrcode.ParseEvent(body); err != nil {
			b.Fatal(err)
		}
	}
	slow, fast := comparison{theirs, ours, 100}.run(b)
	b.ReportMetric(float64(fast), "ns")
	b.ReportMetric(float64(fast)/float64(slow), "of-encoding/xml")
	b.ReportMetric(testing.AllocsPerRun(100, ours), "allocs")
}

type eventXML struct {
	XMLName      xml.Name `xml:"xml"`
	ToUserName   string
	FromUserName string
	CreateTime   string
	MsgType      string
	Event        string
	EventKey     string
	Ticket       string
}

// Budget: at most 2.3 µs and 14 allocations above a bare POST on the same transport.
func BenchmarkCreate(b *testing.B) {
	transport := roundTripper(func(*http.Request) (*http.Response, error) {
		return &http.Response{
			StatusCode: http.StatusOK,
			Header:     http.Header{},
			Body: io.NopCloser(bytes.NewReader([]byte(
				`{"ticket":"gQH47joAAAAAAAAAASxodHRwOi8v","expire_seconds":60,"url":"http:\/\/weixin.qq.com\/q\/kZgf"}`))),
		}, nil
	})
	client, err := wxqrcode.NewClient(wxqrcode.StaticToken("token"), wxqrcode.WithHTTPClient(&http.Client{Transport: transport}))
	require.NoError(b, err)
	request := wxqrcode.Temporary(wxqrcode.SceneID(123), time.Hour)
	body, err := request.Body()
	require.NoError(b, err)
	ctx := context.Background()
	bare := &http.Client{Transport: transport}

	post := func() {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost,
			"https://api.weixin.qq.com/cgi-bin/qrcode/create?access_token=token", bytes.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		res, err := bare.Do(req)
		if err != nil {
			b.Fatal(err)
		}
		defer res.Body.Close()
		if _, err := io.ReadAll(res.Body); err != nil {
			b.Fatal(err)
		}
	}
	create := func() {
		if _, err := client.Create(ctx, request); err != nil {
			b.Fatal(err)
		}
	}
	floor, ours := comparison{post, create, 50}.run(b)
	b.ReportMetric(float64(ours-floor), "ns-above-POST")
	b.ReportMetric(testing.AllocsPerRun(100, create)-testing.AllocsPerRun(100, post), "allocs-above-POST")
}

// Budget: at most 1.5 times time.Now, in parallel, and no allocation.
func BenchmarkAccessToken(b *testing.B) {
	server := &tokenServer{answer: numbered}
	source, err := wxqrcode.NewTokenSource(testAppID, testSecret, wxqrcode.WithHTTPClient(&http.Client{Transport: server}))
	require.NoError(b, err)
	ctx := context.Background()
	get := func() {
		if _, err := source.AccessToken(ctx); err != nil {
			b.Fatal(err)
		}
	}
	get()
	clock := func() {
		if time.Now().IsZero() {
			b.Fatal("no clock")
		}
	}
	floor, ours := comparison{inParallel(clock), inParallel(get), 1}.run(b)
	b.ReportMetric(float64(ours)/parallelCalls, "ns")
	b.ReportMetric(float64(ours)/float64(floor), "of-time.Now")
	b.ReportMetric(testing.AllocsPerRun(100, get), "allocs")
}

const parallelCalls = 20_000 // a goroutine

// inParallel returns a function that calls f as often as that on every processor.
func inParallel(f func()) func() {
	return func() {
		var all sync.WaitGroup
		for range runtime.GOMAXPROCS(0) {
			all.Go(func() {
				for range parallelCalls {
					f()
				}
			})
		}
		all.Wait()
	}
}
