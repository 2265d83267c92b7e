//go:build !linux

package faults

import "testing"

// Full disks, limits and signals at a system call are made by Linux's means.
func runDiskOfThisSystem(_ *testing.T, b *table) { b.partial = true }
