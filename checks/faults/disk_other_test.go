//go:build !linux

package faults

import "testing"

// Full disks, limits and kills at a system call require Linux.
func runDiskOfThisSystem(_ *testing.T, b *table) { b.partial = true }
