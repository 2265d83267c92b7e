package wxtest

import (
	"context"
	"fmt"
	"net/http"
	"strconv"

	"github.com/seed-0142d113/wxqrcode/internal/message"
)

// maxExcerpt is how many bytes of a wrong response an error shows.
const maxExcerpt = 200

// VerifyCallback sends the request that WeChat sends when a callback URL is
// entered: one GET without a retry, with timestamp, nonce, signature and
// echostr, a number of 19 digits, in the query. It is the same in all modes but
// cloud hosting, where it is a POST of the action CheckContainerPath.
//
// The error is nil only if the response arrives within the timeout of
// [WithPushTimeout], with status 200 and echostr as its whole body (in cloud
// hosting: success or nothing). It wraps the context's error if ctx ended,
// [context.DeadlineExceeded] after the timeout and [http.ErrServerClosed] after
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
	if cb.Mode == CloudHosting {
		return s.verifyPath(ctx, cb)
	}
	echostr := strconv.FormatInt(randomNumber(), 10)
	query := s.sign(cb)
	query.Set("echostr", echostr)
	status, body, err := s.try(ctx, callbackRequest{method: http.MethodGet, url: cb.address(query)})
	switch {
	case err != nil && s.stopped(ctx) != nil:
		return s.stopped(ctx)
	case err != nil:
		return fmt.Errorf("token verification failed: no response: %w", err)
	case status != http.StatusOK || string(body) != echostr:
		return fmt.Errorf("token verification failed: the response has status %d and body %s; it must have status 200 and the body %s",
			status, excerpt(body), echostr)
	}
	return nil
}

// verifyPath verifies the path of a service in WeChat cloud hosting. See
// https://developers.weixin.qq.com/miniprogram/dev/wxcloudrun/src/guide/weixin/push.html.
func (s *Server) verifyPath(ctx context.Context, cb accountCallback) error {
	request, err := s.newCallbackRequest(push{callback: cb, message: []message.Element{message.Text("action", "CheckContainerPath")}})
	if err != nil {
		return err
	}
	status, body, err := s.try(ctx, request)
	switch {
	case err != nil && s.stopped(ctx) != nil:
		return s.stopped(ctx)
	case err != nil:
		return fmt.Errorf("path verification failed: no response: %w", err)
	case status != http.StatusOK || len(body) > 0 && string(body) != "success":
		return fmt.Errorf("path verification failed: the response has status %d and body %s; it must have status 200 and the body success, or none",
			status, excerpt(body))
	}
	return nil
}

// excerpt returns the beginning of a response, quoted.
func excerpt(body []byte) string {
	if len(body) <= maxExcerpt {
		return fmt.Sprintf("%q", body)
	}
	return fmt.Sprintf("%q…", body[:maxExcerpt])
}
