package modbus_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"kenshin/edge/modbus"
)

// pymodbus serves two units with 200 registers of each kind, over TCP on a port
// or as RTU on a device file.
const pymodbus = `
import sys
from pymodbus.datastore import ModbusSequentialDataBlock as Block, ModbusServerContext, ModbusSlaveContext
from pymodbus.server import StartSerialServer, StartTcpServer
from pymodbus.transaction import ModbusRtuFramer

def unit(n):
    return ModbusSlaveContext(
        hr=Block(0, [(1000 * n + 3 * i) % 65536 for i in range(200)]),
        ir=Block(0, [(65535 - 7 * n * i) % 65536 for i in range(200)]),
        zero_mode=True)

context = ModbusServerContext(slaves={1: unit(1), 2: unit(2)}, single=False)
if sys.argv[1] == "tcp":
    StartTcpServer(context=context, address=("127.0.0.1", int(sys.argv[2])))
else:
    StartSerialServer(context=context, framer=ModbusRtuFramer, port=sys.argv[2], baudrate=19200, timeout=0.05)
`

// pyRegister is what that server holds.
func pyRegister(unit, function uint8, n int) uint16 {
	if function == 3 {
		return uint16(1000*int(unit) + 3*n)
	}
	return uint16(65535 - 7*int(unit)*n)
}

// servePy starts it, and ends it with the test.
func servePy(t *testing.T, args ...string) {
	t.Helper()
	const python = "/usr/bin/python3"
	if err := exec.Command(python, "-c", "import pymodbus, serial").Run(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("no pymodbus: %v; apt-get install python3-pymodbus", err)
		}
		t.Skip("no pymodbus to compare with; apt-get install python3-pymodbus")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, python, append([]string{"-c", pymodbus}, args...)...)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		cmd.Wait()
		if t.Failed() {
			t.Log(said.String())
		}
	})
}

// TestPymodbusTCP reads from a server that is not ours.
func TestPymodbusTCP(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().(*net.TCPAddr)
	ln.Close()
	servePy(t, "tcp", strconv.Itoa(addr.Port))
	compare(t, "tcp://"+addr.String())
}

// TestPymodbusRTU does so over two pseudo terminals that are joined like the ends
// of a line.
func TestPymodbusRTU(t *testing.T) {
	ours, theirs := openPTY(t), openPTY(t)
	defer ours.unplug()
	defer theirs.unplug()
	servePy(t, "rtu", theirs.path)
	go io.Copy(theirs.far, ours.far) // both end with unplug
	go io.Copy(ours.far, theirs.far)
	compare(t, "rtu://"+ours.path+"?baud=19200")
}

func compare(t *testing.T, endpoint string) {
	b, err := modbus.New(modbus.Config{Endpoint: endpoint, Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	up, end := context.WithTimeout(t.Context(), 2*time.Minute)
	defer end()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for { // until the server is up
		if _, err = b.Read(up, 1, 3, 0, 1); err == nil {
			break
		}
		select {
		case <-tick.C:
		case <-up.Done():
			t.Fatal(err)
		}
	}
	// An answer or a refusal that comes late is one lost; a wrong value is one too many.
	again := func(unit, function uint8, address, count uint16, enough func(error) bool) ([]uint16, error) {
		for {
			words, err := b.Read(up, unit, function, address, count)
			if enough(err) || up.Err() != nil {
				return words, err
			}
		}
	}
	answered := func(err error) bool { return err == nil }
	for _, unit := range []uint8{1, 2} {
		for _, function := range []uint8{3, 4} {
			for _, k := range [][2]int{{0, 1}, {0, 2}, {1, 2}, {10, 50}, {75, 125}, {199, 1}, {0, 125}} {
				words, err := again(unit, function, uint16(k[0]), uint16(k[1]), answered)
				if err != nil {
					t.Fatal(err)
				}
				for i, w := range words {
					if want := pyRegister(unit, function, k[0]+i); w != want {
						t.Fatalf("unit %d function %d register %d: %d, want %d", unit, function, k[0]+i, w, want)
					}
				}
			}
		}
	}
	for _, k := range []struct {
		name           string
		unit, function uint8
		address, count uint16
		code           uint8
	}{
		{"registers beyond the last", 1, 3, 190, 20, 2},
		{"a register behind the last", 2, 4, 200, 1, 2},
		{"the last there can be", 1, 4, 65535, 1, 2},
	} {
		var refused *modbus.ExceptionError
		is := func(err error) bool { return err == nil || errors.As(err, &refused) }
		if _, err := again(k.unit, k.function, k.address, k.count, is); err == nil || !is(err) || refused.Code != k.code || refused.Function != k.function {
			t.Errorf("%s: %v, want exception %d", k.name, err, k.code)
		}
		if words, err := again(2, 3, 7, 1, answered); err != nil || words[0] != pyRegister(2, 3, 7) {
			t.Errorf("after %s: %d, %v", k.name, words, err)
		}
	}
	if _, err := b.Read(t.Context(), 3, 3, 0, 1); !errors.Is(err, modbus.ErrTimeout) {
		t.Errorf("a unit nobody is: %v, want no answer", err)
	}
	if words, err := again(2, 3, 7, 1, answered); err != nil || words[0] != pyRegister(2, 3, 7) {
		t.Errorf("after no answer: %d, %v", words, err)
	}
}
