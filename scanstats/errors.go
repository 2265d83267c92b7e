package scanstats

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"time"
)

// What the errors of this package match with [errors.Is]; their text says more. After each of the
// first five an event is not recorded, or not known to be: record it again, or let WeChat push it
// again. A repeat never counts twice.
var (
	// ErrUnavailable: the database does not answer, not in time ([Config.Timeout]), or cannot work:
	// it is shutting down or damaged, does not let the user in, or its tables or its file are gone.
	// With a [Config.Journal] events go there.
	ErrUnavailable = errors.New("the database does not answer")

	// ErrLocked: another instance, another change of this one or somebody else had the database's
	// lock for longer than [Config.Timeout]. With a [Config.Journal] events go there.
	ErrLocked = errors.New("the database is locked by somebody else")

	// ErrFull: the database, or the disk that it is on, has no space left. With a [Config.Journal]
	// events go there.
	ErrFull = errors.New("the database has no space left")

	// ErrReadOnly: the database, its file or its user may not write. Reports work. With a
	// [Config.Journal] events go to that.
	ErrReadOnly = errors.New("the database may only be read")

	// ErrJournal: [Config.Journal] cannot be opened, read or written, is full (256 MiB), or is open in
	// another process.
	ErrJournal = errors.New("the journal cannot be written")

	// ErrInvalidConfig: a value of the [Config] is out of range, the [Dialect] is not that of the
	// database, the file is not a database of this package, or this machine does not know the
	// database's time zone.
	ErrInvalidConfig = errors.New("invalid configuration")

	// ErrInvalidEvent: the event has no OpenID, is too old or too far ahead ([Config.KeepEvents]), or
	// the store has no [Config.Key]. Recording it again does not help.
	ErrInvalidEvent = errors.New("invalid event")

	// ErrInvalidQuery: the [Query] asks for an interval that there is not, ends before it begins, or
	// asks for more than is allowed.
	ErrInvalidQuery = errors.New("invalid query")

	// ErrInvalidLabel: a text of the [Label] is too long or not UTF-8, or there is no scene.
	ErrInvalidLabel = errors.New("invalid label")

	// ErrMismatch: the database was begun with another [Config.Key] or [Config.Location], or what
	// waits in the journal was recorded with another Key.
	ErrMismatch = errors.New("the database was begun with another setting")

	// ErrClosed: the [Store] was closed before.
	ErrClosed = errors.New("the store is closed")
)

// explain wraps an error of a database in the sentinel that fits it.
func explain(err error) error {
	if kind := kindOf(err); kind != nil && !errors.Is(err, kind) {
		return fmt.Errorf("%w: %w", kind, err)
	}
	return err
}

// A slowError is why the store gave the database up: it did not answer in that time.
type slowError time.Duration

func (e slowError) Error() string { return fmt.Sprintf("no answer within %v", time.Duration(e)) }

// Is makes it a deadline that was exceeded, which it is.
func (slowError) Is(target error) bool { return target == context.DeadlineExceeded }

// kindOf returns the sentinel for an error of any of the drivers, or nil. No driver is
// imported for it: those of PostgreSQL give an SQLSTATE, those of SQLite a code or its
// text, that of MySQL a number at the beginning of its text.
func kindOf(err error) error {
	if err == nil {
		return nil
	}
	for _, known := range []error{ErrUnavailable, ErrLocked, ErrFull, ErrReadOnly, ErrClosed, ErrMismatch, ErrInvalidConfig, ErrInvalidEvent, ErrInvalidQuery, ErrInvalidLabel} {
		if errors.Is(err, known) {
			return known
		}
	}
	if e, ok := errors.AsType[interface {
		error
		SQLState() string
	}](err); ok {
		if kind := kindOfState(e.SQLState()); kind != nil {
			return kind
		}
	}
	if e, ok := errors.AsType[interface {
		error
		Code() int
	}](err); ok {
		if kind := kindOfCode(e.Code()); kind != nil {
			return kind
		}
	}
	if kind := kindOfText(err.Error()); kind != nil {
		return kind
	}
	_, network := errors.AsType[net.Error](err)
	if network || errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) || errors.Is(err, context.DeadlineExceeded) {
		return ErrUnavailable
	}
	return nil
}

// isAway reports whether an error is of a kind that passes, so that the journal helps.
func isAway(err error) bool {
	for _, kind := range []error{ErrUnavailable, ErrLocked, ErrFull, ErrReadOnly} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// kindOfState knows the codes of https://www.postgresql.org/docs/current/errcodes-appendix.html.
func kindOfState(state string) error {
	switch {
	case state == "53100":
		return ErrFull
	case state == "25006":
		return ErrReadOnly
	case state == "55P03", state == "40001", state == "40P01":
		return ErrLocked
	case strings.HasPrefix(state, "08"), strings.HasPrefix(state, "53"), strings.HasPrefix(state, "57"), strings.HasPrefix(state, "58"),
		strings.HasPrefix(state, "28"), state == "3D000", state == "42501", state == "42P01": // the last: the tables are gone
		return ErrUnavailable
	}
	return nil
}

// kindOfCode knows the codes of https://www.sqlite.org/rescode.html.
func kindOfCode(code int) error {
	switch code {
	case 1032: // READONLY_DBMOVED: somebody has moved or removed the file
		return ErrUnavailable
	case 4874: // IOERR_SHMSIZE: a full disk, which SQLite notices in a file of its own
		return ErrFull
	}
	switch code & 0xff {
	case 5, 6: // BUSY, LOCKED
		return ErrLocked
	case 8: // READONLY
		return ErrReadOnly
	case 13: // FULL
		return ErrFull
	case 10, 11, 14: // IOERR, CORRUPT, CANTOPEN
		return ErrUnavailable
	case 26: // NOTADB: the file is something else
		return ErrInvalidConfig
	}
	return nil
}

// kindOfText knows texts that SQLite, MySQL's driver and those of PostgreSQL have had for many years.
func kindOfText(text string) error {
	if m := mysqlError.FindStringSubmatch(text); m != nil {
		if strings.Contains(text, "error 28 ") || strings.Contains(text, "Errcode: 28 ") { // ENOSPC
			return ErrFull
		}
		return kindOfNumber(m[1])
	}
	for _, t := range []struct {
		text string
		kind error
	}{
		{"database is locked", ErrLocked}, {"database table is locked", ErrLocked},
		{"database or disk is full", ErrFull},
		{"attempt to write a readonly database", ErrReadOnly},
		{"unable to open database file", ErrUnavailable}, {"no such table", ErrUnavailable},
		{"invalid connection", ErrUnavailable}, {"failed to connect to", ErrUnavailable},
		{"unexpected EOF", ErrUnavailable}, {"conn closed", ErrUnavailable},
	} {
		if strings.Contains(text, t.text) {
			return t.kind
		}
	}
	return nil
}

// mysqlError is how MySQL's driver begins a server's error: Error 1205 (HY000): ….
var mysqlError = regexp.MustCompile(`\bError (\d+)(?: \(\w+\))?: `)

// kindOfNumber knows the numbers of https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html.
func kindOfNumber(number string) error {
	switch number {
	case "1205", "1213", "3572", "1206", "1020": // waited too long for a lock, deadlock, NOWAIT, too many locks, changed meanwhile
		return ErrLocked
	case "3", "1021", "1114": // cannot write a file, disk full, table full
		return ErrFull
	case "1290", "1792", "1836": // --read-only, a transaction that may only read, read-only mode
		return ErrReadOnly
	case "1040", "1053", "1203", "1226", "1317", "1927", "1969", "3024", // too many connections, shutting down, resources used up, killed, too slow
		"1026", "1030", "1047", "1129", "1130", "1180", // cannot write, engine's error, node not ready, host blocked, host not allowed
		"1044", "1045", "1142", "1698", // access denied
		"1049", "1146": // no such database, no such table
		return ErrUnavailable
	}
	return nil
}
