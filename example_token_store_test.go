package wxqrcode_test

import (
	"context"
	"fmt"
	"log"
	"sync"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

// mapStore is a TokenStore for one process. A store for several processes does
// the same with a lock that all of them see, such as SELECT … FOR UPDATE. Test
// yours with wxtest.TestTokenStore.
type mapStore struct {
	lock   chan struct{} // of capacity 1; a sync.Mutex could not stop waiting when a context ends
	tokens sync.Map      // of wxqrcode.Token, by key
}

func (s *mapStore) Load(_ context.Context, key string) (wxqrcode.Token, error) {
	token := s.token(key)
	if token.Value == "" {
		return token, wxqrcode.ErrTokenNotFound
	}
	return token, nil
}

func (s *mapStore) Update(ctx context.Context, key string, fn func(context.Context, wxqrcode.Token) (wxqrcode.Token, error)) (wxqrcode.Token, error) {
	select {
	case s.lock <- struct{}{}:
		defer func() { <-s.lock }()
	case <-ctx.Done():
		return wxqrcode.Token{}, ctx.Err()
	}
	token, err := fn(ctx, s.token(key))
	if err == nil || !token.ForcedAt.IsZero() { // with an error: a failed force refresh
		s.tokens.Store(key, token)
	}
	return token, err
}

func (s *mapStore) token(key string) wxqrcode.Token {
	token, _ := s.tokens.Load(key)
	t, _ := token.(wxqrcode.Token)
	return t
}

// Two instances share one token. With the legacy endpoint they must: each fetch
// would invalidate the token of the other.
func ExampleTokenStore() {
	wechat := wxtest.NewServer()
	defer wechat.Close()
	store := &mapStore{lock: make(chan struct{}, 1)}

	opts := append(wechat.Options(), wxqrcode.WithLegacyToken(), wxqrcode.WithTokenStore(store))
	for range 2 {
		client, err := wxqrcode.New(wechat.AppID(), wechat.AppSecret(), opts...)
		if err != nil {
			log.Fatal(err)
		}
		if _, err := client.Create(context.Background(), wxqrcode.Permanent(wxqrcode.SceneID(7))); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println("tokens fetched:", wechat.Calls(wxtest.EndpointToken))
	// Output:
	// tokens fetched: 1
}
