package scanstats

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"
)

// A journal is a file of entries that wait for the database. It holds hashes, no OpenIDs.
//
// It begins with a line that tells by which key the hashes were made. Each entry follows as its
// length and its CRC-32C, both in 4 bytes, big-endian, and its bytes. What stands behind the last
// whole entry was never acknowledged, as a batch is acknowledged after it was synced.
type journal struct {
	path string
	head string // its first line
	lock *flock.Flock
	log  *slog.Logger
	max  int64 // bytes

	mu      sync.Mutex // guards what follows
	file    journalFile
	size    int64 // of the whole entries
	played  int64 // so far entries were given to the database
	holding bool  // entries go here although none waits
	playing bool  // a goroutine plays them back
}

// A journalFile is what a journal needs of a file.
type journalFile interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Truncate(size int64) error
	Sync() error
}

const (
	journalMagic = "scanstats journal 1, key "
	maxJournal   = 256 << 20 // some three million entries
	headSize     = 8         // length and checksum
	fixedSize    = 1 + 8 + len(personHash{}) + len(eventID{})
	maxEntry     = fixedSize + 2*maxScene // the texts of a scene grow a little when they are cleaned
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// openJournal opens the journal, or makes it. It belongs to this process from then on. Its hashes are of the key
// that has the fingerprint.
func openJournal(path, fingerprint string, log *slog.Logger) (_ *journal, err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrJournal, err)
	}
	j := &journal{path: path, head: journalMagic + fingerprint + "\n", lock: flock.New(path+".lock", flock.SetPermissions(0o600)), log: log, max: maxJournal}
	locked, err := j.lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrJournal, err)
	}
	if !locked {
		return nil, fmt.Errorf("%w: another process has %q open; give each process a journal of its own", ErrJournal, path)
	}
	if err := j.open(); err != nil {
		_ = j.close()
		if errors.Is(err, ErrConfigMismatch) {
			return nil, err
		}
		return nil, fmt.Errorf("%w: %w", ErrJournal, err)
	}
	return j, nil
}

func (j *journal) open() (err error) {
	file, err := os.OpenFile(j.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	j.file = file
	info, err := file.Stat()
	if err != nil {
		return err
	}
	j.played = int64(len(j.head))
	head := make([]byte, min(info.Size(), j.played))
	if _, err := j.file.ReadAt(head, 0); err != nil && len(head) > 0 {
		return err
	}
	switch {
	case string(head) == j.head:
	case strings.HasPrefix(j.head, string(head)): // new, or a crash ended it before anything stood there
		return j.begin()
	case bytes.HasPrefix(head, []byte(journalMagic)) && info.Size() == j.played: // another key's, and empty
		return j.begin()
	case bytes.HasPrefix(head, []byte(journalMagic)):
		return fmt.Errorf("%w: what waits in %q was recorded with another key", ErrConfigMismatch, j.path)
	default:
		return fmt.Errorf("%q is not a journal of scanstats", j.path)
	}
	j.size = j.played
	err = readEntries(j.file, j.size, func(_ entry, end int64) bool {
		j.size = end
		return true
	})
	if err != nil {
		return err
	}
	if rest := info.Size() - j.size; rest > 0 {
		return j.cut(rest)
	}
	return nil
}

// begin makes an empty journal of a new file.
func (j *journal) begin() error {
	if _, err := j.file.WriteAt([]byte(j.head), 0); err != nil {
		return err
	}
	j.size = int64(len(j.head))
	if err := j.file.Truncate(j.size); err != nil {
		return err
	}
	if err := j.file.Sync(); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(j.path))
}

// cut takes away what follows the last whole entry. It is kept beside the journal, in case that it was not a
// crash that ended it there.
func (j *journal) cut(rest int64) error {
	path := j.path + ".rest-" + time.Now().UTC().Format("20060102T150405.000000000")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, io.NewSectionReader(j.file, j.size, rest))
	if syncErr := f.Sync(); err == nil {
		err = syncErr
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	j.log.Warn("scanstats: the journal does not end with a whole entry; what follows the last one was put aside", "bytes", rest, "file", path)
	if err := j.file.Truncate(j.size); err != nil {
		return err
	}
	return j.file.Sync()
}

// syncFolder makes a new name in a folder last. Windows has no such call, and needs none.
func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	_ = folder.Sync()
	return folder.Close()
}

// hold sends entries to the journal until all of it has been played back.
func (j *journal) hold() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.holding = true
}

// waiting reports whether entries must go to the journal: the database is away, or older ones
// wait there.
func (j *journal) waiting() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.holding || j.size > int64(len(j.head))
}

// mustPlay reports whether the caller must start to play entries back.
func (j *journal) mustPlay() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	start := !j.playing && (j.holding || j.size > int64(len(j.head)))
	j.playing = j.playing || start
	return start
}

// append writes entries and syncs them. It reports whether the caller must start to play them
// back.
func (j *journal) append(entries []entry) (start bool, err error) {
	var b []byte
	for _, e := range entries {
		b = appendEntry(b, e)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.size+int64(len(b)) > j.max {
		return false, fmt.Errorf("%w: %q is full, with %d bytes of at most %d", ErrJournal, j.path, j.size, j.max)
	}
	_, err = j.file.WriteAt(b, j.size)
	if err == nil {
		err = j.file.Sync()
	}
	if err != nil {
		_ = j.file.Truncate(j.size) // else the next entries are written over it
		return false, fmt.Errorf("%w: %w", ErrJournal, err)
	}
	j.size += int64(len(b))
	start, j.playing = !j.playing, true
	return start, nil
}

// next returns entries that were not played yet, and where they end.
func (j *journal) next(most int) (entries []entry, end int64, err error) {
	j.mu.Lock()
	from, to := j.played, j.size
	j.mu.Unlock()
	err = readEntries(io.NewSectionReader(j.file, 0, to), from, func(e entry, at int64) bool {
		entries, end = append(entries, e), at
		return len(entries) < most
	})
	if err == nil && len(entries) == 0 && from < to {
		err = errors.New("an entry cannot be read")
	}
	if err != nil {
		return nil, 0, fmt.Errorf("%w: read %q at %d: %w", ErrJournal, j.path, from, err)
	}
	return entries, end, nil
}

// hasPlayed takes note that the database has what stands before end.
func (j *journal) hasPlayed(end int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.played = end
}

// finish empties a journal that was played to its end, and reports whether it was.
func (j *journal) finish() (bool, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.played < j.size {
		return false, nil
	}
	begin := int64(len(j.head))
	if err := j.file.Truncate(begin); err != nil {
		return false, err
	}
	if err := j.file.Sync(); err != nil {
		return false, err
	}
	j.size, j.played, j.holding, j.playing = begin, begin, false, false
	return true, nil
}

// left returns how many bytes of entries wait.
func (j *journal) left() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.size - j.played
}

func (j *journal) close() error {
	var err error
	if j.file != nil {
		err = j.file.Close()
	}
	if unlockErr := j.lock.Unlock(); err == nil {
		err = unlockErr
	}
	return err
}

// appendEntry appends an entry as it stands in the journal.
func appendEntry(b []byte, e entry) []byte {
	start := len(b)
	b = append(b, make([]byte, headSize)...)
	b = append(b, byte(e.kind))
	b = binary.BigEndian.AppendUint64(b, uint64(e.at))
	b = append(b, e.person[:]...)
	b = append(b, e.id[:]...)
	b = append(b, e.scene...)
	body := b[start+headSize:]
	binary.BigEndian.PutUint32(b[start:], uint32(len(body)))
	binary.BigEndian.PutUint32(b[start+4:], crc32.Checksum(body, castagnoli))
	return b
}

// readEntries calls each for the whole entries that stand at an offset and after it, with the
// offset where each ends, until it returns false.
func readEntries(r io.ReaderAt, offset int64, each func(e entry, end int64) bool) error {
	in := bufio.NewReader(io.NewSectionReader(r, offset, 1<<62))
	var head [headSize]byte
	var body [maxEntry]byte
	for {
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return ignoreEnd(err)
		}
		size := binary.BigEndian.Uint32(head[:])
		if int(size) < fixedSize || int(size) > maxEntry {
			return nil
		}
		if _, err := io.ReadFull(in, body[:size]); err != nil {
			return ignoreEnd(err)
		}
		if crc32.Checksum(body[:size], castagnoli) != binary.BigEndian.Uint32(head[4:]) {
			return nil
		}
		offset += headSize + int64(size)
		if !each(parseEntry(body[:size]), offset) {
			return nil
		}
	}
}

func parseEntry(b []byte) (e entry) {
	e.kind, e.at = kind(b[0]), int64(binary.BigEndian.Uint64(b[1:]))
	b = b[9:]
	b = b[copy(e.person[:], b):]
	b = b[copy(e.id[:], b):]
	e.scene = string(b)
	return e
}

// ignoreEnd makes no error of the end of a file, be it in the middle of an entry.
func ignoreEnd(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}
