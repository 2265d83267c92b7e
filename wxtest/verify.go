package wxtest

import (
	"context"
	"fmt"
	"net/http"
)

// maxExcerpt is how many bytes of a wrong answer an error shows.
const maxExcerpt = 200

// VerifyCallback asks the callback what WeChat asks when its URL is registered: one
// GET, never repeated, with timestamp, nonce, signature and echostr, a number of 19
// digits, in the query. It is the same in all modes, and nothing of it is encrypted.
//
// The error is nil only if the answer has status 200 and echostr as its whole body,
// without so much as a line break around it, within the time-out of
// [WithPushTimeout]. Otherwise it says "token verification failed", as WeChat's
// console does, and what came instead. It wraps the context's error if ctx ended,
// [context.DeadlineExceeded] after the time-out and [http.ErrServerClosed] after
// [Server.Close].
//
// See https://developers.weixin.qq.com/doc/service/guide/dev/push/.
func (s *Server) VerifyCallback(ctx context.Context) error {
	if err := s.verify(ctx); err != nil {
		return fmt.Errorf("wxtest: verify callback: %w", err)
	}
	return nil
}

func (s *Server) verify(ctx context.Context) error {
	end, err := s.beginPush()
	if err != nil {
		return err
	}
	defer end()
	cb, err := s.currentCallback()
	if err != nil {
		return err
	}
	echostr := randomNumber()
	query := s.sign(cb)
	query.Set("echostr", echostr)
	status, body, err := s.try(ctx, letter{method: http.MethodGet, url: cb.address(query)})
	switch {
	case err != nil && s.stopped(ctx) != nil:
		return s.stopped(ctx)
	case err != nil:
		return fmt.Errorf("token verification failed: no answer: %w", err)
	case status != http.StatusOK || string(body) != echostr:
		return fmt.Errorf("token verification failed: the answer has status %d and body %s; it must have status 200 and the echostr %s alone",
			status, excerpt(body), echostr)
	}
	return nil
}

// excerpt returns the beginning of an answer, quoted.
func excerpt(body []byte) string {
	if len(body) <= maxExcerpt {
		return fmt.Sprintf("%q", body)
	}
	return fmt.Sprintf("%q…", body[:maxExcerpt])
}
