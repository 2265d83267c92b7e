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
	"github.com/seed-0142d113/wxqrcode/internal/floor"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

// Budget: at most 1/8 of encoding/xml into the same fields, and 8
// allocations.
func BenchmarkParseEvent(b *testing.B) {
	body, err := os.ReadFile("testdata/subscribe.xml")
	require.NoError(b, err)
	theirs := func() {
		var m eventXML
		if xml.Unmarshal(body, &m) != nil {
			b.Fatal("invalid XML")
		}
	}
	ours := func() {
		if _, err := wxqrcode.ParseEvent(body); err != nil {
			b.Fatal(err)
		}
	}
	slow, fast := floor.Comparison{Floor: theirs, Ours: ours, Batch: 100}.Run(b)
	b.ReportMetric(fast/slow, "of-encoding/xml")
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

// Budget: at most 3 µs and 22 allocations above a bare POST on the same
// transport.
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
	body, err := wxqrcode.RequestBody(request)
	require.NoError(b, err)
	ctx := context.Background()
	plain := &http.Client{Transport: transport}

	post := func() {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost,
			"https://api.weixin.qq.com/cgi-bin/qrcode/create?access_token=token", bytes.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		res, err := plain.Do(req)
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
	bare, ours := floor.Comparison{Floor: post, Ours: create, Batch: 50}.Run(b)
	b.ReportMetric(ours-bare, "ns-above-POST")
	b.ReportMetric(testing.AllocsPerRun(100, create)-testing.AllocsPerRun(100, post), "allocs-above-POST")
}

// Budget: at most 1.5 times time.Now, in parallel, and no allocation.
func BenchmarkAccessToken(b *testing.B) {
	server := &tokenServer{handle: numbered}
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
	now, ours := floor.Comparison{Floor: inParallel(clock), Ours: inParallel(get), Batch: 1, Each: parallelCalls}.Run(b)
	b.ReportMetric(ours/now, "of-time.Now")
	b.ReportMetric(testing.AllocsPerRun(100, get), "allocs")
}

// Budget: 10,000 callers of an empty source share one request.
func BenchmarkEmptySource(b *testing.B) {
	const callers = 10_000
	requests := 0
	for b.Loop() {
		var callersReady sync.WaitGroup
		callersReady.Add(callers)
		server := &tokenServer{handle: func(n int, force bool) (*http.Response, error) {
			callersReady.Wait() // all callers find no token
			return numbered(n, force)
		}}
		source, err := wxqrcode.NewTokenSource(testAppID, testSecret, wxqrcode.WithHTTPClient(&http.Client{Transport: server}))
		require.NoError(b, err)
		var all sync.WaitGroup
		for range callers {
			all.Go(func() {
				callersReady.Done()
				if _, err := source.AccessToken(b.Context()); err != nil {
					b.Error(err)
				}
			})
		}
		all.Wait()
		requests = max(requests, server.count())
	}
	b.ReportMetric(float64(requests), "requests")
}

const parallelCalls = 20_000 // per goroutine

// inParallel returns a function that calls f parallelCalls times on every
// processor.
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

// Budget: at least 95 % of the ideal throughput: 10,000 codes, 50 ms per
// response, 64 at a time, in 7.8 s.
func BenchmarkCreateAll(b *testing.B) {
	const codes, atATime, latency = 10_000, 64, 50 * time.Millisecond
	server := wxtest.NewServer()
	defer server.Close()
	client := server.Client()
	for b.Loop() {
		server.Fail("qrcode/create", codes, wxtest.Failure{Delay: latency})
		start := time.Now()
		done := 0
		for _, err := range client.CreateAll(b.Context(), numberedRequests(codes), wxqrcode.BatchOptions{Concurrency: atATime}) {
			require.NoError(b, err)
			done++
		}
		require.Equal(b, codes, done)
		ideal := time.Duration((codes+atATime-1)/atATime) * latency
		b.ReportMetric(100*ideal.Seconds()/time.Since(start).Seconds(), "%-of-ideal")
	}
}

// Budget: the memory in use does not grow with the number of codes.
func BenchmarkCreateAllMemory(b *testing.B) {
	client, err := wxqrcode.NewClient(wxqrcode.StaticToken("token"), wxqrcode.WithHTTPClient(&http.Client{
		Transport: roundTripper(func(*http.Request) (*http.Response, error) { return respond(200, goodCode) }),
	}))
	require.NoError(b, err)
	const codes, early = 1_000_000, 10_000
	for b.Loop() {
		var before, after uint64
		done := 0
		for _, err := range client.CreateAll(b.Context(), numberedRequests(codes), wxqrcode.BatchOptions{Concurrency: 64}) {
			require.NoError(b, err)
			switch done++; done {
			case early:
				before = heapInUse()
			case codes:
				after = heapInUse()
			}
		}
		require.Equal(b, codes, done)
		growth := float64(after) - float64(before)
		b.ReportMetric(growth/1024, "KiB-grown")
		b.ReportMetric(float64(before)/1024, "KiB-in-use")
		require.Less(b, growth, float64(256<<10))
	}
}

func heapInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
