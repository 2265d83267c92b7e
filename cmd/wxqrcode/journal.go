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

// stateFolder is where a batch keeps, in the folder of its pictures, what it must know if it
// was stopped.
const stateFolder = ".wxqrcode"

// A journal remembers the codes of a batch and their pictures, so that a run that was killed
// can be run again. One run at a time has it. Each entry is written before the next
// thing is done, so that no signal can lose it; a power cut can lose the last second.
type journal struct {
	temp string // a folder for files that are not whole yet
	lock *flock.Flock

	mu     sync.Mutex // guards what follows
	file   *os.File
	synced time.Time
	failed error // the first failure: nothing may come after half a line
	codes  map[codeKey]*wxqrcode.QRCode
	saved  map[string]picture // what each file is
}

// A picture tells pictures apart.
type picture struct {
	Ticket wxqrcode.Ticket `json:"ticket,omitempty"`
	Look   string          `json:"look,omitempty"` // how it is drawn; "" for WeChat's own
}

// A codeKey tells the codes of a batch apart.
type codeKey struct {
	scene    string
	lifetime int64 // in seconds; 0 for a permanent code
	n        int   // of those that are alike, from 0
}

func keyOf(r wxqrcode.Request) codeKey {
	return codeKey{scene: r.Scene().Key(), lifetime: int64(r.Lifetime() / time.Second)}
}

// An entry is a line of the journal: the account, or a code, or a picture.
type entry struct {
	Account string `json:"account,omitempty"`

	Scene    string           `json:"scene,omitempty"`
	Lifetime int64            `json:"lifetime,omitempty"` // in seconds; 0 for a permanent code
	N        int              `json:"n,omitempty"`
	Code     *wxqrcode.QRCode `json:"code,omitempty"`

	Saved string `json:"saved,omitempty"` // a file
	picture
}

var errBusy = errors.New("another batch is running in this folder; wait until it ends")

// openJournal takes the folder for this run.
func openJournal(folder, account string) (*journal, error) {
	state := filepath.Join(folder, stateFolder)
	j := &journal{
		temp:  filepath.Join(state, "unfinished"),
		lock:  flock.New(filepath.Join(state, "lock")),
		codes: make(map[codeKey]*wxqrcode.QRCode),
		saved: make(map[string]picture),
	}
	if err := os.MkdirAll(state, 0o777); err != nil {
		return nil, err
	}
	ok, err := j.lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock the folder: %w", err)
	}
	if !ok {
		return nil, fmt.Errorf("%s: %w", folder, errBusy)
	}
	if err := j.begin(state, account); err != nil {
		return nil, errors.Join(err, j.close())
	}
	return j, nil
}

// begin is openJournal once the folder is ours.
func (j *journal) begin(state, account string) (err error) {
	if err := os.RemoveAll(j.temp); err != nil { // what a run left that was killed
		return err
	}
	if err := os.Mkdir(j.temp, 0o777); err != nil {
		return err
	}
	path := filepath.Join(state, "codes.jsonl")
	if j.file, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666); err != nil {
		return err
	}
	if err := j.read(account); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// read takes in what earlier runs wrote.
func (j *journal) read(account string) error {
	lines := bufio.NewReader(j.file)
	whole := int64(0) // bytes
	for n := 0; ; n++ {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) { // half a line, or none
			break
		}
		if err != nil {
			return err
		}
		var e entry
		if err := json.Unmarshal(bytes.TrimSpace(line), &e); err != nil {
			return fmt.Errorf("line %d is malformed; move the file away to start over, which creates all codes again: %w", n+1, err)
		}
		if n == 0 && e.Account != account {
			return fmt.Errorf("the folder has codes of another account, %s; use another folder for %s", e.Account, account)
		}
		j.take(e)
		whole += int64(len(line))
	}
	if err := j.file.Truncate(whole); err != nil {
		return err
	}
	if _, err := j.file.Seek(whole, io.SeekStart); err != nil {
		return err
	}
	if whole == 0 {
		return j.write(entry{Account: account})
	}
	return nil
}

func (j *journal) take(e entry) {
	if e.Code != nil {
		j.codes[codeKey{e.Scene, e.Lifetime, e.N}] = e.Code
	}
	if e.Saved != "" {
		j.saved[e.Saved] = e.picture
	}
}

// code returns the code that an earlier run made, if it lives.
func (j *journal) code(k codeKey) *wxqrcode.QRCode {
	j.mu.Lock()
	defer j.mu.Unlock()
	code := j.codes[k]
	if code == nil || !code.ExpiresAt.IsZero() && time.Now().After(code.ExpiresAt) {
		return nil
	}
	return code
}

// isSaved reports whether the file is that picture, by what the journal says.
func (j *journal) isSaved(file string, p picture) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.saved[file] == p
}

func (j *journal) recordCode(k codeKey, code *wxqrcode.QRCode) error {
	return j.write(entry{Scene: k.scene, Lifetime: k.lifetime, N: k.n, Code: code})
}

func (j *journal) recordPicture(file string, p picture) error {
	return j.write(entry{Saved: file, picture: p})
}

func (j *journal) write(e entry) error {
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.failed != nil {
		return j.failed
	}
	if _, err := j.file.Write(append(line, '\n')); err != nil {
		j.failed = fmt.Errorf("record progress: %w", err)
		return j.failed
	}
	j.take(e)
	if time.Since(j.synced) < time.Second {
		return nil
	}
	j.synced = time.Now()
	return j.file.Sync()
}

// close gives the folder back.
func (j *journal) close() error {
	var err error
	if j.file != nil {
		err = errors.Join(j.file.Sync(), j.file.Close(), os.RemoveAll(j.temp))
	}
	return errors.Join(err, j.lock.Unlock())
}
