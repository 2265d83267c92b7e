//go:build linux && (amd64 || arm64)

package faults

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A tracedChild is a process that stops before and after each system call, by ptrace.
type tracedChild struct {
	pid    int // of the child
	thread int // the stopped thread
	entry  bool
	systemCall
	entered map[int]systemCall // by thread: an exit stop does not name the call
}

type systemCall struct {
	call uint64
	args [6]uint64
}

// Constants that package syscall lacks.
const (
	optionExitKill = 0x100000   // PTRACE_O_EXITKILL
	waitAllThreads = 0x40000000 // __WALL
	eventEntry     = 1          // PTRACE_EVENTMSG_SYSCALL_ENTRY
	syscallStop    = syscall.SIGTRAP | 0x80
)

// errNoTrace means that this system does not allow ptrace.
var errNoTrace = errors.New("tracing is refused")

// trace runs the child name, and calls at before and after each of its system calls. at
// may kill the child. After an error, the child has ended, too.
func trace(name string, env []string, output *os.File, begin, at func(*tracedChild) error) (syscall.WaitStatus, error) {
	runtime.LockOSThread() // ptrace is bound to a thread
	defer runtime.UnlockOSThread()
	var ws syscall.WaitStatus
	p, err := os.StartProcess(os.Args[0], os.Args[:1], &os.ProcAttr{
		Env: append(append(os.Environ(), envChild+"="+name), env...), Files: []*os.File{nil, output, output},
		Sys: &syscall.SysProcAttr{Ptrace: true, Setpgid: true},
	})
	if err != nil {
		return ws, fmt.Errorf("%w: %w", errNoTrace, err)
	}
	defer func() { _ = p.Release() }()
	t := &tracedChild{pid: p.Pid, thread: p.Pid, entered: make(map[int]systemCall)}
	ended := false
	defer func() {
		if !ended {
			t.killAndWait()
		}
	}()
	if _, err := wait4(t.pid, &ws, 0); err != nil {
		return ws, err
	}
	if err := syscall.PtraceSetOptions(t.pid, syscall.PTRACE_O_TRACESYSGOOD|syscall.PTRACE_O_TRACECLONE|optionExitKill); err != nil {
		return ws, fmt.Errorf("%w: %w", errNoTrace, err)
	}
	if err := begin(t); err != nil {
		return ws, err
	}
	for signal := 0; ; {
		// A killed thread cannot be resumed; wait4 reports its end.
		if err := syscall.PtraceSyscall(t.thread, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return ws, err
		}
		if t.thread, err = wait4(-t.pid, &ws, waitAllThreads); err != nil {
			return ws, err
		}
		signal = 0
		switch {
		case !ws.Stopped():
			if ended = t.thread == t.pid; ended {
				return ws, nil
			}
		case ws.StopSignal() == syscallStop:
			if err := t.read(); errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
				continue // killed
			} else if err != nil {
				return ws, err
			}
			if err := at(t); err != nil {
				return ws, err
			}
		case ws.StopSignal() != syscall.SIGTRAP && ws.StopSignal() != syscall.SIGSTOP: // signals of ptrace
			signal = int(ws.StopSignal())
		}
	}
}

func TestTrace_EndsChildAfterError(t *testing.T) {
	failed := errors.New("failed")
	for name, calls := range map[string]int{"of begin": 0, "of at, soon": 1, "of at, when there are threads": 500} {
		t.Run(name, func(t *testing.T) {
			pid, seen := 0, 0
			count := func(of *tracedChild) error {
				if pid = of.pid; seen == calls {
					return failed
				}
				seen++
				return nil
			}
			output, err := os.Create(filepath.Join(t.TempDir(), "output"))
			require.NoError(t, err)
			defer output.Close()
			_, err = trace("clock", nil, output, count, count)
			if errors.Is(err, errNoTrace) {
				t.Skip(err)
			}
			require.ErrorIs(t, err, failed)
			assert.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH)
		})
	}
}

// wait4 waits, and retries when a signal interrupts it.
func wait4(pid int, ws *syscall.WaitStatus, options int) (thread int, err error) {
	for {
		if thread, err = syscall.Wait4(pid, ws, options, nil); !errors.Is(err, syscall.EINTR) {
			return thread, err
		}
	}
}

// read reads the system call at which the thread stopped.
func (t *tracedChild) read() error {
	event, err := syscall.PtraceGetEventMsg(t.thread)
	if err != nil {
		return err
	}
	if t.entry = event == eventEntry; !t.entry {
		t.systemCall = t.entered[t.thread]
		return nil
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/syscall", t.pid, t.thread))
	if err != nil {
		return err
	}
	if _, err := fmt.Sscanf(string(text), "%d 0x%x 0x%x 0x%x 0x%x 0x%x 0x%x", &t.call,
		&t.args[0], &t.args[1], &t.args[2], &t.args[3], &t.args[4], &t.args[5]); err != nil {
		return fmt.Errorf("%q: %w", text, err)
	}
	t.entered[t.thread] = t.systemCall
	return nil
}

func (t *tracedChild) kill() error { return syscall.Kill(t.pid, syscall.SIGKILL) }

// killAndWait kills the child and waits until its main thread, the last one, has ended.
func (t *tracedChild) killAndWait() {
	_ = t.kill()
	for {
		var ws syscall.WaitStatus
		if thread, err := wait4(-t.pid, &ws, waitAllThreads); err != nil || thread == t.pid && !ws.Stopped() {
			return
		}
	}
}

// text reads a string in the memory of the child, "" if there is none.
func (t *tracedChild) text(address uint64) string {
	b := make([]byte, 512)
	n, _ := syscall.PtracePeekData(t.thread, uintptr(address), b)
	text, _, _ := bytes.Cut(b[:n], []byte{0})
	return string(text)
}

// path returns the path in the arguments of the call, or that of the descriptor.
func (t *tracedChild) path() string {
	if at := fileCalls[t.call].path; at >= 0 {
		return t.text(t.args[at])
	}
	name, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", t.pid, t.args[0]))
	return name
}

// fileCalls are the system calls on files and folders, with the index of the path among
// the arguments; -1: the first is a descriptor.
var fileCalls = map[uint64]struct {
	name string
	path int
}{
	syscall.SYS_OPENAT:    {"open", 1},
	syscall.SYS_FCHMOD:    {"fchmod", -1},
	syscall.SYS_WRITE:     {"write", -1},
	syscall.SYS_FSYNC:     {"fsync", -1},
	syscall.SYS_CLOSE:     {"close", -1},
	syscall.SYS_RENAMEAT:  {"rename", 1},
	syscall.SYS_UNLINKAT:  {"unlink", 1},
	syscall.SYS_FTRUNCATE: {"ftruncate", -1},
	syscall.SYS_LINKAT:    {"link", 1},
	syscall.SYS_MKDIRAT:   {"mkdir", 1},
}

// word reads 8 bytes in the memory of the child. setWord writes them.
func (t *tracedChild) word(address uint64) (uint64, error) {
	b := make([]byte, 8)
	_, err := syscall.PtracePeekData(t.thread, uintptr(address), b)
	return binary.NativeEndian.Uint64(b), err
}

func (t *tracedChild) setWord(address, value uint64) error {
	_, err := syscall.PtracePokeData(t.thread, uintptr(address), binary.NativeEndian.AppendUint64(nil, value))
	return err
}

// inFolder returns a name for a call on the folder or a file in it.
func (t *tracedChild) inFolder(folder string) (name string, ok bool) {
	call, ok := fileCalls[t.call]
	if !ok {
		return "", false
	}
	path := t.path()
	switch {
	case path == folder:
		return call.name + " of the folder", true
	case strings.HasPrefix(path, folder+"/"):
		return call.name + " of the new file", true
	}
	return "", false
}
