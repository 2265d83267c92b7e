//go:build !(linux && (amd64 || arm64))

package faults

import "testing"

// Kills at a system call and clocks of a process require ptrace of Linux.
func runClocks(_ *testing.T, b *table) { b.partial = true }
