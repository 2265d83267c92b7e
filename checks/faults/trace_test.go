//go:build linux && (amd64 || arm64)

package faults

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
)

// A traced is a child that stops before and after each of its system calls. Only Linux
// has such a thing built in (ptrace), so that no debugger is needed.
type traced struct {
	pid    int // of the child
	thread int // that has stopped
	entry  bool
	systemCall
	entered map[int]systemCall // by thread, as what has ended does not say what it was
}

type systemCall struct {
	call uint64
	args [6]uint64
}

// What the package syscall does not name.
const (
	optionExitKill = 0x100000   // the child does not outlive the tracer
	waitAllThreads = 0x40000000 // __WALL
	eventEntry     = 1          // PTRACE_EVENTMSG_SYSCALL_ENTRY
	syscallStop    = syscall.SIGTRAP | 0x80
)

// errNoTrace says that this system does not let a process trace its child.
var errNoTrace = errors.New("tracing is refused")

// trace runs this program as the child name and calls at for each system call, before and
// after it, until the child ends; at may kill it.
func trace(name string, env []string, output *os.File, begin, at func(*traced) error) (syscall.WaitStatus, error) {
	runtime.LockOSThread() // only the thread that began it may trace
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
	t := &traced{pid: p.Pid, thread: p.Pid, entered: make(map[int]systemCall)}
	if _, err := wait4(t.pid, &ws, 0); err != nil {
		return ws, err
	}
	if err := syscall.PtraceSetOptions(t.pid, syscall.PTRACE_O_TRACESYSGOOD|syscall.PTRACE_O_TRACECLONE|optionExitKill); err != nil {
		return ws, fmt.Errorf("%w: %w", errNoTrace, err)
	}
	if err := begin(t); err != nil {
		_ = p.Kill()
		return ws, err
	}
	for signal := 0; ; {
		// A thread that was killed meanwhile cannot be resumed, and tells so by its end.
		if err := syscall.PtraceSyscall(t.thread, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return ws, err
		}
		if t.thread, err = wait4(-t.pid, &ws, waitAllThreads); err != nil {
			return ws, err
		}
		signal = 0
		switch {
		case !ws.Stopped():
			if t.thread == t.pid {
				return ws, nil
			}
		case ws.StopSignal() == syscallStop:
			if err := t.read(); errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
				continue // killed meanwhile
			} else if err != nil {
				return ws, err
			}
			if err := at(t); err != nil {
				return ws, err
			}
		case ws.StopSignal() != syscall.SIGTRAP && ws.StopSignal() != syscall.SIGSTOP: // which the tracing itself makes
			signal = int(ws.StopSignal())
		}
	}
}

// wait4 waits on though a signal came in between.
func wait4(pid int, ws *syscall.WaitStatus, options int) (thread int, err error) {
	for {
		if thread, err = syscall.Wait4(pid, ws, options, nil); !errors.Is(err, syscall.EINTR) {
			return thread, err
		}
	}
}

// read finds out at which system call the thread has stopped.
func (t *traced) read() error {
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

func (t *traced) kill() error { return syscall.Kill(t.pid, syscall.SIGKILL) }

// text reads a string of the child's; "" if there is none.
func (t *traced) text(address uint64) string {
	b := make([]byte, 512)
	n, _ := syscall.PtracePeekData(t.thread, uintptr(address), b)
	text, _, _ := bytes.Cut(b[:n], []byte{0})
	return string(text)
}

// path returns what the call is about, if that is a file: by its name or its descriptor.
func (t *traced) path() string {
	if at := fileCalls[t.call].path; at >= 0 {
		return t.text(t.args[at])
	}
	name, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", t.pid, t.args[0]))
	return name
}

// fileCalls are the system calls that change a file or a folder, or open or close one, and
// which argument is the path; -1: the first is a descriptor.
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

// word reads and setWord writes 8 bytes of the child's memory.
func (t *traced) word(address uint64) (uint64, error) {
	b := make([]byte, 8)
	_, err := syscall.PtracePeekData(t.thread, uintptr(address), b)
	return binary.NativeEndian.Uint64(b), err
}

func (t *traced) setWord(address, value uint64) error {
	_, err := syscall.PtracePokeData(t.thread, uintptr(address), binary.NativeEndian.AppendUint64(nil, value))
	return err
}

// inFolder returns the name of a file call on something in the folder or the folder itself.
func (t *traced) inFolder(folder string) (name string, ok bool) {
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
