//go:build !linux

package faults

func unansweredDials() []fault { return nil }
