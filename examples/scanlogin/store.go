package main

import (
	"crypto/rand"
	"sync"
	"time"
)

// A store has at most limit values under random IDs, until they expire. It has
// no goroutine.
type store[T any] struct {
	limit int

	mu      sync.Mutex // guards entries
	entries map[string]entry[T]
}

type entry[T any] struct {
	value T
	timer *time.Timer // removes it
}

func newStore[T any](limit int) *store[T] {
	return &store[T]{limit: limit, entries: make(map[string]entry[T])}
}

// put stores a value under a new ID. It reports false if the store is full.
func (s *store[T]) put(value T, ttl time.Duration) (id string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.entries) >= s.limit {
		return "", false
	}
	id = rand.Text() // 130 bits
	s.entries[id] = entry[T]{value, time.AfterFunc(ttl, func() { s.take(id) })}
	return id, true
}

func (s *store[T]) get(id string) (value T, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.entries[id]
	return e.value, ok
}

// take returns a value and removes it: one of several concurrent callers gets
// it.
func (s *store[T]) take(id string) (value T, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.entries[id]
	if ok {
		s.remove(id, e)
	}
	return e.value, ok
}

// removeIf removes all values that match.
func (s *store[T]) removeIf(match func(T) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, e := range s.entries {
		if match(e.value) {
			s.remove(id, e)
		}
	}
}

// remove is called with mu locked.
func (s *store[T]) remove(id string, e entry[T]) {
	e.timer.Stop()
	delete(s.entries, id)
}

func (s *store[T]) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.entries)
}
