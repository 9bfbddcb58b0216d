package store

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// Fault is something in an export that is not as it should be.
type Fault struct {
	Record   int64  // position in the book, -1 when no record is concerned
	Part     string // of the record or of the export, "" when it cannot be told
	From, To int64  // bytes of the file, To excluded
	Cause    error
}

// Error names record, part and bytes.
func (f Fault) Error() string {
	var b strings.Builder
	if f.Record >= 0 {
		fmt.Fprintf(&b, "record %d: ", f.Record)
	}
	if f.Part != "" {
		fmt.Fprintf(&b, "%s, ", f.Part)
	}
	fmt.Fprintf(&b, "bytes %d to %d of the file: %v", f.From, max(f.To-1, f.From), f.Cause)
	return b.String()
}

const maxLeaf = 512 // bytes

// canonical says whether bits that base64 has and no byte needs are 0.
func canonical(text string) bool {
	_, err := base64.StdEncoding.Strict().DecodeString(text)
	return err == nil
}

// ExportCheck says what an export is checked by.
type ExportCheck struct {
	Key    ed25519.PublicKey // of the book's checkpoints; nil: their signatures are not checked
	Before []byte            // a checkpoint that the reader holds; nil for none
	// Each is given the records in their order, after everything here was found
	// good of them. What it returns becomes a fault of the record. nil is not called.
	Each func(*Record) error
}

// Exported is what an export was found to be.
type Exported struct {
	Statement  Statement
	Checkpoint string
	Before     uint64 // the book is proven to have grown from its first so many records; 0 when it is not
	Faults     int
}

// ReadExport reads an export to its end, holding one record in memory, and calls
// found for each fault. It returns an error when r cannot be read.
//
// Without a fault, and with a key: the checkpoint is signed by the key; every record is, byte for
// byte, the one at its position in the book of that checkpoint; the records are
// those of the statement, none twice, in the order of the book; the file holds
// nothing else. Who signed what is in the records is not looked at.
func ReadExport(r io.Reader, c ExportCheck, found func(Fault)) (Exported, error) {
	x := &exportReader{in: bufio.NewReaderSize(r, 1<<16), check: c, found: found, last: -1, held: make(coverage)}
	err := x.run()
	x.out.Faults = x.faults
	return x.out, err
}

type exportReader struct {
	in    *bufio.Reader
	at    int64 // bytes read
	check ExportCheck
	found func(Fault)

	faults    int
	out       Exported
	rank      int // of the next head part
	statement bool
	msg       []byte // the checkpoint, nil when it is not good
	root      tlog.Hash
	before    []byte // the checkpoint from before, and what it says
	old       signedRoot
	cur       *arriving
	last      int64 // position of the last whole record
	count     uint64
	held      coverage
	seen      []Run // positions
}

// piece is a part of a file: where its header begins and its bytes end.
type piece struct {
	name     string
	rank     int   // among the parts of the head or of the record
	record   int64 // -1 of the head
	size     int64
	from, to int64
}

// arriving is a record whose parts come in.
type arriving struct {
	index int64
	parts [len(recordParts)][]byte
	where [len(recordParts)]piece
	next  int  // rank of the part that comes next
	bad   bool // a fault was found: what it says is not looked at
}

func (x *exportReader) fault(p piece, format string, a ...any) {
	x.faults++
	name := p.name
	if p.record >= 0 && p.rank < len(recordParts) {
		name = recordParts[p.rank]
		if x.cur != nil && x.cur.index == p.record {
			x.cur.bad = true
		}
	}
	x.found(Fault{Record: p.record, Part: name, From: p.from, To: p.to, Cause: fmt.Errorf(format, a...)})
}

// errCut says that the file ends where it should not.
var errCut = errors.New("the file ends")

func (x *exportReader) run() error {
	for {
		h, damage, err := x.header()
		if err != nil && err != io.EOF {
			return err
		}
		if damage == nil && h == nil {
			damage = &piece{record: -1, from: x.at, to: x.at}
		}
		if damage != nil {
			x.blame(damage, h)
		}
		if err == io.EOF {
			x.end()
			return nil
		}
		if h.record >= 0 {
			err = x.recordPart(h)
		} else {
			err = x.headPart(h)
		}
		if err == errCut {
			x.end()
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// header returns the next header; damage is what stood before it and is none. At
// the end of the file it returns io.EOF, with a header when the end is as written.
func (x *exportReader) header() (h, damage *piece, err error) {
	var b [blockBytes]byte
	for {
		from := x.at
		n, err := io.ReadFull(x.in, b[:])
		x.at += int64(n)
		switch {
		case err == io.EOF || err == io.ErrUnexpectedEOF:
			if n > 0 || damage != nil {
				damage = widen(damage, from, x.at)
			}
			return nil, damage, io.EOF
		case err != nil:
			return nil, nil, err
		case b == [blockBytes]byte{}:
			h, more, err := x.close(from)
			if more != nil {
				damage = widen(damage, more.from, more.to)
			}
			return h, damage, err
		}
		if name, size, ok := parseHeader(&b); ok {
			if h := identify(name, size); h != nil {
				h.from, h.to = from, x.at+size
				return h, damage, nil
			}
		}
		damage = widen(damage, from, x.at)
	}
}

func widen(p *piece, from, to int64) *piece {
	if p == nil {
		return &piece{record: -1, from: from, to: to}
	}
	p.to = to
	return p
}

// close reads what follows the first block of zeros: another one, and nothing.
func (x *exportReader) close(from int64) (h, damage *piece, err error) {
	var rest [blockBytes + 1]byte
	n, err := io.ReadFull(x.in, rest[:])
	x.at += int64(n)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, nil, err
	}
	if n == blockBytes && rest == [blockBytes + 1]byte{} {
		return &piece{}, nil, io.EOF
	}
	more, err := io.Copy(io.Discard, x.in)
	if x.at += more; err != nil {
		return nil, nil, err
	}
	return nil, &piece{from: from, to: x.at}, io.EOF
}

// identify says which part has such a name; nil when none has, or none that large.
func identify(name string, size int64) *piece {
	if rank := slices.Index(headParts, name); rank >= 0 {
		return fits(&piece{name: name, rank: rank, record: -1, size: size}, []int64{maxStatement, maxProof, maxProof, maxProof}[rank])
	}
	rest, found := strings.CutPrefix(name, recordsFolder)
	digits, suffix, _ := strings.Cut(rest, ".")
	rank := slices.Index(recordParts[:], suffix)
	index, err := strconv.ParseInt(digits, 10, 64)
	if !found || rank < 0 || err != nil || index < 0 || recordPart(uint64(index), rank) != name {
		return nil
	}
	return fits(&piece{name: name, rank: rank, record: index, size: size}, []int64{maxLeaf, maxEnvelope, maxProof}[rank])
}

func fits(p *piece, most int64) *piece {
	if p.size > most {
		return nil
	}
	return p
}

// blame finds out which part the bytes before h were, and tells.
func (x *exportReader) blame(damage, h *piece) {
	cause := "what stands there is no part of an export as it was written"
	switch c := x.cur; {
	case c != nil && c.next < len(recordParts):
		damage.record, damage.rank = c.index, c.next
	case h != nil && h.record >= 0 && h.rank > 0:
		x.finish()
		damage.record, damage.rank = h.record, h.rank-1
		x.cur = &arriving{index: h.record, next: h.rank, bad: true}
	case h != nil && h.record < 0 && h.rank > x.rank:
		damage.name = headParts[h.rank-1]
		x.rank = h.rank
	case c == nil && (x.rank < 2 || x.rank == 3):
		damage.name = headParts[x.rank]
		x.rank++
	case h == nil:
		damage.name, cause = "the end", "after the last record want 1024 bytes of zeros and nothing more"
	}
	if damage.from == damage.to {
		cause = "the file ends where it should not"
	}
	x.fault(*damage, "%s", cause)
}

// content reads the bytes of a part and what fills its last block.
func (x *exportReader) content(p *piece) ([]byte, error) {
	b := new(bytes.Buffer) // grows with what really comes
	n, err := io.Copy(b, io.LimitReader(x.in, partBytes(int(p.size))-blockBytes))
	x.at += n
	if err != nil {
		return nil, err
	}
	if n != partBytes(int(p.size))-blockBytes {
		p.to = x.at
		x.fault(*p, "the file ends in it: %d of %d bytes are there", min(n, p.size), p.size)
		return nil, errCut
	}
	for i, pad := range b.Bytes()[p.size:] {
		if pad != 0 {
			q := *p
			q.from, q.to = p.to+int64(i), x.at
			x.fault(q, "behind its end stand other bytes than zeros")
			break
		}
	}
	return b.Bytes()[:p.size], nil
}

// headPart takes in a part that stands before the records.
func (x *exportReader) headPart(p *piece) error {
	if x.cur != nil || p.rank < x.rank {
		x.fault(*p, "it stands there once more, or in another order than it is written in")
		_, err := x.content(p)
		return err
	}
	for ; x.rank < min(p.rank, 2); x.rank++ {
		x.fault(*p, "%s is missing before it", headParts[x.rank])
	}
	x.rank = p.rank + 1
	b, err := x.content(p)
	if err != nil {
		return err
	}
	body := *p
	body.from += blockBytes
	switch p.name {
	case partStatement:
		if x.out.Statement, err = parseStatement(b); err == nil {
			x.statement = true
		}
	case partCheckpoint:
		err = x.checkpoint(b)
	case partBefore:
		x.before = b
		var size int64
		size, x.old.root, err = x.open(b)
		x.old.size = uint64(size)
	case partGrowth:
		err = x.grown(b)
	}
	if err != nil {
		x.fault(body, "%w", err)
	}
	return nil
}

// open checks a checkpoint of the book: exactly one signature, that of the key,
// and no byte that says the same in another form.
func (x *exportReader) open(b []byte) (size int64, root tlog.Hash, err error) {
	origin, _, _ := strings.Cut(string(b), "\n")
	if x.statement && origin != x.out.Statement.Origin {
		return 0, root, fmt.Errorf("it is of the book %q, the statement is of %q", origin, x.out.Statement.Origin)
	}
	n, err := newVerifier(origin, x.check.Key).open(b)
	if err != nil {
		return 0, root, fmt.Errorf("%w: the key that was given did not sign this", err)
	}
	sigs := append(n.Sigs, n.UnverifiedSigs...)
	if len(sigs) != 1 {
		return 0, root, errors.New("it has more than one signature")
	}
	s := sigs[0]
	if again := fmt.Sprintf("%s\n\u2014 %s %s\n", n.Text, s.Name, s.Base64); again != string(b) || !canonical(s.Base64) {
		return 0, root, errors.New("its signature has another form than it is written in")
	}
	return parseCheckpoint(n.Text)
}

// checkpoint takes in the checkpoint that everything rests on.
func (x *exportReader) checkpoint(b []byte) error {
	size, root, err := x.open(b)
	if err != nil {
		return err
	}
	if x.statement && uint64(size) != x.out.Statement.Size {
		return fmt.Errorf("it speaks of %d records, the statement of %d", size, x.out.Statement.Size)
	}
	x.msg, x.root, x.out.Checkpoint = b, root, string(b)
	x.out.Statement.Size = uint64(size)
	return nil
}

// grown checks that the tree of the checkpoint begins with that of the one before.
func (x *exportReader) grown(b []byte) error {
	was, proof, msg, err := parseGrowth(b)
	if err != nil {
		return err
	}
	if x.msg == nil {
		return errors.New("it cannot be checked without the checkpoint")
	}
	if !bytes.Equal(msg, x.msg) {
		return errors.New("it is of another checkpoint")
	}
	if x.old.size != was {
		return fmt.Errorf("it is of the first %d records, the checkpoint from before of %d", was, x.old.size)
	}
	if err := tlog.CheckTree(proof, int64(x.out.Statement.Size), x.root, int64(was), x.old.root); err != nil {
		return err
	}
	x.out.Before = was
	return nil
}

// recordPart takes in a part of a record.
func (x *exportReader) recordPart(p *piece) error {
	if c := x.cur; c == nil || c.index != p.record || p.rank < c.next {
		x.finish()
		x.cur = &arriving{index: p.record}
	}
	c := x.cur
	for ; c.next < p.rank; c.next++ {
		if !c.bad {
			x.fault(*p, "its %s is missing before it", recordParts[c.next])
		}
	}
	b, err := x.content(p)
	if err != nil {
		return err
	}
	c.parts[p.rank], c.where[p.rank], c.next = b, *p, p.rank+1
	return nil
}
