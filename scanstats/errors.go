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

// Errors that callers can test for with [errors.Is]. After one of the first five,
// the event may not be recorded: record it again, or let WeChat redeliver the push.
// A duplicate never counts twice.
var (
	// ErrUnavailable: the database does not respond, or not within
	// [Config.Timeout], is shutting down or damaged, denies access, or its tables or
	// its file are missing. A [Config.Spool] stores the events.
	ErrUnavailable = errors.New("the database is unavailable")

	// ErrLocked: another instance, another program or another update of this store
	// held the database lock for longer than [Config.Timeout]. A [Config.Spool]
	// stores the events.
	ErrLocked = errors.New("the database is locked")

	// ErrNoSpace: the database or its disk is full. A [Config.Spool] stores the
	// events, until it is full too (256 MiB).
	ErrNoSpace = errors.New("no space left")

	// ErrReadOnly: the database, its file or its user is read-only. Reports work. A
	// [Config.Spool] stores the events.
	ErrReadOnly = errors.New("the database is read-only")

	// ErrSpool: [Config.Spool] cannot be opened, read or written, or is open in
	// another process.
	ErrSpool = errors.New("the spool failed")

	// ErrInvalidConfig: a value of [Config] is out of range, the [Dialect] does not
	// match the database, the file is not a database of this package, or the time
	// zone of the database is unknown on this machine.
	ErrInvalidConfig = errors.New("invalid configuration")

	// ErrInvalidEvent: the event has no OpenID, or is older than
	// [Config.DedupWindow] or more than a day in the future, or the store has no
	// [Config.Key]. Recording it again does not help.
	ErrInvalidEvent = errors.New("invalid event")

	// ErrInvalidQuery: the [Query] has an unknown interval, ends before it begins, or
	// exceeds a limit.
	ErrInvalidQuery = errors.New("invalid query")

	// ErrInvalidLabel: a field of the [Label] is too long or not valid UTF-8, or the
	// scene is empty.
	ErrInvalidLabel = errors.New("invalid label")

	// ErrConfigMismatch: the database was created with another [Config.Key] or
	// [Config.Location], or the spool has events of another Key.
	ErrConfigMismatch = errors.New("the configuration does not match the database")

	// ErrClosed: the [Store] is closed.
	ErrClosed = errors.New("the store is closed")
)

// wrapDBError wraps a database error in the sentinel of its class.
func wrapDBError(err error) error {
	if class := classify(err); class != nil && !errors.Is(err, class) {
		return fmt.Errorf("%w: %w", class, err)
	}
	return err
}

// A timeoutError is the cause of a context that ended after [Config.Timeout].
type timeoutError time.Duration

func (e timeoutError) Error() string { return fmt.Sprintf("no response within %v", time.Duration(e)) }

// Is reports whether target is context.DeadlineExceeded.
func (timeoutError) Is(target error) bool { return target == context.DeadlineExceeded }

// classify returns the sentinel for an error of any driver, or nil. It needs no
// import of a driver: PostgreSQL drivers have an SQLSTATE, SQLite drivers a code or
// its text, and the MySQL driver a number in its text.
func classify(err error) error {
	if err == nil {
		return nil
	}
	for _, known := range []error{ErrUnavailable, ErrLocked, ErrNoSpace, ErrReadOnly, ErrClosed, ErrConfigMismatch, ErrInvalidConfig, ErrInvalidEvent, ErrInvalidQuery, ErrInvalidLabel} {
		if errors.Is(err, known) {
			return known
		}
	}
	if e, ok := errors.AsType[interface {
		error
		SQLState() string
	}](err); ok {
		if class := classifySQLState(e.SQLState()); class != nil {
			return class
		}
	}
	if e, ok := errors.AsType[interface {
		error
		Code() int
	}](err); ok {
		if class := classifySQLiteCode(e.Code()); class != nil {
			return class
		}
	}
	if class := classifyText(err.Error()); class != nil {
		return class
	}
	_, network := errors.AsType[net.Error](err)
	if network || errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) || errors.Is(err, context.DeadlineExceeded) {
		return ErrUnavailable
	}
	return nil
}

// isTransient reports whether the spool stores events after an error.
func isTransient(err error) bool {
	for _, class := range []error{ErrUnavailable, ErrLocked, ErrNoSpace, ErrReadOnly} {
		if errors.Is(err, class) {
			return true
		}
	}
	return false
}

// See https://www.postgresql.org/docs/current/errcodes-appendix.html.
func classifySQLState(state string) error {
	switch {
	case state == "53100":
		return ErrNoSpace
	case state == "25006":
		return ErrReadOnly
	case state == "55P03", state == "40001", state == "40P01":
		return ErrLocked
	case strings.HasPrefix(state, "08"), strings.HasPrefix(state, "53"), strings.HasPrefix(state, "57"), strings.HasPrefix(state, "58"),
		strings.HasPrefix(state, "28"), state == "3D000", state == "42501", state == "42P01": // the last: the tables are missing
		return ErrUnavailable
	}
	return nil
}

// See https://www.sqlite.org/rescode.html.
func classifySQLiteCode(code int) error {
	switch code {
	case 1032: // READONLY_DBMOVED: the file was moved or removed
		return ErrUnavailable
	case 4874: // IOERR_SHMSIZE: the disk is full
		return ErrNoSpace
	}
	switch code & 0xff {
	case 5, 6: // BUSY, LOCKED
		return ErrLocked
	case 8: // READONLY
		return ErrReadOnly
	case 13: // FULL
		return ErrNoSpace
	case 10, 11, 14: // IOERR, CORRUPT, CANTOPEN
		return ErrUnavailable
	case 26: // NOTADB: the file is not a database
		return ErrInvalidConfig
	}
	return nil
}

// classifyText matches texts of SQLite and of the MySQL and PostgreSQL drivers.
func classifyText(text string) error {
	if m := mysqlError.FindStringSubmatch(text); m != nil {
		if strings.Contains(text, "error 28 ") || strings.Contains(text, "Errcode: 28 ") { // ENOSPC
			return ErrNoSpace
		}
		return classifyMySQLNumber(m[1])
	}
	for _, t := range []struct {
		text  string
		class error
	}{
		{"database is locked", ErrLocked}, {"database table is locked", ErrLocked},
		{"database or disk is full", ErrNoSpace},
		{"attempt to write a readonly database", ErrReadOnly},
		{"unable to open database file", ErrUnavailable}, {"no such table", ErrUnavailable},
		{"invalid connection", ErrUnavailable}, {"failed to connect to", ErrUnavailable},
		{"unexpected EOF", ErrUnavailable}, {"conn closed", ErrUnavailable},
	} {
		if strings.Contains(text, t.text) {
			return t.class
		}
	}
	return nil
}

// mysqlError matches the beginning of an error of the MySQL driver: Error 1205 (HY000): ….
var mysqlError = regexp.MustCompile(`\bError (\d+)(?: \(\w+\))?: `)

// See https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html.
func classifyMySQLNumber(number string) error {
	switch number {
	case "1205", "1213", "3572", "1206", "1020": // lock wait timeout, deadlock, NOWAIT, too many locks, row changed
		return ErrLocked
	case "3", "1021", "1114": // write error, disk full, table full
		return ErrNoSpace
	case "1290", "1792", "1836": // --read-only, read-only transaction, read-only mode
		return ErrReadOnly
	case "1040", "1053", "1203", "1226", "1317", "1927", "1969", "3024", // too many connections, shutdown, resource limit, killed, timeout
		"1026", "1030", "1047", "1129", "1130", "1180", // write error, engine error, node not ready, host blocked, host not allowed
		"1044", "1045", "1142", "1698", // access denied
		"1049", "1146": // no such database, no such table
		return ErrUnavailable
	}
	return nil
}
