package wxqrcode_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
)

const (
	jpegHead = "\xff\xd8\xff\xe0 the rest of an image"
	pngHead  = "\x89PNG\r\n\x1a\n the rest of an image"
	gifHead  = "GIF89a the rest of an image"
)

func respondTyped(status int, contentType, body string) (*http.Response, error) {
	res, err := respond(status, body)
	if contentType != "" {
		res.Header.Set("Content-Type", contentType)
	}
	return res, err
}

func TestClient_ImageAcceptsOnlyImages(t *testing.T) {
	for _, test := range []struct {
		name        string
		status      int
		contentType string
		body        string
		want        string // content type
		is          error
		text        string
	}{
		{"a JPEG as WeChat sends it", 200, "image/jpg", jpegHead, "image/jpeg", nil, ""},
		{"a JPEG by its registered type", 200, "image/jpeg", jpegHead, "image/jpeg", nil, ""},
		{"a JPEG by a type in capitals", 200, "Image/JPEG; q=1", jpegHead, "image/jpeg", nil, ""},
		{"a JPEG without a type", 200, "", jpegHead, "image/jpeg", nil, ""},
		{"a JPEG of three bytes", 200, "", "\xff\xd8\xff", "image/jpeg", nil, ""},
		{"a PNG", 200, "image/png", pngHead, "image/png", nil, ""},
		{"a GIF", 200, "image/gif", gifHead, "image/gif", nil, ""},
		{"a GIF87a", 200, "image/gif", "GIF87a", "image/gif", nil, ""},
		{"a GIF by the type of a JPEG", 200, "image/jpg", gifHead, "image/gif", nil, ""},

		{"no such ticket", 404, "text/html", "<html>", "", wxqrcode.ErrTicketNotFound, "create a new one"},
		{"no such ticket, without a body", 404, "", "", "", wxqrcode.ErrTicketNotFound, ""},
		{"an image with status 404", 404, "image/jpg", jpegHead, "", wxqrcode.ErrTicketNotFound, ""},
		{"an image with status 403", 403, "image/jpg", jpegHead, "", wxqrcode.ErrUnexpectedResponse, "403"},
		{"a page", 200, "text/html", "<html>log in</html>", "", wxqrcode.ErrUnexpectedResponse, "not an image"},
		{"a page with an image type", 200, "image/jpg", "<html>log in</html>", "", wxqrcode.ErrUnexpectedResponse, "not an image"},
		{"an image with a page type", 200, "text/html", jpegHead, "", wxqrcode.ErrUnexpectedResponse, "not an image"},
		{"another image format", 200, "image/bmp", "BM and the rest", "", wxqrcode.ErrUnexpectedResponse, "not an image"},
		{"an empty body", 200, "image/jpg", "", "", wxqrcode.ErrUnexpectedResponse, "not an image"},
		{"a truncated signature", 200, "image/jpg", "\xff\xd8", "", wxqrcode.ErrUnexpectedResponse, "not an image"},
		{"an error code", 200, "text/plain", `{"errcode":45009,"errmsg":"reach max rid: 5f69b2e4-1-2"}`, "", wxqrcode.ErrQuotaExceeded, "rid 5f69b2e4-1-2"},
		{"an error code with an image type", 200, "image/jpg", `{"errcode":48001,"errmsg":"api unauthorized"}`, "", wxqrcode.ErrUnauthorized, "48001"},
		{"errcode 0", 200, "text/plain", `{"errcode":0,"errmsg":"ok"}`, "", wxqrcode.ErrUnexpectedResponse, "not an image"},
	} {
		t.Run(test.name, func(t *testing.T) {
			client := newStubClient(t, func(r *http.Request) (*http.Response, error) {
				assert.Equal(t, "https://mp.weixin.qq.com/cgi-bin/showqrcode?ticket=a%2Bb%2Fc%3D%3D", r.URL.String())
				assert.Equal(t, http.MethodGet, r.Method)
				assert.Empty(t, r.Header.Get("Content-Type"), "no body")
				return respondTyped(test.status, test.contentType, test.body)
			})
			image, err := client.Image(t.Context(), "a+b/c==")
			var w bytes.Buffer
			n, werr := client.WriteImage(t.Context(), &w, "a+b/c==")
			if test.is == nil {
				require.NoError(t, err)
				require.NoError(t, werr)
				assert.Equal(t, &wxqrcode.Image{ContentType: test.want, Data: []byte(test.body)}, image)
				assert.Equal(t, test.body, w.String())
				assert.EqualValues(t, len(test.body), n)
				return
			}
			require.ErrorIs(t, err, test.is)
			assert.ErrorContains(t, err, "wxqrcode: image: ")
			assert.ErrorContains(t, err, test.text)
			assert.Nil(t, image)
			require.ErrorIs(t, werr, test.is)
			assert.Zero(t, n)
			assert.Zero(t, w.Len(), "bytes written")
		})
	}
}

func TestClient_ImageRejectsEscapedTickets(t *testing.T) {
	client := newStubClient(t, func(*http.Request) (*http.Response, error) {
		t.Error("a request was sent")
		return respond(200, jpegHead)
	})
	for ticket, text := range map[wxqrcode.Ticket]string{
		"":        "must not be empty",
		"a%2Bb":   "URL-escaped",
		"gQ a b=": "space",
	} {
		_, err := client.Image(t.Context(), ticket)
		require.ErrorIs(t, err, wxqrcode.ErrInvalidRequest)
		assert.ErrorContains(t, err, text)
		_, err = client.WriteImage(t.Context(), io.Discard, ticket)
		require.ErrorIs(t, err, wxqrcode.ErrInvalidRequest)
		err = client.SaveImage(t.Context(), filepath.Join(t.TempDir(), "x.jpg"), ticket)
		require.ErrorIs(t, err, wxqrcode.ErrInvalidRequest)
	}
}

// truncatedImage responds with a truncated image.
func truncatedImage(at string) (*http.Response, error) {
	res, err := respond(200, "")
	res.Body = io.NopCloser(io.MultiReader(strings.NewReader(at), errReader{io.ErrUnexpectedEOF}))
	return res, err
}

func TestClient_ImageRetriesATruncatedBody(t *testing.T) {
	whole := jpegHead + strings.Repeat("x", 10_000)
	for _, at := range []int{0, 1, 3, 511, 512, 513, 9_999, len(whole)} {
		attempts := 0
		client := newStubClient(t, func(*http.Request) (*http.Response, error) {
			if attempts++; attempts < 3 {
				return truncatedImage(whole[:at])
			}
			return respond(200, whole)
		}, fastRetry)
		image, err := client.Image(t.Context(), "ticket")
		require.NoError(t, err, "truncated at byte %d", at)
		assert.Equal(t, whole, string(image.Data))
		assert.Equal(t, 3, attempts)
	}
}

var fastRetry = wxqrcode.WithRetry(wxqrcode.RetryPolicy{BaseDelay: 1, MaxDelay: 1})

func TestClient_WriteImageDoesNotRetryAfterWriting(t *testing.T) {
	whole := jpegHead + strings.Repeat("x", 10_000)
	for _, test := range []struct {
		name     string
		at       int
		attempts int
		n        int
	}{
		{"truncated before the first write", 511, 3, 0},
		{"truncated after the first write", 700, 1, 700},
	} {
		t.Run(test.name, func(t *testing.T) {
			attempts := 0
			client := newStubClient(t, func(*http.Request) (*http.Response, error) {
				attempts++
				return truncatedImage(whole[:test.at])
			}, fastRetry)
			var w bytes.Buffer
			n, err := client.WriteImage(t.Context(), &w, "ticket")
			require.ErrorIs(t, err, wxqrcode.ErrUnexpectedResponse)
			require.ErrorIs(t, err, io.ErrUnexpectedEOF)
			assert.Equal(t, test.attempts, attempts)
			assert.EqualValues(t, test.n, n)
			assert.Equal(t, whole[:test.n], w.String())
		})
	}
}

// A shortWriter accepts room bytes and then fails.
type shortWriter struct {
	room int
	err  error
}

func (w *shortWriter) Write(p []byte) (int, error) {
	n := min(len(p), w.room)
	w.room -= n
	if n < len(p) {
		return n, w.err
	}
	return n, nil
}

func TestClient_WriteImageReturnsTheErrorOfTheWriter(t *testing.T) {
	full := errors.New("no space left")
	for _, room := range []int{0, 5, 600} {
		attempts := 0
		client := newStubClient(t, func(*http.Request) (*http.Response, error) {
			attempts++
			return respond(200, jpegHead+strings.Repeat("x", 1000))
		}, fastRetry)
		n, err := client.WriteImage(t.Context(), &shortWriter{room, full}, "ticket")
		require.ErrorIs(t, err, full)
		assert.ErrorContains(t, err, "wxqrcode: write image: ")
		assert.EqualValues(t, room, n)
		assert.Equal(t, 1, attempts)
	}
}

// An errorIgnoringWriter implements io.ReaderFrom and ignores the error of its
// reader.
type errorIgnoringWriter struct{ bytes.Buffer }

func (w *errorIgnoringWriter) ReadFrom(r io.Reader) (int64, error) {
	n, _ := w.Buffer.ReadFrom(r)
	_, _ = r.Read(make([]byte, 1)) // after the error
	return n, nil
}

func TestClient_WriteImageFailsIfTheWriterIgnoresTheError(t *testing.T) {
	for name, body := range map[string]io.Reader{
		"truncated": io.MultiReader(strings.NewReader(jpegHead+strings.Repeat("x", 1000)), errReader{io.ErrUnexpectedEOF}),
		"too large": io.MultiReader(strings.NewReader(jpegHead), &countingReader{blanks: 5 << 20, tail: strings.NewReader("")}),
	} {
		t.Run(name, func(t *testing.T) {
			client := newStubClient(t, func(*http.Request) (*http.Response, error) {
				res, err := respond(200, "")
				res.Body = io.NopCloser(body)
				return res, err
			})
			var w errorIgnoringWriter
			n, err := client.WriteImage(t.Context(), &w, "ticket")
			require.ErrorIs(t, err, wxqrcode.ErrUnexpectedResponse)
			assert.EqualValues(t, w.Len(), n)
			assert.LessOrEqual(t, w.Len(), 4<<20)
		})
	}
}

func TestClient_WriteImageStreams(t *testing.T) {
	fetch := func(size int) float64 {
		client := newStubClient(t, func(*http.Request) (*http.Response, error) {
			res, err := respond(200, "")
			res.Body = io.NopCloser(io.MultiReader(strings.NewReader(jpegHead), &countingReader{blanks: size, tail: strings.NewReader("")}))
			return res, err
		})
		sizes := &largestWrite{}
		_, err := client.WriteImage(t.Context(), sizes, "ticket")
		require.NoError(t, err)
		return float64(sizes.largest)
	}
	assert.LessOrEqual(t, fetch(4_000_000), 64.0*1024, "the largest write")
}

type largestWrite struct{ largest int }

func (w *largestWrite) Write(p []byte) (int, error) {
	w.largest = max(w.largest, len(p))
	return len(p), nil
}

func TestClient_SaveImage(t *testing.T) {
	client := newStubClient(t, func(*http.Request) (*http.Response, error) { return respond(200, jpegHead) })
	dir := t.TempDir()
	path := filepath.Join(dir, "code.jpg")
	require.NoError(t, client.SaveImage(t.Context(), path, "ticket"))
	assertFiles(t, dir, map[string]string{"code.jpg": jpegHead})

	plain := filepath.Join(dir, "plain") // 0666 less the umask
	require.NoError(t, os.WriteFile(plain, nil, 0o666))
	assert.Equal(t, modeOf(t, plain), modeOf(t, path))
}

func TestClient_SaveImageKeepsTheMode(t *testing.T) {
	client := newStubClient(t, func(*http.Request) (*http.Response, error) { return respond(200, jpegHead) })
	dir := t.TempDir()
	path := filepath.Join(dir, "code.jpg")
	require.NoError(t, os.WriteFile(path, []byte("old"), 0o600))
	require.NoError(t, os.Chmod(path, 0o640))
	link := filepath.Join(dir, "link.jpg")
	require.NoError(t, os.Symlink(path, link))

	require.NoError(t, client.SaveImage(t.Context(), link, "ticket"))
	assert.Equal(t, fs.FileMode(0o640), modeOf(t, path))
	target, err := os.Readlink(link)
	require.NoError(t, err, "the link remains")
	assert.Equal(t, path, target)
	assertFiles(t, dir, map[string]string{"code.jpg": jpegHead, "link.jpg": jpegHead})
}

func TestClient_SaveImageKeepsTheFileAfterAnError(t *testing.T) {
	for name, stub := range map[string]roundTripper{
		"not found": func(*http.Request) (*http.Response, error) { return respond(404, "") },
		"a page":    func(*http.Request) (*http.Response, error) { return respond(200, "<html>") },
		"truncated": func(*http.Request) (*http.Response, error) {
			return truncatedImage(jpegHead + strings.Repeat("x", 1000))
		},
		"no response": dialError,
	} {
		t.Run(name, func(t *testing.T) {
			client := newStubClient(t, stub, fastRetry)
			dir := t.TempDir()
			path := filepath.Join(dir, "code.jpg")
			require.NoError(t, os.WriteFile(path, []byte("old"), 0o600))
			require.Error(t, client.SaveImage(t.Context(), path, "ticket"))
			require.Error(t, client.SaveImage(t.Context(), filepath.Join(dir, "new.jpg"), "ticket"))
			assertFiles(t, dir, map[string]string{"code.jpg": "old"})
		})
	}
}

func TestClient_SaveImageCannotWrite(t *testing.T) {
	client := newStubClient(t, func(*http.Request) (*http.Response, error) { return respond(200, jpegHead) })
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "folder"), 0o700))
	// A socket instead of a device: a failure must not replace os.DevNull.
	socket := filepath.Join(dir, "socket")
	listener, err := net.Listen("unix", socket)
	require.NoError(t, err)
	defer listener.Close()
	for name, path := range map[string]string{
		"a folder that is missing": filepath.Join(dir, "missing", "code.jpg"),
		"a folder":                 filepath.Join(dir, "folder"),
		"a socket":                 socket,
		"a name that is too long":  filepath.Join(dir, strings.Repeat("x", 300)),
	} {
		t.Run(name, func(t *testing.T) {
			err := client.SaveImage(t.Context(), path, "ticket")
			require.Error(t, err)
			assert.ErrorContains(t, err, "wxqrcode: save image: ")
			_, ok := errors.AsType[*fs.PathError](err)
			assert.True(t, ok, "%v names the file", err)
		})
	}
	require.ErrorIs(t, client.SaveImage(t.Context(), "", "ticket"), wxqrcode.ErrInvalidRequest)
	left, err := os.Stat(socket)
	require.NoError(t, err)
	assert.Equal(t, fs.ModeSocket, left.Mode().Type())
	require.NoError(t, listener.Close())
	assertFiles(t, dir, map[string]string{})
}

func TestClient_SaveImageContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	client := newStubClient(t, hang)
	dir := t.TempDir()
	require.ErrorIs(t, client.SaveImage(ctx, filepath.Join(dir, "code.jpg"), "ticket"), context.Canceled)
	assertFiles(t, dir, map[string]string{})
}

// assertFiles checks that the files in dir are these and no others.
func assertFiles(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	got := map[string]string{}
	for _, e := range entries {
		if !e.IsDir() {
			b, err := os.ReadFile(filepath.Join(dir, e.Name()))
			require.NoError(t, err)
			got[e.Name()] = string(b)
		}
	}
	assert.Equal(t, want, got)
}

func modeOf(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	return info.Mode()
}
