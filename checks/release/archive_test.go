package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	commit = time.Date(2026, 11, 21, 18, 54, 10, 0, time.UTC)
	packed = []file{
		{name: "wxqrcode", executable: true, data: bytes.Repeat([]byte("program"), 10_000)},
		{name: "LICENSE", data: []byte("MIT")},
	}
)

func TestTheSameFilesGiveTheSameArchive(t *testing.T) {
	elsewhere := commit.In(time.FixedZone("CST", 8*60*60))
	for name, write := range map[string]func(io.Writer, time.Time, []file) error{"tar.gz": writeTarGz, "zip": writeZip} {
		var first, second bytes.Buffer
		require.NoError(t, write(&first, commit, packed))
		require.NoError(t, write(&second, elsewhere, packed))
		assert.Equal(t, first.Bytes(), second.Bytes(), name)
	}
}

func TestATarGzHoldsTheFiles(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, writeTarGz(&b, commit, packed))
	compressed, err := gzip.NewReader(&b)
	require.NoError(t, err)
	assert.Equal(t, gzip.Header{OS: 255}, compressed.Header, "neither a time nor a name nor a system")
	archive := tar.NewReader(compressed)
	for _, want := range packed {
		header, err := archive.Next()
		require.NoError(t, err)
		assert.Equal(t, want.name, header.Name)
		assert.Equal(t, want.mode(), header.Mode)
		assert.True(t, commit.Equal(header.ModTime), header.ModTime)
		assert.Zero(t, header.Uid)
		assert.Empty(t, header.Uname)
		data, err := io.ReadAll(archive)
		require.NoError(t, err)
		assert.Equal(t, want.data, data)
	}
	_, err = archive.Next()
	assert.ErrorIs(t, err, io.EOF)
}

func TestAZipHoldsTheFiles(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, writeZip(&b, commit, packed))
	archive, err := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
	require.NoError(t, err)
	require.Len(t, archive.File, len(packed))
	for i, want := range packed {
		f := archive.File[i]
		assert.Equal(t, want.name, f.Name)
		assert.EqualValues(t, want.mode(), f.Mode())
		assert.True(t, commit.Equal(f.Modified), f.Modified)
		r, err := f.Open()
		require.NoError(t, err)
		data, err := io.ReadAll(r)
		require.NoError(t, err)
		assert.Equal(t, want.data, data)
	}
}

func TestAnArchiveIsNamedAfterVersionAndSystem(t *testing.T) {
	b := binary{version: "v0.1.0", commit: commit}
	for s, want := range map[system]string{
		{"linux", "arm64"}:   "wxqrcode_v0.1.0_linux_arm64.tar.gz",
		{"windows", "amd64"}: "wxqrcode_v0.1.0_windows_amd64.zip",
	} {
		b.system = s
		name, _, err := b.archive(nil)
		require.NoError(t, err)
		assert.Equal(t, want, name)
	}
}

func TestSystemsAreNamed(t *testing.T) {
	all, err := parseSystems("")
	require.NoError(t, err)
	assert.Equal(t, systems, all)
	some, err := parseSystems("linux/amd64,windows/arm64")
	require.NoError(t, err)
	assert.Equal(t, []system{{"linux", "amd64"}, {"windows", "arm64"}}, some)
	_, err = parseSystems("plan9/amd64")
	assert.ErrorContains(t, err, `"plan9/amd64"`)
}
