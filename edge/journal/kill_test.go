package journal

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"
)

const childEnv = "KENSHIN_JOURNAL_CHILD" // folder in which the child appends until it is killed

// numbered is the entry with a number: of a size and with bytes that follow from it.
func numbered(seq uint64) []byte {
	rnd := rand.New(rand.NewPCG(seq, 77))
	b := make([]byte, rnd.IntN(700))
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	return b
}

// TestChild is not a test but the process that TestKill kills.
func TestChild(t *testing.T) {
	dir := os.Getenv(childEnv)
	if dir == "" {
		t.Skip("runs only as the child of TestKill")
	}
	l, report, err := Open(dir, Options{SegmentBytes: 32 << 10})
	if err != nil || len(report.Damages) > 0 {
		t.Fatalf("open: %v, %v", report, err)
	}
	for n := 0; ; n++ {
		group := make([][]byte, 1+n%4)
		for i := range group {
			group[i] = numbered(l.Next() + uint64(i))
		}
		first, err := l.Append(group...)
		if err != nil {
			t.Fatal(err)
		}
		if err := binary.Write(os.Stdout, binary.LittleEndian, first+uint64(len(group))-1); err != nil {
			t.Fatal(err)
		}
		if n%50 == 49 {
			if _, err := l.DropBefore(l.Next() - min(l.Next(), 200)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestKill kills a process that appends, again and again, and looks for every
// entry it had confirmed. KENSHIN_KILLS says how often (default 150), KENSHIN_SEED
// from which seed.
func TestKill(t *testing.T) {
	kills, seed := number(t, "KENSHIN_KILLS", 150), number(t, "KENSHIN_SEED", uint64(time.Now().UnixNano()))
	// In memory where that can be had: who is only killed leaves to the system
	// what the system had, whatever disk is behind it.
	dir, err := os.MkdirTemp("/dev/shm", "kenshin-kill9-")
	if err != nil {
		dir = t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	rnd := rand.New(rand.NewPCG(seed, 0))
	repairs, confirmed := 0, uint64(0)
	for kill := range kills {
		last, err := killed(dir, 1+rnd.IntN(40), time.Duration(rnd.IntN(500))*time.Microsecond)
		if err != nil {
			t.Fatal(err)
		}
		confirmed = max(confirmed, last)
		l, report, err := Open(dir, Options{SegmentBytes: 32 << 10})
		if err != nil || len(report.Damages) > 0 || report.Moved != "" {
			t.Fatalf("after kill %d: %v, %v", kill, report, err)
		}
		if !report.Clean() {
			repairs++
		}
		if l.Next() <= confirmed {
			t.Fatalf("after kill %d: entries end before %d, %d was confirmed", kill, l.Next(), confirmed)
		}
		err = l.Scan(l.First(), func(seq uint64, e []byte) error {
			if !bytes.Equal(e, numbered(seq)) {
				return fmt.Errorf("entry %d has other bytes", seq)
			}
			return nil
		})
		if err != nil {
			t.Fatalf("after kill %d: %v", kill, err)
		}
		confirmed = l.Next() - 1
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("seed %d: %d kills, %d of them left an unfinished append; %d entries, none lost", seed, kills, repairs, confirmed)
}

// number returns the number in a variable of the environment.
func number(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s=%q: want a number", name, text)
	}
	return n
}

// killed runs a child until it has confirmed n appends and a little longer,
// and returns the last entry it confirmed.
func killed(dir string, n int, longer time.Duration) (last uint64, err error) {
	c := exec.Command(os.Args[0], "-test.run=^TestChild$")
	c.Env = append(os.Environ(), childEnv+"="+dir)
	out, err := c.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := c.Start(); err != nil {
		return 0, err
	}
	in := bufio.NewReader(out)
	for i := 0; ; i++ {
		var seq uint64
		if err := binary.Read(in, binary.LittleEndian, &seq); err == io.EOF || err == io.ErrUnexpectedEOF {
			break
		} else if err != nil {
			return 0, err
		}
		if seq < last || seq > last+1<<20 && last > 0 {
			return 0, fmt.Errorf("the child failed; run it with %s=%s to see why", childEnv, dir)
		}
		last = seq
		if i == n {
			time.AfterFunc(longer, func() { c.Process.Kill() })
		}
	}
	c.Wait() // it was killed
	if last == 0 {
		return 0, fmt.Errorf("the child confirmed nothing; run it with %s=%s to see why", childEnv, dir)
	}
	return last, nil
}
