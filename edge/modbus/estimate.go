package modbus

import "time"

// turnaround is how long a device is taken to think: on the whole, and at least.
const (
	turnaround      = 20 * time.Millisecond
	leastTurnaround = time.Millisecond
)

// Request is what a request asks for: Count registers of a unit from Address on.
type Request struct {
	Unit, Function uint8
	Address, Count uint16
}

// Cost is what a request costs.
type Cost struct {
	Bytes int           // of it and its answer, without what TCP adds
	Time  time.Duration // for which it occupies the bus
}

// Estimate returns what requests cost that follow one another: bytes on the wire,
// 20 ms in which the device thinks, and the gap before the next request; with RTU
// also the registers that are asked for beyond those wanted, the quiet, and the
// wait for a second answer where the package comment tells of one. SwitchGap is
// not in it; it comes once per unit and cycle where there are several. All costs
// are 0 for an endpoint that New refuses.
func (c Config) Estimate(requests ...Request) []Cost {
	out := make([]Cost, len(requests))
	c, e, err := c.parse()
	if err != nil {
		return out
	}
	if e.scheme == schemeTCP {
		for i, r := range requests {
			out[i] = Cost{tcpRequest + tcpHeader + 2 + 2*int(r.Count), turnaround + c.gap(r.Unit)}
		}
		return out
	}
	book := newDebts()
	now := time.Unix(0, 0)
	for i, r := range requests {
		q := question{r.Unit, r.Function, r.Address, r.Count}
		p, _ := book.ask(q, c.most(q.unit), c.timeout(q.unit), now)
		q.count = p.count
		n := rtuRequest + rtuAnswer(q.count)
		wait, answer := max(0, p.free.Sub(now)), e.line.wire(n)+turnaround
		if p.doubt {
			wait += answer + slowestMore
		}
		out[i] = Cost{n, wait + answer + max(c.gap(q.unit), e.line.silence())}
		now = now.Add(out[i].Time)
		book.answered(q, now, time.Time{})
	}
	return out
}

// tcpBridge is how many registers of 2 bytes a network carries in the time a
// request costs the device and the way to it.
const tcpBridge = 20

// Bridge returns how many registers nobody wants are cheaper to read along than
// to ask around on this link: a request saved against their bytes. On a serial
// line the quickest of devices is reckoned with, so that reading along pays with
// every one.
func Bridge(endpoint string) (uint16, error) {
	e, err := parseEndpoint(endpoint)
	if err != nil {
		return 0, err
	}
	if e.scheme == schemeTCP {
		return tcpBridge, nil
	}
	saved := e.line.wire(rtuRequest+rtuAnswer(0)) + 2*e.line.silence() + leastTurnaround
	if e.scheme == schemeRTUTCP {
		saved += turnaround // of the network
	}
	return uint16(min(saved/e.line.wire(2), maxCount)), nil
}
