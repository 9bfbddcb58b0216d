package modbus

import (
	"testing"
	"time"
)

func TestEstimate(t *testing.T) {
	ms := func(f float64) time.Duration { return time.Duration(f * float64(time.Millisecond)) }
	for _, tt := range []struct {
		config Config
		count  uint16
		bytes  int
		time   time.Duration
	}{
		{Config{Endpoint: "tcp://h:502"}, 125, 12 + 259, ms(20)},
		{Config{Endpoint: "tcp://h:502", Gap: ms(50)}, 2, 12 + 13, ms(70)},
		{Config{Endpoint: "rtu:///dev/x"}, 10, 8 + 25, ms(33*10/9.6 + 20 + 35/9.6)},
		{Config{Endpoint: "rtu:///dev/x?baud=19200&parity=even"}, 10, 8 + 25, ms(33*11/19.2 + 20 + 3.5*11/19.2)},
		{Config{Endpoint: "rtu:///dev/x?baud=115200", Gap: ms(50), Units: map[uint8]Unit{1: {Gap: ms(5)}}}, 10, 8 + 25, ms(33*10/115.2 + 20 + 5)},
		{Config{Endpoint: "rtutcp://h:1?baud=115200"}, 10, 8 + 25, ms(33*10/115.2 + 20 + 1.75)},
		{Config{Endpoint: "h:502"}, 10, 0, 0},
	} {
		bytes, took := tt.config.Estimate(1, tt.count)
		if bytes != tt.bytes || (took-tt.time).Abs() > time.Microsecond {
			t.Errorf("%+v: %d bytes in %v, want %d in %v", tt.config, bytes, took, tt.bytes, tt.time)
		}
	}
}

func TestBridge(t *testing.T) {
	for endpoint, want := range map[string]uint16{
		"tcp://h:502": 20, "rtu:///dev/x?baud=1200": 10, "rtu:///dev/x": 10, "rtu:///dev/x?baud=19200": 10,
		"rtu:///dev/x?baud=38400": 15, "rtu:///dev/x?baud=115200": 32, "rtutcp://h:1": 20, "rtutcp://h:1?baud=1200": 11,
	} {
		if n, err := Bridge(endpoint); n != want || err != nil {
			t.Errorf("%s: %d %v, want %d", endpoint, n, err, want)
		}
	}
	if _, err := Bridge("com1"); err == nil {
		t.Error("com1 was taken")
	}
}
