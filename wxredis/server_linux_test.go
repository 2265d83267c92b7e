package wxredis_test

import (
	"os/exec"
	"syscall"
)

func init() {
	endWithTest = func(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
	suspend = func(s *server) (resume func()) {
		_ = s.cmd.Process.Signal(syscall.SIGSTOP)
		return func() { _ = s.cmd.Process.Signal(syscall.SIGCONT) }
	}
}
