package wxredis_test

import (
	"os/exec"
	"syscall"
)

func init() {
	setProcAttr = func(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
}
