package scanstats

import (
	"database/sql"
	"fmt"
	"strings"
)

// A Dialect is the kind of a database.
type Dialect int

// The dialects. Each works with any driver of database/sql; those that the tests use are
// named.
const (
	SQLite   Dialect = iota + 1 // modernc.org/sqlite; [OpenFile] does all the rest
	Postgres                    // github.com/jackc/pgx/v5/stdlib
	MySQL                       // github.com/go-sql-driver/mysql; MySQL 8, and MariaDB, which the tests use
)

// String returns the dialect's name.
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

// A table is one of those that a batch writes.
type table struct {
	name    string
	columns []string // those of the primary key first
	keys    int
	merge   merge
}

// A merge says what becomes of a row whose key is there already.
type merge int

const (
	fail merge = iota
	replace
	add
)

var (
	sceneTable   = table{"scanstats_scene", []string{"id", "scene", "name", "label_group"}, 1, fail}
	hourTable    = table{"scanstats_hour", []string{"start", "scene", "scans", "new_followers", "unique_users", "unfollows"}, 2, add}
	dayTable     = table{"scanstats_day", []string{"day", "scene", "scans", "new_followers", "unique_users", "unfollows", "left_1", "left_7", "left_30"}, 2, add}
	uniqueTable  = table{"scanstats_unique", []string{"day", "scene", "previous_day", "users"}, 3, add}
	personTable  = table{"scanstats_person", []string{"person", "last_at", "unfollowed_at", "history"}, 1, replace}
	eventTable   = table{"scanstats_event", []string{"id"}, 1, fail}
	settingTable = table{"scanstats_setting", []string{"name", "value"}, 1, replace}
)

// insert returns the statement that puts so many rows into the table.
func (d Dialect) insert(t table, rows int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "INSERT INTO %s (%s) VALUES ", t.name, strings.Join(t.columns, ", "))
	for row := range rows {
		if row > 0 {
			b.WriteString(", ")
		}
		d.placeholders(&b, row*len(t.columns), len(t.columns))
	}
	if t.merge == fail {
		return b.String()
	}
	given := func(column string) string { return "excluded." + column }
	if d == MySQL {
		b.WriteString(" ON DUPLICATE KEY UPDATE ")
		given = func(column string) string { return "VALUES(" + column + ")" } // MariaDB knows no other way
	} else {
		fmt.Fprintf(&b, " ON CONFLICT (%s) DO UPDATE SET ", strings.Join(t.columns[:t.keys], ", "))
	}
	for i, column := range t.columns[t.keys:] {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(column + " = ")
		if t.merge == add {
			b.WriteString(t.name + "." + column + " + ")
		}
		b.WriteString(given(column))
	}
	return b.String()
}

// sel returns the statement that reads the rows of so many keys.
func (d Dialect) sel(t table, keys int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "SELECT %s FROM %s WHERE %s IN ", strings.Join(t.columns, ", "), t.name, t.columns[0])
	d.placeholders(&b, 0, keys)
	return b.String()
}

// placeholders writes the places of n parameters that come after others, in parentheses.
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

// sql returns a statement whose parameters are written as ? in the dialect's way.
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

// chunk is how many rows one statement writes at most. For SQLite, which runs in this
// process, one by one is the fastest.
func (d Dialect) chunk() int {
	if d == SQLite {
		return 1
	}
	return 256
}

// text returns a text as the dialect's columns take it.
func (d Dialect) text(s string) any {
	if d == MySQL {
		return []byte(s) // whose columns hold bytes, as all its texts ignore spaces at the end
	}
	return s
}

// snapshot asks that all that a report reads is of one moment. A transaction of SQLite always is.
func (d Dialect) snapshot() *sql.TxOptions {
	if d == SQLite {
		return nil
	}
	return &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
}
