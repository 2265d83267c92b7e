// Package faults holds tests alone: what happens to a program that uses this library
// when the network, WeChat, a disk, a clock or a process fails. Sockets, files,
// signals and processes are real; Toxiproxy, as a library, breaks connections.
//
// What the tests observe is the table in docs/reliability.md, which they write with
//
//	go test ./checks/faults -run Documentation -update
//
// and compare without -update. Each row of the table is a subtest by its name.
package faults
