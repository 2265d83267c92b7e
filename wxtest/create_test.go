package wxtest_test

import (
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

func temporaryID(id string) string {
	return `{"action_name":"QR_SCENE","expire_seconds":600,"action_info":{"scene":{"scene_id":` + id + `}}}`
}

func permanentID(id string) string {
	return `{"action_name":"QR_LIMIT_SCENE","action_info":{"scene":{"scene_id":` + id + `}}}`
}

func temporaryStr(text string) string {
	return `{"action_name":"QR_STR_SCENE","expire_seconds":600,"action_info":{"scene":{"scene_str":"` + text + `"}}}`
}

func permanentStr(text string) string {
	return `{"action_name":"QR_LIMIT_STR_SCENE","action_info":{"scene":{"scene_str":"` + text + `"}}}`
}

func TestCreate_SceneOfEvents(t *testing.T) {
	srv := newServer(t)
	long := strings.Repeat("x", 500)
	for name, test := range map[string]struct{ body, want string }{
		"a temporary id":                  {temporaryID("123"), "123"},
		"the highest temporary id":        {temporaryID("4294967295"), "4294967295"},
		"an id above 32 bits":             {temporaryID("4294967296"), "4294967295"},
		"an id of 64 bits":                {temporaryID("18446744073709551615"), "4294967295"},
		"an id above 64 bits":             {temporaryID("18446744073709551616"), "0"},
		"an id under action_info":         {`{"action_name":"QR_SCENE","action_info":{"scene_id":123}}`, "0"},
		"a permanent id":                  {permanentID("1"), "1"},
		"the highest permanent id":        {permanentID("100000"), "100000"},
		"a permanent id out of place":     {`{"action_name":"QR_LIMIT_SCENE","action_info":{"scene_id":123}}`, "0"},
		"a temporary text":                {temporaryStr("door"), "door"},
		"a temporary text above 64 bytes": {temporaryStr(long), long},
		"a permanent text of 64 bytes":    {permanentStr(strings.Repeat("世", 21) + "x"), strings.Repeat("世", 21) + "x"},
		"characters that need no escape":  {temporaryStr("<&>'世界\u2028"), "<&>'世界\u2028"},
		"the end of a CDATA section":      {temporaryStr("a]]>b]]>]]>"), "a]]>b]]>]]>"},
		"escapes that are not of unicode": {temporaryStr(`\"\\\/\t`), "\"\\/\t"},
		`a \u escape`:                     {temporaryStr(`\u6d4b`), `\u6d4b`},
		`two \u escapes, upper case`:      {temporaryStr(`a\u00E9b\uFFFF`), `a\u00E9b\uFFFF`},
		`a \u escape of a control`:        {temporaryStr(`\u0000`), `\u0000`},
		`a backslash before u`:            {temporaryStr(`\\u6d4b`), `\u6d4b`},
		`a backslash before a \u escape`:  {temporaryStr(`\\\u6d4b`), `\\u6d4b`},
		"the prefix of a follow":          {temporaryStr("qrscene_7"), "qrscene_7"},
	} {
		t.Run(name, func(t *testing.T) {
			code := create(t, srv, test.body)
			require.Zero(t, code.Errcode, code.body)
			assert.Equal(t, test.want, sceneOf(t, srv, code.Ticket))
			assert.Equal(t, 200, imageStatus(t, srv, code.Ticket), "the image exists")
		})
	}
}

func TestCreate_Errcodes(t *testing.T) {
	srv := newServer(t)
	for name, test := range map[string]struct {
		body string
		want int
	}{
		"no body":                           {"", 44002},
		"half a body":                       {someCode[:30], 47001},
		"data after the end":                {someCode + "x", 47001},
		"a list":                            {"[]", 47001},
		"null":                              {"null", 47001},
		`a malformed \u escape`:             {temporaryStr(`\u12x4`), 47001},
		"a backslash at the end":            {`\`, 47001},
		`a \u at the end`:                   {`{"\u12`, 47001},
		"no action name":                    {`{"action_info":{"scene":{"scene_id":1}}}`, 40052},
		"an unknown action name":            {`{"action_name":"QR_CARD","action_info":{"scene":{"scene_id":1}}}`, 40052},
		"names as Go writes them":           {`{"ActionName":"QR_SCENE","ActionInfo":{"Scene":{"SceneId":1}}}`, 40052},
		"no action info":                    {`{"action_name":"QR_SCENE"}`, 40053},
		"an empty action info":              {`{"action_name":"QR_SCENE","action_info":{}}`, 40053},
		"the id 0":                          {temporaryID("0"), 40053},
		"no id":                             {`{"action_name":"QR_SCENE","action_info":{"scene":{}}}`, 40053},
		"a text instead of an id":           {`{"action_name":"QR_SCENE","action_info":{"scene":{"scene_str":"a"}}}`, 40053},
		"a negative id":                     {temporaryID("-1"), 40053},
		"an id that is text":                {temporaryID(`"1"`), 40053},
		"a permanent id above the highest":  {permanentID("100001"), 40053},
		"an empty text":                     {temporaryStr(""), 40053},
		"no text":                           {`{"action_name":"QR_STR_SCENE","action_info":{"scene":{}}}`, 40053},
		"a text that is a number":           {`{"action_name":"QR_STR_SCENE","action_info":{"scene":{"scene_str":1}}}`, 40053},
		"an id instead of a text":           {`{"action_name":"QR_STR_SCENE","action_info":{"scene":{"scene_id":1}}}`, 40053},
		"a permanent text of 65 bytes":      {permanentStr(strings.Repeat("x", 65)), 40053},
		"a permanent text of 22 characters": {permanentStr(strings.Repeat("世", 22)), 40053},
		"a control character":               {temporaryStr(`\b`), 40033},
		"a noncharacter":                    {temporaryStr("\uFFFE"), 40033},
		"a lifetime that is text":           {strings.Replace(someCode, "600", `"600"`, 1), 47001},
		"a lifetime that is a fraction":     {strings.Replace(someCode, "600", `600.5`, 1), 47001},
		"a body of over 1 MiB":              {someCode + strings.Repeat(" ", 1<<20+1-len(someCode)), 47001},
		"a valid body of 1 MiB":             {someCode + strings.Repeat(" ", 1<<20-len(someCode)), 0},
		"valid with white space":            {" \n" + someCode + "\n ", 0},
		"valid":                             {someCode, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := create(t, srv, test.body)
			assert.Equal(t, test.want, r.Errcode, r.body)
			assert.Equal(t, test.want == 0, r.Ticket != "")
			assert.Equal(t, 200, r.status)
		})
	}
}

func TestCreate_RequiresPost(t *testing.T) {
	srv := newServer(t)
	r := send(t, http.MethodGet, createURL(srv, legacyToken(t, srv).AccessToken), someCode)
	assert.Equal(t, 43002, r.Errcode)
}

func TestCreate_RequestIDBeginsWithTime(t *testing.T) {
	srv, clock := newTimedServer(t)
	r := create(t, srv, permanentID("100001"))
	text, rid, found := strings.Cut(r.Errmsg, " rid: ")
	require.True(t, found)
	assert.Equal(t, "invalid action info", text)
	assert.Regexp(t, `^[0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{8}$`, rid)
	seconds, err := strconv.ParseInt(rid[:8], 16, 64)
	require.NoError(t, err)
	assert.Equal(t, clock.now().Unix(), seconds)
}

func TestCreate_EscapesSlashes(t *testing.T) {
	srv := newServer(t)
	r := create(t, srv, someCode)
	assert.Contains(t, r.body, `"url":"http:\/\/weixin.qq.com\/q\/02`)
	assert.Regexp(t, `^http://weixin\.qq\.com/q/02[A-Za-z0-9_-]{20}$`, r.URL)
	assert.NotRegexp(t, `[^\\]/`, r.body)
}

func TestCreate_Lifetimes(t *testing.T) {
	for name, test := range map[string]struct {
		expireSeconds string
		want          int
	}{
		"none":               {"", 60},
		"null":               {`"expire_seconds":null,`, 60},
		"0":                  {`"expire_seconds":0,`, 60},
		"a negative one":     {`"expire_seconds":-5,`, 60},
		"1 s":                {`"expire_seconds":1,`, 1},
		"30 days":            {`"expire_seconds":2592000,`, 2592000},
		"one second more":    {`"expire_seconds":2592001,`, 2592000},
		"one above 64 bits":  {`"expire_seconds":99999999999999999999,`, 2592000},
		"one below -64 bits": {`"expire_seconds":-99999999999999999999,`, 60},
	} {
		t.Run(name, func(t *testing.T) {
			srv, clock := newTimedServer(t)
			r := create(t, srv, `{"action_name":"QR_SCENE",`+test.expireSeconds+`"action_info":{"scene":{"scene_id":7}}}`)
			require.NotNil(t, r.ExpireSeconds)
			assert.Equal(t, test.want, *r.ExpireSeconds)
			lifetime := time.Duration(test.want) * time.Second

			clock.advance(lifetime - 1)
			assert.Equal(t, 200, imageStatus(t, srv, r.Ticket))
			assert.Equal(t, "7", sceneOf(t, srv, r.Ticket))
			clock.advance(1)
			assert.Equal(t, 404, imageStatus(t, srv, r.Ticket))
			_, err := srv.Scan(t.Context(), r.Ticket, "o-scanner")
			assert.ErrorIs(t, err, wxqrcode.ErrTicketNotFound)
		})
	}
}

func TestTicket_Layout(t *testing.T) {
	srv, clock := newTimedServer(t)
	r := create(t, srv, someCode)
	info, err := r.Ticket.Inspect()
	require.NoError(t, err)
	assert.Equal(t, r.URL, info.URL)
	assert.True(t, clock.now().Equal(info.CreatedAt))
	assert.Equal(t, 10*time.Minute, info.Lifetime)

	b, err := base64.StdEncoding.DecodeString(string(r.Ticket))
	require.NoError(t, err, "the standard alphabet, padded")
	assert.Equal(t, []byte{0x81, 0x01}, b[:2])
	assert.Equal(t, append([]byte{byte(len(b) - 12)}, make([]byte, 7)...), b[4:12])
	assert.Equal(t, append([]byte{1, byte(len(r.URL) + 1)}, r.URL+"\x00"...), b[12:14+len(r.URL)+1])
}

func TestCreate_PermanentSceneHasOneCode(t *testing.T) {
	srv, clock := newTimedServer(t)
	first := create(t, srv, permanentID("7"))
	assert.Nil(t, first.ExpireSeconds, "only the response of a temporary code has it")
	clock.advance(1000 * 24 * time.Hour)
	again := create(t, srv, permanentID("7"))
	assert.Equal(t, first.Ticket, again.Ticket)
	assert.Equal(t, first.URL, again.URL)
	assert.Equal(t, 200, imageStatus(t, srv, first.Ticket), "it does not expire")
	assert.NotEqual(t, first.Ticket, create(t, srv, permanentStr("7")).Ticket, "another action")
	assert.NotEqual(t, first.Ticket, create(t, srv, permanentID("8")).Ticket)
	first, second := create(t, srv, someCode), create(t, srv, someCode)
	assert.NotEqual(t, first.Ticket, second.Ticket, "temporary codes")
}

func TestCreate_PermanentLimit(t *testing.T) {
	srv := newServer(t)
	require.Zero(t, srv.CreatePermanent(99_999))
	require.Zero(t, create(t, srv, permanentStr("poster-0")).Errcode, "an existing code does not count again")
	require.Zero(t, create(t, srv, permanentStr("the 100,000th")).Errcode)

	r := create(t, srv, permanentStr("the 100,001st"))
	assert.Equal(t, 45029, r.Errcode)
	assert.Equal(t, 45029, create(t, srv, permanentID("1")).Errcode, "numbers and texts count together")
	assert.Zero(t, create(t, srv, permanentStr("poster-0")).Errcode, "existing codes remain")
	assert.Zero(t, create(t, srv, someCode).Errcode, "temporary ones are not counted")
}

func TestCreate_PermanentWithLifetimeHasNoImage(t *testing.T) {
	srv, clock := newTimedServer(t)
	for name, body := range map[string]string{
		"an id":  permanentID("7"),
		"a text": permanentStr("seven"),
	} {
		t.Run(name, func(t *testing.T) {
			empty := create(t, srv, strings.Replace(body, "{", `{"expire_seconds":600,`, 1))
			require.NotEmpty(t, empty.Ticket)
			assert.Nil(t, empty.ExpireSeconds)
			code := create(t, srv, body)

			assert.Equal(t, 200, imageStatus(t, srv, code.Ticket))
			assert.Equal(t, 404, imageStatus(t, srv, empty.Ticket), "even after the code exists")
			_, err := srv.Scan(t.Context(), empty.Ticket, "o-scanner")
			assert.Error(t, err)

			empty = create(t, srv, strings.Replace(body, "{", `{"expire_seconds":0,`, 1))
			clock.advance(time.Hour)
			assert.Equal(t, 404, imageStatus(t, srv, empty.Ticket), "with any lifetime")
			assert.Equal(t, code.Ticket, create(t, srv, body).Ticket)
		})
	}
}

// A body is rejected or creates a code. The event of a code has the same values
// in XML and in JSON. The request of a client is accepted, and its event has
// the requested scene.
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
		if request := wxqrcode.Temporary(wxqrcode.SceneStr(body), time.Hour); request.Validate() == nil {
			scene, errcode := srv.SceneOf(requestBody(t, request))
			require.Zero(t, errcode)
			require.Equal(t, body, scene)
			checkEvents(t, srv, scene)
		}
	})
}

// requestBody returns the body that a client sends. It is not the JSON of the
// request, which has \u escapes.
func requestBody(t *testing.T, r wxqrcode.Request) (body string) {
	t.Helper()
	client, err := wxqrcode.NewClient(wxqrcode.StaticToken("token"), wxqrcode.WithHTTPClient(&http.Client{
		Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			b, err := io.ReadAll(r.Body)
			body = string(b)
			return nil, errors.Join(err, errors.New("not sent"))
		}),
	}), wxqrcode.WithRetry(wxqrcode.RetryPolicy{MaxAttempts: 1}))
	require.NoError(t, err)
	_, err = client.Create(t.Context(), r)
	require.ErrorContains(t, err, "not sent")
	return body
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func checkEvents(t *testing.T, srv *wxtest.Server, scene string) {
	t.Helper()
	asXML, asJSON := srv.ScanMessages(scene)
	e := parse(t, string(asJSON))
	assert.Equal(t, scene, e.EventKey)
	e.EventKey = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(e.EventKey) // as XML normalizes them
	assert.Equal(t, e, parse(t, string(asXML)))
}

// Inspect returns the parts of a ticket of the server.
func FuzzTicket(f *testing.F) {
	f.Add("http://weixin.qq.com/q/02wPFKBmPJfu21QQPIxycG", uint32(1659576756), uint32(86400))
	f.Add("https://w/", uint32(1), uint32(0))
	f.Add("http://weixin.qq.com/q/", uint32(1<<32-1), uint32(2592000))
	f.Fuzz(func(t *testing.T, address string, created, seconds uint32) {
		lifetime := time.Duration(seconds) * time.Second
		if !isCodeURL(address) || lifetime > wxqrcode.MaxLifetime || seconds >= created && seconds > 0 {
			return // no server creates such a ticket
		}
		want := wxqrcode.TicketInfo{URL: address, CreatedAt: time.Unix(int64(created), 0), Lifetime: lifetime}
		if lifetime > 0 {
			want.ExpiresAt = want.CreatedAt.Add(lifetime)
		}
		for _, realistic := range []bool{false, true} {
			ticket := wxtest.NewTicket(address, want.CreatedAt, lifetime, realistic)
			require.NotEqual(t, realistic, strings.Contains(string(ticket), "+/"))
			for _, s := range []string{string(ticket), strings.TrimRight(string(ticket), "=")} {
				info, err := wxqrcode.Ticket(s).Inspect()
				require.NoError(t, err)
				require.Equal(t, want, info)
			}
		}
	})
}

// isCodeURL reports whether address can be the URL of a code: printable ASCII
// that fits into a field of a ticket.
func isCodeURL(address string) bool {
	u, err := url.Parse(address)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && len(address) < 255 &&
		!strings.ContainsFunc(address, func(r rune) bool { return r <= ' ' || r > '~' })
}

func TestClient_CreatesAllActions(t *testing.T) {
	srv := newServer(t)
	client := srv.Client()
	for _, request := range []wxqrcode.Request{
		wxqrcode.Temporary(wxqrcode.SceneID(4294967295), time.Hour),
		wxqrcode.Temporary(wxqrcode.SceneStr(`"桌 <7> & \ ]]>"`), wxqrcode.MaxLifetime),
		wxqrcode.Permanent(wxqrcode.SceneID(wxqrcode.MaxPermanentID)),
		wxqrcode.Permanent(wxqrcode.SceneStr(strings.Repeat("x", wxqrcode.MaxSceneStr))),
	} {
		t.Run(string(request.Action()), func(t *testing.T) {
			code, err := client.Create(t.Context(), request)
			require.NoError(t, err)
			assert.Equal(t, request.Lifetime(), code.Lifetime)
			info, err := code.Ticket.Inspect()
			require.NoError(t, err)
			assert.Equal(t, code.URL, info.URL)
			assert.Equal(t, request.Scene().Key(), sceneOf(t, srv, code.Ticket))
		})
	}
}
