package modbus

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// dataFile opens a file of the collection of real readings, which is not part
// of the repository.
func dataFile(t *testing.T, name string) *os.File {
	t.Helper()
	dir := os.Getenv("KENSHIN_DATA")
	if dir == "" {
		dir = "../../../shared/data"
	}
	f, err := os.Open(filepath.Join(dir, name))
	if errors.Is(err, os.ErrNotExist) && os.Getenv("CI") != "true" {
		t.Skipf("no %s; set KENSHIN_DATA to the folder of real readings", name)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// payload is what one TCP segment of a capture carried.
type payload struct {
	from, to string // address:port
	data     []byte
}

// readCapture returns the TCP payloads of a capture of Ethernet and IPv4, in
// the classic pcap format, little-endian.
func readCapture(t *testing.T, r io.Reader) []payload {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) < 24 || binary.LittleEndian.Uint32(b) != 0xA1B2C3D4 {
		t.Fatal("not a little-endian pcap file")
	}
	var out []payload
	for b = b[24:]; len(b) >= 16; {
		n := int(binary.LittleEndian.Uint32(b[8:]))
		p := b[16 : 16+n]
		b = b[16+n:]
		if len(p) < 54 || binary.BigEndian.Uint16(p[12:]) != 0x0800 || p[23] != 6 {
			continue
		}
		ip := p[14:]
		tcp := ip[4*int(ip[0]&15) : binary.BigEndian.Uint16(ip[2:])]
		data := tcp[4*int(tcp[12]>>4):]
		end := func(a []byte, port int) string {
			return fmt.Sprint(net.IP(a), ":", binary.BigEndian.Uint16(tcp[port:]))
		}
		if len(data) > 0 {
			out = append(out, payload{end(ip[12:16], 0), end(ip[16:20], 2), data})
		}
	}
	return out
}

// TestCapture asks the requests of captured traffic again and gives the captured
// answers, but for the transaction number: the words must be those on the wire.
func TestCapture(t *testing.T) {
	z, err := gzip.NewReader(dataFile(t, "pcap/modbus_poll_fc4.pcap.gz"))
	if err != nil {
		t.Fatal(err)
	}
	open := make(map[string][]byte) // request by its two ends
	answered := 0
	for _, p := range readCapture(t, z) {
		if request, ok := open[p.to+p.from]; ok && bytes.Equal(request[:2], p.data[:2]) {
			delete(open, p.to+p.from)
			replay(t, request, p.data)
			answered++
		} else if len(p.data) == 12 && (p.data[7] == 3 || p.data[7] == 4) {
			open[p.from+p.to] = p.data
		}
	}
	if answered < 500 {
		t.Errorf("%d requests with their answers in the capture; want hundreds", answered)
	}
	t.Logf("%d requests with their answers", answered)
}

func replay(t *testing.T, request, answer []byte) {
	t.Helper()
	given := bytes.Clone(answer)
	binary.BigEndian.PutUint16(given, 1) // the first transaction of a bus
	b := newTCP(Config{Timeout: time.Second, ConnectTimeout: time.Second}, func(context.Context) (net.Conn, error) {
		return &canned{given, len(given)}, nil
	})
	words, err := b.Read(t.Context(), request[6], request[7], binary.BigEndian.Uint16(request[8:]), binary.BigEndian.Uint16(request[10:]))
	if answer[7]&0x80 != 0 {
		var refused *ExceptionError
		if !errors.As(err, &refused) || refused.Code != answer[8] {
			t.Errorf("% x after % x: %v", answer, request, err)
		}
		return
	}
	if err != nil {
		t.Errorf("% x after % x: %v", answer, request, err)
		return
	}
	var got []byte
	for _, w := range words {
		got = binary.BigEndian.AppendUint16(got, w)
	}
	if !bytes.Equal(got, answer[9:]) {
		t.Errorf("% x after % x: words % x", answer, request, got)
	}
}
