package wxtest

import (
	"context"
	"fmt"

	"github.com/seed-0142d113/wxqrcode"
)

// Scan lets somebody scan a code and pushes the event to the account's callback.
// Whoever is not yet a follower follows, which is a subscribe event with the key
// "qrscene_" and the scene; a follower's scan is a SCAN event with the scene
// alone. The follow holds whether or not the push is delivered.
//
// The error is nil if the callback answered, with whatever status. It wraps
// [wxqrcode.ErrTicketNotFound] if the server did not make the ticket, its code has
// died, or it never had one (expire_seconds with a permanent code); the context's
// error if ctx ended; and the last try's if no try was answered. The [Delivery] is
// not nil once a push was tried.
//
// An event is dated in whole seconds of the server's clock: to a receiver that
// tells duplicates, a second scan of a code by the same person in the same second
// is the first one again.
//
// See https://developers.weixin.qq.com/doc/service/guide/product/message/Receiving_event_pushes.html.
func (s *Server) Scan(ctx context.Context, t wxqrcode.Ticket, openID string) (*Delivery, error) {
	d, err := s.event(ctx, openID, func() (userEvent, error) {
		q, err := s.codes.find(t, s.now())
		if err != nil {
			return userEvent{}, err
		}
		if s.follow(openID) {
			return userEvent{wxqrcode.EventSubscribe, "qrscene_" + q.scene, q.ticket}, nil
		}
		return userEvent{wxqrcode.EventScan, q.scene, q.ticket}, nil
	})
	if err != nil {
		err = fmt.Errorf("wxtest: scan: %w", err)
	}
	return d, err
}

// Unfollow lets a follower leave and pushes an unsubscribe event, whose key is
// empty. It is an error if openID does not follow. The leave holds whether or not
// the push is delivered. For what is returned see [Server.Scan].
func (s *Server) Unfollow(ctx context.Context, openID string) (*Delivery, error) {
	d, err := s.event(ctx, openID, func() (userEvent, error) {
		if !s.leave(openID) {
			return userEvent{}, fmt.Errorf("%q does not follow the account; Scan makes a follower", openID)
		}
		return userEvent{kind: wxqrcode.EventUnsubscribe}, nil
	})
	if err != nil {
		err = fmt.Errorf("wxtest: unfollow: %w", err)
	}
	return d, err
}

// A userEvent is what somebody did.
type userEvent struct {
	kind   wxqrcode.EventType
	key    string
	ticket wxqrcode.Ticket // empty if the event has none
}

// event lets act happen, if its event could be pushed, and pushes it.
func (s *Server) event(ctx context.Context, openID string, act func() (userEvent, error)) (*Delivery, error) {
	if openID == "" || !fitsXML(openID) {
		return nil, fmt.Errorf("openid %q must be text, and not empty", openID)
	}
	end, err := s.beginPush()
	if err != nil {
		return nil, err
	}
	defer end()
	cb, err := s.currentCallback()
	if err != nil {
		return nil, err
	}
	e, err := act()
	if err != nil {
		return nil, err
	}
	p, err := s.newPush(cb, openID, e)
	if err != nil {
		return nil, err
	}
	return s.deliver(ctx, p)
}

// follow makes a follower. It reports false if openID was one.
func (s *Server) follow(openID string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.followers[openID] {
		return false
	}
	s.followers[openID] = true
	return true
}

// leave ends a follow. It reports false if there was none.
func (s *Server) leave(openID string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.followers[openID] {
		return false
	}
	delete(s.followers, openID)
	return true
}
