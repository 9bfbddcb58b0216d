package modbus

import (
	"cmp"
	"fmt"
	"maps"
	"time"
)

// Config names an endpoint and how patient to be with it.
type Config struct {
	// Endpoint is one of
	//
	//	tcp://host:port                  Modbus TCP
	//	rtutcp://host:port               RTU frames through a serial converter
	//	rtu:///dev/ttyUSB0?baud=9600     RTU on a serial line
	//
	// The last two take ?baud=9600&parity=none&stop=1&data=8, of which these are
	// the defaults. Behind rtutcp the line is the converter's; the answer to a
	// request is checked against its speed only when baud is given.
	Endpoint string
	// Timeout is how long a device may take to answer; 2 s when zero. On a serial
	// line the time of request and answer on the wire comes on top.
	Timeout time.Duration
	// ConnectTimeout is how long a connection may take to be made; 5 s when zero.
	ConnectTimeout time.Duration
	// ConnectDelay is waited after every connect before the first request; some
	// communication dongles ignore what comes sooner than 1 s.
	ConnectDelay time.Duration
	// Gap is the least time from an answer, or from giving up on one, to the
	// next request. With RTU it is never less than 3.5 characters.
	Gap time.Duration
	// SwitchGap is the least such time when the next request is to another unit.
	SwitchGap time.Duration
	// CloseAfterPoll makes Rest close the connection.
	CloseAfterPoll bool
	// Units holds what differs for requests to a unit.
	Units map[uint8]Unit
}

// Unit is what differs for one unit of a bus. A zero takes the value of the bus.
type Unit struct {
	Timeout time.Duration // instead of Config.Timeout
	Gap     time.Duration // instead of Config.Gap, before a request to this unit
	// SwitchGap is instead of Config.SwitchGap, before a request to this unit when
	// the one before was to another.
	SwitchGap time.Duration
	// Exact keeps RTU from asking for a register more than wanted, for a device on
	// which one that is not wanted must not be read. See the package comment for
	// what it gives up.
	Exact bool
	// Most is how many registers the device gives in one answer at most; 125 when
	// zero. RTU asks for no more than that for its own ends; Read does not look at it.
	Most uint16
}

const (
	defaultTimeout        = 2 * time.Second
	defaultConnectTimeout = 5 * time.Second
)

// parse checks c and returns it with its defaults.
func (c Config) parse() (Config, endpoint, error) {
	e, err := parseEndpoint(c.Endpoint)
	if err != nil {
		return c, e, err
	}
	type wait struct {
		name  string
		value time.Duration
	}
	waits := []wait{{"timeout", c.Timeout}, {"connect timeout", c.ConnectTimeout}, {"connect delay", c.ConnectDelay}, {"gap", c.Gap}, {"switch gap", c.SwitchGap}}
	for unit, u := range c.Units {
		waits = append(waits, wait{fmt.Sprintf("timeout of unit %d", unit), u.Timeout}, wait{fmt.Sprintf("gap of unit %d", unit), u.Gap}, wait{fmt.Sprintf("switch gap of unit %d", unit), u.SwitchGap})
	}
	for _, w := range waits {
		if w.value < 0 {
			return c, e, fmt.Errorf("bus %s: %s %v is negative; a time to wait is 0 or more", c.Endpoint, w.name, w.value)
		}
	}
	if c.Units = maps.Clone(c.Units); c.Units == nil {
		c.Units = make(map[uint8]Unit)
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = defaultConnectTimeout
	}
	return c, e, nil
}

func (c *Config) timeout(unit uint8) time.Duration {
	if t := c.Units[unit].Timeout; t > 0 {
		return t
	}
	return c.Timeout
}

// patience returns the longest timeout of all.
func (c *Config) patience() time.Duration {
	longest := c.Timeout
	for _, u := range c.Units {
		longest = max(longest, u.Timeout)
	}
	return longest
}

func (c *Config) gap(unit uint8) time.Duration {
	if g := c.Units[unit].Gap; g > 0 {
		return g
	}
	return c.Gap
}

func (c *Config) switchGap(unit uint8) time.Duration {
	if g := c.Units[unit].SwitchGap; g > 0 {
		return g
	}
	return c.SwitchGap
}

// most returns how many registers RTU may ask a unit for, 0 for those wanted only.
func (c *Config) most(unit uint8) uint16 {
	u := c.Units[unit]
	if u.Exact {
		return 0
	}
	return cmp.Or(u.Most, maxCount)
}
