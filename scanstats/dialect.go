package scanstats

import (
	"database/sql"
	"fmt"
	"strings"
)

// A Dialect is a kind of database.
type Dialect int

// The dialects. Each works with any database/sql driver; the tests use the named ones.
const (
	SQLite   Dialect = iota + 1 // modernc.org/sqlite; see [OpenSQLite]
	Postgres                    // github.com/jackc/pgx/v5/stdlib
	MySQL                       // github.com/go-sql-driver/mysql; MySQL 8 or MariaDB; the tests use MariaDB
)

// String returns the name of the dialect.
func (d Dialect) String() string {
	switch d {
	case SQLite:
		return "SQLite"
	case Postgres:
		return "Postgres"
	case MySQL:
		return "MySQL"
	}
	return fmt.Sprintf("Dialect(%d)", int(d))
}

func (d Dialect) valid() bool { return d >= SQLite && d <= MySQL }

// A table is a table that updates write.
type table struct {
	name       string
	columns    []string // those of the primary key first
	keys       int
	onConflict onConflict
}

// An onConflict says what an INSERT does if the primary key exists.
type onConflict int

const (
	onConflictFail onConflict = iota
	onConflictReplace
	onConflictAdd
)

var (
	sceneTable   = table{"scanstats_scene", []string{"id", "scene", "name", "label_group"}, 1, onConflictFail}
	hourTable    = table{"scanstats_hour", []string{"start", "scene", "scans", "new_followers", "unique_users", "unfollows"}, 2, onConflictAdd}
	dayTable     = table{"scanstats_day", []string{"day", "scene", "scans", "new_followers", "unique_users", "unfollows", "unfollowed_1", "unfollowed_7", "unfollowed_30"}, 2, onConflictAdd}
	uniqueTable  = table{"scanstats_unique", []string{"day", "scene", "previous_day", "users"}, 3, onConflictAdd}
	personTable  = table{"scanstats_person", []string{"person", "last_at", "unfollowed_at", "history"}, 1, onConflictReplace}
	eventTable   = table{"scanstats_event", []string{"id"}, 1, onConflictFail}
	settingTable = table{"scanstats_setting", []string{"name", "value"}, 1, onConflictReplace}
)

// insert returns the statement that inserts n rows into the table.
func (d Dialect) insert(t table, rows int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "INSERT INTO %s (%s) VALUES ", t.name, strings.Join(t.columns, ", "))
	for row := range rows {
		if row > 0 {
			b.WriteString(", ")
		}
		d.placeholders(&b, row*len(t.columns), len(t.columns))
	}
	if t.onConflict == onConflictFail {
		return b.String()
	}
	given := func(column string) string { return "excluded." + column }
	if d == MySQL {
		b.WriteString(" ON DUPLICATE KEY UPDATE ")
		given = func(column string) string { return "VALUES(" + column + ")" } // the only form that MariaDB supports
	} else {
		fmt.Fprintf(&b, " ON CONFLICT (%s) DO UPDATE SET ", strings.Join(t.columns[:t.keys], ", "))
	}
	for i, column := range t.columns[t.keys:] {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(column + " = ")
		if t.onConflict == onConflictAdd {
			b.WriteString(t.name + "." + column + " + ")
		}
		b.WriteString(given(column))
	}
	return b.String()
}

// selectKeys returns the statement that reads the rows of n keys.
func (d Dialect) selectKeys(t table, keys int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "SELECT %s FROM %s WHERE %s IN ", strings.Join(t.columns, ", "), t.name, t.columns[0])
	d.placeholders(&b, 0, keys)
	return b.String()
}

// placeholders writes n placeholders in parentheses, numbered from after+1.
func (d Dialect) placeholders(b *strings.Builder, after, n int) {
	for i := range n {
		b.WriteByte("(,"[min(i, 1)])
		if d == Postgres {
			fmt.Fprintf(b, "$%d", after+i+1)
		} else {
			b.WriteByte('?')
		}
	}
	b.WriteByte(')')
}

// sql replaces ? by the placeholders of the dialect.
func (d Dialect) sql(statement string) string {
	if d != Postgres {
		return statement
	}
	var b strings.Builder
	n := 0
	for part := range strings.SplitSeq(statement, "?") {
		if n > 0 {
			fmt.Fprintf(&b, "$%d", n)
		}
		b.WriteString(part)
		n++
	}
	return b.String()
}

// chunk limits the rows of one INSERT. SQLite runs in this process, and single rows
// are the fastest there.
func (d Dialect) chunk() int {
	if d == SQLite {
		return 1
	}
	return 256
}

// text returns a string as an argument for a text column.
func (d Dialect) text(s string) any {
	if d == MySQL {
		return []byte(s) // VARBINARY columns, because its text comparisons ignore trailing spaces
	}
	return s
}

// snapshot returns the options of a read-only transaction that sees one snapshot,
// as every transaction of SQLite does.
func (d Dialect) snapshot() *sql.TxOptions {
	if d == SQLite {
		return nil
	}
	return &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
}
