package wxtest

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/internal/message"
)

// Scan makes a user scan a code and pushes the event to the callback. A user
// who is not a follower becomes one: the event is subscribe, with the key
// "qrscene_" and the scene. For a follower it is SCAN, with the scene. The user
// follows whether or not the push is delivered.
//
// The error is nil if there was a response, of any status. It wraps
// [wxqrcode.ErrTicketNotFound] if the ticket is not of this server, has expired
// or has no code (a permanent action with expire_seconds), the error of ctx if
// ctx ended, and the error of the last try if no try had a response. The
// [Delivery] is not nil if a push was sent.
//
// Events are dated in whole seconds, so a second scan of a code by the same
// user in the same second is a duplicate of the first one.
//
// See https://developers.weixin.qq.com/doc/service/guide/product/message/Receiving_event_pushes.html.
func (s *Server) Scan(ctx context.Context, t wxqrcode.Ticket, openID string) (*Delivery, error) {
	d, err := s.pushEvent(ctx, openID, func() ([]message.Element, error) {
		q, err := s.codes.find(t, s.now())
		if err != nil {
			return nil, err
		}
		if s.follow(openID) {
			return newEvent(wxqrcode.EventSubscribe, "qrscene_"+q.Scene, q.Ticket), nil
		}
		return newEvent(wxqrcode.EventScan, q.Scene, q.Ticket), nil
	})
	if err != nil {
		err = fmt.Errorf("wxtest: scan: %w", err)
	}
	return d, err
}

// Follow makes a user a follower without a push. The next [Server.Scan] of the
// user is a SCAN. It has no effect on a follower.
func (s *Server) Follow(openID string) { s.follow(openID) }

// Unfollow makes a follower unfollow and pushes an unsubscribe event, whose key
// is empty. It is an error if openID is not a follower. The user unfollows
// whether or not the push is delivered. For the results see [Server.Scan].
func (s *Server) Unfollow(ctx context.Context, openID string) (*Delivery, error) {
	d, err := s.pushEvent(ctx, openID, func() ([]message.Element, error) {
		if !s.unfollow(openID) {
			return nil, notFollowing(openID)
		}
		return newEvent(wxqrcode.EventUnsubscribe, "", ""), nil
	})
	if err != nil {
		err = fmt.Errorf("wxtest: unfollow: %w", err)
	}
	return d, err
}

// maxContent is the limit of a text reply, in bytes. The limit of what a user
// can write is not documented; the same was chosen here.
const maxContent = 2048

// SendText makes a follower send a text message to the account and pushes it
// with MsgType "text", Content and MsgId. MsgId is a 64-bit number, unique to
// the message and the same in all tries. It is above 2^53, like real ones: a
// program that reads JSON numbers into a float64 loses the last digits.
//
// content is 1 to 2,048 bytes. As WeChat does, the server puts it into the
// CDATA section of Content as it is, "]]>" and control characters included. It
// is an error if openID is not a follower. For the results see [Server.Scan].
//
// See https://developers.weixin.qq.com/doc/service/guide/product/message/Receiving_standard_messages.html.
func (s *Server) SendText(ctx context.Context, openID, content string) (*Delivery, error) {
	d, err := s.pushEvent(ctx, openID, func() ([]message.Element, error) {
		switch {
		case content == "" || len(content) > maxContent:
			return nil, fmt.Errorf("content has %d bytes; it must have 1 to %d", len(content), maxContent)
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

// PushInfo pushes a message of a third-party platform (第三方平台), such as
// component_verify_ticket with the field ComponentVerifyTicket. It has AppId,
// CreateTime and InfoType instead of ToUserName, FromUserName and MsgType; the
// AppId is the server's. For the results see [Server.Scan].
//
// See https://developers.weixin.qq.com/doc/oplatform/Third-party_Platforms/2.0/api/Before_Develop/component_verify_ticket.html.
func (s *Server) PushInfo(ctx context.Context, infoType string, fields map[string]string) (*Delivery, error) {
	d, err := s.pushInfo(ctx, infoType, fields)
	if err != nil {
		err = fmt.Errorf("wxtest: push info: %w", err)
	}
	return d, err
}

func (s *Server) pushInfo(ctx context.Context, infoType string, fields map[string]string) (*Delivery, error) {
	end, err := s.beginPush()
	if err != nil {
		return nil, err
	}
	defer end()
	cb, err := s.currentCallback()
	if err != nil {
		return nil, err
	}
	appID := message.Text("AppId", s.appID)
	m := []message.Element{appID, message.Number("CreateTime", s.now().Unix()), message.Text("InfoType", infoType)}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		m = append(m, message.Text(name, fields[name]))
	}
	return s.deliver(ctx, push{callback: cb, envelope: appID, message: m})
}

func notFollowing(openID string) error {
	return fmt.Errorf("%q is not a follower; Scan or Follow makes one", openID)
}

// pushEvent calls act, if a message can be pushed, and pushes the message of a
// user with the fields that act returns.
func (s *Server) pushEvent(ctx context.Context, openID string, act func() ([]message.Element, error)) (*Delivery, error) {
	if openID == "" || !fitsXML(openID) {
		return nil, fmt.Errorf("openid %q must be text that XML allows, and not empty", openID)
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
	return s.deliver(ctx, push{cb, openID, message.Text("ToUserName", s.account), s.newMessage(openID, own, s.now())})
}

func (s *Server) follows(openID string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.followers[openID]
}

// follow makes a user a follower. It reports false if the user was one.
func (s *Server) follow(openID string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.followers[openID] {
		return false
	}
	s.followers[openID] = true
	return true
}

// unfollow reports false if the user was not a follower.
func (s *Server) unfollow(openID string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.followers[openID] {
		return false
	}
	delete(s.followers, openID)
	return true
}
