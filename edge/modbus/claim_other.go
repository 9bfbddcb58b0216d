//go:build !unix

package modbus

// claim does nothing where the system itself lets one program have a port.
func claim(string) (release func(), err error) { return func() {}, nil }
