package main

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestACommandRunsInItsPlace(t *testing.T) {
	dir := t.TempDir()
	here := place{dir: dir, env: []string{"A=1", "B=1"}}
	said, err := here.with("B=2").line(t.Context(), "sh", "-c", `echo "$A$B" in "$PWD"; echo noise >&2`)
	require.NoError(t, err)
	assert.Equal(t, "12 in "+dir, said)
	assert.Equal(t, place{dir: dir + "/x/y", env: here.env}, here.in("x", "y"))
}

func TestAnErrorSaysWhatRanAndWhatItSaid(t *testing.T) {
	dir := t.TempDir()
	err := place{dir: dir}.do(t.Context(), "sh", "-c", "echo broken >&2; exit 3")
	require.Error(t, err)
	for _, part := range []string{"sh -c", dir, "exit status 3", "broken"} {
		assert.ErrorContains(t, err, part)
	}
}

func TestACommandEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	err := place{}.do(ctx, "sleep", "60")
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Less(t, time.Since(start), 30*time.Second)
}
