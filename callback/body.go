package callback

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"time"
)

// readBody reads the whole push, or returns the status to refuse it with.
func (p *push) readBody(w http.ResponseWriter) (body []byte, status int, err error) {
	h, r := p.handler, p.request
	if r.Body == nil { // of a request that somebody made by hand
		return nil, http.StatusBadRequest, errors.New("there is no body")
	}
	body, err = readAll(http.MaxBytesReader(w, r.Body, h.maxBody), r.ContentLength)
	if err == nil {
		limitReading(w, time.Time{}) // now the server reads on, to notice that the client goes
		return body, 0, nil
	}
	if e, ok := errors.AsType[*http.MaxBytesError](err); ok { // ours, or a smaller one of the program's
		return nil, http.StatusRequestEntityTooLarge, fmt.Errorf("the body is longer than %d bytes (MaxBody)", e.Limit)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, http.StatusRequestTimeout, fmt.Errorf("the body did not come in within %v", h.bodyTimeout)
	}
	return nil, http.StatusBadRequest, fmt.Errorf("read the body: %w", err)
}

// readAll is [io.ReadAll] for a body of which the length is known, as it mostly is:
// it allocates once. size is what the sender says: it may be wrong, or negative.
func readAll(r io.Reader, size int64) ([]byte, error) {
	b := make([]byte, 0, min(max(size, 0), defaultMaxBody)+1) // one more, to meet the end without growing
	for {
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case err == io.EOF:
			return b, nil
		case err != nil:
			return nil, err
		case len(b) == cap(b):
			b = slices.Grow(b, bytes.MinRead)
		}
	}
}

// limitReading sets the connection's read deadline, where there is one. It looks
// before it asks, as asking in vain makes an error.
func limitReading(w http.ResponseWriter, deadline time.Time) {
	switch w.(type) {
	case interface{ SetReadDeadline(time.Time) error }, interface{ Unwrap() http.ResponseWriter }:
		_ = http.NewResponseController(w).SetReadDeadline(deadline) // a test's writer may have none
	}
}
