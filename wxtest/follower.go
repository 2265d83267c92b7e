package wxtest

import (
	"context"
	"errors"
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
	d, err := s.happen(ctx, openID, func() (message, error) {
		q, err := s.codes.find(t, s.now())
		if err != nil {
			return nil, err
		}
		if s.follow(openID) {
			return newEvent(wxqrcode.EventSubscribe, "qrscene_"+q.scene, q.ticket), nil
		}
		return newEvent(wxqrcode.EventScan, q.scene, q.ticket), nil
	})
	if err != nil {
		err = fmt.Errorf("wxtest: scan: %w", err)
	}
	return d, err
}

// Follow makes somebody a follower who came before: no event is pushed, and a
// [Server.Scan] of theirs is a SCAN. Whoever follows already goes on doing so.
func (s *Server) Follow(openID string) { s.follow(openID) }

// Unfollow lets a follower leave and pushes an unsubscribe event, whose key is
// empty. It is an error if openID does not follow. The leave holds whether or not
// the push is delivered. For what is returned see [Server.Scan].
func (s *Server) Unfollow(ctx context.Context, openID string) (*Delivery, error) {
	d, err := s.happen(ctx, openID, func() (message, error) {
		if !s.leave(openID) {
			return nil, notFollowing(openID)
		}
		return newEvent(wxqrcode.EventUnsubscribe, "", ""), nil
	})
	if err != nil {
		err = fmt.Errorf("wxtest: unfollow: %w", err)
	}
	return d, err
}

// maxContent is what a text reply may have. How much a user can write is not
// documented; the same was chosen here.
const maxContent = 2048

// SendText lets a follower send the account a text message and pushes it: MsgType
// "text", the Content, and a MsgId in place of an event's fields. The MsgId is a
// number of 64 bits, another for each message and the same in all tries of one. It
// is above 2^53, as real ones are: a program that reads JSON numbers into a float64
// loses its last digits.
//
// content is 1 to 2,048 bytes of UTF-8 without control characters other than tab
// and line breaks. Anything else is an error, and so is an openID that does not
// follow. For what is returned see [Server.Scan].
//
// See https://developers.weixin.qq.com/doc/service/guide/product/message/Receiving_standard_messages.html.
func (s *Server) SendText(ctx context.Context, openID, content string) (*Delivery, error) {
	d, err := s.happen(ctx, openID, func() (message, error) {
		switch {
		case content == "" || len(content) > maxContent:
			return nil, fmt.Errorf("content has %d bytes; it must have 1 to %d", len(content), maxContent)
		case !fitsXML(content):
			return nil, errors.New("content must be UTF-8 without control characters: XML cannot hold it")
		case !s.follows(openID):
			return nil, notFollowing(openID)
		}
		return newText(content), nil
	})
	if err != nil {
		err = fmt.Errorf("wxtest: send text: %w", err)
	}
	return d, err
}

func notFollowing(openID string) error {
	return fmt.Errorf("%q does not follow the account; Scan makes a follower", openID)
}

// happen lets somebody act, if a message of it could be pushed, and pushes the
// message. act returns the fields that are the message's own.
func (s *Server) happen(ctx context.Context, openID string, act func() (message, error)) (*Delivery, error) {
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
	own, err := act()
	if err != nil {
		return nil, err
	}
	return s.deliver(ctx, push{cb, openID, s.newMessage(openID, own, s.now())})
}

func (s *Server) follows(openID string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.followers[openID]
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
