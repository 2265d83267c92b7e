package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/gofrs/flock"

	"github.com/seed-0142d113/wxqrcode"
)

// stateFolder is the subfolder with the state of a batch.
const stateFolder = ".wxqrcode"

// A batchState is a log file of the created codes and saved images of a batch, so that
// it can resume after an interrupt. A run locks it. Each record is written before the
// batch continues, so no signal loses it; a power failure can lose the last second.
type batchState struct {
	tempDir string // for incomplete files
	lock    *flock.Flock

	mu       sync.Mutex // guards the fields below
	file     *os.File
	lastSync time.Time
	writeErr error // the first error: nothing may follow a partial line
	codes    map[codeKey]*wxqrcode.QRCode
	images   map[string]savedImage // by file
}

// A savedImage identifies the content of an image.
type savedImage struct {
	Ticket  wxqrcode.Ticket `json:"ticket,omitempty"`
	DrawKey string          `json:"look,omitempty"` // of imageFlags; "" for an image of WeChat
}

// A codeKey identifies a code of a batch.
type codeKey struct {
	scene    string
	lifetime int64 // in seconds; 0 for a permanent code
	n        int   // index among equal requests, from 0
}

func keyOf(r wxqrcode.Request) codeKey {
	return codeKey{scene: r.Scene().Key(), lifetime: int64(r.Lifetime() / time.Second)}
}

// A stateRecord is a line of the log file: the account, a code or an image.
type stateRecord struct {
	Account string `json:"account,omitempty"`

	Scene    string           `json:"scene,omitempty"`
	Lifetime int64            `json:"lifetime,omitempty"` // in seconds; 0 for a permanent code
	N        int              `json:"n,omitempty"`
	Code     *wxqrcode.QRCode `json:"code,omitempty"`

	Saved string `json:"saved,omitempty"` // a file
	savedImage
}

var errLocked = errors.New("another batch is running in this folder; wait until it ends")

// openState locks the folder and reads its state.
func openState(folder, account string) (*batchState, error) {
	dir := filepath.Join(folder, stateFolder)
	s := &batchState{
		tempDir: filepath.Join(dir, "unfinished"),
		lock:    flock.New(filepath.Join(dir, "lock")),
		codes:   make(map[codeKey]*wxqrcode.QRCode),
		images:  make(map[string]savedImage),
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	ok, err := s.lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock the folder: %w", err)
	}
	if !ok {
		return nil, fmt.Errorf("%s: %w", folder, errLocked)
	}
	if err := s.load(dir, account); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// load opens the log file in the locked folder dir.
func (s *batchState) load(dir, account string) (err error) {
	if err := os.RemoveAll(s.tempDir); err != nil { // files of a run that was killed
		return err
	}
	if err := os.Mkdir(s.tempDir, 0o777); err != nil {
		return err
	}
	path := filepath.Join(dir, "codes.jsonl")
	if s.file, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666); err != nil {
		return err
	}
	if err := s.replay(account); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// replay reads the records of earlier runs, and truncates a partial last line.
func (s *batchState) replay(account string) error {
	lines := bufio.NewReader(s.file)
	complete := int64(0) // bytes
	for n := 0; ; n++ {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) { // a partial line, or none
			break
		}
		if err != nil {
			return err
		}
		var record stateRecord
		if err := json.Unmarshal(bytes.TrimSpace(line), &record); err != nil {
			return fmt.Errorf("line %d is malformed; move the file away to start over, which creates all codes again: %w", n+1, err)
		}
		if n == 0 && record.Account != account {
			return fmt.Errorf("the folder has codes of another account, %s; use another folder for %s", record.Account, account)
		}
		s.apply(record)
		complete += int64(len(line))
	}
	if err := s.file.Truncate(complete); err != nil {
		return err
	}
	if _, err := s.file.Seek(complete, io.SeekStart); err != nil {
		return err
	}
	if complete == 0 {
		return s.write(stateRecord{Account: account})
	}
	return nil
}

func (s *batchState) apply(record stateRecord) {
	if record.Code != nil {
		s.codes[codeKey{record.Scene, record.Lifetime, record.N}] = record.Code
	}
	if record.Saved != "" {
		s.images[record.Saved] = record.savedImage
	}
}

// code returns the code that an earlier run created, unless it is expired.
func (s *batchState) code(k codeKey) *wxqrcode.QRCode {
	s.mu.Lock()
	defer s.mu.Unlock()
	code := s.codes[k]
	if code == nil || !code.ExpiresAt.IsZero() && time.Now().After(code.ExpiresAt) {
		return nil
	}
	return code
}

// hasImage reports whether the image was recorded for the file.
func (s *batchState) hasImage(file string, image savedImage) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.images[file] == image
}

func (s *batchState) recordCode(k codeKey, code *wxqrcode.QRCode) error {
	return s.write(stateRecord{Scene: k.scene, Lifetime: k.lifetime, N: k.n, Code: code})
}

func (s *batchState) recordImage(file string, image savedImage) error {
	return s.write(stateRecord{Saved: file, savedImage: image})
}

func (s *batchState) write(record stateRecord) error {
	line, err := json.Marshal(record)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writeErr != nil {
		return s.writeErr
	}
	if _, err := s.file.Write(append(line, '\n')); err != nil {
		s.writeErr = fmt.Errorf("record progress: %w", err)
		return s.writeErr
	}
	s.apply(record)
	if time.Since(s.lastSync) < time.Second {
		return nil
	}
	s.lastSync = time.Now()
	return s.file.Sync()
}

// close closes the log file and unlocks the folder.
func (s *batchState) close() error {
	var err error
	if s.file != nil {
		err = errors.Join(s.file.Sync(), s.file.Close(), os.RemoveAll(s.tempDir))
	}
	return errors.Join(err, s.lock.Unlock())
}
