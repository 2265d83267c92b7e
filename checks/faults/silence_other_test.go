//go:build !linux

package faults

func silentFaults() []fault { return nil }
