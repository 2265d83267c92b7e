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

// change changes the database, in the time that the store gives it.
func (s *Store) change(ctx context.Context, fn func(*tx) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, s.cfg.Timeout, slowError(s.cfg.Timeout))
	defer cancel()
	return s.writer.change(ctx, fn)
}

// A writer makes one change of the database at a time: it holds a lock that all instances
// respect. So what a change reads is so until it is written, whatever the dialect means by
// isolation, and no two changes deadlock.
type writer struct {
	db      *sql.DB
	dialect Dialect

	// turn holds a value while somebody has the turn, and so what follows. Who waits for it can give up.
	turn       chan struct{}
	conn       *sql.Conn
	statements map[string]*sql.Stmt
	inserts    map[insertion]string // texts, as making them takes as long as running them
}

// An insertion is a statement for some rows of a table.
type insertion struct {
	table string
	rows  int
}

func newWriter(db *sql.DB, d Dialect) *writer {
	return &writer{db: db, dialect: d, turn: make(chan struct{}, 1), inserts: make(map[insertion]string)}
}

// A tx is a change that is being made.
type tx struct {
	*writer
	ctx context.Context
}

// errStale tells that a connection that was kept had ended, before anything was changed.
var errStale = errors.New("the connection had ended")

// change runs fn in a transaction, alone. If it returns an error nothing was changed, unless the
// commit was on its way.
func (w *writer) change(ctx context.Context, fn func(*tx) error) error {
	select {
	case w.turn <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("%w: another change of this process has the turn: %w", ErrLocked, context.Cause(ctx))
	}
	defer func() { <-w.turn }()
	err := w.tryChange(ctx, fn)
	if errors.Is(err, errStale) {
		err = w.tryChange(ctx, fn)
	}
	if err != nil && ctx.Err() != nil && !errors.Is(err, context.Cause(ctx)) {
		err = fmt.Errorf("%w: %w", err, context.Cause(ctx)) // drivers have other words for it
	}
	return err
}

func (w *writer) tryChange(ctx context.Context, fn func(*tx) error) (err error) {
	kept := w.conn != nil
	if !kept {
		if w.conn, err = w.db.Conn(ctx); err != nil {
			return err
		}
		w.statements = make(map[string]*sql.Stmt)
		if w.dialect == SQLite {
			if _, err := w.conn.ExecContext(ctx, "PRAGMA cache_size = -65536"); err != nil { // in KiB
				w.drop()
				return err
			}
		}
	}
	t := &tx{w, ctx}
	if err := t.begin(); err != nil {
		w.drop()
		if kept && ctx.Err() == nil && !errors.Is(err, ErrLocked) {
			return fmt.Errorf("%w: %w", errStale, err)
		}
		return err
	}
	if err := fn(t); err != nil {
		w.rollBack(ctx)
		return err
	}
	if err := t.exec("COMMIT"); err != nil {
		w.drop() // which ends the transaction if it has not ended
		return err
	}
	return nil
}

// begin begins a transaction and takes the lock.
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
	if err != nil && t.ctx.Err() != nil { // it had answered until then
		return fmt.Errorf("%w: %w", ErrLocked, err)
	}
	return err
}

// beginSQLite waits for the lock as long as the context lives.
func (t *tx) beginSQLite() error {
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		err := t.exec("BEGIN IMMEDIATE")
		if err == nil || t.ctx.Err() == nil && !errors.Is(kindOf(err), ErrLocked) {
			return err
		}
		select { // a context that has ended did so while it waited
		case <-time.After(wait):
		case <-t.ctx.Done():
			return fmt.Errorf("%w: %w", ErrLocked, err)
		}
	}
}

// rollBack undoes what was not committed. A connection of which that is not certain is not
// used again.
func (w *writer) rollBack(ctx context.Context) {
	if ctx.Err() == nil {
		if _, err := w.conn.ExecContext(ctx, "ROLLBACK"); err == nil {
			return
		}
	}
	w.drop()
}

// drop ends the connection, and with it what it had begun.
func (w *writer) drop() {
	if w.conn == nil {
		return
	}
	for _, statement := range w.statements { // each holds the connection open
		_ = statement.Close()
	}
	_ = w.conn.Raw(func(any) error { return driver.ErrBadConn }) // or Close would keep it for others
	_ = w.conn.Close()
	w.conn, w.statements = nil, nil
}

// close ends the connection, when nobody has the turn.
func (w *writer) close() {
	w.turn <- struct{}{}
	w.drop()
	<-w.turn
}

// exec runs a statement whose parameters are written in the dialect's way.
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

// query scans each row of the result into dest, and calls each, if it is given, for it. Without
// one it wants one row.
func (t *tx) query(statement string, args []any, dest ...any) error {
	return t.queryEach(statement, args, nil, dest...)
}

func (t *tx) queryEach(statement string, args []any, each func(), dest ...any) (err error) {
	prepared, err := t.prepared(statement)
	if err != nil {
		return err
	}
	if each == nil {
		return prepared.QueryRowContext(t.ctx, args...).Scan(dest...)
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

// insert puts rows into a table; args are their columns, one row after the other. The numbers
// of rows in one statement are powers of two, so that there are few statements.
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

// selectKeys reads the rows of a table that have one of the keys, as queryEach does.
func (t *tx) selectKeys(from table, keys []any, each func(), dest ...any) error {
	const most = 256
	for len(keys) > 0 {
		n := powerOfTwo(min(len(keys), most))
		if err := t.queryEach(t.dialect.sel(from, n), keys[:n], each, dest...); err != nil {
			return err
		}
		keys = keys[n:]
	}
	return nil
}

// powerOfTwo returns the greatest that is not greater than n, which is at least 1.
func powerOfTwo(n int) int { return 1 << (bits.Len(uint(n)) - 1) }
