package influx

import (
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// fillDisk has a running server write no further byte to any file, as on a full disk.
func fillDisk(t *testing.T, db *influxd) bool {
	t.Helper()
	var old unix.Rlimit
	err := unix.Prlimit(db.cmd.Process.Pid, unix.RLIMIT_FSIZE, nil, &old)
	if err == nil {
		err = unix.Prlimit(db.cmd.Process.Pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: min(64, old.Max), Max: old.Max}, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return true
}

// dieWithUs has a server end with the test, also when that is cut short.
func dieWithUs(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
