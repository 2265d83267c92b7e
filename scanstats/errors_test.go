package scanstats

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
)

// coded is an error as SQLite's driver has it.
type coded int

func (c coded) Error() string { return fmt.Sprint("code ", int(c)) }
func (c coded) Code() int     { return int(c) }

func TestClassify(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want error
	}{
		{nil, nil},
		{errors.New("a syntax error"), nil},
		{context.Canceled, nil},
		{context.DeadlineExceeded, ErrUnavailable},
		{driver.ErrBadConn, ErrUnavailable},
		{&net.OpError{Op: "dial", Err: errors.New("refused")}, ErrUnavailable},
		{io.ErrUnexpectedEOF, ErrUnavailable},

		{&pgconn.PgError{Code: "53100"}, ErrNoSpace},
		{&pgconn.PgError{Code: "25006"}, ErrReadOnly},
		{&pgconn.PgError{Code: "55P03"}, ErrLocked},
		{&pgconn.PgError{Code: "40P01"}, ErrLocked},
		{&pgconn.PgError{Code: "40001"}, ErrLocked},
		{&pgconn.PgError{Code: "57P01"}, ErrUnavailable},
		{&pgconn.PgError{Code: "53300"}, ErrUnavailable},
		{&pgconn.PgError{Code: "3D000"}, ErrUnavailable},
		{&pgconn.PgError{Code: "28P01"}, ErrUnavailable},
		{&pgconn.PgError{Code: "42P01"}, ErrUnavailable},
		{&pgconn.PgError{Code: "42601"}, nil},

		{coded(5), ErrLocked},
		{coded(517), ErrLocked}, // BUSY_SNAPSHOT
		{coded(6), ErrLocked},
		{coded(8), ErrReadOnly},
		{coded(1032), ErrUnavailable},
		{coded(13), ErrNoSpace},
		{coded(4874), ErrNoSpace},
		{coded(10), ErrUnavailable},
		{coded(778), ErrUnavailable}, // IOERR_WRITE
		{coded(14), ErrUnavailable},
		{coded(26), ErrInvalidConfig},
		{coded(1), nil},
		{errors.New("database is locked (5) (SQLITE_BUSY)"), ErrLocked}, // of a driver without codes
		{errors.New("database or disk is full"), ErrNoSpace},

		{&mysql.MySQLError{Number: 1205}, ErrLocked},
		{&mysql.MySQLError{Number: 1213, SQLState: [5]byte{'4', '0', '0', '0', '1'}}, ErrLocked},
		{&mysql.MySQLError{Number: 1114}, ErrNoSpace},
		{&mysql.MySQLError{Number: 1021}, ErrNoSpace},
		{&mysql.MySQLError{Number: 3}, ErrNoSpace},
		{&mysql.MySQLError{Number: 1290}, ErrReadOnly},
		{&mysql.MySQLError{Number: 1836}, ErrReadOnly},
		{&mysql.MySQLError{Number: 1049}, ErrUnavailable},
		{&mysql.MySQLError{Number: 1146}, ErrUnavailable},
		{&mysql.MySQLError{Number: 1064}, nil},
		{mysql.ErrInvalidConn, ErrUnavailable},
	} {
		for _, err := range []error{tt.err, wrapped(tt.err)} {
			assert.Equal(t, tt.want, classify(err), "%T %v", err, err)
			assert.ErrorIs(t, wrapDBError(err), err)
			if tt.want != nil {
				assert.ErrorIs(t, wrapDBError(err), tt.want)
			}
		}
	}
}

func wrapped(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("do it: %w", err)
}
