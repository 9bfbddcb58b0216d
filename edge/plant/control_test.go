package plant

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
)

// TestControl: commands over a socket, answered line by line; what they do is
// seen in the unit.
func TestControl(t *testing.T) {
	c := NewControl(1)
	a, err := c.Add("inv-1", "roof", 1, counting{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Add("inv-2", "roof", 2, counting{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Add("meter", "cellar", 1, silent{}); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- ServeControl(ctx, ln, c) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("ServeControl = %v after its ctx ended", err)
		}
	}()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	for _, tt := range []struct{ command, want string }{
		{"fault inv-1 late 300ms for 10m", "inv-1: fault injected|ok"},
		{"fault roof zero-at-dawn", "inv-1, inv-2: fault injected|ok"},
		{"fault 2 drop times 1", "inv-2: fault injected|ok"},
		{"fault 1 drop", "error unit 1 is inv-1 and meter; give the id of the one that is meant"},
		{"fault inv-3 drop", `error no unit "inv-3"; want one of inv-1, inv-2, meter, or all`},
		{"fault meter dip", "error meter: what its registers mean is not known, so their values cannot go wrong; give it a profile: ..."},
		{"fault meter busy", "meter: fault injected|ok"},
		{"list", "inv-1            roof           unit 1   hit 0      late 300ms for 10m0s; zero-at-dawn|" +
			"inv-2            roof           unit 2   hit 0      zero-at-dawn; drop times 1|" +
			"meter            cellar         unit 1   hit 0      busy|ok"},
		{"clear inv-1", "2 faults ended|ok"},
		{"clear", "3 faults ended|ok"},
		{"clear nobody", `error no unit "nobody"; want one of inv-1, inv-2, meter, or all`},
		{"halt", `error "halt": want fault, clear or list`},
		{"", `error "": want fault, clear or list`},
	} {
		fmt.Fprintln(conn, tt.command)
		var got []string
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				t.Fatalf("%s: %v", tt.command, err)
			}
			got = append(got, strings.TrimSuffix(line, "\n"))
			if strings.HasPrefix(line, "ok") || strings.HasPrefix(line, "error") {
				break
			}
		}
		text := strings.Join(got, "|")
		if want, open := strings.CutSuffix(tt.want, "..."); text != tt.want && !(open && strings.HasPrefix(text, want)) {
			t.Errorf("%s\nis answered\n%s, want\n%s", tt.command, text, tt.want)
		}
	}
	if faults, _ := a.Faults(); len(faults) > 0 {
		t.Errorf("after clear: %v", faults)
	}
}

func TestControlNames(t *testing.T) {
	c := NewControl(1)
	for _, tt := range []struct{ name, want string }{
		{"inv-1", ""},
		{"inv-1", "is also unit 1"},
		{"", "want one word"},
		{"a b", "want one word"},
		{"a=b", "want one word"},
		{"all", "want one word"},
		{"unit", "want one word"},
		{"17", "want at least a letter"},
	} {
		if _, err := c.Add(tt.name, "x", 1, silent{}); tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%q: %v, want %q", tt.name, err, tt.want)
		}
	}
}
