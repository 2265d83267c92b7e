package wxqrcode_test

import (
	"bytes"
	"context"
	"encoding/xml"
	"io"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/seed-0142d113/wxqrcode"
)

// Each benchmark measures a budget of the design beside its floor, in the same
// run, and prints the ratio or the difference: the machine's speed cancels out.

func BenchmarkParseEvent(b *testing.B) {
	body, err := os.ReadFile("testdata/subscribe.xml")
	if err != nil {
		b.Fatal(err)
	}
	floor := nsPerOp(b, "encoding-xml", func() {
		var m eventXML
		if err := xml.Unmarshal(body, &m); err != nil {
			b.Fatal(err)
		}
	})
	ours := nsPerOp(b, "wxqrcode", func() {
		if _, err := wxqrcode.ParseEvent(body); err != nil {
			b.Fatal(err)
		}
	})
	report(b, "ratio", func(b *testing.B) { b.ReportMetric(ours()/floor(), "of-encoding/xml") })
}

func BenchmarkCreate(b *testing.B) {
	transport := roundTripper(func(*http.Request) (*http.Response, error) {
		return &http.Response{
			StatusCode: http.StatusOK,
			Header:     http.Header{},
			Body:       io.NopCloser(bytes.NewReader([]byte(`{"ticket":"gQH47joAAAAAAAAAASxodHRwOi8v","expire_seconds":60,"url":"http:\/\/weixin.qq.com\/q\/kZgf"}`))),
		}, nil
	})
	client, err := wxqrcode.NewClient(wxqrcode.StaticToken("token"), wxqrcode.WithHTTPClient(&http.Client{Transport: transport}))
	if err != nil {
		b.Fatal(err)
	}
	request := wxqrcode.Temporary(wxqrcode.SceneID(123), time.Hour)
	body, err := request.Body()
	if err != nil {
		b.Fatal(err)
	}
	ctx := context.Background()
	bare := &http.Client{Transport: transport}
	floor := nsPerOp(b, "net-http", func() {
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
		if _, err := io.ReadAll(res.Body); err != nil {
			b.Fatal(err)
		}
		res.Body.Close()
	})
	ours := nsPerOp(b, "wxqrcode", func() {
		if _, err := client.Create(ctx, request); err != nil {
			b.Fatal(err)
		}
	})
	report(b, "difference", func(b *testing.B) { b.ReportMetric(ours()-floor(), "ns-above-net/http") })
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

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

func nsPerOp(b *testing.B, name string, f func()) func() float64 {
	var ns float64
	b.Run(name, func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			f()
		}
		ns = float64(b.Elapsed().Nanoseconds()) / float64(b.N)
	})
	return func() float64 { return ns }
}

func report(b *testing.B, name string, f func(*testing.B)) {
	b.Run(name, func(b *testing.B) {
		for b.Loop() {
		}
		f(b)
	})
}
