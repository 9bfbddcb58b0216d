package cmd

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Source: linux/fs/ext4/ext4.h, EXT4_IOC_SHUTDOWN is FS_IOC_SHUTDOWN of
// uapi/linux/fs.h; without flushing its log the file system forgets at once
// whatever was not synced, as when the power goes.
const (
	fsIocShutdown   = 0x8004587D
	shutdownNoFlush = 2
)

// disk is an ext4 file system in a file.
type disk struct{ image, mount string }

func command(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// newDisk makes one; what a machine lacks for it is a reason to skip.
func newDisk(dir string) (*disk, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("only root may mount")
	}
	d := &disk{filepath.Join(dir, "image"), filepath.Join(dir, "mnt")}
	f, err := os.Create(d.image)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(f.Truncate(96<<20), f.Close(), os.Mkdir(d.mount, 0o755)); err != nil {
		return nil, err
	}
	if err := command("mkfs.ext4", "-q", "-F", d.image); err != nil {
		return nil, err
	}
	return d, d.up()
}

func (d *disk) up() error   { return command("mount", "-o", "loop", d.image, d.mount) }
func (d *disk) down() error { return command("umount", d.mount) }

// cut takes the power.
func (d *disk) cut() error {
	f, err := os.Open(d.mount)
	if err != nil {
		return err
	}
	defer f.Close()
	flags := uint32(shutdownNoFlush)
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, f.Fd(), fsIocShutdown, uintptr(unsafe.Pointer(&flags))); e != 0 {
		return fmt.Errorf("shutdown ioctl: %w", e)
	}
	return nil
}

// TestPowerCut cuts the power under the pipeline again and again. A few cuts are a
// row of TestFailureMatrix.
func TestPowerCut(t *testing.T) {
	cuts := int(number(t, "KENSHIN_CUTS", 0))
	if cuts == 0 {
		t.Skip("takes a while: set KENSHIN_CUTS to how many")
	}
	cutPower(t, cuts)
}

// cutPower has the file of the disk in memory: what the file system had not written
// to it is gone all the same, and nobody waits for the disk of this machine.
func cutPower(t *testing.T, cuts int) {
	d, err := newDisk(ramDir(t))
	if err != nil {
		lacking(t, "root, loop devices and ext4 (apt-get install e2fsprogs)", err)
	}
	t.Cleanup(func() {
		if err := d.down(); err != nil {
			t.Error(err)
		}
	})
	rnd, repairs, total := rigSeed(t), 0, uint64(0)
	var c confirmed
	dir := ""
	for i := range cuts {
		if i%freshEvery == 0 {
			if dir != "" {
				os.RemoveAll(dir)
			}
			total += c.recorded
			dir, c = filepath.Join(d.mount, fmt.Sprint(i)), confirmed{}
		}
		var cutErr error
		_, err := runChild(t.Context(), dir, 1+rnd.IntN(60), time.Duration(rnd.IntN(2000))*time.Microsecond, &c, func(p *os.Process) {
			cutErr = d.cut()
			p.Kill()
		})
		if err = errors.Join(err, cutErr); err == nil {
			err = errors.Join(d.down(), d.up())
		}
		var repaired string
		if err == nil {
			repaired, err = c.inspect(dir, i%freshEvery == freshEvery-1)
		}
		if err != nil {
			t.Fatalf("power cut %d: %v", i+1, err)
		}
		if repaired != "" {
			repairs++
		}
	}
	t.Logf("%d power cuts, %d left something to repair; %d records, none lost, none twice, none altered", cuts, repairs, total+c.recorded)
}
