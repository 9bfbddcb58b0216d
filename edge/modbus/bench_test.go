package modbus_test

import (
	"context"
	"net"
	"testing"

	"kenshin/edge/modbus"
	"kenshin/edge/plant"
)

// BenchmarkRead is one request over loopback TCP to a server in this process.
func BenchmarkRead(b *testing.B) {
	for name, count := range map[string]uint16{"2 registers": 2, "125 registers": 125} {
		b.Run(name, func(b *testing.B) {
			bus := dial(b, serve(b, quick(count)), long)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := bus.Read(b.Context(), 1, 3, 0, count); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// quick answers without an allocation, so that what is counted is the client's.
func quick(count uint16) func(net.Conn, request) bool {
	answer := make([]byte, 9+2*count)
	return func(c net.Conn, r request) bool {
		copy(answer, r.adu[:8])
		answer[4], answer[5], answer[8] = 0, byte(3+2*count), byte(2*count)
		_, err := c.Write(answer)
		return err == nil
	}
}

// BenchmarkCycle polls twelve simulated SunSpec inverters behind one endpoint:
// models 103 and 122 of each, which is 24 requests.
func BenchmarkCycle(b *testing.B) {
	units := make(map[uint8]plant.Unit)
	for unit := range uint8(12) {
		units[unit] = plant.SunSpecInverter(plant.Nameplate{Manufacturer: "K", Serial: "1"}, func() (plant.Output, bool) {
			return plant.Output{MicroWatts: 1e9, WattHours: 123456, State: 4}, true
		})
	}
	s, err := plant.Listen("127.0.0.1:0", units)
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	defer func() { stop(); <-done }()
	bus, err := modbus.New(modbus.Config{Endpoint: "tcp://" + s.Addr()})
	if err != nil {
		b.Fatal(err)
	}
	defer bus.Close()
	b.ReportAllocs()
	for b.Loop() {
		for unit := range uint8(12) {
			for _, block := range [][2]uint16{{40070, 39}, {40122, 9}} {
				if _, err := bus.Read(ctx, unit, 3, block[0], block[1]); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
}
