package scanstats

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/bits"
	"time"
)

// update runs fn in a transaction, within [Config.Timeout].
func (s *Store) update(ctx context.Context, fn func(*tx) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, s.cfg.Timeout, timeoutError(s.cfg.Timeout))
	defer cancel()
	return s.writer.update(ctx, fn)
}

// A writer runs one update of the database at a time, under a lock that all
// instances take. So what an update reads stays valid until it commits, at any
// isolation level, and updates do not deadlock.
type writer struct {
	db      *sql.DB
	dialect Dialect

	// sem holds a value while an update runs. It guards the fields below; waiting
	// for it ends with the context.
	sem        chan struct{}
	conn       *sql.Conn
	statements map[string]*sql.Stmt
	inserts    map[insertion]string // cached: building the text takes as long as running it
}

// An insertion identifies an INSERT statement: its table and number of rows.
type insertion struct {
	table string
	rows  int
}

func newWriter(db *sql.DB, d Dialect) *writer {
	return &writer{db: db, dialect: d, sem: make(chan struct{}, 1), inserts: make(map[insertion]string)}
}

// A tx is an update in progress.
type tx struct {
	*writer
	ctx context.Context
}

// errStaleConn reports that a reused connection was closed before the update began.
var errStaleConn = errors.New("the connection was closed")

// update runs fn in a transaction, under the lock. If it returns an error, nothing
// was changed, unless the COMMIT was in transit.
func (w *writer) update(ctx context.Context, fn func(*tx) error) error {
	select {
	case w.sem <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("%w: another update of this process is in progress: %w", ErrLocked, context.Cause(ctx))
	}
	defer func() { <-w.sem }()
	err := w.tryUpdate(ctx, fn)
	if errors.Is(err, errStaleConn) {
		err = w.tryUpdate(ctx, fn)
	}
	if err != nil && ctx.Err() != nil && !errors.Is(err, context.Cause(ctx)) {
		err = fmt.Errorf("%w: %w", err, context.Cause(ctx)) // drivers do not wrap it
	}
	return err
}

func (w *writer) tryUpdate(ctx context.Context, fn func(*tx) error) (err error) {
	reused := w.conn != nil
	if !reused {
		err = retryLocked(ctx, func() (err error) {
			w.conn, err = w.db.Conn(ctx)
			return err
		})
		if err != nil {
			return err
		}
		w.statements = make(map[string]*sql.Stmt)
		if w.dialect == SQLite {
			if _, err := w.conn.ExecContext(ctx, "PRAGMA cache_size = -65536"); err != nil { // in KiB
				w.closeConn()
				return err
			}
		}
	}
	t := &tx{w, ctx}
	if err := t.begin(); err != nil {
		w.closeConn()
		if reused && ctx.Err() == nil && !errors.Is(err, ErrLocked) {
			return fmt.Errorf("%w: %w", errStaleConn, err)
		}
		return err
	}
	if err := fn(t); err != nil {
		w.rollback(ctx)
		return err
	}
	if err := t.exec("COMMIT"); err != nil {
		w.closeConn() // ends the transaction if it is still open
		return err
	}
	return nil
}

// begin starts a transaction and takes the lock.
func (t *tx) begin() error {
	switch t.dialect {
	case SQLite:
		return t.beginSQLite()
	case Postgres:
		if err := t.exec("BEGIN ISOLATION LEVEL READ COMMITTED"); err != nil {
			return err
		}
	case MySQL:
		if err := t.exec("SET TRANSACTION ISOLATION LEVEL READ COMMITTED"); err != nil {
			return err
		}
		if err := t.exec("START TRANSACTION"); err != nil {
			return err
		}
	}
	var name string
	err := t.query("SELECT name FROM scanstats_setting WHERE name = 'lock' FOR UPDATE", nil, &name)
	if err != nil && t.ctx.Err() != nil { // the server responded to BEGIN, so it waited for the lock
		return fmt.Errorf("%w: %w", ErrLocked, err)
	}
	return err
}

// beginSQLite waits for the lock until the context ends.
func (t *tx) beginSQLite() error {
	err := retryLocked(t.ctx, func() error { return t.exec("BEGIN IMMEDIATE") })
	if err != nil && t.ctx.Err() != nil { // the statement was interrupted
		return fmt.Errorf("%w: %w", ErrLocked, err)
	}
	return err
}

// retryLocked calls fn until it does not return ErrLocked or the context ends.
func retryLocked(ctx context.Context, fn func() error) error {
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		err := fn()
		if !errors.Is(classify(err), ErrLocked) {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return err
		}
	}
}

// rollback rolls the transaction back. If that fails, the connection is closed.
func (w *writer) rollback(ctx context.Context) {
	if ctx.Err() == nil {
		if _, err := w.conn.ExecContext(ctx, "ROLLBACK"); err == nil {
			return
		}
	}
	w.closeConn()
}

// closeConn closes the connection, which ends its transaction.
func (w *writer) closeConn() {
	if w.conn == nil {
		return
	}
	for _, statement := range w.statements { // each holds a reference to the connection
		_ = statement.Close()
	}
	_ = w.conn.Raw(func(any) error { return driver.ErrBadConn }) // or Close would return it to the pool
	_ = w.conn.Close()
	w.conn, w.statements = nil, nil
}

// close waits for the update in progress and closes the connection.
func (w *writer) close() {
	w.sem <- struct{}{}
	w.closeConn()
	<-w.sem
}

// exec runs a statement with placeholders of the dialect.
func (t *tx) exec(statement string, args ...any) error {
	if len(args) == 0 {
		_, err := t.conn.ExecContext(t.ctx, statement)
		return err
	}
	prepared, err := t.prepared(statement)
	if err == nil {
		_, err = prepared.ExecContext(t.ctx, args...)
	}
	return err
}

// query scans the one row of the result into dest.
func (t *tx) query(statement string, args []any, dest ...any) error {
	prepared, err := t.prepared(statement)
	if err != nil {
		return err
	}
	return prepared.QueryRowContext(t.ctx, args...).Scan(dest...)
}

// queryEach scans each row of the result into dest and calls each.
func (t *tx) queryEach(statement string, args []any, each func(), dest ...any) (err error) {
	prepared, err := t.prepared(statement)
	if err != nil {
		return err
	}
	rows, err := prepared.QueryContext(t.ctx, args...)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := rows.Close(); err == nil {
			err = closeErr
		}
	}()
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return err
		}
		each()
	}
	return rows.Err()
}

func (t *tx) prepared(statement string) (*sql.Stmt, error) {
	if prepared := t.statements[statement]; prepared != nil {
		return prepared, nil
	}
	prepared, err := t.conn.PrepareContext(t.ctx, statement)
	if err == nil {
		t.statements[statement] = prepared
	}
	return prepared, err
}

// insert inserts rows into a table; args are the columns of the first row, then
// those of the next. The number of rows per statement is a power of two, so that
// few statements are prepared.
func (t *tx) insert(into table, args []any) error {
	width := len(into.columns)
	for len(args) > 0 {
		n := powerOfTwo(min(len(args)/width, t.dialect.chunk()))
		if err := t.exec(t.insertText(into, n), args[:n*width]...); err != nil {
			return err
		}
		args = args[n*width:]
	}
	return nil
}

func (w *writer) insertText(into table, rows int) string {
	key := insertion{into.name, rows}
	text, ok := w.inserts[key]
	if !ok {
		text = w.dialect.insert(into, rows)
		w.inserts[key] = text
	}
	return text
}

// selectKeys calls each for the rows of a table that have one of the keys.
func (t *tx) selectKeys(from table, keys []any, each func(), dest ...any) error {
	const most = 256
	for len(keys) > 0 {
		n := powerOfTwo(min(len(keys), most))
		if err := t.queryEach(t.dialect.selectKeys(from, n), keys[:n], each, dest...); err != nil {
			return err
		}
		keys = keys[n:]
	}
	return nil
}

// powerOfTwo returns the largest power of two up to n, which is at least 1.
func powerOfTwo(n int) int { return 1 << (bits.Len(uint(n)) - 1) }
