package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// unmapProgram takes the pages of the program's file out of the process. The
// kernel maps sixteen around each that is touched, and starting touches command
// line, configuration and a few libraries once; what is used comes back from the
// page cache as it is used.
func unmapProgram() {
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	maps, err := os.Open("/proc/self/smaps")
	if err != nil {
		return
	}
	defer maps.Close()
	for _, m := range clean(maps, self) {
		unix.Syscall(unix.SYS_MADVISE, m.from, m.to-m.from, unix.MADV_DONTNEED)
	}
}

type mapping struct{ from, to uintptr }

// clean returns the mappings of a file that are as they are on disk: not
// writable, and without a page that was ever written to, as the relocated ones of
// a position-independent program are. Only those can be dropped.
// Source: Linux proc_pid_smaps(5).
func clean(smaps io.Reader, file string) []mapping {
	var out []mapping
	var m mapping
	ours := false
	for s := bufio.NewScanner(smaps); s.Scan(); {
		f := strings.Fields(s.Text())
		switch {
		case len(f) >= 5 && !strings.HasSuffix(f[0], ":"):
			n, err := fmt.Sscanf(f[0], "%x-%x", &m.from, &m.to)
			ours = err == nil && n == 2 && len(f) == 6 && f[5] == file && !strings.Contains(f[1], "w")
		case ours && len(f) == 3 && f[0] == "Anonymous:" && f[1] == "0":
			out = append(out, m)
		}
	}
	return out
}
