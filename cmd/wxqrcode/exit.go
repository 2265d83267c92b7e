package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/seed-0142d113/wxqrcode"
)

// Exit codes. Scripts depend on them.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitAccount     = 3
	exitQuota       = 4
	exitIncomplete  = 5
	exitInterrupted = 130
)

func exitCodes() string {
	var b strings.Builder
	for _, c := range []struct {
		code    int
		meaning string
	}{
		{exitOK, "success"},
		{exitFailure, "any other error"},
		{exitUsage, "invalid flag, argument or input; nothing was sent"},
		{exitAccount, "no credentials, or WeChat rejects them, the IP address of this machine, or the account"},
		{exitQuota, "daily quota, rate limit or number of permanent codes exceeded"},
		{exitIncomplete, "some rows of a batch failed; run it again to resume"},
		{exitInterrupted, "interrupted (but 0 for listen, sandbox, stats --page and the page of demo)"},
	} {
		fmt.Fprintf(&b, "    %-3d  %s\n", c.code, c.meaning)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// A usageError is an error in the arguments, flags or input.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// A credentialsError reports missing or unreadable credentials.
type credentialsError struct{ error }

func (e credentialsError) Unwrap() error { return e.error }

// An incompleteError reports that rows of a batch failed.
type incompleteError struct{ error }

func (e incompleteError) Unwrap() error { return e.error }

func exitCode(ctx context.Context, err error) int {
	if err == nil {
		return exitOK
	}
	if ctx.Err() != nil {
		return exitInterrupted
	}
	if _, ok := errors.AsType[credentialsError](err); ok {
		return exitAccount
	}
	if _, ok := errors.AsType[incompleteError](err); ok {
		return exitIncomplete
	}
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	if _, ok := errors.AsType[*wxqrcode.ValidationError](err); ok {
		return exitUsage
	}
	switch {
	case isOneOf(err, wxqrcode.ErrInvalidCredential, wxqrcode.ErrInvalidToken, wxqrcode.ErrIPNotAllowed, wxqrcode.ErrUnauthorized):
		return exitAccount
	case isOneOf(err, wxqrcode.ErrQuotaExceeded, wxqrcode.ErrRateLimited):
		return exitQuota
	}
	return exitFailure
}

// isOneOf reports whether err is one of the targets.
func isOneOf(err error, targets ...error) bool {
	return slices.ContainsFunc(targets, func(target error) bool { return errors.Is(err, target) })
}
